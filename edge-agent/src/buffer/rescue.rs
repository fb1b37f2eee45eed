//! Setting a damaged buffer aside and making a new one of what can be read of it; what stays on the disk then.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::environment::{DATA_FILE, Durability, Environment, map_bytes};
use super::guard::{Checked, check};
use super::marker::{LaneStreams, Marker, MarkerFile, Owed};
use super::opening::{OpenError, Opening, all_ends, io_at, owed, remove_dir};
use super::salvage::{Salvage, Salvaged, unmarked};
use super::scan::Scan;
use super::stage::Counted;
use super::state::State;
use super::work::{Work, WorkError};
use crate::data_dir::{replace_file, sync_dir};
use crate::limits::MAP_BYTES_EXTRA;
use crate::time::realtime_ms;

/// Where what is salvaged goes until it is all there.
pub(super) const FRESH_DIR: &str = "buffer.new";

/// Where a damaged buffer stays of which not all could be salvaged.
pub(super) fn kept_dir(root: &Path) -> PathBuf {
    root.join("buffer.set-aside")
}

/// What a directory's environment takes of the disk, in sectors of 512 bytes, whatever the disk's are (stat(2)).
pub(super) fn disk_bytes(dir: &Path) -> Option<u64> {
    Some(fs::metadata(dir.join(DATA_FILE)).ok()?.blocks() * 512)
}

/// What became of a damaged buffer.
pub(super) struct Rescued {
    pub streams: Vec<LaneStreams>,
    /// It holds more that can be read, for which there was no room.
    pub has_ended_early: bool,
}

impl Opening<'_> {
    pub fn set_aside(&self, why: &str) -> Result<(), OpenError> {
        let (buffer, damaged) = (self.dir.buffer(), self.dir.damaged());
        tracing::error!(why, to = %damaged.display(), "the buffer is damaged and set aside");
        remove_dir(&self.dir.root().join(FRESH_DIR))?;
        remove_dir(&damaged)?;
        fs::rename(&buffer, &damaged).map_err(io_at(&buffer))?;
        sync_dir(self.dir.root()).map_err(io_at(self.dir.root()))
    }

    pub fn salvage(&self, marker: Option<&Marker>) -> Result<Rescued, OpenError> {
        self.stage.salvaging();
        let (damaged, fresh_dir) = (self.dir.damaged(), self.dir.root().join(FRESH_DIR));
        let file = File::options().read(true).write(true).open(damaged.join(DATA_FILE));
        let file =
            file.inspect_err(|error| tracing::error!(%error, "the damaged buffer cannot be opened")).ok();
        let length = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
        // Room is made first.
        let freed = file.as_ref().filter(|file| self.is_short_for(file, length));
        let (mut fresh, resumed) = self.fresh(&fresh_dir)?;
        let counted = Counted { pages: &file, stage: self.stage };
        let scan = Scan::of(&counted, length);
        let (state, streams) = match marker {
            Some(marker) => (marker.state.clone(), marker.streams.clone()),
            None => {
                let (state, streams) = unmarked(&scan, self.default_topic);
                // What is copied is not found again: a salvage that goes on must know of all of them.
                MarkerFile::start(&self.dir.marker(), &state, streams.clone(), Owed::default())?;
                (state, streams)
            }
        };
        let salvage = Salvage::of(scan, &fresh, realtime_ms(), freed);
        let Salvaged { state, records, unreadable_pages, mut ended_by } =
            salvage.run(state, &streams, resumed);
        tracing::warn!(records, topics = state.lanes.len(), "records were salvaged from the damaged buffer");
        let is_whole = records > 0 && unreadable_pages == 0 && ended_by.is_none();
        let has_ended_early = ended_by.is_some();
        // What can be read has been, where the error is one of reading.
        let has_read = unreadable_pages == 0 || records > 0;
        let may_pass = |error: &mut WorkError| error.is_of_disk() && has_read && self.has_come_on(records);
        if let Some(source) = ended_by.take_if(may_pass) {
            return Err(OpenError::Salvage { path: fresh_dir, source });
        }
        // The agent always starts: what could not be salvaged stays in the set-aside directory.
        if let Some(error) = ended_by {
            tracing::error!(%error, "salvage ended early");
            // Opened anew, the map has room for the gaps beyond what is in the file.
            fresh.close();
            fresh = self.open_fresh(&fresh_dir)?;
        }
        let (_, streams) = self.say_unknown_loss(&fresh, state, streams, owed(marker))?;
        fresh.close();
        remove_dir(&self.dir.buffer())?;
        fs::rename(&fresh_dir, self.dir.buffer()).map_err(io_at(&fresh_dir))?;
        sync_dir(self.dir.root()).map_err(io_at(self.dir.root()))?;
        if is_whole {
            remove_dir(&damaged)?;
        }
        self.end_salvage()?;
        Ok(Rescued { streams, has_ended_early })
    }

    /// Whether more is copied than the last time that the disk failed a write: then the next start may go on. Where
    /// that cannot be noted, the next start would not know.
    fn has_come_on(&self, records: u64) -> bool {
        let note = self.dir.damaged().join("copied");
        let before = fs::read_to_string(&note).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let has_come_on = before.is_none_or(|before| records > before);
        has_come_on && replace_file(&note, format!("{records}\n").as_bytes()).is_ok()
    }

    /// The new buffer beside a damaged one is whole: what is left of that one is kept.
    pub fn end_salvage(&self) -> Result<(), OpenError> {
        let damaged = self.dir.damaged();
        if !damaged.exists() {
            return Ok(());
        }
        let kept = kept_dir(self.dir.root());
        remove_dir(&kept)?;
        fs::rename(&damaged, &kept).map_err(io_at(&damaged))?;
        tracing::warn!(path = %kept.display(), "what could not be salvaged is kept for as long as the disk has room");
        sync_dir(self.dir.root()).map_err(io_at(self.dir.root()))
    }

    /// What was set aside gives way where the disk has no room for the whole buffer beside it.
    pub fn make_room(&self, cap_bytes: u64) -> Result<(), OpenError> {
        let kept = kept_dir(self.dir.root());
        if !kept.exists() {
            return Ok(());
        }
        let own = disk_bytes(&self.dir.buffer()).unwrap_or(0);
        if self.free_bytes().saturating_add(own) >= map_bytes(cap_bytes) {
            return Ok(());
        }
        tracing::warn!(path = %kept.display(), "the damaged buffer that was kept is removed: the disk has no room for it");
        remove_dir(&kept)
    }

    /// An environment for what is salvaged, and the counter record of what an interrupted salvage left in it.
    fn fresh(&self, dir: &Path) -> Result<(Environment, Option<State>), OpenError> {
        if dir.join(DATA_FILE).exists() {
            let checked = check(self.checker, self.dir.root()).map_err(self.at_buffer())?;
            // It may hold what was freed in the damaged one. Its ends are all that is read of it, and a commit made them.
            if matches!(checked, Checked::Sound(_) | Checked::Killed(_)) {
                let fresh = self.open_fresh(dir)?;
                let state = all_ends(&fresh).map_err(self.at_buffer())?;
                return Ok((fresh, state));
            }
        }
        remove_dir(dir)?;
        Ok((self.open_fresh(dir)?, None))
    }

    /// It is durable that it is there before anything is taken from the damaged one, and so is each commit, whatever the
    /// settings say: what it holds is taken from the damaged one at once.
    fn open_fresh(&self, dir: &Path) -> Result<Environment, OpenError> {
        let opened = Environment::open(dir, self.cap_bytes, Durability::Strict);
        let fresh = opened.map_err(|error| {
            if error.is_full() {
                return OpenError::NoRoomToSalvage { path: self.dir.damaged(), free: self.free_bytes() };
            }
            self.at_buffer()(error)
        })?;
        sync_dir(dir).map_err(io_at(dir))?;
        sync_dir(self.dir.root()).map_err(io_at(self.dir.root()))?;
        Ok(fresh)
    }

    /// Whether the disk has no room for the copy of a damaged buffer, whatever of it is free already.
    fn is_short_for(&self, damaged: &File, length: u64) -> bool {
        // What was taken of the disk for growing is behind its end.
        let _ = damaged.set_len(length);
        let needed = damaged.metadata().map_or(length, |meta| meta.blocks() * 512) + MAP_BYTES_EXTRA;
        if self.free_bytes() >= needed {
            return false;
        }
        let _ = remove_dir(&kept_dir(self.dir.root()));
        self.free_bytes() < needed
    }

    fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.dir.root());
        stat.map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// What was lost beyond what is known leaves a gap of unknown size in every lane.
    pub fn say_unknown_loss(
        &self,
        fresh: &Environment,
        state: State,
        streams: Vec<LaneStreams>,
        owed: Owed,
    ) -> Result<(State, Vec<LaneStreams>), OpenError> {
        let mut marker = MarkerFile::start(&self.dir.marker(), &state, streams, owed)?;
        let lanes: Vec<u8> = state.lanes.iter().map(|lane| lane.id).collect();
        let mut work = Work::begin(fresh, state, realtime_ms()).map_err(self.at_buffer())?;
        for lane in lanes {
            work.append_unknown_gap(lane, &mut marker).map_err(self.in_work())?;
        }
        let state = work.commit().map_err(self.at_buffer())?;
        Ok((state, marker.into_streams()))
    }
}
