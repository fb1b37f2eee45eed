//! Where the entries of a file lie: what its frames' headers say, read once, and gone on with while the file grows.

use crate::{
    codec::{Commit, FrameHeader, Kind},
    frame::{GroupId, Lsn},
    limits::{FILE_HEADER_BYTES, SURVEY_WINDOW_BYTES},
    reader::FrameReader,
    recovery::LogFile,
    span::{Span, Spans},
};
use std::{collections::HashMap, io};

/// Where an entry lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    pub index: u64,
    pub position: u32,
    pub frame_bytes: u32,
}

pub struct Survey {
    pub file: LogFile,
    /// What is in front of it has been looked at.
    position: u64,
    next_lsn: Option<Lsn>,
    is_sealed: bool,
    /// Ascending by index; an entry that another one replaced in this file is not among them.
    spots: HashMap<GroupId, Vec<Spot>>,
}

impl Survey {
    pub fn new(file: LogFile) -> Self {
        Survey { file, position: FILE_HEADER_BYTES, next_lsn: None, is_sealed: false, spots: HashMap::new() }
    }

    /// The file ends as one does behind which another begins.
    pub fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Looks at the frames in front of `end`. False where there is no frame where one should be.
    pub fn advance(&mut self, end: u64, void: &HashMap<GroupId, Lsn>) -> io::Result<bool> {
        let end = end.min(self.file.header.file_bytes);
        let mut reader =
            FrameReader::with_window(self.file.file.clone(), &self.file.header, SURVEY_WINDOW_BYTES);
        while !self.is_sealed && self.position < end {
            let header = reader.header_at(self.position)?;
            let follows = |header: &FrameHeader| self.next_lsn.is_none_or(|next| header.lsn == next);
            let Some(header) = header.filter(follows) else { return Ok(false) };
            if header.kind == Kind::Commit {
                let Some(found) = reader.frame_at(self.position)? else { return Ok(false) };
                let commit = Commit::decode(reader.payload(&found)?);
                self.is_sealed = commit.is_some_and(|commit| commit.next_file.is_some());
            } else if void.get(&header.group).is_none_or(|void| header.lsn > *void) {
                self.note(&header);
            }
            self.position += header.frame_bytes();
            self.next_lsn = Some(Lsn(header.lsn.0 + 1));
        }
        Ok(true)
    }

    fn note(&mut self, header: &FrameHeader) {
        let index = header.index;
        let spots = self.spots.entry(header.group).or_default();
        let (Ok(position), Ok(frame_bytes)) =
            (u32::try_from(self.position), u32::try_from(header.frame_bytes()))
        else {
            return;
        };
        let spot = Spot { index, position, frame_bytes };
        match header.kind {
            Kind::Entry { copy: false, .. } => {
                spots.truncate(spots.partition_point(|spot| spot.index < index));
                spots.push(spot);
            }
            Kind::Entry { copy: true, .. } => match spots.binary_search_by_key(&index, |spot| spot.index) {
                Ok(at) => spots[at] = spot,
                Err(at) => spots.insert(at, spot),
            },
            Kind::Truncate => spots.truncate(spots.partition_point(|spot| spot.index < index)),
            Kind::HardState | Kind::Commit => {}
        }
    }

    pub fn spot(&self, group: GroupId, index: u64) -> Option<Spot> {
        let spots = self.spots.get(&group)?;
        spots.binary_search_by_key(&index, |spot| spot.index).ok().map(|at| spots[at])
    }

    pub fn len(&self) -> usize {
        self.spots.values().map(Vec::len).sum()
    }

    pub fn spans(&self) -> Spans {
        let span = |spots: &Vec<Spot>| {
            let mut span = Span::default();
            spots.iter().for_each(|spot| span.add(spot.index, u64::from(spot.frame_bytes)));
            span
        };
        self.spots
            .iter()
            .filter(|(_, spots)| !spots.is_empty())
            .map(|(group, spots)| (*group, span(spots)))
            .collect()
    }
}
