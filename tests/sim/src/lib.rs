//! A whole cluster in one thread, from a seed: consensus, write-ahead logs, partition logs, checkpoints and snapshots
//! of three to five hubs, on a network that loses, delays and repeats, with disks that stall and lose what was not
//! synced, clocks that jump, and members that come and go.
//!
//! ```text
//!   clients ──> hosts (hub or journal, disk, clock) <──> network        world: one queue of events in virtual time
//!                    ▲                    ▲
//!                 mischief             steward          observed by the invariants after every event
//! ```
//!
//! The same seed gives the same history. A run that breaks an invariant says which, when and with which seed.

pub mod client;
pub mod host;
pub mod invariants;
pub mod journal;
pub mod machine;
pub mod mischief;
pub mod network;
pub mod plan;
pub mod steward;
pub mod world;

pub use shards::simulation::Faults;
pub use world::{Options, Report, run};
