//! What a device remembers of desired settings across restarts and power cuts: the file `remote` of its data directory.
//!
//! One JSON object, written anew as a whole before what it says is acted upon:
//!
//! ```text
//! {"format":1,
//!  "accepted":{"version":11,"settings":{…}},
//!  "trial":{"desired":{"version":12,"settings":{…}},"phase":"trying","left_ms":270000,"starts":1,"crashed":0,
//!           "resets":0,"reset_rounds":0,"boot":"…"},
//!  "rejected":[{"version":9,"contents":3735928559,"error":"…"}],
//!  "newest":12}
//! ```

use std::collections::VecDeque;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;
use uuid::Uuid;

use super::message::Desired;
use super::verdict::{State, Verdict};
use crate::data_dir::{DataDirError, replace_file};

const FORMAT: u32 = 1;
/// The oldest are forgotten beyond that.
const REJECTED_MAX: usize = 16;
const ERROR_CHARS_MAX: usize = 300;

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Record {
    format: u32,
    /// In force, unless others are tried.
    pub accepted: Option<Desired>,
    pub trial: Option<Trial>,
    /// The oldest first.
    rejected: VecDeque<Rejected>,
    /// The highest version that was ever tried.
    #[serde(default)]
    pub newest: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Trial {
    pub desired: Desired,
    pub phase: Phase,
    /// For so long they may be in force without a hub, in ms.
    pub left_ms: u64,
    /// Starts of the agent under them after a crash, since they were put in force last.
    pub starts: u32,
    /// How often most of the time was spent by such starts.
    pub crashed: u32,
    /// Starts after the device went down under them without a word, since they were put in force last.
    #[serde(default)]
    pub resets: u32,
    /// How often on end most of the time was spent by both, with no such start under the former settings.
    #[serde(default)]
    pub reset_rounds: u32,
    /// The boot in which the agent runs under them; none where it was asked to stop.
    #[serde(default)]
    pub boot: Option<Uuid>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// They are in force.
    Trying,
    /// The former ones are, until a hub is reached with those.
    Waiting,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Rejected {
    pub version: u64,
    /// Tells other settings under the same version apart.
    contents: u32,
    pub error: String,
}

#[derive(Debug, Error)]
pub enum RecordError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it is damaged: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its format {0} is of another version of this program")]
    Format(u32),
}

impl Default for Record {
    fn default() -> Self {
        Self { format: FORMAT, accepted: None, trial: None, rejected: VecDeque::new(), newest: 0 }
    }
}

impl Record {
    /// What was written there; empty where nothing was.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read?,
        };
        let record: Self = serde_json::from_slice(&bytes)?;
        if record.format == FORMAT { Ok(record) } else { Err(RecordError::Format(record.format)) }
    }

    /// Durable when it returns; after a power cut meanwhile, the former record is there.
    pub fn write(&self, path: &Path) -> Result<(), DataDirError> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| DataDirError { path: path.to_owned(), source: error.into() })?;
        replace_file(path, &bytes)
    }

    /// The settings that are to lie over the device's own file.
    pub fn in_force(&self) -> Option<&Desired> {
        match &self.trial {
            Some(Trial { desired, phase: Phase::Trying, .. }) => Some(desired),
            _ => self.accepted.as_ref(),
        }
    }

    /// Whether this version is being tried.
    pub fn is_trying(&self, version: u64) -> bool {
        let trial = self.trial.as_ref();
        trial.is_some_and(|trial| trial.phase == Phase::Trying && trial.desired.version == version)
    }

    pub fn rejected(&self, version: u64) -> Option<&Rejected> {
        self.rejected.iter().find(|rejected| rejected.version == version)
    }

    /// What is known of the version that came last.
    pub fn verdict(&self) -> Option<Verdict> {
        let accepted = self.accepted.as_ref().map(|it| Verdict::of(it.version, State::Accepted));
        let rejected = || self.rejected.back().map(Rejected::verdict);
        self.trial.as_ref().map(Trial::verdict).or(accepted).or_else(rejected)
    }

    pub(super) fn reject(&mut self, desired: &Desired, error: &str) {
        let error = error.chars().take(ERROR_CHARS_MAX).collect();
        let contents = contents(&desired.settings);
        self.rejected.push_back(Rejected { version: desired.version, contents, error });
        while self.rejected.len() > REJECTED_MAX {
            self.rejected.pop_front();
        }
    }
}

impl Trial {
    /// Of what is in force next.
    pub(super) fn of(desired: Desired) -> Self {
        let (left_ms, starts, crashed, resets, reset_rounds) = (0, 0, 0, 0, 0);
        Self { desired, phase: Phase::Waiting, left_ms, starts, crashed, resets, reset_rounds, boot: None }
    }

    pub(super) fn verdict(&self) -> Verdict {
        let version = self.desired.version;
        match self.phase {
            Phase::Trying => Verdict::of(version, State::Trying),
            Phase::Waiting => {
                let error = "no hub was reached in time: the former settings are in force until one is";
                Verdict::because(version, State::Waiting, error)
            }
        }
    }
}

impl Rejected {
    pub(super) fn verdict(&self) -> Verdict {
        Verdict::because(self.version, State::Rejected, &self.error)
    }

    pub fn is_of(&self, desired: &Desired) -> bool {
        self.version == desired.version && self.contents == contents(&desired.settings)
    }
}

/// A map's keys are in order, so that the same settings give the same text.
fn contents(settings: &Map<String, Value>) -> u32 {
    crc32c::crc32c(Value::Object(settings.clone()).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(version: u64) -> Desired {
        let settings = Map::from_iter([("linger_ms".to_owned(), Value::from(version))]);
        Desired { version, settings }
    }

    #[test]
    fn what_was_written_is_read_again_and_the_oldest_rejected_give_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("remote");
        assert_eq!(Record::read(&path).unwrap(), Record::default());
        let trial = Trial {
            desired: desired(30),
            phase: Phase::Trying,
            left_ms: 5,
            starts: 1,
            crashed: 2,
            resets: 3,
            reset_rounds: 4,
            boot: Some(Uuid::from_u128(7)),
        };
        let mut record = Record { accepted: Some(desired(29)), trial: Some(trial), ..Record::default() };
        for version in 0..20 {
            record.reject(&desired(version), &"long ".repeat(100));
        }
        record.write(&path).unwrap();
        let record = Record::read(&path).unwrap();
        assert_eq!(record.in_force(), Some(&desired(30)));
        assert!(record.rejected(3).is_none() && record.rejected(4).is_some());
        let last = record.rejected(19).unwrap();
        assert_eq!((record.rejected.len(), last.error.len()), (REJECTED_MAX, ERROR_CHARS_MAX));
        assert!(last.is_of(&desired(19)) && !last.is_of(&Desired { version: 19, settings: Map::new() }));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("remote");
        for (text, told) in [
            ("", "damaged"),
            ("{\"format\":1", "damaged"),
            (r#"{"format":2,"accepted":null,"trial":null,"rejected":[]}"#, "format 2"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(Record::read(&path).unwrap_err().to_string().contains(told), "{text}");
        }
    }

    #[test]
    fn a_record_of_the_first_format_is_read() {
        let text = r#"{"format":1,"accepted":{"version":11,"settings":{}},
            "trial":{"desired":{"version":12,"settings":{"linger_ms":5}},"phase":"waiting","left_ms":0,"starts":7,"crashed":1},
            "rejected":[{"version":9,"contents":7,"error":"no"}]}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(record.in_force().map(|desired| desired.version), Some(11));
        assert_eq!(record.rejected(9).map(|rejected| rejected.error.as_str()), Some("no"));
    }
}
