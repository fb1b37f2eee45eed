//! Salvage: what can be read of an environment that LMDB can no longer open.
//!
//! Its pages are scanned for whole entries with right checksums. Free pages still hold batches that were
//! trimmed, so only those of the marker's streams above their acknowledged positions are taken. Values beyond
//! half a page have overflow pages of their own; smaller ones lie in leaf pages.
//!
//! LMDB's pages (mdb.c, 64-bit): `pgno u64, pad u16, flags u16, then lower u16, upper u16` of a leaf, whose
//! `u16` offsets of nodes follow; a node is `size low u16, size high u16, flags u16, key size u16, key, data`.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use schemas::limits::{AGENT_BATCH_BYTES_MAX, GAP_RECORDS_MAX};
use schemas::{Gap, GapCount, GapReason, ProducerId, Sequence, TopicName, is_stream_id};

use super::entry::{GapEntry, Head, length_of, verify};
use super::environment::{Environment, Key, cost};
use super::marker::{LaneStreams, Marker};
use super::state::{Lane, NUMBER_STEP, State};
use super::work::{Work, WorkError};
use crate::limits::COMMIT_BYTES_MAX;

/// Pages are a multiple of this, wherever the file was written.
const PAGE_BYTES: usize = 4096;
const PAGE_HEADER_BYTES: usize = 16;
const FLAG_LEAF: u16 = 0x02;
const FLAG_OVERFLOW: u16 = 0x04;
const NODE_HEADER_BYTES: usize = 8;
const NODE_FLAG_BIG: u16 = 0x01;
const ENTRY_BYTES_MAX: usize = AGENT_BATCH_BYTES_MAX + 64;

/// A whole entry in the file.
#[derive(Clone, Debug)]
struct Scrap {
    head: Head,
    position: u64,
    bytes: usize,
}

/// What salvage carries over.
pub(super) struct Salvaged {
    /// As far as it was committed.
    pub state: State,
    pub streams: Vec<LaneStreams>,
    pub records: u64,
    /// Why not all that can be read was copied.
    pub ended_by: Option<WorkError>,
}

/// Copies what can be read of `file` into `fresh`, an empty environment, as far as there is room. Without a marker,
/// every stream counts.
pub(super) fn salvage(
    file: &Path,
    marker: Option<&Marker>,
    default_topic: &TopicName,
    fresh: &Environment,
    now_ms: i64,
) -> Salvaged {
    let opened = File::open(file).and_then(|source| scan(&source).map(|scraps| (source, scraps)));
    let (source, scraps) = match opened.map_err(io_error) {
        Ok((source, scraps)) => (Ok(source), scraps),
        Err(error) => (Err(error), Vec::new()),
    };
    let (state, streams) = match marker {
        Some(marker) => (marker.state.clone(), marker.streams.clone()),
        None => unmarked(&scraps, default_topic),
    };
    let mut copy = Copy { fresh, now_ms, state: emptied(state), records: 0 };
    let ended_by = source.and_then(|source| copy.lanes(&source, &streams, &scraps)).err();
    let Copy { mut state, records, .. } = copy;
    state.counters.appended = state.counters.acknowledged + state.counters.dropped + records;
    Salvaged { state, streams, records, ended_by }
}

struct Copy<'a> {
    fresh: &'a Environment,
    now_ms: i64,
    state: State,
    records: u64,
}

impl Copy<'_> {
    fn lanes(&mut self, source: &File, streams: &[LaneStreams], scraps: &[Scrap]) -> Result<(), WorkError> {
        for lane in streams {
            let mut by_stream = of_lane(scraps, lane);
            for id in &lane.ids {
                self.stream(source, lane.lane, *id, by_stream.remove(&id.0).unwrap_or_default())?;
            }
        }
        Ok(())
    }

    /// Copies one stream in order; what is missing in between becomes a gap.
    fn stream(
        &mut self,
        source: &File,
        lane: u8,
        id: ProducerId,
        mut scraps: Vec<&Scrap>,
    ) -> Result<(), WorkError> {
        let shipping = self.state.lane(lane).and_then(|lane| lane.shipping.as_ref());
        let acked = shipping.filter(|shipping| shipping.stream == id).map_or(Sequence::ZERO, |s| s.acked);
        scraps.retain(|scrap| !scrap.head.base.is_before(acked));
        // Of several that begin alike, a batch is better than the gap that took its place.
        scraps.sort_by_key(|scrap| (scrap.head.base.distance(acked), scrap.head.is_gap()));
        let mut next = acked;
        let mut waiting = scraps.into_iter().peekable();
        while waiting.peek().is_some() {
            let mut work = Work::begin(self.fresh, self.state.clone(), self.now_ms)?;
            let (mut bytes, mut pages, mut copied) = (0, 0, 0);
            while bytes < COMMIT_BYTES_MAX
                && let Some(scrap) = waiting.next()
            {
                let Ok(missing) = u32::try_from(scrap.head.base.distance(next)) else { continue };
                fill(&mut work, lane, id, next, missing)?;
                let value = read(source, scrap.position, scrap.bytes).map_err(io_error)?;
                let records = if scrap.head.is_gap() { 0 } else { scrap.head.records };
                put(&mut work, lane, &value, records)?;
                if scrap.head.is_gap() {
                    work.state.counters.dropped += u64::from(scrap.head.records);
                }
                copied += u64::from(records);
                next = scrap.head.end();
                bytes += scrap.bytes;
                pages += cost(scrap.bytes);
            }
            // What it leaves on the disk is for the gaps that say what did not fit.
            self.fresh.reserve(pages)?;
            self.state = work.commit()?;
            self.records += copied;
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
fn emptied(mut state: State) -> State {
    for lane in &mut state.lanes {
        (lane.cost, lane.records, lane.open) = (0, 0, None);
        (lane.first, lane.drop_from) = (lane.next, lane.next);
    }
    state
}

fn unmarked(scraps: &[Scrap], topic: &TopicName) -> (State, Vec<LaneStreams>) {
    let mut ids: Vec<ProducerId> = Vec::new();
    let mut ordered: Vec<&Scrap> = scraps.iter().collect();
    ordered.sort_by_key(|scrap| scrap.head.appended_ms);
    for scrap in ordered {
        if !ids.contains(&scrap.head.stream) {
            ids.push(scrap.head.stream);
        }
    }
    let state = State { lanes: vec![Lane::new(1, &topic.clone().into())], ..State::default() };
    (state, vec![LaneStreams { lane: 1, ids }])
}

fn of_lane<'s>(scraps: &'s [Scrap], lane: &LaneStreams) -> HashMap<i64, Vec<&'s Scrap>> {
    let mut by_stream: HashMap<i64, Vec<&Scrap>> = lane.ids.iter().map(|id| (id.0, Vec::new())).collect();
    for scrap in scraps {
        if let Some(found) = by_stream.get_mut(&scrap.head.stream.0) {
            found.push(scrap);
        }
    }
    by_stream
}

/// Every whole entry in the file.
fn scan(file: &File) -> io::Result<Vec<Scrap>> {
    let length = file.metadata()?.len();
    let page_bytes = rustix::param::page_size().max(PAGE_BYTES);
    let mut scraps = Vec::new();
    let mut position = 0;
    while position < length {
        let page = read_up_to(file, position, page_bytes)?;
        let flags = u16_at(&page, 10).unwrap_or(0);
        if flags & FLAG_OVERFLOW != 0 {
            let at = position + PAGE_HEADER_BYTES as u64;
            let bytes =
                page.get(PAGE_HEADER_BYTES..).and_then(length_of).filter(|bytes| *bytes <= ENTRY_BYTES_MAX);
            if let Some(bytes) = bytes {
                let value = read_up_to(file, at, bytes)?;
                scraps.extend(whole(&value.into(), at));
            }
        } else if flags & FLAG_LEAF != 0 {
            scraps.extend(leaf_values(&page).filter_map(|(at, bytes)| {
                let value = Bytes::copy_from_slice(page.get(at..at + bytes)?);
                whole(&value, position + at as u64)
            }));
        }
        position += PAGE_BYTES as u64;
    }
    Ok(scraps)
}

fn whole(value: &Bytes, position: u64) -> Option<Scrap> {
    let head = verify(value).ok().filter(|head| is_stream_id(head.stream))?;
    Some(Scrap { head, position, bytes: value.len() })
}

/// Position and length of the values that lie in a leaf page itself.
fn leaf_values(page: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let lower = usize::from(u16_at(page, 12).unwrap_or(0));
    (PAGE_HEADER_BYTES..lower).step_by(2).filter_map(move |pointer| {
        let node = usize::from(u16_at(page, pointer)?);
        let size = usize::from(u16_at(page, node)?) | usize::from(u16_at(page, node + 2)?) << 16;
        let (flags, key_bytes) = (u16_at(page, node + 4)?, usize::from(u16_at(page, node + 6)?));
        let at = node + NODE_HEADER_BYTES + key_bytes;
        (flags & NODE_FLAG_BIG == 0 && at + size <= page.len()).then_some((at, size))
    })
}

/// LMDB writes the machine's own byte order.
fn u16_at(page: &[u8], at: usize) -> Option<u16> {
    page.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn read_up_to(file: &File, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut page = vec![0; bytes];
    let mut read = 0;
    while read < bytes {
        match file.read_at(&mut page[read..], position + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    page.truncate(read);
    Ok(page)
}

fn read(file: &File, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut value = vec![0; bytes];
    file.read_exact_at(&mut value, position)?;
    Ok(value)
}

fn io_error(error: io::Error) -> WorkError {
    WorkError::Environment(error.into())
}
