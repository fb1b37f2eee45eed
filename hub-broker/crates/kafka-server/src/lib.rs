//! Kafka's wire protocol: what producers, consumers and tools of that world speak to the hub.
//!
//! ```text
//!  server ──> connection ──> frame (length, limits) ──> dispatch (header, version) ──> api/<one per file>
//!                 └──────<── response (chunks, in order) <────────────────────────────────┘
//! ```
//!
//! Produce and Fetch are parsed and encoded here around slices of the socket's buffers and of the log, so that
//! record bytes are not copied on their way. All other requests are walked by their shape first (`wire`), so
//! that no length is believed before it is backed by bytes, and then decoded by `kafka-protocol`.
//!
//! Invariants, said as absences: no offset is assigned here, no batch is changed, no group state is kept;
//! Kafka's error codes are named in `errors` alone.

mod answer;
mod api;
pub mod cluster;
mod config;
mod connection;
mod control;
mod cut_off;
mod dispatch;
mod entry;
mod errors;
mod frame;
mod holes;
mod hubs;
mod leadership;
pub mod limits;
mod memory;
mod observe;
mod response;
mod server;
mod session;
mod stale;
mod topics;
mod wire;

pub use config::{Advertised, Config};
pub use observe::describe;
pub use server::{BindError, Reserved, Server};
