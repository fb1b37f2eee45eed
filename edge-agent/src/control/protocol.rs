//! One request: a line of JSON, for an append followed by the batch's bytes. One answer a request, in order: a
//! line of JSON. Version 2 knows priorities; a request bears the lowest version that knows what it says, so that an
//! agent of the version before understands all that it can obey.
//!
//! ```text
//! > {"version":1,"ask":"append","topic":"telemetry","boot":null,"bytes":812}\n…812 bytes…
//! < {"dropped":0}
//! > {"version":2,"ask":"append","topic":"telemetry","priority":"alarm","boot":null,"bytes":97}\n…97 bytes…
//! < {"dropped":0}
//! > {"version":1,"ask":"status"}
//! < {"device_id":…}
//! ```

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use uuid::Uuid;

use crate::destination::Priority;
use crate::limits::CONTROL_LINE_BYTES_MAX;

/// The newest that is understood.
pub const VERSION: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub version: u32,
    #[serde(flatten)]
    pub ask: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    Append {
        topic: String,
        #[serde(default, skip_serializing_if = "is_telemetry")]
        priority: Priority,
        boot: Option<Uuid>,
        bytes: usize,
    },
    Status,
}

impl Request {
    pub fn new(ask: Ask) -> Self {
        let version = match &ask {
            Ask::Append { priority, .. } if !is_telemetry(priority) => 2,
            Ask::Append { .. } | Ask::Status => 1,
        };
        Self { version, ask }
    }
}

fn is_telemetry(priority: &Priority) -> bool {
    *priority == Priority::Telemetry
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AppendAnswer {
    Error {
        error: String,
    },
    Stored {
        dropped: u64,
    },
    /// There was no room, and the policy drops what is new.
    Full {
        full: bool,
    },
}

#[derive(Debug, Error)]
pub enum LineError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("a line has more than {CONTROL_LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("a line is cut short")]
    Short,
}

/// Reads one line; `None` at the end.
pub async fn read_line(source: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Vec<u8>>, LineError> {
    let mut line = Vec::new();
    let bound = u64::try_from(CONTROL_LINE_BYTES_MAX).expect("a line's bound fits 64 bits");
    if source.take(bound).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    match line.last() {
        Some(b'\n') => Ok(Some(line)),
        _ if line.len() == CONTROL_LINE_BYTES_MAX => Err(LineError::TooLong),
        _ => Err(LineError::Short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"version":1,"ask":"append","topic":"t","boot":null,"bytes":9}"#;
    const ALARM: &str =
        r#"{"version":2,"ask":"append","topic":"t","priority":"alarm","boot":null,"bytes":9}"#;

    fn append(priority: Priority) -> Request {
        Request::new(Ask::Append { topic: "t".to_owned(), priority, boot: None, bytes: 9 })
    }

    #[test]
    fn an_append_without_a_priority_is_as_it_was_in_version_1() {
        assert_eq!(serde_json::to_string(&append(Priority::Telemetry)).unwrap(), PLAIN);
        assert_eq!(serde_json::to_string(&append(Priority::Alarm)).unwrap(), ALARM);
        for (line, meant) in [(PLAIN, Priority::Telemetry), (ALARM, Priority::Alarm)] {
            match serde_json::from_str::<Request>(line).unwrap().ask {
                Ask::Append { priority, .. } => assert_eq!(priority, meant),
                Ask::Status => panic!("{line}"),
            }
        }
    }
}
