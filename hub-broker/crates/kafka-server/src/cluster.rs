//! What the hub's own tools ask about the cluster, and how it is answered.
//!
//! It is an API of its own beside Kafka's, under a key that Kafka does not use and in a frame of Kafka's:
//!
//! ```text
//!   request:  api key i16 = 28672 │ version i16 = 0 │ correlation i32 │ client id string │ JSON bytes (i32 length)
//!   answer:   correlation i32 │ JSON bytes (i32 length)
//!
//!   {"ask":"status"}  {"ask":"drain","node":2,"draining":true}  {"ask":"remove","node":2}
//!   {"ask":"accept_clock","node":2}  {"ask":"upgrade"}
//!   {"answer":"status", …}  {"answer":"done"}  {"answer":"upgraded","from":1,"to":2}
//!   {"answer":"refused","message":"…","retry":false}
//! ```
//!
//! Fields may be added within a version; unknown ones are passed over.

use metadata::ClusterStatus;
use schemas::NodeId;
use serde::{Deserialize, Serialize};

/// The key of the API.
pub const API_KEY: i16 = 28_672;
/// The only version that there is.
pub const VERSION: i16 = 0;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// How the cluster is.
    Status,
    /// Move everything off a hub, or take that back.
    Drain { node: NodeId, draining: bool },
    /// Strike off a hub that was drained and stopped.
    Remove { node: NodeId },
    /// Have a hub believe its clock as it is.
    AcceptClock { node: NodeId },
    /// Raise the feature level to what all hubs support.
    Upgrade,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Reply {
    Status(Box<ClusterStatus>),
    /// What was ordered is agreed on; a drain goes on from now.
    Done,
    /// The feature level was `from` and is `to`.
    Upgraded {
        from: u16,
        to: u16,
    },
    /// `retry`: the same may be taken in a moment.
    Refused {
        message: String,
        retry: bool,
    },
}
