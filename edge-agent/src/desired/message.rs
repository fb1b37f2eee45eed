//! What comes on `headwater/v1/DEVICE/desired`:
//!
//! ```text
//! {"version":12,"settings":{"linger_ms":5000,"inputs":{"meter":{"interval_ms":1000}}}}
//! {"version":13,"settings":{}}        the device's own file alone again
//!                                     (nothing at all) the same, at once and without a version
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::limits::DESIRED_BYTES_MAX;

/// Settings under the number that their owner gave them: other settings need another number.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    pub version: u64,
    pub settings: Map<String, Value>,
}

/// What somebody wants of the device.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    Settings(Desired),
    /// Nothing is wanted any more.
    Nothing,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what}; wanted is {{\"version\":NUMBER,\"settings\":{{…}}}}")]
pub struct MessageError {
    /// As far as it could be read.
    pub version: Option<u64>,
    pub what: String,
}

impl Wanted {
    pub fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        if payload.is_empty() {
            return Ok(Self::Nothing);
        }
        if payload.len() > DESIRED_BYTES_MAX {
            let what = format!("{} bytes are more than {DESIRED_BYTES_MAX}", payload.len());
            return Err(MessageError { version: None, what });
        }
        let value: Value = serde_json::from_slice(payload)
            .map_err(|error| MessageError { version: None, what: error.to_string() })?;
        let version = value.get("version").and_then(Value::as_u64);
        serde_json::from_value(value)
            .map(Self::Settings)
            .map_err(|error| MessageError { version, what: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_with_a_version() {
        let Wanted::Settings(desired) =
            Wanted::parse(br#"{"version":12,"settings":{"linger_ms":5}}"#).unwrap()
        else {
            panic!("nothing is wanted");
        };
        assert_eq!((desired.version, desired.settings.len()), (12, 1));
        assert_eq!(Wanted::parse(b""), Ok(Wanted::Nothing));
    }

    #[test]
    fn what_is_no_desired_state_is_told_with_its_version_where_it_has_one() {
        let long =
            format!(r#"{{"version":1,"settings":{{"linger_ms":{}1}}}}"#, " ".repeat(DESIRED_BYTES_MAX));
        for (text, version) in [
            ("fast", None),
            ("[]", None),
            (r#"{"settings":{}}"#, None),
            (r#"{"version":-1,"settings":{}}"#, None),
            (r#"{"version":"12","settings":{}}"#, None),
            (r#"{"version":3}"#, Some(3)),
            (r#"{"version":3,"linger_ms":5000}"#, Some(3)),
            (r#"{"version":3,"settings":[]}"#, Some(3)),
            (&long, None),
        ] {
            let error = Wanted::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.version, version, "{error}");
        }
    }
}
