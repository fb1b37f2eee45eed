//! Salvage: what can be read of an environment that LMDB can no longer open.
//!
//! Its pages are scanned for whole entries with right checksums. Free pages still hold batches that were
//! trimmed, so only those of the marker's streams above their acknowledged positions are taken. Values beyond
//! half a page have overflow pages of their own; smaller ones lie in leaf pages.
//!
//! The pages are read by `scan`, whatever the word size of the machine that wrote them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use schemas::limits::GAP_RECORDS_MAX;
use schemas::{Gap, GapCount, GapReason, ProducerId, Sequence, TopicName};

use super::entry::GapEntry;
use super::environment::{Environment, Key, cost};
use super::marker::{LaneStreams, Marker};
use super::scan::{Scrap, read, scan};
use super::state::{Lane, NUMBER_STEP, State};
use super::work::{Work, WorkError};
use crate::limits::COMMIT_BYTES_MAX;

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

fn io_error(error: io::Error) -> WorkError {
    WorkError::Environment(error.into())
}
