//! The agents' rule. A stream begins at sequence 0 and goes on without holes; whatever lies wholly below the
//! next sequence is a duplicate, however old. The last batches are remembered with the CRC-32C that the agent
//! sent, so that two devices with one stream id (a fork) are told apart while it matters.

use std::collections::{HashMap, VecDeque};

use schemas::{DeviceId, Offset, ProducerId, Sequence};

use super::{Range, SequenceError, SequenceVerdict};
use crate::limits::{DEVICE_STREAMS_MAX, STREAM_BATCHES};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamBatch {
    pub base: Sequence,
    pub sent_crc: u32,
    pub base_offset: Offset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub id: ProducerId,
    pub next: Sequence,
    /// The newest at the back.
    pub batches: VecDeque<StreamBatch>,
}

/// The streams of one device, the one appended to last at the back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceStreams {
    streams: Vec<Stream>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Streams {
    by_device: HashMap<DeviceId, DeviceStreams>,
}

/// One batch of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub stream: ProducerId,
    pub range: Range,
    pub crc: u32,
}

impl DeviceStreams {
    fn position(&self, id: ProducerId) -> Option<usize> {
        // The live stream is nearly always the last.
        self.streams.iter().rposition(|stream| stream.id == id)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Stream> {
        self.streams.iter()
    }

    pub fn push(&mut self, stream: Stream) {
        self.streams.push(stream);
    }
}

impl Streams {
    pub fn insert(&mut self, device: DeviceId, streams: DeviceStreams) {
        self.by_device.insert(device, streams);
    }

    /// In the order of the devices' names, so that equal states have equal bytes.
    pub fn sorted(&self) -> Vec<(&DeviceId, &DeviceStreams)> {
        let mut all: Vec<_> = self.by_device.iter().collect();
        all.sort_unstable_by_key(|(device, _)| *device);
        all
    }

    fn find(&self, device: &DeviceId, id: ProducerId) -> Option<&Stream> {
        let streams = self.by_device.get(device)?;
        streams.position(id).map(|at| &streams.streams[at])
    }

    /// `is_gap` is asked only where a data batch would be a fork.
    pub fn check(&self, device: &DeviceId, sent: Sent, is_gap: impl FnOnce() -> bool) -> SequenceVerdict {
        let Some(stream) = self.find(device, sent.stream) else {
            return match sent.range.base {
                Sequence(0) => SequenceVerdict::Append,
                _ => SequenceVerdict::Refuse(SequenceError::UnknownStream),
            };
        };
        if sent.range.base == stream.next {
            return SequenceVerdict::Append;
        }
        if !sent.range.is_below(stream.next) {
            return SequenceVerdict::Refuse(SequenceError::OutOfOrder { expected: stream.next });
        }
        match stream.batches.iter().find(|batch| batch.base == sent.range.base) {
            Some(known) if known.sent_crc != sent.crc && !is_gap() => {
                SequenceVerdict::Refuse(SequenceError::Fork { expected: stream.next })
            }
            known => SequenceVerdict::Duplicate { base_offset: known.map(|batch| batch.base_offset) },
        }
    }

    /// Returns the stream that had to be forgotten for a new one.
    pub fn appended(&mut self, device: &DeviceId, sent: Sent, base_offset: Offset) -> Option<ProducerId> {
        if !self.by_device.contains_key(device) {
            self.by_device.insert(device.clone(), DeviceStreams::default());
        }
        let streams = &mut self.by_device.get_mut(device).expect("inserted above").streams;
        let mut dropped = None;
        let mut stream = match streams.iter().rposition(|stream| stream.id == sent.stream) {
            Some(at) => streams.remove(at),
            None => {
                if streams.len() == DEVICE_STREAMS_MAX {
                    dropped = Some(streams.remove(0).id);
                }
                Stream { id: sent.stream, next: sent.range.base, batches: VecDeque::new() }
            }
        };
        if stream.batches.len() == STREAM_BATCHES {
            stream.batches.pop_front();
        }
        stream.next = sent.range.next();
        stream.batches.push_back(StreamBatch { base: sent.range.base, sent_crc: sent.crc, base_offset });
        streams.push(stream);
        dropped
    }
}
