//! Where settings come from, which source wins, and what a slip is told.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::path::PathBuf;

use program::settings::{Settings, SettingsError, load};
use serde::Deserialize;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    data_dir: PathBuf,
    linger_ms: u64,
    listeners: Vec<Listener>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Listener {
    bind: String,
}

impl Default for Sample {
    fn default() -> Self {
        Self { data_dir: "here".into(), linger_ms: 1000, listeners: vec![] }
    }
}

impl Settings for Sample {
    const KEYS: &'static [&'static str] = &["data_dir", "linger_ms", "listeners"];
}

fn from(
    file: Option<&str>,
    variables: &[(&str, &str)],
    flags: &[(&str, Option<String>)],
) -> Result<Sample, SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    load(file.map(|_| path.as_path()), variables, flags)
}

fn refusal(file: Option<&str>, variables: &[(&str, &str)]) -> String {
    let message = from(file, variables, &[]).unwrap_err().to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

#[test]
fn nothing_given_means_the_defaults() {
    assert_eq!(from(None, &[], &[]).unwrap(), Sample::default());
}

#[test]
fn the_later_source_wins() {
    let file = Some("data_dir = \"file\"\nlinger_ms = 1\n[[listeners]]\nbind = \"a\"");
    let only_file = from(file, &[], &[]).unwrap();
    assert_eq!(only_file.data_dir, PathBuf::from("file"));
    assert_eq!(only_file.listeners.len(), 1);
    let variables = [("HEADWATER_LINGER_MS", "2"), ("HEADWATER_DATA_DIR", "environment")];
    let with_variables = from(file, &variables, &[]).unwrap();
    assert_eq!((with_variables.linger_ms, with_variables.data_dir), (2, "environment".into()));
    let with_flags = from(file, &variables, &[("linger_ms", Some("3".into())), ("data_dir", None)]).unwrap();
    assert_eq!((with_flags.linger_ms, with_flags.data_dir), (3, "environment".into()));
}

#[test]
fn an_unknown_key_names_file_line_and_the_nearest_known_one() {
    let message = refusal(Some("data_dir = \"x\"\nlinger_msec = 3"), &[]);
    assert!(message.contains("sample.toml, line 2"), "{message}");
    assert!(message.contains("unknown key `linger_msec`; did you mean `linger_ms`?"), "{message}");
}

#[test]
fn an_unknown_key_that_is_like_none_is_told_what_there_is() {
    let message = refusal(Some("bogus = 1"), &[]);
    assert!(message.contains("unknown key `bogus`; known are data_dir, linger_ms, listeners"), "{message}");
}

#[test]
fn an_unknown_key_in_a_table_is_told_likewise() {
    let message = refusal(Some("[[listeners]]\nbnd = \"x\""), &[]);
    assert!(message.contains("unknown key `bnd`; did you mean `bind`?"), "{message}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_even_where_it_could_be_converted() {
    let message = refusal(Some("linger_ms = \"1000\""), &[]);
    assert!(message.contains("line 1") && message.contains("expected u64"), "{message}");
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let message = refusal(Some("data_dir = \"x\"\n{json: true}"), &[]);
    assert!(message.contains("line 2"), "{message}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load::<Sample>(Some("/nonexistent/h.toml".as_ref()), std::iter::empty(), &[]).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/h.toml: No such file"), "{error}");
}

#[test]
fn a_variable_of_another_program_is_ignored_and_a_slip_is_not() {
    assert_eq!(
        from(None, &[("HEADWATER_KAFKA_LISTEN", "x"), ("OTHER", "y")], &[]).unwrap(),
        Sample::default()
    );
    let message = refusal(None, &[("HEADWATER_DATADIR", "x")]);
    assert!(message.contains("HEADWATER_DATADIR") && message.contains("HEADWATER_DATA_DIR"), "{message}");
}

#[test]
fn a_variable_with_a_value_of_the_wrong_type_is_refused() {
    let message = refusal(None, &[("HEADWATER_LINGER_MS", "soon")]);
    assert!(message.contains("linger_ms"), "{message}");
}
