//! What replicas say to each other, as the transport sees it: two addresses and bytes.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{self, MessageType};

use crate::ReplicaId;

/// One message between two replicas of a group. Its bytes are raft-rs' protobuf message; the transport's frame
/// around them carries the version and the group.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerMessage(pub(crate) eraftpb::Message);

/// The bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a raft message")]
pub struct DecodePeerMessageError;

/// A heartbeat or the answer to one: most of what replicas say when nothing happens, so that the transport has a
/// compact form for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    pub from: ReplicaId,
    pub to: ReplicaId,
    pub term: u64,
    pub commit: u64,
    pub response: bool,
    /// Which question of [`Event::ReadIndex`](crate::Event::ReadIndex) it confirms; mostly empty.
    pub context: Bytes,
}

impl PeerMessage {
    pub fn from(&self) -> ReplicaId {
        ReplicaId(self.0.from)
    }

    pub fn to(&self) -> ReplicaId {
        ReplicaId(self.0.to)
    }

    pub fn term(&self) -> u64 {
        self.0.term
    }

    pub fn encode(&self) -> Bytes {
        Bytes::from(self.0.write_to_bytes().expect("a message in memory has no unset required fields"))
    }

    pub fn decode(bytes: &Bytes) -> Result<Self, DecodePeerMessageError> {
        eraftpb::Message::parse_from_carllerche_bytes(bytes).map(Self).map_err(|_| DecodePeerMessageError)
    }

    /// The last entry of the snapshot that the message offers, if it offers one.
    pub fn snapshot_index(&self) -> Option<u64> {
        let offers = self.0.get_msg_type() == MessageType::MsgSnapshot;
        offers.then(|| self.0.get_snapshot().get_metadata().index)
    }

    /// It brings entries of the log, or says that there are none.
    pub fn is_append(&self) -> bool {
        self.0.get_msg_type() == MessageType::MsgAppend
    }

    /// The leader asks for somebody else to lead at once.
    pub fn hands_lead_over(&self) -> bool {
        self.0.get_msg_type() == MessageType::MsgTimeoutNow
    }

    /// The message in compact form, if nothing of it gets lost.
    pub fn as_beat(&self) -> Option<Beat> {
        let response = match self.0.get_msg_type() {
            MessageType::MsgHeartbeat => false,
            MessageType::MsgHeartbeatResponse => true,
            _ => return None,
        };
        let beat = Beat {
            from: self.from(),
            to: self.to(),
            term: self.0.term,
            commit: self.0.commit,
            response,
            context: self.0.context.clone(),
        };
        (Self::from_beat(beat.clone()) == *self).then_some(beat)
    }

    pub fn from_beat(beat: Beat) -> Self {
        let kind = match beat.response {
            false => MessageType::MsgHeartbeat,
            true => MessageType::MsgHeartbeatResponse,
        };
        Self(eraftpb::Message {
            msg_type: kind,
            from: beat.from.0,
            to: beat.to.0,
            term: beat.term,
            commit: beat.commit,
            context: beat.context,
            ..Default::default()
        })
    }
}
