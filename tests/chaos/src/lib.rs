//! A cluster under load while things go wrong, and what must be true afterwards: every acknowledged record is
//! there exactly once and in order, on every replica and through Kafka, and no consumer saw what is not there.
//!
//! - [`load`]: an idempotent producer and agents that run all the while, and whether they get on
//! - [`group`]: a consumer group that runs all the while, and what it must never do
//! - [`world`]: the cluster on hosts of its own, the load upon it, and the checks at the end
//! - [`replica`]: what a hub's segment files hold, read without the hub

pub mod group;
pub mod load;
pub mod replica;
pub mod world;
