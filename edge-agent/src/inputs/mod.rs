//! Inputs make rows: what a device measured at one instant. They know no batch and no buffer.

pub mod csv;
pub mod host;
mod json;
pub mod json_lines;
mod row;
pub mod source;
mod time_column;
mod value;

pub use row::{Bad, BadCell, BadRow, Row, Rows};
