//! A lane's entries leave, and are answered.

use schemas::PartitionIndex;

use super::event::Action;
use super::lane::Lane;
use super::shared::Shared;
use super::shipment::{Sent, Shipment, gap_answers, join, joined, payload};
use crate::buffer::{Content, GapAnswer, Item, NUMBER_STEP};
use crate::limits::TRIM_ENTRIES;

impl Lane {
    /// One publish of what stands first in the queue; false where there is no room for it now.
    pub(super) fn publish(&mut self, partition: PartitionIndex, shared: &mut Shared) -> bool {
        let is_paced = self.is_paced();
        let bytes_max = if is_paced { shared.pace.publish_bytes_max() } else { usize::MAX };
        let entries = joined(self.queue.iter(), self.solo_until, bytes_max.min(shared.publish_bytes_max()));
        let bytes: usize = self.queue.iter().take(entries).map(|item| payload(item).len()).sum();
        let now_ms = shared.now_ms;
        if is_paced && !shared.pace.has_room(bytes, now_ms) {
            return false;
        }
        let Some(connection) = shared.connection.as_mut() else { return false };
        if !connection.window.has_room(bytes) {
            return false;
        }
        let token = connection.window.send(bytes, now_ms);
        connection.unserved_since_ms.get_or_insert(now_ms);
        if is_paced {
            shared.pace.send(bytes);
        }
        let taken: Vec<Item> = self.queue.drain(..entries).collect();
        let Some(stream) = taken.first().map(|item| item.placement.stream) else { return false };
        if let Some(last) = taken.last() {
            self.cursor = last.number + 1;
        }
        let payload = join(&taken, bytes);
        let entries = taken.iter().map(|item| self.sent(item)).collect();
        self.flight.push_back(Shipment { token, stream, entries, bytes, is_paced, answer: None });
        shared.act(Action::Publish { token, topic: self.topic.clone(), partition, payload });
        true
    }

    fn sent(&mut self, item: &Item) -> Sent {
        let is_gap = matches!(item.content, Content::Gap(_));
        Sent {
            number: item.number,
            stored: item.stored,
            base: item.base,
            wire_base: item.placement.base,
            sequences: item.sequences,
            is_gap,
            is_repeat: is_gap && !self.gaps_sent.insert(item.number),
        }
    }

    /// Takes what is answered off the front, and tells the buffer.
    pub fn advance(&mut self, shared: &mut Shared) {
        let mut gaps = Vec::new();
        let before = self.acked;
        while self.flight.front().is_some_and(Shipment::is_taken)
            && let Some(shipment) = self.flight.pop_front()
        {
            let is_duplicate = shipment.answer.as_ref().is_some_and(|answer| answer.duplicates > 0);
            gaps.extend(gap_answers(&shipment.entries, is_duplicate));
            if let Some(last) = shipment.entries.last() {
                self.acked = last.number + 1;
            }
        }
        if self.acked > before {
            self.holds = 0;
            self.gaps_sent = self.gaps_sent.split_off(&self.acked);
            let at_once = self.acked.saturating_sub(self.first) >= TRIM_ENTRIES * NUMBER_STEP;
            self.trim(gaps, at_once, shared);
        }
    }

    pub fn trim(&mut self, gaps: Vec<GapAnswer>, at_once: bool, shared: &mut Shared) {
        if self.acked > self.first {
            shared.act(Action::Trim { lane: self.id, through: self.acked - 1, gaps, at_once });
        }
    }
}
