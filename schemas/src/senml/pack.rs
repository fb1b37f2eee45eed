//! Packs to and from CBOR.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::cbor::{self, Fields, Item, Label, MapIn, MapOut};
use crate::limits::{
    MEASUREMENT_NAME_BYTES_MAX, PACK_BYTES_MAX, PACK_DEPTH_MAX, PACK_MEASUREMENTS_MAX, UNIT_BYTES_MAX,
};
use crate::senml::name::{decode_name, encode_name};
use crate::senml::{Measurement, Value};

mod label {
    pub const NAME: i64 = 0;
    pub const UNIT: i64 = 1;
    pub const NUMBER: i64 = 2;
    pub const TEXT: i64 = 3;
    pub const BOOL: i64 = 4;
    pub const SUM: i64 = 5;
    pub const TIME: i64 = 6;
    pub const UPDATE_TIME: i64 = 7;
    pub const BYTES: i64 = 8;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodePackError {
    #[error("a pack needs at least one measurement")]
    Empty,
    #[error("a pack has at most {PACK_MEASUREMENTS_MAX} measurements, this one has {count}")]
    TooMany { count: usize },
    #[error("a measurement needs a name")]
    NameMissing,
    #[error("the name {name:?} is longer than {MEASUREMENT_NAME_BYTES_MAX} bytes in its coded form")]
    NameTooLong { name: String },
    #[error("the unit of {name:?} is longer than {UNIT_BYTES_MAX} bytes")]
    UnitTooLong { name: String },
    #[error("{name:?} is not a finite number")]
    NotFinite { name: String },
    #[error("the integer of {name:?} is beyond 64 bits")]
    IntegerRange { name: String },
    #[error("the pack has {bytes} bytes, allowed are {PACK_BYTES_MAX}")]
    TooLarge { bytes: usize },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodePackError {
    #[error("the pack has {bytes} bytes, allowed are {PACK_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("the pack is not an array of SenML records in CBOR")]
    Malformed,
    #[error("a pack needs at least one measurement")]
    Empty,
    #[error("measurement {index} has no name")]
    NameMissing { index: usize },
    #[error("measurement {index}: its name is longer than {MEASUREMENT_NAME_BYTES_MAX} bytes")]
    NameTooLong { index: usize },
    #[error("measurement {index}: its unit is longer than {UNIT_BYTES_MAX} bytes")]
    UnitTooLong { index: usize },
    #[error("measurement {index} has no value")]
    ValueMissing { index: usize },
    #[error("measurement {index} is not a finite number")]
    NotFinite { index: usize },
    #[error("measurement {index}: label {label} is of the wrong type or twice there")]
    Label { index: usize, label: i64 },
    #[error("measurement {index}: label {label} may not stand in a resolved record without a time")]
    Unresolved { index: usize, label: i64 },
    #[error("measurement {index}: a label that must be understood is not")]
    MustUnderstand { index: usize },
}

/// Encodes a pack.
pub fn encode_pack(measurements: &[Measurement]) -> Result<Vec<u8>, EncodePackError> {
    let count = measurements.len();
    if count == 0 {
        return Err(EncodePackError::Empty);
    }
    if count > PACK_MEASUREMENTS_MAX {
        return Err(EncodePackError::TooMany { count });
    }
    measurements.iter().try_for_each(check)?;
    let pack = cbor::to_vec(&cbor::ArrayOut(|| measurements.iter().map(entry)));
    if pack.len() > PACK_BYTES_MAX {
        return Err(EncodePackError::TooLarge { bytes: pack.len() });
    }
    Ok(pack)
}

fn check(measurement: &Measurement) -> Result<(), EncodePackError> {
    let name = || measurement.name.clone();
    if measurement.name.is_empty() {
        return Err(EncodePackError::NameMissing);
    }
    if encode_name(&measurement.name).len() > MEASUREMENT_NAME_BYTES_MAX {
        return Err(EncodePackError::NameTooLong { name: name() });
    }
    if measurement.unit.as_ref().is_some_and(|unit| unit.len() > UNIT_BYTES_MAX) {
        return Err(EncodePackError::UnitTooLong { name: name() });
    }
    match measurement.value {
        Value::Float(number) if !number.is_finite() => Err(EncodePackError::NotFinite { name: name() }),
        // CBOR's integers: the negative ones reach one further.
        Value::Integer(number) if !(-(1 << 64)..1 << 64).contains(&number) => {
            Err(EncodePackError::IntegerRange { name: name() })
        }
        _ => Ok(()),
    }
}

fn entry(measurement: &Measurement) -> MapOut<'_, 3> {
    let value = match &measurement.value {
        Value::Float(number) => (label::NUMBER, Item::Float(*number)),
        Value::Integer(number) => (label::NUMBER, Item::Int(*number)),
        Value::Text(text) => (label::TEXT, Item::Text(text.into())),
        Value::Bool(truth) => (label::BOOL, Item::Bool(*truth)),
        Value::Bytes(bytes) => (label::BYTES, Item::Bytes(Cow::Borrowed(bytes))),
    };
    MapOut([
        Some((label::NAME, Item::Text(encode_name(&measurement.name)))),
        measurement.unit.as_ref().map(|unit| (label::UNIT, Item::Text(unit.into()))),
        Some(value),
    ])
}

/// Decodes a pack.
pub fn decode_pack(pack: &[u8]) -> Result<Vec<Measurement>, DecodePackError> {
    if pack.len() > PACK_BYTES_MAX {
        return Err(DecodePackError::TooLarge { bytes: pack.len() });
    }
    let Entries(entries) = cbor::from_slice(pack, PACK_DEPTH_MAX).map_err(|_| DecodePackError::Malformed)?;
    if entries.is_empty() {
        return Err(DecodePackError::Empty);
    }
    entries.into_iter().enumerate().map(|(index, entry)| entry.resolve(index)).collect()
}

struct Entries(Vec<Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;

        impl<'de> Visitor<'de> for Array {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of SenML records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(MapIn(entry)) = seq.next_element()? {
                    if entries.len() == PACK_MEASUREMENTS_MAX {
                        return Err(de::Error::custom("too many measurements"));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, tagged: D) -> Result<Entries, D::Error> {
                tagged.deserialize_seq(self)
            }
        }

        deserializer.deserialize_seq(Array)
    }
}

/// One record of a pack as it stands there, with the first thing that is wrong in it.
#[derive(Default)]
struct Entry {
    name: Option<String>,
    unit: Option<String>,
    value: Option<Value>,
    wrong: Option<Wrong>,
}

enum Wrong {
    Label(i64),
    Unresolved(i64),
    MustUnderstand,
}

impl Fields for Entry {
    fn field(&mut self, label: Label, item: Item<'static>) {
        let wrong = match label {
            Label::Text(text) => text.ends_with('_').then_some(Wrong::MustUnderstand),
            Label::Int(label) if label < 0 => Some(Wrong::Unresolved(label)),
            Label::Int(label @ (label::SUM | label::TIME | label::UPDATE_TIME)) => {
                Some(Wrong::Unresolved(label))
            }
            Label::Int(label) => (!self.set(label, item)).then_some(Wrong::Label(label)),
        };
        if self.wrong.is_none() {
            self.wrong = wrong;
        }
    }
}

impl Entry {
    /// False where the item is of the wrong type or the label was there before.
    fn set(&mut self, label: i64, item: Item<'static>) -> bool {
        match (label, item) {
            (label::NAME, Item::Text(name)) => self.name.replace(name.into_owned()).is_none(),
            (label::UNIT, Item::Text(unit)) => self.unit.replace(unit.into_owned()).is_none(),
            (label::NUMBER, Item::Int(number)) => self.set_value(Value::Integer(number)),
            (label::NUMBER, Item::Float(number)) => self.set_value(Value::Float(number)),
            (label::TEXT, Item::Text(text)) => self.set_value(Value::Text(text.into_owned())),
            (label::BOOL, Item::Bool(truth)) => self.set_value(Value::Bool(truth)),
            (label::BYTES, Item::Bytes(bytes)) => self.set_value(Value::Bytes(bytes.into_owned())),
            (label::NAME..=label::BYTES, _) => false,
            _ => true,
        }
    }

    fn set_value(&mut self, value: Value) -> bool {
        self.value.replace(value).is_none()
    }

    fn resolve(self, index: usize) -> Result<Measurement, DecodePackError> {
        match self.wrong {
            Some(Wrong::Label(label)) => return Err(DecodePackError::Label { index, label }),
            Some(Wrong::Unresolved(label)) => return Err(DecodePackError::Unresolved { index, label }),
            Some(Wrong::MustUnderstand) => return Err(DecodePackError::MustUnderstand { index }),
            None => {}
        }
        let encoded = self.name.ok_or(DecodePackError::NameMissing { index })?;
        if encoded.len() > MEASUREMENT_NAME_BYTES_MAX {
            return Err(DecodePackError::NameTooLong { index });
        }
        let name = decode_name(&encoded).into_owned();
        if name.is_empty() {
            return Err(DecodePackError::NameMissing { index });
        }
        if self.unit.as_ref().is_some_and(|unit| unit.len() > UNIT_BYTES_MAX) {
            return Err(DecodePackError::UnitTooLong { index });
        }
        let value = self.value.ok_or(DecodePackError::ValueMissing { index })?;
        if matches!(value, Value::Float(number) if !number.is_finite()) {
            return Err(DecodePackError::NotFinite { index });
        }
        Ok(Measurement { name, unit: self.unit, value })
    }
}
