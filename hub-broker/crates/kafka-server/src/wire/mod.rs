//! Kafka's primitive types, read with every length checked against what is there, and written.

mod read;
mod shape;
mod write;

pub(crate) use read::{Reader, WireError};
pub(crate) use shape::{Field, Shape, all, since, until, walk, within};
pub(crate) use write::Writer;
