//! Whole hubs for a simulation, in one thread and from a seed: the same core and the same write-ahead log as in the
//! program, the log on a disk in memory, checkpoints and segments in a directory, and around them a clock and a network
//! that do what they are told.
//!
//! A [`Hub`] does nothing by itself. It is told of time ([`Hub::tick`]), of messages ([`Hub::receive`]) and of requests;
//! [`Hub::turn`] carries out what came of that; what it has to say waits in [`Hub::take_parcels`], what it has written
//! is durable with [`Hub::sync`], and a snapshot that it wants is copied with [`Hub::copy_snapshot`]. Nothing in it reads
//! a clock or draws a random number, so the same calls give the same history.

mod altering;
mod compacting;
mod comparing;
mod disk;
mod hub;
mod log;
mod look;
mod mending;
mod reading;
mod snapshots;

pub use crate::answer::{CommandDone, ProposeDone};
pub use crate::faults::Faults;
pub use altering::alter;
pub use comparing::ReplicaQuestion;
pub use consensus::{Membership, MembershipChange, Progress, ProgressState, ReplicaId, Role};
pub use hub::{Hub, HubConfig, Part, Wipe};
pub use log::Crash;
pub use look::Fingerprint;
pub use mending::SegmentDamaged;
pub use partition_log::ReadError;
pub use peers::{Parcel, ParcelBody};
pub use snapshots::SnapshotWanted;
pub use wal::simulation::SimDisk;
