//! `[[sensors]]`: what is done to the measurements of a sensor before they are kept.

use std::collections::BTreeMap;

use glob::Pattern;
use serde::Deserialize;
use thiserror::Error;

/// The first whose `match` (and `input`, where given) fits a sensor is the sensor's.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct SensorSettings {
    /// The sensor's name as its input gives it; `*` and `?` stand for anything.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Only sensors of the input of this name.
    pub input: Option<String>,
    /// A value that differs from the last kept by this much or less is left out: `0.5`, or `"2 %"` of the last.
    pub deadband: Option<Deadband>,
    /// Values that come sooner after the last kept are left out.
    pub interval_min_ms: Option<u64>,
    /// A value that comes this long after the last kept is kept, though it is within the deadband.
    pub interval_max_ms: Option<u64>,
    /// Numbers are multiplied by this, then `offset` is added.
    pub scale: Option<f64>,
    pub offset: Option<f64>,
    /// Another name for it; `{}` stands for its own.
    pub rename: Option<String>,
    /// SenML's name of its unit (RFC 8428, RFC 8798).
    pub unit: Option<String>,
    /// For the records that it is in.
    pub tags: BTreeMap<String, String>,
    /// Nothing of it is kept.
    pub drop: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deadband {
    Absolute(f64),
    /// Of the last value that was kept.
    Percent(f64),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DeadbandText {
    Number(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Deadband {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let wrong = || D::Error::custom("deadband: a number, or a percentage such as \"2 %\", is needed");
        match DeadbandText::deserialize(source).map_err(|_| wrong())? {
            DeadbandText::Number(number) => Ok(Self::Absolute(number)),
            DeadbandText::Text(text) => {
                let number = text.trim().strip_suffix('%').ok_or_else(wrong)?;
                number.trim().parse().map(Self::Percent).map_err(|_| wrong())
            }
        }
    }
}

/// A rule as it will be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorRule {
    pub pattern: Pattern,
    pub input: Option<String>,
    pub deadband: Option<Deadband>,
    pub interval_min_ms: i64,
    pub interval_max_ms: Option<i64>,
    pub scale: f64,
    pub offset: f64,
    pub rename: Option<String>,
    pub unit: Option<String>,
    pub tags: Vec<(String, String)>,
    pub drop: bool,
}

impl SensorRule {
    /// Whether it is for sensors of this input too.
    pub fn concerns(&self, input: &str) -> bool {
        self.input.as_deref().is_none_or(|name| name == input)
    }
}

#[derive(Debug, Error)]
pub enum SensorError {
    #[error("`match` is missing: it names the sensors, as \"cpu.*\"")]
    NoMatch,
    #[error("match: {0:?}: {1}")]
    Pattern(String, &'static str),
    #[error("deadband: a finite number that is not negative is needed")]
    Deadband,
    #[error("interval_max_ms is less than interval_min_ms")]
    Intervals,
    #[error("an interval is longer than can be")]
    Interval,
    #[error("scale and offset must be finite numbers, scale not 0")]
    Scale,
    #[error("rename: a name is needed")]
    Rename,
    #[error("there is no input {0:?}")]
    NoInput(String),
}

impl SensorSettings {
    /// `inputs` are the names of all inputs.
    pub(super) fn validate(self, inputs: &[String]) -> Result<SensorRule, SensorError> {
        if self.pattern.is_empty() {
            return Err(SensorError::NoMatch);
        }
        let pattern = Pattern::new(&self.pattern)
            .map_err(|error| SensorError::Pattern(self.pattern.clone(), error.msg))?;
        if let Some(Deadband::Absolute(band) | Deadband::Percent(band)) = self.deadband
            && !(band.is_finite() && band >= 0.0)
        {
            return Err(SensorError::Deadband);
        }
        let ms = |ms: u64| i64::try_from(ms).map_err(|_| SensorError::Interval);
        let interval_min_ms = ms(self.interval_min_ms.unwrap_or(0))?;
        let interval_max_ms = self.interval_max_ms.map(ms).transpose()?;
        if interval_max_ms.is_some_and(|max| max < interval_min_ms) {
            return Err(SensorError::Intervals);
        }
        let (scale, offset) = (self.scale.unwrap_or(1.0), self.offset.unwrap_or(0.0));
        if !scale.is_finite() || !offset.is_finite() || scale == 0.0 {
            return Err(SensorError::Scale);
        }
        if self.rename.as_ref().is_some_and(String::is_empty) {
            return Err(SensorError::Rename);
        }
        if let Some(input) = self.input.as_ref().filter(|input| !inputs.contains(input)) {
            return Err(SensorError::NoInput(input.clone()));
        }
        Ok(SensorRule {
            pattern,
            input: self.input,
            deadband: self.deadband,
            interval_min_ms,
            interval_max_ms,
            scale,
            offset,
            rename: self.rename,
            unit: self.unit,
            tags: self.tags.into_iter().collect(),
            drop: self.drop,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Result<SensorRule, String> {
        let settings: SensorSettings = serde_json::from_str(json).map_err(|error| error.to_string())?;
        settings.validate(&["meter".to_owned()]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_deadband_is_a_number_or_a_percentage() {
        let deadband = |json: &str| rule(json).unwrap().deadband;
        assert_eq!(deadband(r#"{"match":"a","deadband":1}"#), Some(Deadband::Absolute(1.0)));
        assert_eq!(deadband(r#"{"match":"a","deadband":"2.5 %"}"#), Some(Deadband::Percent(2.5)));
        for wrong in [r#""2""#, "-1", r#""x %""#, "true", r#""-1 %""#, r#""NaN %""#] {
            let said = rule(&format!(r#"{{"match":"a","deadband":{wrong}}}"#)).unwrap_err();
            assert!(said.contains("deadband"), "{said}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (json, told) in [
            (r#"{"deadband":1}"#, "`match` is missing"),
            (r#"{"match":"a[","drop":true}"#, "match"),
            (r#"{"match":"a","interval_min_ms":2,"interval_max_ms":1}"#, "less than"),
            (r#"{"match":"a","scale":0}"#, "scale"),
            (r#"{"match":"a","rename":""}"#, "rename"),
            (r#"{"match":"a","input":"pump"}"#, "no input \"pump\""),
            (r#"{"match":"a","deadbnd":1}"#, "deadbnd"),
        ] {
            let said = rule(json).unwrap_err();
            assert!(said.contains(told), "{said}");
        }
        let rule = rule(r#"{"match":"a*","input":"meter"}"#).unwrap();
        assert!(rule.concerns("meter") && !rule.concerns("host"));
    }
}
