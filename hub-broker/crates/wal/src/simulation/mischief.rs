//! What goes wrong with bytes that were durable.

use crate::{
    codec::{FRAME_HEADER_BYTES, Kind},
    frame::{GroupId, Lsn},
    simulation::{
        disk::SimDisk,
        frames::{Lying, all},
    },
};
use bytes::Bytes;

impl SimDisk {
    /// A bit of a frame goes bad that the log needs and that is proven durable: `pick` draws a number below a bound.
    /// Says which frame it was; `None` where there is none.
    pub fn corrode(&self, pick: &mut dyn FnMut(u64) -> u64) -> Option<Lsn> {
        let frames = all(self);
        let newest = frames.iter().rev().find_map(Lying::commit)?;
        let durable = frames.iter().filter_map(Lying::commit).map(|commit| commit.durable).max()?;
        let is_needed = |frame: &&Lying| {
            frame.file >= newest.first_file && (newest.first_lsn..=durable).contains(&frame.header.lsn)
        };
        let needed: Vec<&Lying> = frames.iter().filter(is_needed).collect();
        let bytes: u64 = needed.iter().map(|frame| frame.header.frame_bytes()).sum();
        let mut at = if bytes == 0 { return None } else { pick(bytes) };
        for frame in needed {
            if at < frame.header.frame_bytes() {
                let byte = (frame.position + at) as usize;
                let bit = pick(8);
                self.damage(&frame.name, |content| content[byte] ^= 1 << bit);
                return Some(frame.header.lsn);
            }
            at -= frame.header.frame_bytes();
        }
        None
    }

    /// One of the group's entries behind `after`, up to `through`, has another payload of the same size, and a checksum
    /// that matches it: the newest that `alter` changes. Says which entry it was.
    pub fn alter(
        &self,
        group: GroupId,
        after: u64,
        through: u64,
        alter: impl Fn(&Bytes) -> Option<Bytes>,
    ) -> Option<u64> {
        // Of several frames for one entry the last counts.
        let mut seen = Vec::new();
        for frame in all(self).iter().rev() {
            let index = frame.header.index;
            let is_it = frame.header.group == group
                && matches!(frame.header.kind, Kind::Entry { .. })
                && (after + 1..=through).contains(&index);
            if !is_it || seen.contains(&index) {
                continue;
            }
            seen.push(index);
            if let Some(altered) = alter(&frame.payload).filter(|it| it.len() == frame.payload.len()) {
                let header = frame.header.encode(frame.generation, &altered);
                let at = frame.position as usize;
                self.damage(&frame.name, |content| {
                    content[at..at + FRAME_HEADER_BYTES].copy_from_slice(&header);
                    content[at + FRAME_HEADER_BYTES..][..altered.len()].copy_from_slice(&altered);
                });
                return Some(index);
            }
        }
        None
    }

    /// Everything from that place on is gone: what a recovery does that takes damage for a torn end.
    pub fn cut(&self, name: &str, position: u64) {
        self.damage(name, |content| {
            let from = usize::try_from(position).map_or(content.len(), |from| from.min(content.len()));
            content[from..].fill(0);
        });
        for later in self.file_names().into_iter().filter(|later| later.as_str() > name) {
            self.damage(&later, |content| content.fill(0));
        }
    }
}
