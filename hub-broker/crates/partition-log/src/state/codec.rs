//! The state's bytes.
//!
//! ```text
//! version u8 = 2
//! partition: topic UUID 16 | index i32
//! options: segment bytes u32
//! log start i64 | last stable offset i64 | next segment id u64 | running hash u32
//! segments: count u32, each
//!     id u64 | base offset i64 | end offset i64 | bytes u32 | batches u32 | checksum u32
//!     first stamp i64 | last stamp i64 | max timestamp i64 | offset of it i64 | flags u8 (1 = compacted)
//! epochs: count u32, each   epoch i32 | first offset i64
//! producers: count u32, each by rising id
//!     id i64 | epoch i16 | last stamp i64 | batches u8, each   base i32 | count u32 | base offset i64
//! highest expired producer i64 (not in version 1; -1 without any)
//! devices: count u32, each by rising name
//!     name length u8 | name | streams u8, longest untouched first, each
//!         id i64 | next i32 | batches u8, each   base i32 | CRC as sent u32 | base offset i64
//! CRC-32C u32 of all of the above
//! ```
//!
//! All numbers are big-endian.

use std::collections::VecDeque;

use bytes::{Buf, BufMut};
use schemas::{
    DeviceId, LeaderEpoch, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TopicId,
};
use uuid::Uuid;

use super::{PartitionState, SegmentState};
use crate::epochs::EpochHistory;
use crate::error::DecodeStateError;
use crate::limits::{DEVICE_STREAMS_MAX, PRODUCER_BATCHES, STREAM_BATCHES};
use crate::options::LogOptions;
use crate::sequence::{DeviceStreams, Producer, ProducerBatch, Producers, Stream, StreamBatch, Streams};

const VERSION: u8 = 2;
/// Without the highest expired producer.
const VERSION_1: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
const COMPACTED: u8 = 1;

pub(super) fn encode(state: &PartitionState) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + state.segments.len() * 80);
    out.put_u8(VERSION);
    out.put_slice(state.id.topic.0.as_bytes());
    out.put_i32(state.id.index.0);
    out.put_u32(state.options.segment_bytes);
    out.put_i64(state.log_start.0);
    out.put_i64(state.last_stable_offset.0);
    out.put_u64(state.next_segment_id);
    out.put_u32(state.running_hash);
    put_count(&mut out, state.segments.len());
    for segment in &state.segments {
        put_segment(&mut out, segment);
    }
    put_count(&mut out, state.epochs.entries().len());
    for (epoch, start) in state.epochs.entries() {
        out.put_i32(epoch.0);
        out.put_i64(start.0);
    }
    put_producers(&mut out, &state.producers);
    out.put_i64(state.producers.expired().unwrap_or(ProducerId::NONE).0);
    put_streams(&mut out, &state.streams);
    let checksum = crc32c::crc32c(&out);
    out.put_u32(checksum);
    out
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).expect("four thousand million of anything do not fit in memory"));
}

fn put_small_count(out: &mut Vec<u8>, count: usize) {
    out.put_u8(u8::try_from(count).expect("bounded by a limit below 256"));
}

fn put_segment(out: &mut Vec<u8>, segment: &SegmentState) {
    out.put_u64(segment.id);
    out.put_i64(segment.base_offset.0);
    out.put_i64(segment.end_offset.0);
    out.put_u32(segment.bytes);
    out.put_u32(segment.batches);
    out.put_u32(segment.checksum);
    out.put_i64(segment.first_stamp_ms);
    out.put_i64(segment.last_stamp_ms);
    out.put_i64(segment.max_timestamp);
    out.put_i64(segment.max_timestamp_at.0);
    out.put_u8(if segment.compacted { COMPACTED } else { 0 });
}

fn put_producers(out: &mut Vec<u8>, producers: &Producers) {
    let sorted = producers.sorted();
    put_count(out, sorted.len());
    for (id, producer) in sorted {
        out.put_i64(id.0);
        out.put_i16(producer.epoch.0);
        out.put_i64(producer.last_stamp_ms);
        put_small_count(out, producer.batches.len());
        for batch in &producer.batches {
            out.put_i32(batch.base.0);
            out.put_u32(batch.count);
            out.put_i64(batch.base_offset.0);
        }
    }
}

fn put_streams(out: &mut Vec<u8>, streams: &Streams) {
    let sorted = streams.sorted();
    put_count(out, sorted.len());
    for (device, streams) in sorted {
        put_small_count(out, device.as_str().len());
        out.put_slice(device.as_str().as_bytes());
        put_small_count(out, streams.iter().len());
        for stream in streams.iter() {
            out.put_i64(stream.id.0);
            out.put_i32(stream.next.0);
            put_small_count(out, stream.batches.len());
            for batch in &stream.batches {
                out.put_i32(batch.base.0);
                out.put_u32(batch.sent_crc);
                out.put_i64(batch.base_offset.0);
            }
        }
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<PartitionState, DecodeStateError> {
    let version = match bytes.first() {
        None => return Err(DecodeStateError::Malformed),
        Some(&version @ (VERSION_1 | VERSION)) => version,
        Some(&version) => return Err(DecodeStateError::UnknownVersion(version)),
    };
    let body_bytes = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(DecodeStateError::Malformed)?;
    let (body, mut checksum) = bytes.split_at(body_bytes);
    if crc32c::crc32c(body) != checksum.get_u32() {
        return Err(DecodeStateError::Checksum);
    }
    decode_body(&body[1..], version).ok_or(DecodeStateError::Malformed)
}

/// `None` where the bytes end early, go on for too long, or hold what was never written.
fn decode_body(mut input: &[u8], version: u8) -> Option<PartitionState> {
    let input = &mut input;
    let id = take_id(input)?;
    let options = LogOptions { segment_bytes: input.try_get_u32().ok()? };
    let log_start = Offset(input.try_get_i64().ok()?);
    let last_stable_offset = Offset(input.try_get_i64().ok()?);
    let next_segment_id = input.try_get_u64().ok()?;
    let running_hash = input.try_get_u32().ok()?;
    let segments = take_list(input, take_segment)?;
    let epochs = EpochHistory::from_entries(take_list(input, take_epoch)?)?;
    let mut producers = Producers::default();
    for (id, producer) in take_list(input, take_producer)? {
        producers.insert(id, producer);
    }
    if version > VERSION_1 {
        let highest = ProducerId(input.try_get_i64().ok()?);
        producers.set_expired(Some(highest).filter(|id| *id > ProducerId::NONE));
    }
    let mut streams = Streams::default();
    for (device, list) in take_list(input, take_device)? {
        streams.insert(device, list);
    }
    input.is_empty().then_some(PartitionState {
        id,
        options,
        log_start,
        last_stable_offset,
        next_segment_id,
        running_hash,
        segments,
        epochs,
        producers,
        streams,
    })
}

fn take_id(input: &mut &[u8]) -> Option<PartitionId> {
    let (uuid, rest) = input.split_first_chunk::<16>()?;
    *input = rest;
    let index = PartitionIndex(input.try_get_i32().ok()?);
    Some(PartitionId { topic: TopicId(Uuid::from_bytes(*uuid)), index })
}

/// Grows only with what is really there, whatever the count claims.
fn take_list<T>(input: &mut &[u8], take: fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = input.try_get_u32().ok()?;
    (0..count).map(|_| take(input)).collect()
}

fn take_short_list<T>(input: &mut &[u8], max: usize, take: fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = usize::from(input.try_get_u8().ok()?);
    if count > max { None } else { (0..count).map(|_| take(input)).collect() }
}

fn take_segment(input: &mut &[u8]) -> Option<SegmentState> {
    Some(SegmentState {
        id: input.try_get_u64().ok()?,
        base_offset: Offset(input.try_get_i64().ok()?),
        end_offset: Offset(input.try_get_i64().ok()?),
        bytes: input.try_get_u32().ok()?,
        batches: input.try_get_u32().ok()?,
        checksum: input.try_get_u32().ok()?,
        first_stamp_ms: input.try_get_i64().ok()?,
        last_stamp_ms: input.try_get_i64().ok()?,
        max_timestamp: input.try_get_i64().ok()?,
        max_timestamp_at: Offset(input.try_get_i64().ok()?),
        compacted: match input.try_get_u8().ok()? {
            0 => false,
            COMPACTED => true,
            _ => return None,
        },
    })
}

fn take_epoch(input: &mut &[u8]) -> Option<(LeaderEpoch, Offset)> {
    Some((LeaderEpoch(input.try_get_i32().ok()?), Offset(input.try_get_i64().ok()?)))
}

fn take_producer(input: &mut &[u8]) -> Option<(ProducerId, Producer)> {
    let id = ProducerId(input.try_get_i64().ok()?);
    let epoch = ProducerEpoch(input.try_get_i16().ok()?);
    let last_stamp_ms = input.try_get_i64().ok()?;
    let batches = take_short_list(input, PRODUCER_BATCHES, |input| {
        Some(ProducerBatch {
            base: Sequence(input.try_get_i32().ok()?),
            count: input.try_get_u32().ok()?,
            base_offset: Offset(input.try_get_i64().ok()?),
        })
    })?;
    Some((id, Producer { epoch, last_stamp_ms, batches: VecDeque::from(batches) }))
}

fn take_device(input: &mut &[u8]) -> Option<(DeviceId, DeviceStreams)> {
    let length = usize::from(input.try_get_u8().ok()?);
    let (name, rest) = input.split_at_checked(length)?;
    *input = rest;
    let device = DeviceId::try_from(std::str::from_utf8(name).ok()?).ok()?;
    let mut streams = DeviceStreams::default();
    for stream in take_short_list(input, DEVICE_STREAMS_MAX, take_stream)? {
        streams.push(stream);
    }
    Some((device, streams))
}

fn take_stream(input: &mut &[u8]) -> Option<Stream> {
    let id = ProducerId(input.try_get_i64().ok()?);
    let next = Sequence(input.try_get_i32().ok()?);
    let batches = take_short_list(input, STREAM_BATCHES, |input| {
        Some(StreamBatch {
            base: Sequence(input.try_get_i32().ok()?),
            sent_crc: input.try_get_u32().ok()?,
            base_offset: Offset(input.try_get_i64().ok()?),
        })
    })?;
    Some(Stream { id, next, batches: VecDeque::from(batches) })
}
