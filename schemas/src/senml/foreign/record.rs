//! One record as it stands in a pack.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ForeignPackError;
use crate::cbor::{Fields, Item, Label};
use crate::senml::Value;

/// A number as it was written: integers stay exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    pub const ZERO: Self = Self::Integer(0);

    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// `None` where the sum is no finite number. Integers of 64 bits do not overflow.
    pub fn plus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Integer(0), number) | (number, Self::Integer(0)) => Some(number),
            (Self::Integer(one), Self::Integer(other)) => Some(Self::Integer(one + other)),
            (one, other) => Some(Self::Float(one.as_f64() + other.as_f64())),
        }
        .filter(|sum| sum.as_f64().is_finite())
    }
}

/// Fields of a record with nothing resolved, and the first thing that is wrong in it.
#[derive(Debug, Default)]
pub struct Record {
    pub base_version: Option<Number>,
    pub base_name: Option<String>,
    pub base_time: Option<Number>,
    pub base_unit: Option<String>,
    pub base_value: Option<Number>,
    pub base_sum: Option<Number>,
    pub name: Option<String>,
    pub unit: Option<String>,
    pub number: Option<Number>,
    /// Text, a boolean or bytes.
    pub other: Option<Value>,
    pub sum: Option<Number>,
    pub time: Option<Number>,
    /// Any that is not of the base fields: without one a record only sets those.
    pub has_regular: bool,
    wrong: Option<Wrong>,
}

#[derive(Debug)]
enum Wrong {
    Label(&'static str),
    Number(&'static str),
    ValueTwice,
    MustUnderstand(String),
}

/// What a label stands for.
#[derive(Clone, Copy)]
struct Known {
    label: &'static str,
    number: i64,
}

/// RFC 8428, table 4.
const KNOWN: [Known; 15] = [
    Known { label: "bver", number: -1 },
    Known { label: "bn", number: -2 },
    Known { label: "bt", number: -3 },
    Known { label: "bu", number: -4 },
    Known { label: "bv", number: -5 },
    Known { label: "bs", number: -6 },
    Known { label: "n", number: 0 },
    Known { label: "u", number: 1 },
    Known { label: "v", number: 2 },
    Known { label: "vs", number: 3 },
    Known { label: "vb", number: 4 },
    Known { label: "s", number: 5 },
    Known { label: "t", number: 6 },
    Known { label: "ut", number: 7 },
    Known { label: "vd", number: 8 },
];

impl Fields for Record {
    fn field(&mut self, label: Label, item: Item<'static>) {
        let known = KNOWN.iter().find(|known| match &label {
            Label::Int(number) => known.number == *number,
            Label::Text(text) => known.label == text,
        });
        let taken = match (known, label) {
            (Some(known), _) => {
                self.has_regular |= known.number >= 0;
                self.set(known.label, item)
            }
            (None, Label::Text(text)) if text.ends_with('_') => Err(Wrong::MustUnderstand(text)),
            (None, _) => Ok(()),
        };
        if let (Err(wrong), None) = (taken, &self.wrong) {
            self.wrong = Some(wrong);
        }
    }
}

impl Record {
    /// What is wrong in it, for the record of this place.
    pub fn check(&self, record: usize) -> Result<(), ForeignPackError> {
        Err(match &self.wrong {
            None => return Ok(()),
            Some(Wrong::Label(label)) => ForeignPackError::Label { record, label },
            Some(Wrong::Number(label)) => ForeignPackError::Number { record, label },
            Some(Wrong::ValueTwice) => ForeignPackError::ValueTwice { record },
            Some(Wrong::MustUnderstand(label)) => {
                ForeignPackError::MustUnderstand { record, label: label.clone() }
            }
        })
    }

    fn set(&mut self, label: &'static str, item: Item<'static>) -> Result<(), Wrong> {
        let text = match label {
            "bn" => Some(&mut self.base_name),
            "bu" => Some(&mut self.base_unit),
            "n" => Some(&mut self.name),
            "u" => Some(&mut self.unit),
            _ => None,
        };
        if let Some(slot) = text {
            let Item::Text(text) = item else { return Err(Wrong::Label(label)) };
            return first(slot, text.into_owned(), label);
        }
        let value = match (label, item) {
            ("vs", Item::Text(text)) => Value::Text(text.into_owned()),
            ("vb", Item::Bool(truth)) => Value::Bool(truth),
            ("vd", Item::Bytes(bytes)) => Value::Bytes(bytes.into_owned()),
            ("vd", Item::Text(text)) => {
                let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
                Value::Bytes(bytes.map_err(|_| Wrong::Label(label))?)
            }
            ("vs" | "vb" | "vd", _) => return Err(Wrong::Label(label)),
            (_, item) => return self.set_number(label, &item),
        };
        if self.number.is_some() || self.other.is_some() {
            return Err(Wrong::ValueTwice);
        }
        self.other = Some(value);
        Ok(())
    }

    fn set_number(&mut self, label: &'static str, item: &Item<'_>) -> Result<(), Wrong> {
        let number = match item {
            Item::Int(number) => Number::Integer(*number),
            Item::Float(number) | Item::Decimal(number) => Number::Float(*number),
            _ => return Err(Wrong::Number(label)),
        };
        let slot = match label {
            "bver" => &mut self.base_version,
            "bt" => &mut self.base_time,
            "bv" => &mut self.base_value,
            "bs" => &mut self.base_sum,
            "v" if self.other.is_some() => return Err(Wrong::ValueTwice),
            "v" => &mut self.number,
            "s" => &mut self.sum,
            "t" => &mut self.time,
            // The update time.
            _ => return Ok(()),
        };
        first(slot, number, label)
    }
}

fn first<T>(slot: &mut Option<T>, value: T, label: &'static str) -> Result<(), Wrong> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Wrong::Label(label)),
    }
}
