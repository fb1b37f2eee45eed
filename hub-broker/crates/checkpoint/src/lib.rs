//! Checkpoints of one replicated group: a manifest and the opaque states that it names, of which the last two are kept.
//!
//! It knows positions in a log and named blobs; it knows no consensus protocol and no record format.

mod checkpoint;
mod directory;
mod error;
mod limits;
mod load;
mod manifest;
mod states;
mod store;
#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, Key, Loaded, Position, State, Written};
pub use error::{Damage, DamageKind, OpenError, WriteError};
pub use load::newest;
pub use store::{Store, is_no_room};
