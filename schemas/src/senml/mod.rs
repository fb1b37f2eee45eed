//! SenML packs (RFC 8428) in CBOR: the value of a record.

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

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodePackError {
    #[error("a pack needs at least one measurement")]
    Empty,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodePackError {
    #[error("a pack needs at least one measurement")]
    Empty,
}

/// Encodes a pack.
pub fn encode_pack(_measurements: &[Measurement]) -> Result<Vec<u8>, EncodePackError> {
    unimplemented!()
}

/// Decodes a pack.
pub fn decode_pack(_pack: &[u8]) -> Result<Vec<Measurement>, DecodePackError> {
    unimplemented!()
}
