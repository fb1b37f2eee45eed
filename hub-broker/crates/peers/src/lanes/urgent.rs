//! What must not wait: beats, small messages, notices, pings.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes};
use uuid::Uuid;

use super::{batch::Batch, groups::Groups};
use crate::{
    Parcel,
    limits::{BEAT_CONTEXT_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX},
    wire::{Kind, MessageHead, Reason, put_beat, put_goodbye, put_message},
};

/// More than any beat takes in a frame, and about what it takes in memory.
pub(super) const BEAT_BYTES: usize = 38 + BEAT_CONTEXT_BYTES_MAX;

#[derive(Default)]
pub(super) struct Urgent {
    cluster: Option<Uuid>,
    goodbye: Option<(Reason, String)>,
    is_ping: bool,
    beats: VecDeque<Parcel>,
    messages: VecDeque<(MessageHead, Bytes)>,
    /// A large message of such a group must not overtake it.
    groups: Groups,
    /// The newest of each kind.
    notices: BTreeMap<u8, Bytes>,
    bytes: usize,
}

impl Urgent {
    /// Bytes of beats and messages; the rest is bounded by its nature.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of which groups messages wait.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    pub fn is_empty(&self) -> bool {
        self.beats.is_empty()
            && self.messages.is_empty()
            && self.notices.is_empty()
            && self.cluster.is_none()
            && self.goodbye.is_none()
            && !self.is_ping
    }

    pub fn cluster(&mut self, cluster: Uuid) {
        self.cluster = Some(cluster);
    }

    pub fn goodbye(&mut self, reason: Reason, text: String) {
        self.goodbye = Some((reason, text));
    }

    pub fn ping(&mut self) {
        self.is_ping = true;
    }

    pub fn notice(&mut self, kind: u8, body: Bytes) {
        self.notices.insert(kind, body);
    }

    pub fn beat(&mut self, beat: Parcel) {
        self.bytes += BEAT_BYTES;
        self.beats.push_back(beat);
    }

    pub fn message(&mut self, head: MessageHead, body: Bytes) {
        self.bytes += MessageHead::BYTES + body.len();
        self.groups.add(head.group);
        self.messages.push_back((head, body));
    }

    /// Puts the next frames into `batch`, at most one of each kind, so that the other lanes have their turn.
    pub fn frames(&mut self, batch: &mut Batch) {
        if let Some(cluster) = self.cluster.take() {
            frame(batch, Kind::Cluster, 0, |out| out.put_slice(cluster.as_bytes()));
        }
        if let Some((reason, text)) = self.goodbye.take() {
            frame(batch, Kind::Goodbye, 0, |out| put_goodbye(out, reason, &text));
        }
        if std::mem::take(&mut self.is_ping) {
            frame(batch, Kind::Ping, 0, |_| {});
        }
        self.beats_frame(batch);
        self.messages_frame(batch);
        if let Some((kind, body)) = self.notices.pop_first() {
            frame(batch, Kind::Notice, kind, |out| out.put_slice(&body));
        }
    }

    fn beats_frame(&mut self, batch: &mut Batch) {
        if self.beats.is_empty() {
            return;
        }
        let count = self.beats.len().min(FRAME_PAYLOAD_BYTES_MAX / BEAT_BYTES);
        frame(batch, Kind::Beats, 0, |out| self.beats.drain(..count).for_each(|beat| put_beat(out, &beat)));
        self.bytes -= count * BEAT_BYTES;
    }

    fn messages_frame(&mut self, batch: &mut Batch) {
        if self.messages.is_empty() {
            return;
        }
        let mut room = FRAME_PAYLOAD_BYTES_MAX;
        frame(batch, Kind::Messages, 0, |out| {
            while let Some((head, body)) = self.messages.front() {
                let bytes = MessageHead::BYTES + body.len();
                if bytes > room {
                    break;
                }
                put_message(out, *head, body);
                room -= bytes;
                self.bytes -= bytes;
                self.groups.remove(head.group);
                self.messages.pop_front();
            }
        });
    }
}

fn frame(batch: &mut Batch, kind: Kind, channel: u8, payload: impl FnOnce(&mut bytes::BytesMut)) {
    let (begun, out) = batch.begin();
    payload(out);
    batch.end(&begun, kind, channel);
}
