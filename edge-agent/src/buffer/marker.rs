//! The marker file beside the buffer: what must be in it, should it be found damaged.
//!
//! It is replaced at each start, at a clean stop, and whenever a stream is begun or moved; always before the
//! stream's first batch is in the buffer. `clean` says that the last stop was one. JSON, version 1:
//!
//! ```text
//! {"version": 1, "clean": bool, "damaged": bool, "state": the counter record as it was, "streams": [{"lane", "ids"}],
//!  "relaxed": a boot or null, "file_bytes": length of the buffer's file, after a clean stop,
//!  "owed": records that were lost before the last clean stop while the disk had no room for the gaps that are to say
//!  so, "owed_id": a number; what is owed is paid when the counter record has the same}
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use schemas::ProducerId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::append::Lost;
use super::state::State;
use crate::data_dir::{DataDirError, overwrite_file, replace_file};

const VERSION: u32 = 1;
/// Beyond this the oldest are forgotten: each was a start of the agent that buffered something.
pub(super) const STREAMS_MAX: usize = 1 << 14;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Marker {
    version: u32,
    pub clean: bool,
    /// The writer met damage that no walk may find.
    #[serde(default)]
    pub damaged: bool,
    pub state: State,
    /// The streams of each lane in the order in which they were begun.
    pub streams: Vec<LaneStreams>,
    /// The boot in which the buffer is open with `durability = relaxed`: after another one it goes back to its last sync.
    #[serde(default)]
    pub relaxed: Option<Uuid>,
    /// How long the buffer's file was at the clean stop: one that has lost its end must not be opened.
    #[serde(default)]
    pub file_bytes: Option<u64>,
    #[serde(default)]
    pub owed: Vec<Lost>,
    /// 0: the counter record does not say whether that is paid.
    #[serde(default)]
    owed_id: u64,
}

/// What a marker names until it is paid.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    pub lost: Vec<Lost>,
    id: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LaneStreams {
    pub lane: u8,
    pub ids: Vec<ProducerId>,
}

/// What the marker file said when the buffer was opened.
#[derive(Debug)]
pub(super) enum Found {
    /// There is none: the buffer was never opened.
    Nothing,
    Marker(Box<Marker>),
    /// It is there and says nothing.
    Unreadable,
}

/// The marker of a buffer that is open.
#[derive(Debug)]
pub(super) struct MarkerFile {
    path: PathBuf,
    streams: Vec<LaneStreams>,
    relaxed: Option<Uuid>,
    owed: Owed,
}

impl Marker {
    pub fn owed(&self) -> Owed {
        Owed { lost: self.owed.clone(), id: self.owed_id }
    }
}

impl Owed {
    /// The counter record says that it has the gaps.
    pub fn is_paid(&self, state: &State) -> bool {
        self.id != 0 && self.id == state.paid
    }
}

pub(super) fn read(path: &Path) -> Result<Found, DataDirError> {
    match fs::read(path) {
        Ok(bytes) => Ok(match serde_json::from_slice::<Marker>(&bytes) {
            Ok(marker) if marker.version == VERSION => Found::Marker(Box::new(marker)),
            _ => Found::Unreadable,
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
        Err(source) if source.kind() == ErrorKind::PermissionDenied => {
            Err(DataDirError { path: path.to_owned(), source })
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the marker of the buffer cannot be read");
            Ok(Found::Unreadable)
        }
    }
}

impl MarkerFile {
    /// Writes that the buffer is open from now on.
    pub fn start(
        path: &Path,
        state: &State,
        streams: Vec<LaneStreams>,
        owed: Owed,
    ) -> Result<Self, DataDirError> {
        Self::start_in(path, state, streams, None, owed)
    }

    /// The same where it is open with `durability = relaxed` in a boot.
    pub fn start_in(
        path: &Path,
        state: &State,
        streams: Vec<LaneStreams>,
        relaxed: Option<Uuid>,
        owed: Owed,
    ) -> Result<Self, DataDirError> {
        let mut file = Self { path: path.to_owned(), streams, relaxed, owed };
        file.forget_finished(state);
        file.write(state)?;
        Ok(file)
    }

    pub fn write(&self, state: &State) -> Result<(), DataDirError> {
        self.replace(&self.marker(state))
    }

    /// Writes that the buffer is closed, with everything in it but what is owed, in a file of so many bytes.
    pub fn finish(&self, state: &State, file_bytes: u64, owed: &[Lost]) -> Result<(), DataDirError> {
        // One that no payment had yet.
        let (owed, owed_id) = (owed.to_vec(), state.counters.appended.max(state.paid) + 1);
        let file_bytes = Some(file_bytes);
        self.replace(&Marker { clean: true, file_bytes, owed, owed_id, ..self.marker(state) })
    }

    /// What a commit with the gaps leaves in the counter record, where the marker names any.
    pub fn owed_id(&self) -> Option<u64> {
        (self.owed.id != 0).then_some(self.owed.id)
    }

    /// What was owed is in the buffer, and no power cut takes it back.
    pub fn forget_owed(&mut self) {
        self.owed = Owed::default();
    }

    /// Writes that the buffer must be set aside at the next start.
    pub fn note_damage(&self, state: &State) -> Result<(), DataDirError> {
        self.replace(&Marker { damaged: true, ..self.marker(state) })
    }

    pub fn into_streams(self) -> Vec<LaneStreams> {
        self.streams
    }

    /// Forgets what was said of a lane whose id is used for another one now.
    pub fn forget_lane(&mut self, lane: u8) {
        self.streams.retain(|streams| streams.lane != lane);
    }

    /// Names a stream before its first batch is in the buffer.
    pub fn add_stream(&mut self, lane: u8, id: ProducerId, state: &State) -> Result<(), DataDirError> {
        self.forget_finished(state);
        match self.streams.iter_mut().find(|streams| streams.lane == lane) {
            Some(streams) => streams.ids.push(id),
            None => self.streams.push(LaneStreams { lane, ids: vec![id] }),
        }
        self.write(state)
    }

    /// What was begun before the stream that is shipped now was acknowledged as a whole, and so was everything of a
    /// lane that is gone.
    fn forget_finished(&mut self, state: &State) {
        self.streams.retain(|streams| state.lane(streams.lane).is_some());
        for streams in &mut self.streams {
            let shipping = state.lane(streams.lane).and_then(|lane| lane.shipping.as_ref());
            let at = shipping.and_then(|shipping| streams.ids.iter().position(|id| *id == shipping.stream));
            let surplus = streams.ids.len().saturating_sub(STREAMS_MAX);
            streams.ids.drain(..at.unwrap_or(0).max(surplus));
        }
    }

    /// Of a buffer that is open.
    fn marker(&self, state: &State) -> Marker {
        let (state, streams) = (state.clone(), self.streams.clone());
        Marker {
            version: VERSION,
            clean: false,
            damaged: false,
            state,
            streams,
            relaxed: self.relaxed,
            file_bytes: None,
            owed: self.owed.lost.clone(),
            owed_id: self.owed.id,
        }
    }

    fn replace(&self, marker: &Marker) -> Result<(), DataDirError> {
        let bytes = serde_json::to_vec(marker)
            .map_err(|error| DataDirError { path: self.path.clone(), source: error.into() })?;
        match replace_file(&self.path, &bytes) {
            // A mixture of two markers is unreadable, and so says no more than that the buffer was open.
            Err(error) if error.is_full() => overwrite_file(&self.path, &bytes).map_err(|_| error),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_that_cannot_be_read_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        // What reading a directory answers stands for what a worn disk does.
        assert!(matches!(read(folder.path()).unwrap(), Found::Unreadable));
        assert!(matches!(read(&folder.path().join("marker")).unwrap(), Found::Nothing));
    }
}
