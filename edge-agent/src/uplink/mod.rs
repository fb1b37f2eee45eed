//! The uplink: batches go to a hub, in order and exactly once.
//!
//! A state machine (`machine`, with one `lane` a topic, a `window` and what a `refusal` means) decides; the runtime
//! (`task`, `connection`) speaks MQTT through rumqttc, reads and changes the buffer, and keeps the time. It makes
//! a new client and event loop for every connection, and chooses the hub and the wait between them (`route`,
//! `backoff`).

mod backoff;
mod connection;
mod event;
mod lane;
mod machine;
mod refusal;
mod route;
mod shared;
mod status;
mod task;
mod window;

pub use backoff::Ended;
pub use event::{Action, Answer, DropReason, Event, Facts, reason};
pub use machine::{Core, Now};
pub use status::UplinkStatus;
pub use task::{Uplink, UplinkConfig, UplinkError};
