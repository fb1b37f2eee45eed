//! SenML packs from others (RFC 8428), in JSON and in CBOR: base fields, times relative to now, sums; resolved as
//! its §4.6 says, with the reader's "now" left open.
//!
//! ```text
//! -1 bver   -2 bn   -3 bt   -4 bu   -5 bv   -6 bs        base fields: for this record and those after it
//!  0 n   1 u   2 v   3 vs   4 vb   5 s   6 t   7 ut   8 vd    `vd` in JSON is text in base64url
//! ```
//!
//! A pack is taken as a whole or not at all: what a record means depends on those before it. Labels that are not
//! known are skipped, unless they end with `_` (§4.4). The update time says nothing of a value and is left out.

mod record;
mod resolve;

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use self::record::Record;
use self::resolve::Resolving;
use crate::cbor::{self, MapIn};
use crate::limits::{
    FOREIGN_PACK_BYTES_MAX, FOREIGN_PACK_DEPTH_MAX, MEASUREMENT_NAME_BYTES_MAX, PACK_MEASUREMENTS_MAX,
    UNIT_BYTES_MAX,
};
use crate::senml::Value;

/// How a pack is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/senml+json`
    Json,
    /// `application/senml+cbor`
    Cbor,
}

/// A record with its base fields applied. It has a value, a sum or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// As it stands in the pack: no percent-coding is undone.
    pub name: String,
    pub unit: Option<String>,
    pub value: Option<Value>,
    /// The value integrated over time, in its unit times seconds.
    pub sum: Option<Value>,
    pub time: Time,
}

/// When it was measured (§4.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Time {
    /// ms since 1970.
    At(i64),
    /// ms after now; those that are negative are before it.
    FromNow(i64),
}

/// Why a pack is not taken. Records count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignPackError {
    #[error("the pack has {bytes} bytes, allowed are {FOREIGN_PACK_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("no SenML in JSON: {0}")]
    Json(String),
    #[error("no array of SenML records in CBOR")]
    Cbor,
    #[error("more than {PACK_MEASUREMENTS_MAX} records in the pack")]
    TooMany,
    #[error("record {record}: {label} is of the wrong type, or there twice")]
    Label { record: usize, label: &'static str },
    #[error("record {record}: {label} is to be a number")]
    Number { record: usize, label: &'static str },
    #[error("record {record}: the field {label:?} must be understood, and is not")]
    MustUnderstand { record: usize, label: String },
    #[error("record {record}: version {version} of SenML is not known; 10 is, and those before it")]
    Version { record: usize, version: String },
    #[error("record {record} has no name")]
    NameMissing { record: usize },
    #[error("record {record}: its name is longer than {MEASUREMENT_NAME_BYTES_MAX} bytes")]
    NameTooLong { record: usize },
    #[error("record {record}: its unit is longer than {UNIT_BYTES_MAX} bytes")]
    UnitTooLong { record: usize },
    #[error("record {record} has no value")]
    ValueMissing { record: usize },
    #[error("record {record} has more than one value")]
    ValueTwice { record: usize },
    #[error("record {record}: a number is not finite, or too large")]
    NumberRange { record: usize },
    #[error("record {record}: its time is too far from now")]
    TimeRange { record: usize },
    #[error("the resolved names are longer than {FOREIGN_PACK_BYTES_MAX} bytes together")]
    NamesTooLong,
    #[error("there is nothing in the pack")]
    Empty,
}

/// Reads and resolves a pack.
pub fn read_foreign_pack(pack: &[u8], encoding: Encoding) -> Result<Vec<Resolved>, ForeignPackError> {
    if pack.len() > FOREIGN_PACK_BYTES_MAX {
        return Err(ForeignPackError::TooLarge { bytes: pack.len() });
    }
    let Records(resolving) = match encoding {
        Encoding::Json => {
            serde_json::from_slice(pack).map_err(|error| ForeignPackError::Json(error.to_string()))?
        }
        Encoding::Cbor => {
            cbor::from_slice(pack, FOREIGN_PACK_DEPTH_MAX).map_err(|_| ForeignPackError::Cbor)?
        }
    };
    resolving?.finish()
}

/// What has become of records as they were read: a pack is never there in two forms at a time.
struct Records(Result<Resolving, ForeignPackError>);

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;

        impl<'de> Visitor<'de> for Array {
            type Value = Records;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of SenML records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Records, A::Error> {
                let mut resolving = Ok(Resolving::default());
                while let Some(MapIn::<Record>(record)) = seq.next_element()? {
                    resolving = resolving.and_then(|so_far| so_far.with(record));
                }
                Ok(Records(resolving))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, tagged: D) -> Result<Records, D::Error> {
                tagged.deserialize_seq(self)
            }
        }

        deserializer.deserialize_seq(Array)
    }
}
