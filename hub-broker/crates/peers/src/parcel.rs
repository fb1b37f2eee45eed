//! What a group's replicas say to each other, as the transport sees it.

use bytes::Bytes;

/// One message from one replica of a group to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    pub group: u32,
    /// Replica ids; their meaning is the owner's.
    pub from: u64,
    pub to: u64,
    pub body: ParcelBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParcelBody {
    /// A heartbeat or the answer to one. Those of all groups travel together.
    Beat { response: bool, term: u64, commit: u64, context: Bytes },
    /// Anything else, in consensus' own encoding.
    Message(Bytes),
}
