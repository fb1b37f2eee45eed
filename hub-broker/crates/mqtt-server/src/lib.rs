//! The MQTT front: 3.1.1 and 5 on one port.
//!
//! ```text
//! socket → connection → ingest → shard … committed → callback → acknowledgements in publish order → socket
//!                                              └─ log → fan-out thread → outboxes → connections → sockets
//! ```
//!
//! A connection is one task that owns its socket, its session and its buffers. Publishes of one read go into the log
//! in one call for each partition; the callback of a call wakes the task, which writes all acknowledgements that have
//! become due in one go.
//!
//! Invariants, said as absences: nothing is acknowledged before it is committed; nothing that a client sends is sliced,
//! indexed or allocated for before its length is checked; no client waits for another client's socket; no part of a
//! connection is shared save its signals and its outbox.

mod config;
mod connection;
mod door;
mod fanout;
pub mod limits;
mod observe;
mod reason;
mod refusals;
mod routes;
mod server;
mod session;
mod wire;

pub use config::Config;
pub use door::{KeyError, KeyFiles, Keyring, PasswordFileError, SecureListener, TlsError, TlsFiles};
pub use observe::describe;
pub use routes::{Decoding, Key, Route, RouteError, Routes};
pub use server::{BindError, Server};
