//! A cluster under load while things go wrong, and what must be true afterwards: every acknowledged record is
//! there exactly once and in order, on every replica and through Kafka, and no consumer saw what is not there.
//!
//! - [`load`]: an idempotent producer, agents and a consumer group that run all the while
//! - [`world`]: the cluster on hosts of its own, the load upon it, and the checks at the end
//! - [`replica`]: what a hub's segment files hold, read without the hub

pub mod load;
pub mod replica;
pub mod world;
