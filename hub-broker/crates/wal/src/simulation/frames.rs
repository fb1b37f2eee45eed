//! The frames on a simulated disk, as they lie there.

use crate::{
    codec::{Commit, FrameHeader, Generation, Kind},
    config::Config,
    file_header::parse_file_name,
    frame::{Entry, GroupId},
    limits::FILE_HEADER_BYTES,
    reader::FrameReader,
    recovered::{GroupLog, Past},
    recovery::open_file,
    simulation::disk::SimDisk,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A whole frame.
pub struct Lying {
    pub file: u64,
    pub name: String,
    pub generation: Generation,
    pub position: u64,
    pub header: FrameHeader,
    pub payload: Bytes,
}

/// All whole frames, in their order.
pub fn all(disk: &SimDisk) -> Vec<Lying> {
    let mut frames = Vec::new();
    for name in disk.file_names() {
        let opened = parse_file_name(&name).and_then(|id| Some((id, open_file(disk, &name).ok()??)));
        let Some((id, file)) = opened.filter(|(id, file)| file.header.id == *id) else { continue };
        let mut reader = FrameReader::new(file.file.clone(), &file.header);
        let mut position = FILE_HEADER_BYTES;
        while let Ok(Some(found)) = reader.find_from(position) {
            let Ok(payload) = reader.payload(&found).map(Bytes::copy_from_slice) else { break };
            position = found.end();
            frames.push(Lying {
                file: id,
                name: name.clone(),
                generation: file.header.generation,
                position: found.position,
                header: found.header,
                payload,
            });
        }
    }
    frames.sort_by_key(|frame| frame.header.lsn);
    frames
}

impl Lying {
    pub fn commit(&self) -> Option<Commit> {
        (self.header.kind == Kind::Commit).then(|| Commit::decode(&self.payload)).flatten()
    }
}

/// What a recovery would find that lets nothing give way: of each entry what was written last, though a truncation
/// or another entry had taken it away. Groups of which nothing was recovered are left out.
pub fn nothing_gave_way(
    disk: &SimDisk,
    config: &Config,
    mut groups: BTreeMap<GroupId, GroupLog>,
) -> BTreeMap<GroupId, GroupLog> {
    let past = Past::of(config);
    let mut entries: BTreeMap<(GroupId, u64), Entry> = BTreeMap::new();
    for frame in all(disk) {
        let FrameHeader { group, index, term, kind, .. } = frame.header;
        let after = past.after.get(&group).copied().unwrap_or(0);
        if let Kind::Entry { entry_kind, .. } = kind
            && index > after
            && !past.voids(&frame.header)
        {
            entries.insert((group, index), Entry { index, term, entry_kind, payload: frame.payload });
        }
    }
    for (group, log) in &mut groups {
        let of_group = entries.range((*group, 0)..=(*group, u64::MAX));
        log.entries = of_group.map(|(_, entry)| entry.clone()).collect();
    }
    groups
}
