//! The tools that talk to a running hub, as any Kafka client does.

mod client;
mod table;

pub mod group;
pub mod tail;
pub mod topic;
