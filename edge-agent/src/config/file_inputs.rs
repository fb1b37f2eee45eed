//! Files: one that grows, and those that are finished.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::format::FormatConfig;
use super::inputs::{InputConfigError, interval};

/// A file that is written to, through rotation and truncation.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TailSettings {
    pub path: String,
    /// Where a file that was never read before is begun; the beginning where it is absent.
    #[serde(default)]
    pub from: TailFrom,
    /// How often it is looked at.
    pub poll_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum TailFrom {
    #[default]
    Beginning,
    End,
}

/// Files that somebody puts somewhere when they are finished.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FilesSettings {
    /// A directory, or a pattern with `*` and `?`.
    pub path: String,
    /// A file is finished when it has not changed for so long.
    pub settle_ms: Option<u64>,
    /// What becomes of a file that was read.
    #[serde(default)]
    pub when_done: WhenDone,
    /// A directory on the same file system.
    pub move_to: Option<PathBuf>,
    pub poll_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum WhenDone {
    /// Its name gets `.done` at its end.
    #[default]
    Rename,
    Move,
    Delete,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TailConfig {
    pub path: PathBuf,
    pub from: TailFrom,
    pub poll: Duration,
    pub format: FormatConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FilesConfig {
    pub pattern: String,
    pub settle: Duration,
    pub done: Done,
    pub poll: Duration,
    pub format: FormatConfig,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    Rename,
    Move(PathBuf),
    Delete,
}

const TAIL_POLL_MS: u64 = 250;
const FILES_POLL_MS: u64 = 1000;
const SETTLE_MS: u64 = 2000;

impl TailSettings {
    pub(super) fn validate(self, format: FormatConfig) -> Result<TailConfig, InputConfigError> {
        absolute(&self.path)?;
        Ok(TailConfig {
            path: self.path.into(),
            from: self.from,
            poll: interval(self.poll_ms.unwrap_or(TAIL_POLL_MS), "poll_ms")
                .map_err(InputConfigError::Interval)?,
            format,
        })
    }
}

impl FilesSettings {
    pub(super) fn validate(self, format: FormatConfig) -> Result<FilesConfig, InputConfigError> {
        absolute(&self.path)?;
        let pattern = match self.path.contains(['*', '?', '[']) {
            true => self.path,
            false => format!("{}/*", glob::Pattern::escape(self.path.trim_end_matches('/'))),
        };
        glob::Pattern::new(&pattern)
            .map_err(|error| InputConfigError::Pattern(pattern.clone(), error.msg))?;
        let done = match (self.when_done, self.move_to) {
            (WhenDone::Rename, None) => Done::Rename,
            (WhenDone::Delete, None) => Done::Delete,
            (WhenDone::Move, Some(to)) => Done::Move(to),
            _ => return Err(InputConfigError::MoveTo),
        };
        Ok(FilesConfig {
            pattern,
            settle: Duration::from_millis(self.settle_ms.unwrap_or(SETTLE_MS)),
            done,
            poll: interval(self.poll_ms.unwrap_or(FILES_POLL_MS), "poll_ms")
                .map_err(InputConfigError::Interval)?,
            format,
        })
    }
}

fn absolute(path: &str) -> Result<(), InputConfigError> {
    if Path::new(path).is_absolute() { Ok(()) } else { Err(InputConfigError::RelativePath(path.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::super::format::RowFormat;
    use super::*;

    fn files(json: &str) -> Result<FilesConfig, String> {
        let settings: FilesSettings = serde_json::from_str(json).map_err(|error| error.to_string())?;
        settings.validate(FormatConfig::plain(RowFormat::Csv)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_directory_means_every_file_in_it() {
        assert_eq!(files(r#"{"path":"/var/in/"}"#).unwrap().pattern, "/var/in/*");
        assert_eq!(files(r#"{"path":"/var/in/*.csv"}"#).unwrap().pattern, "/var/in/*.csv");
    }

    #[test]
    fn what_becomes_of_a_file_is_said_whole() {
        let done = |more: &str| files(&format!(r#"{{"path":"/in"{more}}}"#)).map(|files| files.done);
        assert_eq!(done(""), Ok(Done::Rename));
        assert_eq!(done(r#","when_done":"delete""#), Ok(Done::Delete));
        assert_eq!(done(r#","when_done":"move","move_to":"/out""#), Ok(Done::Move("/out".into())));
        assert!(done(r#","when_done":"move""#).is_err() && done(r#","move_to":"/out""#).is_err());
        assert!(files(r#"{"path":"in"}"#).unwrap_err().contains("absolute"));
    }
}
