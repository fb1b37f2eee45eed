//! What replicas say to each other, as the transport sees it: two addresses and bytes.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb;

use crate::ReplicaId;

/// One message between two replicas of a group. Its bytes are raft-rs' protobuf message; the transport's frame
/// around them carries the version and the group.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerMessage(pub(crate) eraftpb::Message);

/// The bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a raft message")]
pub struct DecodePeerMessageError;

impl PeerMessage {
    pub fn from(&self) -> ReplicaId {
        ReplicaId(self.0.from)
    }

    pub fn to(&self) -> ReplicaId {
        ReplicaId(self.0.to)
    }

    pub fn encode(&self) -> Bytes {
        Bytes::from(self.0.write_to_bytes().expect("a message in memory has no unset required fields"))
    }

    pub fn decode(bytes: &Bytes) -> Result<Self, DecodePeerMessageError> {
        eraftpb::Message::parse_from_carllerche_bytes(bytes).map(Self).map_err(|_| DecodePeerMessageError)
    }
}
