//! The uplink: batches go to a hub, in order and exactly once.

mod status;

pub use status::UplinkStatus;
