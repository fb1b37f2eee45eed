//! Judges a place where a frame should be and is not: the end of the log, a torn tail, or damage.

use crate::{
    codec::{Commit, Kind},
    error::Concerned,
    frame::{GroupId, Lsn},
    reader::FrameReader,
};
use std::{collections::BTreeSet, io};

/// What is whole behind the place.
#[derive(Debug, Default)]
pub struct Behind {
    /// Where the last whole frame in the place's own file ends.
    pub end: Option<u64>,
    first_file: Option<u64>,
    last_file: Option<u64>,
    lsns: BTreeSet<u64>,
    commits: Vec<(Lsn, Commit)>,
}

/// Adds the whole frames of file `id` at or behind `from`.
pub fn collect(reader: &mut FrameReader, id: u64, from: u64, behind: &mut Behind) -> io::Result<()> {
    let mut position = from;
    while let Some(found) = reader.find_from(position)? {
        behind.lsns.insert(found.header.lsn.0);
        if found.header.kind == Kind::Commit
            && let Some(commit) = Commit::decode(reader.payload(&found)?)
        {
            behind.commits.push((found.header.lsn, commit));
        }
        position = found.end();
        behind.first_file.get_or_insert(id);
        behind.last_file = Some(id);
        if behind.first_file == Some(id) {
            behind.end = Some(position);
        }
    }
    Ok(())
}

impl Behind {
    /// True when what is missing at `expected` in `file` had been durable.
    pub fn proves_damage(&self, expected: Lsn, file: u64) -> bool {
        self.last_file.is_some_and(|last| last > file)
            || self.commits.iter().any(|(_, commit)| commit.durable >= expected)
    }

    /// Whom the missing sequence numbers from `expected` on belonged to.
    pub fn concerned(&self, expected: Lsn) -> Concerned {
        let last = self.lsns.last().copied().unwrap_or(expected.0);
        let mut groups: BTreeSet<GroupId> = BTreeSet::new();
        let mut next = expected.0;
        while next <= last {
            if self.lsns.contains(&next) {
                next += 1;
                continue;
            }
            let of_this = self.commits.iter().find(|(lsn, commit)| commit.durable.0 < next && next < lsn.0);
            let Some((lsn, commit)) = of_this else { return Concerned::All };
            groups.extend(&commit.groups);
            next = lsn.0;
        }
        Concerned::Groups(groups.into_iter().collect())
    }
}
