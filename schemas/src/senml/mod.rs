//! SenML packs (RFC 8428) in CBOR: the value of a record.
//!
//! An array of one or more *resolved* records, each a map with integer labels (RFC 8428 §6):
//!
//! ```text
//! 0 n   name, see `name`      2 v   number       4 vb  boolean
//! 1 u   unit, optional        3 vs  text         8 vd  bytes
//! ```
//!
//! One value each. There is no time inside: the record's timestamp is the time (RFC 8428 §4.5.3 reads small
//! times as relative to now). Labels that we do not know are skipped as §4.4 asks; those that would change
//! what a value means (base fields, time, sum) are refused.

pub mod foreign;
mod name;
mod pack;

pub use name::{decode_name, encode_name};
pub use pack::{DecodePackError, EncodePackError, decode_pack, encode_pack};

/// One sensor's value within a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// `{sensor}`, or `{child}/{sensor}` behind a gateway; any characters.
    pub name: String,
    pub unit: Option<String>,
    pub value: Value,
}

/// A measured value. What came in as an integer stays one.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Float(f64),
    /// From −2⁶⁴ to 2⁶⁴ − 1, which is what CBOR holds.
    Integer(i128),
    Text(String),
    Bool(bool),
    Bytes(Vec<u8>),
}

macro_rules! from_integer {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Value {
            fn from(value: $kind) -> Value {
                Value::Integer(value.into())
            }
        })*
    };
}
from_integer!(i32, u32, i64, u64);

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}
