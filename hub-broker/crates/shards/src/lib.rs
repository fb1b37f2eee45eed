//! The hub's shards: raft groups that own partitions, on executor threads that share one write-ahead log.
//!
//! A request goes through an executor's inbox into its shard's queue, is packed with its neighbours into one
//! entry, becomes durable in the WAL, is committed, applied to the partition logs and answered. Nothing waits on
//! a timer: what arrives while entries are being written is packed into the next.
//!
//! Invariants, said as absences: apply reads no clock, no metadata and no configuration; no client thread ever
//! waits for a shard; no segment holds anything that is not committed; nothing here knows Kafka's or MQTT's wire.

mod answer;
mod apply;
mod around;
mod arrived;
mod aside;
mod capture;
mod checkpointer;
mod clock;
mod cluster_file;
mod compare;
mod config;
mod core;
mod data_dir;
mod doors;
mod entry;
mod error;
mod exchange;
mod executor;
mod fail;
mod faults;
pub mod feature;
mod forward;
mod gossip;
mod group;
mod group_state;
mod handle;
mod inbound;
mod inbox;
mod incoming;
mod keys;
mod known_damage;
mod lanes;
mod leaders;
mod leave;
pub mod limits;
mod log_reads;
mod machine;
mod mend;
mod mender;
mod message;
mod observe;
mod opening;
mod order;
mod outbox;
mod pace;
mod pacer;
mod partitions;
mod readers;
mod recovery;
mod registrar;
mod replicas;
mod request;
mod room;
mod salvage;
mod scrubber;
mod shared;
#[doc(hidden)]
pub mod simulation;
mod snapshot;
mod space;
mod start;
mod status;
mod stored_group;
mod text_file;
mod waiting;
mod watch;

pub use clock::{ClockHeld, ClockState};
pub use cluster_file::ClusterFile;
pub use config::{Config, SyncMode};
pub use data_dir::{DataDir, Identity};
pub use error::{
    AppendError, ChangeError, CommandError, DataDirError, ProposeError, ReadIndexError, StartError,
};
pub use feature::Levels;
pub use group::Standing;
pub use handle::{AppendDone, Shards, Stats};
pub use leaders::{GroupView, Leader};
pub use machine::{AppliedAt, RestoreError, StateMachine, UnknownCommand};
pub use observe::describe;
pub use partition_log::{LogOptions, Origin, PartitionReader, SequenceError};
pub use request::{Append, Appended, PartitionCommand, Retention};
pub use salvage::{KeptGroup, Salvage, SalvageError};
pub use snapshot::CopyProgress;
pub use status::GroupStatus;
pub use wal::OpenError as WalError;
