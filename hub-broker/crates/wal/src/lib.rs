//! The write-ahead log that all groups of a hub share: one writer thread, one gathered write and one `fdatasync` for
//! everything that waits, then the callbacks.
//!
//! It knows groups, indexes, terms and payloads; it knows no consensus protocol and no record format.

mod codec;
mod config;
mod error;
mod fail;
mod frame;
mod handle;
mod limits;
mod recovered;

pub use config::{Config, SyncMode};
pub use error::{Concerned, Corruption, OpenError};
pub use fail::{Fail, Failure};
pub use frame::{Entry, Frame, GroupId, HardState, Lsn};
pub use handle::{Done, Stats, Wal};
pub use recovered::{GroupLog, Recovered, TornTail};
