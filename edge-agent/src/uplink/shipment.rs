//! What is on its way, and how entries travel together.

use bytes::{Bytes, BytesMut};
use schemas::{ProducerId, Sequence};

use super::event::{Answer, reason};
use crate::buffer::{Content, GapAnswer, Item};

/// An entry in flight.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub number: u64,
    pub stored: ProducerId,
    /// Its first sequence in the buffer's stream.
    pub base: Sequence,
    /// Its first sequence as it travels.
    pub wire_base: Sequence,
    pub sequences: u32,
    pub is_gap: bool,
    /// It was sent before and not answered: that the hub has it may mean the gap itself.
    pub is_repeat: bool,
}

impl Sent {
    pub fn end(&self) -> Sequence {
        self.wire_base.plus(self.sequences)
    }

    pub fn ends_by(&self, expected: Sequence) -> bool {
        !expected.is_before(self.end())
    }
}

/// A publish in flight: entries of one stream, back to back.
#[derive(Clone, Debug)]
pub(super) struct Shipment {
    pub token: u64,
    pub stream: ProducerId,
    pub entries: Vec<Sent>,
    pub bytes: usize,
    /// It counts against the rate at which a backlog is shipped.
    pub is_paced: bool,
    pub answer: Option<Answer>,
}

impl Shipment {
    pub fn is_taken(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.reason < reason::REFUSED)
    }
}

/// What a trim says of those entries that travelled as gaps.
pub(super) fn gap_answers(entries: &[Sent], is_duplicate: bool) -> impl Iterator<Item = GapAnswer> {
    let gaps = entries.iter().filter(|sent| sent.is_gap);
    gaps.map(move |sent| GapAnswer { number: sent.number, is_duplicate: is_duplicate && !sent.is_repeat })
}

/// How many of these entries travel in one publish. A gap travels alone: its answer is its own; so do entries below
/// `solo_until`.
pub(super) fn joined<'a>(
    mut queue: impl Iterator<Item = &'a Item> + Clone,
    solo_until: u64,
    bytes_max: usize,
) -> usize {
    let all = queue.clone();
    let Some(first) = queue.next() else { return 0 };
    if matches!(first.content, Content::Gap(_)) || first.number < solo_until {
        return 1;
    }
    let mut bytes = 0;
    let mut end = first.base;
    let fits = |item: &&Item| {
        bytes += payload(item).len();
        let follows = item.stored == first.stored
            && item.base == end
            && item.placement.stream == first.placement.stream;
        end = item.base.plus(item.sequences);
        follows && matches!(item.content, Content::Batch(_)) && bytes <= bytes_max
    };
    all.take_while(fits).count().max(1)
}

pub(super) fn payload(item: &Item) -> &[u8] {
    match &item.content {
        Content::Batch(bytes) | Content::Gap(bytes) => bytes,
        Content::Untimed { .. } | Content::Damaged => &[],
    }
}

pub(super) fn join(items: &[Item], bytes: usize) -> Bytes {
    if let [Item { content: Content::Batch(only) | Content::Gap(only), .. }] = items {
        return only.clone();
    }
    let mut joined = BytesMut::with_capacity(bytes);
    items.iter().for_each(|item| joined.extend_from_slice(payload(item)));
    joined.freeze()
}
