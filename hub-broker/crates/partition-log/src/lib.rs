//! One partition's log: segments of raw batches, their index, and what is remembered about senders.
//!
//! The log is a state machine's body, so nothing here reads a clock, a configuration or the network: time,
//! epochs and limits are passed in, and the same calls in the same order give the same files. It knows no
//! consensus and no Kafka request; it knows batches, offsets and files.
//!
//! A [`PartitionLog`] belongs to one thread, which appends. Any number of [`PartitionReader`]s read what was
//! published, without ever holding up the writer.
//!
//! ```text
//!   append ──> staged ──publish──> segment file (page cache) ──> readers see it (high watermark)
//!                                        │
//!                        take_dirty + state ──> checkpoint: fdatasync, then the state file, then the manifest
//!                                        │
//!              recover(state) <──────────┘  cuts the files back to exactly that state
//! ```
//!
//! No fsync happens here while appending. Files that no segment needs any more are handed out by
//! [`PartitionLog::take_obsolete`] instead of being deleted, since an older manifest may still name them.

mod checksum;
mod compaction;
mod epochs;
mod error;
mod files;
mod import;
mod index;
mod limits;
mod log;
mod names;
mod observe;
mod options;
mod origin;
mod reader;
mod recovery;
mod repair;
mod segment;
mod sequence;
mod state;
mod view;

pub use checksum::GoOn;
pub use compaction::{CompactOptions, Compacted, Compaction};
pub use epochs::EpochHistory;
pub use error::{
    CompactError, Damage, DamageKind, DecodeStateError, LogError, ReadError, RecoverError, is_unreadable,
};
pub use files::{DirtyFile, FileCache, ObsoleteFiles, OnDamage};
pub use import::{Import, ImportError, LocalLog, Prefix, Receiving, Verified};
pub use limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX};
pub use log::PartitionLog;
pub use observe::describe;
pub use options::LogOptions;
pub use origin::{DecodeOriginError, Origin};
pub use reader::{PartitionReader, ScrubStep};
pub use repair::Repair;
pub use sequence::{SequenceError, SequenceVerdict};
pub use state::{PartitionState, SegmentState};
