//! The parts that need no socket.

mod golden;
mod judge;
mod lanes;
mod received;
mod requests;

use bytes::{Bytes, BytesMut};
use schemas::NodeId;
use std::io::IoSlice;
use uuid::Uuid;

use crate::{
    Limits, Parcel, ParcelBody,
    incoming::{Incoming, Received, Step},
    lanes::{Batch, Lanes},
    limits::SLICES_MAX,
    wire::{FRAME_HEADER_BYTES, FrameHeader, Hello, Kind, ProtocolError},
};

fn new_lanes() -> Lanes {
    Lanes::new(Limits::default())
}

fn beat(group: u32) -> Parcel {
    let body = ParcelBody::Beat { response: false, term: 3, commit: 9, context: Bytes::from_static(b"read") };
    Parcel { group, from: 0x1_0000_0001, to: 0x2_0000_0004, body }
}

fn message(group: u32, bytes: usize) -> Parcel {
    filled(group, bytes, 7)
}

fn filled(group: u32, bytes: usize, with: u8) -> Parcel {
    let body = ParcelBody::Message(Bytes::from(vec![with; bytes]));
    Parcel { group, from: 0x1_0000_0001, to: 0x2_0000_0004, body }
}

fn hello(node: u32) -> Hello {
    Hello {
        node: NodeId(node),
        incarnation: Uuid::from_u128(u128::from(node)),
        session: 0x1122_3344_5566_7788,
        shard_count: 64,
        cluster: None,
        address: format!("hub-{node}:7000"),
    }
}

/// The bytes of a batch, with one `writev` after the other.
fn written(mut batch: Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !batch.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = batch.io_slices(&mut slices);
        let part: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
        batch.advance(part.len());
        bytes.extend(part);
    }
    bytes
}

/// Everything that waits.
fn drain(lanes: &mut Lanes) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !lanes.is_empty() {
        bytes.extend(written(lanes.next_batch()));
    }
    bytes
}

/// The headers of frames.
fn headers(mut bytes: &[u8]) -> Vec<FrameHeader> {
    let mut headers = Vec::new();
    while let Some(header) = FrameHeader::decode(bytes).expect("frames") {
        headers.push(header);
        bytes = &bytes[FRAME_HEADER_BYTES + header.length..];
    }
    assert!(bytes.is_empty(), "the frames are whole");
    headers
}

fn kinds(bytes: &[u8]) -> Vec<Kind> {
    headers(bytes).iter().map(|header| header.kind).collect()
}

/// What a peer makes of `bytes`.
fn receive(bytes: &[u8]) -> Result<(Vec<Parcel>, Vec<Received>), ProtocolError> {
    let mut buffer = BytesMut::from(bytes);
    let (mut incoming, mut parcels, mut whole) = (Incoming::default(), Vec::new(), Vec::new());
    loop {
        match incoming.take(&mut buffer, &mut parcels)? {
            Step::Wait => return Ok((parcels, whole)),
            Step::Frame => {}
            Step::Whole(received) => whole.push(received),
        }
    }
}
