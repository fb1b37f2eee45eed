//! Salvage: what can be read of an environment that LMDB can no longer open.
//!
//! Its pages are scanned for whole entries with right checksums. Free pages still hold batches that were
//! trimmed, so only those of the marker's streams above their acknowledged positions are taken. Values beyond
//! half a page have overflow pages of their own; smaller ones lie in leaf pages.
//!
//! The pages are read by `scan`, whatever the word size of the machine that wrote them, in as many passes as it takes
//! for the memory to be bounded: each finds the next so many entries in the order in which they are copied. A salvage
//! that was interrupted goes on behind the last entry that it copied.
//!
//! Where the disk has no room for both files, what was copied is freed in the damaged one once it is durable; where
//! that is not enough, the oldest of what was copied gives way, as it would in a full buffer.

use std::fs::File;
use std::io;

use rustix::fs::{FallocateFlags, fallocate};
use schemas::limits::GAP_RECORDS_MAX;
use schemas::{Gap, GapCount, GapReason, ProducerId, Sequence, TopicName};

use super::entry::{GapEntry, Head};
use super::environment::{Environment, EnvironmentError, Key, cost};
use super::marker::{LaneStreams, STREAMS_MAX};
use super::scan::{Scan, Scrap, Unreadable};
use super::state::{Lane, NUMBER_STEP, State};
use super::work::{Work, WorkError};
use crate::limits::{COMMIT_BYTES_MAX, SALVAGE_ENTRIES_PER_PASS};

/// The file that is salvaged, and the environment that takes what is in it.
pub(super) struct Salvage<'a> {
    pub scan: Scan<'a>,
    pub fresh: &'a Environment,
    pub now_ms: i64,
    /// The damaged file, where what was copied is to be freed in it.
    pub freed: Option<&'a File>,
    /// Entries that one pass remembers.
    pub per_pass: usize,
}

/// What salvage carries over.
pub(super) struct Salvaged {
    /// As far as it was committed.
    pub state: State,
    pub records: u64,
    pub unreadable_pages: u64,
    /// Why not all that can be read was copied.
    pub ended_by: Option<WorkError>,
}

impl<'a> Salvage<'a> {
    pub fn of(scan: Scan<'a>, fresh: &'a Environment, now_ms: i64, freed: Option<&'a File>) -> Self {
        Self { scan, fresh, now_ms, freed, per_pass: SALVAGE_ENTRIES_PER_PASS }
    }

    /// Copies what can be read and belongs to these streams, as far as there is room, behind what an interrupted
    /// salvage has copied already (`resumed`, its counter record).
    pub fn run(self, state: State, streams: &[LaneStreams], resumed: Option<State>) -> Salvaged {
        let order = Order::of(&state, streams);
        let state = resumed.unwrap_or_else(|| emptied(state));
        let mut copy = Copy { source: self, order, state, unreadable: Unreadable::default() };
        let mut ended_by = copy.all().err();
        let Copy { mut state, unreadable, .. } = copy;
        let records = state.lanes.iter().map(|lane| lane.records).sum();
        let counters = &mut state.counters;
        counters.appended = counters.acknowledged + counters.dropped + records;
        if let Some(error) = unreadable.last {
            tracing::error!(pages = unreadable.pages, %error, "pages of the damaged buffer cannot be read");
            // A disk that reads nothing at all is no file of which something is left.
            if records == 0 {
                ended_by.get_or_insert(WorkError::Environment(error.into()));
            }
        }
        Salvaged { state, records, unreadable_pages: unreadable.pages, ended_by }
    }
}

/// A place in the order of copying: stream by stream, and of each from its acknowledged position on. Of two that begin
/// alike, a batch is better than the gap that took its place.
type Rank = u64;

/// Where an entry lies: its position and length in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    rank: Rank,
    place: u64,
}

/// A commit of this much takes at least one entry, and hardly more room than that needs.
const BYTES_MIN: usize = 4096;

const LENGTH_BITS: u32 = 21;
const GAP_BIT: u64 = 1;

const _: () = assert!(schemas::limits::AGENT_BATCH_BYTES_MAX + 64 < 1 << LENGTH_BITS);
const _: () = assert!(crate::limits::MAP_BYTES_MAX <= 1 << (u64::BITS - LENGTH_BITS));

impl Found {
    fn of(rank: Rank, scrap: &Scrap) -> Self {
        Self { rank, place: scrap.position << LENGTH_BITS | scrap.bytes as u64 }
    }

    fn position(self) -> u64 {
        self.place >> LENGTH_BITS
    }

    fn bytes(self) -> usize {
        usize::try_from(self.place % (1 << LENGTH_BITS)).unwrap_or(0)
    }

    fn stream(self) -> usize {
        stream_of(self.rank)
    }
}

fn stream_of(rank: Rank) -> usize {
    usize::try_from(rank >> 32).unwrap_or(usize::MAX)
}

struct Stream {
    lane: u8,
    id: ProducerId,
    acked: Sequence,
}

/// The streams in the order in which they are copied.
struct Order {
    streams: Vec<Stream>,
    /// Their ids, sorted, and which they are.
    by_id: Vec<(i64, u32)>,
}

impl Order {
    fn of(state: &State, lanes: &[LaneStreams]) -> Self {
        let all = lanes.iter().flat_map(|lane| lane.ids.iter().map(|id| (lane.lane, *id)));
        let streams: Vec<Stream> =
            all.map(|(lane, id)| Stream { lane, id, acked: acked(state, lane, id) }).collect();
        let mut by_id: Vec<(i64, u32)> =
            streams.iter().zip(0..).map(|(stream, at)| (stream.id.0, at)).collect();
        by_id.sort_unstable();
        Self { streams, by_id }
    }

    /// `None` for what is of no stream that is looked for, or was acknowledged.
    fn rank(&self, head: &Head) -> Option<Rank> {
        let at = self.by_id.binary_search_by_key(&head.stream.0, |(id, _)| *id).ok()?;
        let (_, stream) = self.by_id.get(at)?;
        let acked = self.streams.get(*stream as usize)?.acked;
        let beyond = u32::try_from(head.base.distance(acked)).ok()?;
        Some(u64::from(*stream) << 32 | u64::from(beyond) << 1 | if head.is_gap() { GAP_BIT } else { 0 })
    }
}

fn acked(state: &State, lane: u8, id: ProducerId) -> Sequence {
    let shipping = state.lane(lane).and_then(|lane| lane.shipping.as_ref());
    shipping.filter(|shipping| shipping.stream == id).map_or(Sequence::ZERO, |shipping| shipping.acked)
}

/// How far it was copied: the sequence that comes next in a stream.
#[derive(Clone, Copy)]
struct At {
    stream: usize,
    next: Sequence,
}

struct Copy<'a> {
    source: Salvage<'a>,
    order: Order,
    state: State,
    unreadable: Unreadable,
}

impl Copy<'_> {
    fn all(&mut self) -> Result<(), WorkError> {
        let (mut from, mut at) = self.resumed_at()?;
        let mut bytes_max = COMMIT_BYTES_MAX;
        loop {
            let found = self.pass(from);
            let mut rest = found.as_slice();
            while !rest.is_empty() {
                match self.chunk(rest, &mut at, bytes_max) {
                    Ok(copied) => {
                        let (done, later) = rest.split_at(copied);
                        self.free(done)?;
                        rest = later;
                        bytes_max = (2 * bytes_max).min(COMMIT_BYTES_MAX);
                    }
                    // What is copied frees room for more.
                    Err(error) if error.is_full() && self.source.freed.is_some() && bytes_max > BYTES_MIN => {
                        bytes_max /= 2;
                    }
                    Err(error) if error.is_full() && self.give_way()? => {}
                    Err(error) => return Err(error),
                }
            }
            match found.last() {
                Some(last) if found.len() >= self.source.per_pass => from = last.rank + 1,
                _ => return Ok(()),
            }
        }
    }

    /// The first so many entries of this rank and beyond, each once, in their order.
    fn pass(&mut self, from: Rank) -> Vec<Found> {
        let limit = self.source.per_pass;
        let mut found: Vec<Found> = Vec::with_capacity(2 * limit);
        let mut end = Rank::MAX;
        let keep_first = |found: &mut Vec<Found>| {
            found.sort_unstable();
            found.dedup_by_key(|found| found.rank);
            found.truncate(limit);
            found.get(limit - 1).map_or(Rank::MAX, |last| last.rank)
        };
        self.unreadable = self.source.scan.each(|scrap| {
            if let Some(rank) = self.order.rank(&scrap.head).filter(|rank| (from..end).contains(rank)) {
                found.push(Found::of(rank, &scrap));
                if found.len() == 2 * limit {
                    end = keep_first(&mut found);
                }
            }
        });
        keep_first(&mut found);
        found
    }

    /// Copies what one commit of so many bytes takes of these, in order; what is missing in between becomes a gap.
    /// Answers how many that were; nothing has changed where it fails.
    fn chunk(&mut self, found: &[Found], at: &mut At, bytes_max: usize) -> Result<usize, WorkError> {
        let fresh = self.source.fresh;
        let mut work = Work::begin(fresh, self.state.clone(), self.source.now_ms)?;
        let (mut bytes, mut pages, mut done, mut here) = (0, 0, 0, *at);
        for entry in found {
            if bytes >= bytes_max {
                break;
            }
            done += 1;
            let Some(stream) = self.order.streams.get(entry.stream()) else { continue };
            if entry.stream() != here.stream {
                here = At { stream: entry.stream(), next: stream.acked };
            }
            // One that cannot be read any more is missing like others.
            let Some((Scrap { head, .. }, value)) = self.source.scan.entry(entry.position(), entry.bytes())
            else {
                continue;
            };
            let Ok(missing) = u32::try_from(head.base.distance(here.next)) else { continue };
            fill(&mut work, stream.lane, stream.id, here.next, missing)?;
            put(&mut work, stream.lane, &value, if head.is_gap() { 0 } else { head.records })?;
            if head.is_gap() {
                work.state.counters.dropped += u64::from(head.records);
            }
            here.next = head.end();
            bytes += value.len();
            pages += cost(value.len());
        }
        // What it leaves on the disk is for the gaps that say what did not fit.
        if bytes_max > BYTES_MIN {
            fresh.reserve(pages)?;
        }
        self.state = work.commit()?;
        *at = here;
        Ok(done)
    }

    /// Behind the last entry of the last stream that was copied.
    fn resumed_at(&self) -> Result<(Rank, At), EnvironmentError> {
        let txn = self.source.fresh.read()?;
        let mut last: Option<(Rank, Sequence)> = None;
        for lane in &self.state.lanes {
            let entry = self.source.fresh.before(&txn, lane.id, u64::MAX)?;
            let head = entry.and_then(|(_, value)| Head::parse(value).ok());
            let found = head.and_then(|head| Some((self.order.rank(&head)?, head.end())));
            last = last.into_iter().chain(found).max_by_key(|(rank, _)| *rank);
        }
        Ok(match last {
            Some((rank, next)) => (rank + 1, At { stream: stream_of(rank), next }),
            None => (0, At { stream: usize::MAX, next: Sequence::ZERO }),
        })
    }

    /// Gives up the oldest of what was copied; false where nothing is left to be given up.
    fn give_way(&mut self) -> Result<bool, WorkError> {
        let before = self.state.cost();
        let mut work = Work::begin(self.source.fresh, self.state.clone(), self.source.now_ms)?;
        work.shrink(before.saturating_sub(COMMIT_BYTES_MAX as u64))?;
        if work.state.cost() >= before {
            return Ok(false);
        }
        self.state = work.commit()?;
        tracing::warn!("there is no room for all of the damaged buffer: the oldest of it is dropped");
        // LMDB uses a page again two commits after it was freed.
        let work = Work::begin(self.source.fresh, self.state.clone(), self.source.now_ms)?;
        self.state = work.commit()?;
        Ok(true)
    }

    /// Gives the disk what these took of the damaged file.
    fn free(&mut self, copied: &[Found]) -> Result<(), WorkError> {
        let (Some(file), Some(last)) = (self.source.freed, copied.last()) else { return Ok(()) };
        self.source.fresh.sync()?;
        let mut freed = 0..0;
        for found in copied {
            if freed.contains(&found.position()) {
                continue;
            }
            let is_done = |head: &Head| self.order.rank(head).is_none_or(|rank| rank <= last.rank);
            let Some(part) = self.source.scan.freed_by(found.position(), found.bytes(), is_done) else {
                continue;
            };
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if let Err(error) = fallocate(file, flags, part.start, part.end - part.start) {
                tracing::warn!(error = %io::Error::from(error), "what was copied cannot be freed");
                self.source.freed = None;
                return Ok(());
            }
            freed = part;
        }
        Ok(())
    }
}

fn fill(
    work: &mut Work<'_>,
    lane: u8,
    stream: ProducerId,
    from: Sequence,
    missing: u32,
) -> Result<(), WorkError> {
    let mut done = 0;
    while done < missing {
        let sequences = (missing - done).min(GAP_RECORDS_MAX);
        let gap =
            Gap { count: GapCount::Known(sequences), from_ms: None, to_ms: None, reason: GapReason::Damaged };
        let entry = GapEntry { stream, base: from.plus(done), sequences, gap };
        let value = entry.encode(work.now_ms);
        put(work, lane, &value, 0)?;
        work.state.counters.dropped += u64::from(sequences);
        done += sequences;
    }
    Ok(())
}

fn put(work: &mut Work<'_>, lane: u8, value: &[u8], records: u32) -> Result<(), WorkError> {
    let Some(state) = work.state.lane_mut(lane) else { return Ok(()) };
    let key = Key { lane, number: state.next };
    state.next += NUMBER_STEP;
    work.insert(key, value, records)
}

/// The lanes as they were, with nothing in them. Gaps that are copied are counted again.
pub(super) fn emptied(mut state: State) -> State {
    let counters = &mut state.counters;
    counters.appended = counters.acknowledged + counters.dropped;
    for lane in &mut state.lanes {
        (lane.cost, lane.records, lane.open) = (0, 0, None);
        (lane.first, lane.drop_from) = (lane.next, lane.next);
    }
    state
}

/// What there is to be copied where nothing says so: every stream, the oldest first.
pub(super) fn unmarked(scan: &Scan<'_>, topic: &TopicName) -> (State, Vec<LaneStreams>) {
    let mut begun: Vec<(i64, ProducerId)> = Vec::new();
    scan.each(|Scrap { head, .. }| {
        if let Some((ms, _)) = begun.iter_mut().find(|(_, id)| *id == head.stream) {
            *ms = head.appended_ms.min(*ms);
        } else if begun.len() < STREAMS_MAX {
            begun.push((head.appended_ms, head.stream));
        }
    });
    begun.sort_by_key(|(ms, _)| *ms);
    let ids = begun.into_iter().map(|(_, id)| id).collect();
    (unknown(topic), vec![LaneStreams { lane: 1, ids }])
}

/// A counter record where nothing says what it was.
pub(super) fn unknown(topic: &TopicName) -> State {
    State { lanes: vec![Lane::new(1, &topic.clone().into())], ..State::default() }
}

#[cfg(test)]
mod tests;
