//! Settings come from a TOML file, then `HEADWATER_…` environment variables, then flags; the later wins.
//!
//! The file is checked against the typed struct before anything is merged, because the `config` crate
//! turns numbers into strings and back and would accept `port = "1883"`. A key that nobody knows is an
//! error that names the nearest known one. An environment variable may belong to another of the three
//! programs: it is an error only where it looks like a slip for a key of this one.

use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The prefix of every environment variable that the programs read as a setting.
pub const PREFIX: &str = "HEADWATER_";
/// `HEADWATER_LOG` steers the log lines and is read before there are settings.
const LOG_VARIABLE: &str = "log";

#[derive(Debug, Error)]
pub enum SettingsError {
    #[error("{}: {source}; give --config a file that can be read", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{}{}: {what}", file.display(), line.map(|n| format!(", line {n}")).unwrap_or_default())]
    File { file: PathBuf, line: Option<usize>, what: String },
    #[error("environment variable {variable}: no such setting; did you mean {nearest}?")]
    Variable { variable: String, nearest: String },
    #[error("{what}")]
    Value { what: String },
}

/// A typed set of settings: all fields optional or defaulted, `deny_unknown_fields`.
pub trait Settings: DeserializeOwned {
    /// The names of the top-level keys.
    const KEYS: &'static [&'static str];
}

/// Reads the settings. `environment` is `std::env::vars()` outside tests; `flags` are the values of
/// those flags that were given, by key.
pub fn load<T: Settings>(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[(&str, Option<String>)],
) -> Result<T, SettingsError> {
    load_all(file, environment.collect(), flags)
}

fn load_all<T: Settings>(
    file: Option<&Path>,
    environment: Vec<(String, String)>,
    flags: &[(&str, Option<String>)],
) -> Result<T, SettingsError> {
    let mut builder = Config::builder();
    if let Some(path) = file {
        let text = checked_file::<T>(path)?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    for (variable, value) in environment {
        let Some(key) = variable.strip_prefix(PREFIX).map(str::to_lowercase) else { continue };
        let key = key.replace("__", ".");
        if !is_own::<T>(&variable, &key)? {
            continue;
        }
        builder = builder.set_override(&key, value).map_err(|error| value_error(&error, &variable))?;
    }
    for (key, value) in flags {
        if let Some(value) = value {
            builder = builder.set_override(*key, value.as_str()).map_err(|error| value_error(&error, key))?;
        }
    }
    let merged = builder.build().map_err(|error| value_error(&error, "settings"))?;
    merged.try_deserialize().map_err(|error| value_error(&error, "settings"))
}

/// The text of a file that `T` accepts as it stands.
fn checked_file<T: Settings>(path: &Path) -> Result<String, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Unreadable { file: path.to_owned(), source })?;
    match toml::from_str::<T>(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let line =
                error.span().map(|span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
            Err(SettingsError::File { file: path.to_owned(), line, what: explained(error.message()) })
        }
    }
}

/// Whether a variable sets a key of `T`; an error where it almost does.
fn is_own<T: Settings>(variable: &str, key: &str) -> Result<bool, SettingsError> {
    let top = key.split('.').next().unwrap_or(key);
    if T::KEYS.contains(&top) {
        return Ok(true);
    }
    match nearest(top, T::KEYS.iter().copied()) {
        Some(near) if top != LOG_VARIABLE && strsim::damerau_levenshtein(top, near) <= 2 => {
            let nearest = format!("{PREFIX}{}", near.to_uppercase());
            Err(SettingsError::Variable { variable: variable.to_owned(), nearest })
        }
        _ => Ok(false),
    }
}

/// serde says "unknown field `x`, expected one of `a`, `b`": of those, people want the nearest.
fn explained(message: &str) -> String {
    let message = crate::outcome::one_line(message);
    let Some(rest) = message.strip_prefix("unknown field ") else { return message };
    let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    match names.split_first() {
        Some((unknown, known)) => match nearest(unknown, known.iter().copied()) {
            Some(near) if is_alike(unknown, near) => {
                format!("unknown key `{unknown}`; did you mean `{near}`?")
            }
            _ => format!("unknown key `{unknown}`; known are {}", known.join(", ")),
        },
        None => message,
    }
}

/// Whether one may be a slip for the other: no more than half of it is different.
fn is_alike(unknown: &str, known: &str) -> bool {
    strsim::damerau_levenshtein(unknown, known) * 2 <= known.chars().count()
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|candidate| strsim::damerau_levenshtein(name, candidate))
}

fn value_error(error: &config::ConfigError, what: &str) -> SettingsError {
    let message = explained(&error.to_string());
    let what = if what == "settings" { message } else { format!("{what}: {message}") };
    SettingsError::Value { what }
}
