//! What is told of desired settings, in answers and in `status`.
//!
//! ```text
//! > {"desired":{"version":12,"state":"trying"}}
//! > {"desired":{"version":12,"state":"rejected","error":"…"}}
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Verdict {
    /// None where the message had none.
    pub version: Option<u64>,
    pub state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What `status` says.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Standing {
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The version that lies over the device's own file now; none where that is alone.
    pub in_force: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In force until a hub is reached with them, or for as long as a trial may take.
    Trying,
    /// No hub was reached at all, or they could not be written down: the former settings are in force, and these are
    /// tried again.
    Waiting,
    Accepted,
    /// Tried, found at fault, and not tried again.
    Rejected,
    /// They cannot be used with the device's own file; nothing has changed.
    Refused,
    /// Nothing is wanted any more: the device's own file is in force.
    Withdrawn,
}

impl Verdict {
    pub(super) fn of(version: u64, state: State) -> Self {
        Self { version: Some(version), state, error: None }
    }

    pub fn because(version: u64, state: State, error: impl Into<String>) -> Self {
        Self { version: Some(version), state, error: Some(error.into()) }
    }

    /// As it travels.
    pub fn to_answer(&self) -> String {
        serde_json::json!({ "desired": self }).to_string()
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict.version {
            Some(version) => write!(f, "version {version} {}", self.verdict.state)?,
            None => write!(f, "{}", self.verdict.state)?,
        }
        if let Some(error) = &self.verdict.error {
            write!(f, " ({error})")?;
        }
        match self.in_force {
            Some(version) if self.verdict.version == Some(version) => Ok(()),
            Some(version) => write!(f, ", version {version} is in force"),
            None => f.write_str(", the device's own file is in force"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trying => "trying",
            Self::Waiting => "waiting",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Withdrawn => "withdrawn",
        })
    }
}
