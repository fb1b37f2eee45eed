//! The uplink: batches go to a hub, in order and exactly once.
//!
//! A state machine (`machine`, with one `lane` a queue of the buffer, a `window`, the `pacing` of backlogs, the `turns` of
//! topics, and what a `refusal` means) decides; the runtime (`task`, `connection`) speaks MQTT through rumqttc, reads and changes the
//! buffer, and keeps the time. It makes a new client and event loop for every connection (`access` says with what),
//! and chooses the hub and the wait between them (`route`, `backoff`). There are two of them (`pair`): alarms have a
//! connection of their own.

mod access;
mod backoff;
mod connection;
mod control;
mod event;
mod files;
mod lane;
mod letters;
mod machine;
mod mailbox;
mod obstacle;
mod pacing;
mod packets;
mod pair;
mod plan;
mod refusal;
mod route;
mod shared;
mod ship;
mod shipment;
mod status;
mod task;
mod tls;
mod turns;
mod usage;
mod window;

pub use access::AccessError;
pub use backoff::Ended;
pub use control::{Control, Served};
pub use event::{Action, Answer, DropReason, Event, Facts, reason};
pub use files::{FileCheck, Verdict, check_files};
pub use machine::{Core, Now};
pub use mailbox::{Desk, Inbound, InboundKind, Mailbox, Outbound, mailbox};
pub use pair::Uplinks;
pub use plan::{Carries, Plan};
pub use route::Route;
pub use status::{LinkStatus, UplinkStatus};
pub use task::{UplinkConfig, UplinkError};
pub use usage::Usage;
