//! One request: a line of JSON, for an append followed by the batch's bytes. One answer a request, in order: a
//! line of JSON. Version 1.
//!
//! ```text
//! > {"version":1,"ask":"append","topic":"telemetry","boot":null,"bytes":812}\n…812 bytes…
//! < {"dropped":0}
//! > {"version":1,"ask":"status"}
//! < {"device_id":…}
//! ```

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use uuid::Uuid;

use crate::limits::CONTROL_LINE_BYTES_MAX;

pub const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub version: u32,
    #[serde(flatten)]
    pub ask: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    Append { topic: String, boot: Option<Uuid>, bytes: usize },
    Status,
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
