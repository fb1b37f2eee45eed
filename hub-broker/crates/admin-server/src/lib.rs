//! The HTTP front: health, metrics and a read-only API for people and their tools.
//!
//! ```text
//! GET /healthz         200 while the process answers
//! GET /readyz          200 when clients may come, 503 with the reason otherwise
//! GET /metrics         Prometheus' text format; aggregates, never a label per device
//! GET /api/v1/topics   topics, partitions, offsets, sizes
//! GET /api/v1/cluster  hubs, shards, leaders, replicas, lag
//! ```
//!
//! It listens before the hub is part of a cluster, so that it can be asked why the hub is not ready: until then the
//! API answers 503.
//!
//! It changes nothing: whatever alters a topic goes through the Kafka listener.

mod known;
mod observe;
mod readiness;
mod server;
mod topics;

pub use known::Known;
pub use observe::describe;
pub use readiness::Readiness;
pub use server::{BindError, Config, Server};
