//! Base fields applied to the records after them (RFC 8428 §4.5 and §4.6).

use super::record::{Number, Record};
use super::{ForeignPackError, Resolved, Time};
use crate::limits::{
    FOREIGN_PACK_BYTES_MAX, MEASUREMENT_NAME_BYTES_MAX, PACK_MEASUREMENTS_MAX, UNIT_BYTES_MAX,
};
use crate::senml::Value;

/// Of RFC 8428; those after it change what is known here.
const VERSION_MAX: f64 = 10.0;
/// §4.5.3: times below 2²⁸ s are relative to now.
const RELATIVE_BELOW_S: f64 = 268_435_456.0;
/// Later and earlier times than this (the years 5138 and −1199), in ms since 1970 or from now, are no measurement's.
const TIME_MS_MAX: f64 = 1e14;

/// Integers up to this are exact as doubles.
const EXACT_MAX: u128 = 1 << 53;

/// What records before have set.
#[derive(Default)]
struct Base {
    name: String,
    time: Option<Number>,
    unit: Option<String>,
    value: Option<Number>,
    sum: Option<Number>,
}

/// A pack as far as it was read.
#[derive(Default)]
pub struct Resolving {
    base: Base,
    /// Records so far.
    read: usize,
    resolved: Vec<Resolved>,
    name_bytes: usize,
}

impl Resolving {
    pub fn with(mut self, mut record: Record) -> Result<Self, ForeignPackError> {
        self.read += 1;
        if self.read > PACK_MEASUREMENTS_MAX {
            return Err(ForeignPackError::TooMany);
        }
        record.check(self.read)?;
        self.base.set(&mut record, self.read)?;
        if record.has_regular {
            let one = self.base.apply(record, self.read)?;
            self.name_bytes += one.name.len();
            if self.name_bytes > FOREIGN_PACK_BYTES_MAX {
                return Err(ForeignPackError::NamesTooLong);
            }
            self.resolved.push(one);
        }
        Ok(self)
    }

    pub fn finish(self) -> Result<Vec<Resolved>, ForeignPackError> {
        if self.resolved.is_empty() { Err(ForeignPackError::Empty) } else { Ok(self.resolved) }
    }
}

impl Base {
    fn set(&mut self, from: &mut Record, record: usize) -> Result<(), ForeignPackError> {
        if let Some(version) = from.base_version
            && !(1.0..=VERSION_MAX).contains(&version.as_f64())
        {
            let version = version.as_f64().to_string();
            return Err(ForeignPackError::Version { record, version });
        }
        if let Some(name) = from.base_name.take() {
            if name.len() > MEASUREMENT_NAME_BYTES_MAX {
                return Err(ForeignPackError::NameTooLong { record });
            }
            self.name = name;
        }
        if let Some(unit) = from.base_unit.take() {
            self.unit = Some(checked_unit(unit, record)?);
        }
        self.time = from.base_time.or(self.time);
        self.value = from.base_value.or(self.value);
        self.sum = from.base_sum.or(self.sum);
        Ok(())
    }

    fn apply(&self, from: Record, record: usize) -> Result<Resolved, ForeignPackError> {
        let name = self.name.clone() + from.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            return Err(ForeignPackError::NameMissing { record });
        }
        if name.len() > MEASUREMENT_NAME_BYTES_MAX {
            return Err(ForeignPackError::NameTooLong { record });
        }
        let unit = match from.unit {
            Some(own) => Some(checked_unit(own, record)?),
            None => self.unit.clone(),
        };
        let range = ForeignPackError::NumberRange { record };
        let sum = added(self.sum, from.sum).map_err(|()| range.clone())?;
        let value = match from.other {
            Some(other) => Some(other),
            None => added(self.value, from.number).map_err(|()| range)?,
        };
        if value.is_none() && sum.is_none() {
            return Err(ForeignPackError::ValueMissing { record });
        }
        let time = self.time(from.time).ok_or(ForeignPackError::TimeRange { record })?;
        Ok(Resolved { name, unit, value, sum, time })
    }

    fn time(&self, own: Option<Number>) -> Option<Time> {
        let sum = self.time.unwrap_or(Number::ZERO).plus(own.unwrap_or(Number::ZERO))?.as_f64();
        let ms = (sum * 1000.0).round();
        if ms.abs() > TIME_MS_MAX {
            return None;
        }
        let ms = ms as i64;
        Some(if sum < RELATIVE_BELOW_S { Time::FromNow(ms) } else { Time::At(ms) })
    }
}

fn checked_unit(unit: String, record: usize) -> Result<String, ForeignPackError> {
    if unit.len() > UNIT_BYTES_MAX { Err(ForeignPackError::UnitTooLong { record }) } else { Ok(unit) }
}

/// Where one is missing it is zero, where both are there is none (§4.5.4).
fn added(base: Option<Number>, own: Option<Number>) -> Result<Option<Value>, ()> {
    if base.is_none() && own.is_none() {
        return Ok(None);
    }
    let sum = base.unwrap_or(Number::ZERO).plus(own.unwrap_or(Number::ZERO)).ok_or(())?;
    match sum {
        // A double where that is exact, so that a sensor does not change its type between 19 and 19.5.
        Number::Integer(number) if number.unsigned_abs() <= EXACT_MAX => {
            Ok(Some(Value::Float(number as f64)))
        }
        Number::Integer(number) if (-(1 << 64)..1 << 64).contains(&number) => {
            Ok(Some(Value::Integer(number)))
        }
        Number::Integer(_) => Err(()),
        Number::Float(number) => Ok(Some(Value::Float(number))),
    }
}
