//! What the uplink's state machine is told, and what it asks for.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemas::{PartitionIndex, Sequence, TopicName};

use crate::buffer::{Amendment, GapAnswer, Item, LaneView};

#[derive(Clone, Debug)]
pub enum Event {
    /// CONNACK came; these topics were named in CONNECT.
    Connected {
        facts: Facts,
        named: Vec<TopicName>,
    },
    Disconnected,
    /// The lanes of the buffer as of a commit, all of them.
    Lanes(Vec<LaneView>),
    /// What a [`Action::Read`] found.
    Items {
        lane: u8,
        from: u64,
        items: Vec<Item>,
    },
    /// The lane's amendment is durable.
    Amended {
        lane: u8,
    },
    /// The lane's amendment was refused.
    NotAmended {
        lane: u8,
        why: String,
    },
    /// The wall time of this boot became known, and is durable.
    Stamped,
    /// What there is is sent now, without waiting for more to travel with.
    Flush,
    /// Whether this month's bytes are used up, so that only alarms are sent.
    BudgetUsedUp(bool),
    /// An answer of the device, for the hub.
    Letter(Bytes),
    Answer {
        token: u64,
        answer: Answer,
    },
    /// Any packet came from the hub.
    Received,
    PingSent,
    PingAnswered,
    /// Time has passed.
    Timer,
}

/// What CONNACK said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Publishes that the hub takes before it has answered the first.
    pub receive_maximum: u16,
    pub max_packet_bytes: Option<u32>,
    /// The partition count of each topic that it knows.
    pub partitions: BTreeMap<TopicName, i32>,
}

/// A PUBACK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub reason: u8,
    pub expected: Option<Sequence>,
    /// How many of the publish's batches the hub had already.
    pub duplicates: u32,
    pub is_fork: bool,
    /// The hub's reason in words, for people.
    pub text: Option<String>,
}

/// MQTT 5 reason codes of a PUBACK (section 3.4.2.1).
pub mod reason {
    /// From here on it is a refusal.
    pub const REFUSED: u8 = 0x80;
    pub const IMPLEMENTATION_SPECIFIC: u8 = 0x83;
    pub const NOT_AUTHORIZED: u8 = 0x87;
    pub const TOPIC_NAME_INVALID: u8 = 0x90;
    pub const QUOTA_EXCEEDED: u8 = 0x97;
    pub const PAYLOAD_FORMAT_INVALID: u8 = 0x99;

    /// Whether a hub that says so has judged what it was sent: another one would say the same.
    pub fn is_verdict(reason: u8) -> bool {
        let refusals = [IMPLEMENTATION_SPECIFIC, NOT_AUTHORIZED, TOPIC_NAME_INVALID, PAYLOAD_FORMAT_INVALID];
        reason < REFUSED || refusals.contains(&reason)
    }
}

#[derive(Clone, Debug)]
pub enum Action {
    /// Read entries numbered `from..until`; answered with [`Event::Items`].
    Read { lane: u8, from: u64, until: u64 },
    /// Send; answered with [`Event::Answer`]. Tokens go up by one within a connection, in the order of sending.
    Publish { token: u64, topic: TopicName, partition: PartitionIndex, payload: Bytes },
    /// Send an answer of the device; answered with [`Event::Answer`] like a publish.
    Say { token: u64, payload: Bytes },
    /// The hub has an answer of the device.
    Told { payload: Bytes },
    /// The hub has everything through this number.
    Trim { lane: u8, through: u64, gaps: Vec<GapAnswer>, at_once: bool },
    /// Entries below `end` may be on their way and are not to be dropped; 0 where none are.
    InFlight { lane: u8, end: u64 },
    /// Change the buffer; answered with [`Event::Amended`] or [`Event::NotAmended`].
    Amend { lane: u8, amendment: Amendment },
    /// The connection is of no use any more.
    Drop(DropReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Nothing came for too long while something was unanswered, or nothing was stored while there are other hubs.
    Stalled,
    /// There is a topic that CONNECT did not name: connect again at once.
    NewTopic,
    /// The hub has to admit a topic anew, which it does at CONNECT: connect again at once.
    NotAdmitted,
}
