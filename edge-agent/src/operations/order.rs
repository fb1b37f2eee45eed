//! Commands to a device, and its answers: JSON on `headwater/v1/DEVICE/commands` and `…/answers`.
//!
//! ```text
//! < {"id":"7f3a","command":"restart-input","input":"boiler"}
//! > {"id":"7f3a","ok":true}
//! < {"id":"7f3b","command":"sample-now","input":"boiller"}
//! > {"id":"7f3b","ok":false,"error":"there is no input \"boiller\"; there are boiler, host"}
//! < {"id":"7f3c","command":"status"}
//! > {"id":"7f3c","ok":true,"status":{…}}
//! ```
//!
//! A command is carried out once, whoever repeats it, `status` too: its id is remembered together with the answer, and
//! answered with that until the hub has it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::status::Status;

/// Characters of an id.
const ID_MAX: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub id: String,
    pub what: What,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// End an input and start it anew.
    RestartInput { input: String },
    /// Have inputs with an interval measure now; all of them where none is named.
    SampleNow { input: Option<String> },
    /// Make what lingers durable, and ship it.
    Flush {},
    /// Tell how the agent fares.
    Status {},
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum OrderError {
    /// Without an id there is nobody to answer.
    #[error("a command needs an `id`, a text of 1 to {ID_MAX} characters")]
    Id,
    #[error("{what}")]
    What { id: String, what: String },
}

#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Answer {
    pub id: String,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
}

impl Order {
    pub fn parse(payload: &[u8]) -> Result<Self, OrderError> {
        let mut order: Map<String, Value> = serde_json::from_slice(payload).map_err(|_| OrderError::Id)?;
        let id = match order.remove("id") {
            Some(Value::String(id)) if (1..=ID_MAX).contains(&id.chars().count()) => id,
            _ => return Err(OrderError::Id),
        };
        match serde_json::from_value(Value::Object(order)) {
            Ok(what) => Ok(Self { id, what }),
            Err(error) => Err(OrderError::What { id, what: error.to_string() }),
        }
    }
}

impl Answer {
    pub fn done(id: String) -> Self {
        Self { id, ok: true, error: None, status: None }
    }

    pub fn failed(id: String, error: String) -> Self {
        Self { id, ok: false, error: Some(error), status: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<What, OrderError> {
        Order::parse(text.as_bytes()).map(|order| order.what)
    }

    #[test]
    fn commands_are_read() {
        for (text, what) in [
            (r#"{"id":"1","command":"restart-input","input":"a"}"#, What::RestartInput { input: "a".into() }),
            (r#"{"id":"1","command":"sample-now"}"#, What::SampleNow { input: None }),
            (r#"{"command":"flush","id":"1"}"#, What::Flush {}),
            (r#"{"id":"1","command":"status"}"#, What::Status {}),
        ] {
            assert_eq!(parsed(text), Ok(what), "{text}");
        }
    }

    #[test]
    fn what_is_no_command_is_answered_where_it_has_an_id() {
        for text in ["", "x", "[]", r#"{"command":"flush"}"#, r#"{"id":"","command":"flush"}"#, r#"{"id":7}"#]
        {
            assert_eq!(parsed(text), Err(OrderError::Id), "{text}");
        }
        for text in [
            r#"{"id":"1"}"#,
            r#"{"id":"1","command":"reboot"}"#,
            r#"{"id":"1","command":"flush","now":true}"#,
            r#"{"id":"1","command":"restart-input"}"#,
        ] {
            assert!(matches!(parsed(text), Err(OrderError::What { id, .. }) if id == "1"), "{text}");
        }
        assert_eq!(
            parsed(&format!(r#"{{"id":"{}","command":"flush"}}"#, "x".repeat(129))),
            Err(OrderError::Id)
        );
    }
}
