//! The tools that talk to a running hub, as any Kafka client does.

mod client;
mod hubs;
mod table;

pub mod cluster;
pub mod group;
pub mod tail;
pub mod topic;
