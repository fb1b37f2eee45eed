//! A whole cluster in one thread, from a seed: consensus, write-ahead logs, partition logs, checkpoints and snapshots
//! of three to five hubs, on a network that loses, delays and repeats, with disks that stall, are full, rot, lie and lose
//! what was not synced, clocks that jump, and members that come and go.
//!
//! ```text
//!   clients, coordinators, consumers ──> hosts (hub, disks, clock) <──> network
//!                                           ▲                   ▲
//!                                        mischief            steward
//!
//!   world: one queue of events in virtual time; the invariants look on
//! ```
//!
//! The same seed gives the same history. A run that breaks an invariant says which, when and with which seed.

pub mod bugs;
pub mod client;
pub mod consumer;
pub mod coordinator;
pub mod host;
pub mod invariants;
pub mod journal;
pub mod keyed;
pub mod machine;
pub mod mischief;
pub mod network;
pub mod options;
pub mod plan;
pub mod question;
pub mod steward;
pub mod world;

pub use bugs::Bug;
pub use options::{Options, Report};
pub use world::run;
