//! The HTTP front: health, metrics and a read-only API for people and their tools.
//!
//! ```text
//! GET /healthz         200 while the process answers
//! GET /readyz          200 when clients may come, 503 with the reason otherwise
//! GET /metrics         Prometheus' text format; aggregates, never a label per device
//! GET /api/v1/topics   topics, partitions, offsets, sizes
//! ```
//!
//! It changes nothing: whatever alters a topic goes through the Kafka listener.

mod observe;
mod readiness;
mod server;
mod topics;

pub use observe::describe;
pub use readiness::Readiness;
pub use server::{BindError, Config, Server};
