//! The write-ahead log that all groups of a hub share: one writer thread, one gathered write and one `fdatasync` for
//! everything that waits, then the callbacks.
//!
//! It knows groups, indexes, terms and payloads; it knows no consensus protocol and no record format.

mod assembly;
mod codec;
mod commit_times;
mod config;
mod core;
mod damage;
mod disk;
mod error;
mod fail;
mod file_header;
mod frame;
mod gather;
mod handle;
mod keeper;
mod ledger;
mod library;
mod limits;
mod log_reader;
mod observe;
mod reader;
mod recovered;
mod recovery;
mod request;
mod retention;
mod rewrite;
mod shared;
#[doc(hidden)]
pub mod simulation;
mod span;
mod survey;
#[cfg(test)]
mod tests;
mod writer;

pub use commit_times::CommitTimes;
pub use config::{Config, SyncMode};
pub use error::{Concerned, Corruption, OpenError};
pub use fail::{Fail, Failure};
pub use frame::{Entry, Frame, GroupId, HardState, Lsn};
pub use handle::Wal;
pub use log_reader::{EntriesRead, EntriesWanted, LogReader, ReadError};
pub use observe::describe;
pub use recovered::{GroupLog, Recovered, TornTail};
pub use recovery::PastDamage;
pub use request::{Done, Stats};
