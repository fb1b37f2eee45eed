//! What an executor's groups want written, gathered for one write to the WAL.

use consensus::{HardState, LogEntry};
use wal::{Frame, GroupId};

/// What a frame costs in the WAL besides its payload, roughly.
const FRAME_OVERHEAD_BYTES: u64 = 64;

#[derive(Default)]
pub(crate) struct Outbox {
    pub frames: Vec<Frame>,
    /// Which group waits for which ready, in order.
    pub readies: Vec<(GroupId, u64)>,
    pub bytes: u64,
}

impl Outbox {
    pub(crate) fn persist(
        &mut self,
        group: GroupId,
        ready: u64,
        term: u64,
        hard_state: Option<HardState>,
        truncate_from: Option<u64>,
        entries: Vec<LogEntry>,
    ) {
        if let Some(HardState { term, vote, commit }) = hard_state {
            self.push(Frame::HardState { group, term, vote, commit }, 0);
        }
        if let Some(from_index) = truncate_from {
            self.push(Frame::Truncate { group, from_index, term }, 0);
        }
        for LogEntry { index, term, kind, payload } in entries {
            let bytes = payload.len() as u64;
            self.push(Frame::Entry { group, index, term, entry_kind: kind, payload }, bytes);
        }
        self.readies.push((group, ready));
    }

    fn push(&mut self, frame: Frame, payload_bytes: u64) {
        self.frames.push(frame);
        self.bytes += FRAME_OVERHEAD_BYTES + payload_bytes;
    }
}
