//! The full walk over a buffer: every key, every entry, every checksum, and whether sequences follow.

use bytes::Bytes;
use schemas::{ProducerId, Sequence};
use serde::{Deserialize, Serialize};

use super::entry::{Head, verify};
use super::environment::{Environment, EnvironmentError, Key};
use super::marker::LaneStreams;
use super::state::State;

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Walked {
    /// Entries (lane, number) that cannot be read, or before which sequences are missing.
    pub faults: Vec<(u8, u64)>,
    pub(super) streams: Vec<LaneStreams>,
}

pub(super) fn walk(environment: &Environment) -> Result<Walked, EnvironmentError> {
    let txn = environment.read()?;
    let state = environment.state(&txn)?.unwrap_or_default();
    let mut walked = Walked::default();
    let mut before: Option<(u8, Head)> = None;
    for entry in environment.walk(&txn)? {
        let (key, value) = entry?;
        let previous = before.take().filter(|(lane, _)| *lane == key.lane).map(|(_, head)| head);
        match verify(&Bytes::copy_from_slice(value)) {
            Ok(head) => {
                if !follows(&state, key, previous.as_ref(), &head) {
                    walked.faults.push((key.lane, key.number));
                }
                add_stream(&mut walked.streams, key.lane, head.stream);
                before = Some((key.lane, head));
            }
            // Its head is in the page whose own header LMDB believes when the entry is replaced.
            Err(_) if Head::parse(value).is_err() => return Err(EnvironmentError::Page(key)),
            Err(_) => walked.faults.push((key.lane, key.number)),
        }
    }
    Ok(walked)
}

/// Whether no sequences are missing between an entry and what was before it. One that begins earlier is the
/// hub's to recognise as a duplicate.
pub(super) fn follows(state: &State, key: Key, previous: Option<&Head>, head: &Head) -> bool {
    !begin_of(state, key.lane, previous, head.stream).is_before(head.base)
}

/// The sequence at which what comes after `previous` begins, in `stream`.
pub(super) fn begin_of(state: &State, lane: u8, previous: Option<&Head>, stream: ProducerId) -> Sequence {
    if let Some(previous) = previous.filter(|previous| previous.stream == stream) {
        return previous.end();
    }
    let shipping = state.lane(lane).and_then(|lane| lane.shipping.as_ref());
    shipping.filter(|shipping| shipping.stream == stream).map_or(Sequence::ZERO, |shipping| shipping.acked)
}

fn add_stream(streams: &mut Vec<LaneStreams>, lane: u8, id: ProducerId) {
    match streams.iter_mut().find(|streams| streams.lane == lane) {
        Some(streams) if streams.ids.last() == Some(&id) => {}
        Some(streams) => streams.ids.push(id),
        None => streams.push(LaneStreams { lane, ids: vec![id] }),
    }
}
