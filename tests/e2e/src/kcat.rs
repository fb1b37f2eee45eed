//! kcat as the one who steers devices.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes records, keys and values, and waits until they are acknowledged. An empty value is a deletion.
///
/// # Panics
/// Where kcat cannot be started or is refused.
pub fn produce(kcat: &Path, brokers: &str, topic: &str, records: &[(&str, &str)]) {
    let mut child = Command::new(kcat)
        .args(["-P", "-Z", "-K", "=", "-t", topic, "-b", brokers])
        .stdin(Stdio::piped())
        .spawn()
        .expect("kcat can be started");
    let lines: String = records.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    let mut input = child.stdin.take().expect("a piped standard input");
    input.write_all(lines.as_bytes()).expect("kcat reads");
    drop(input);
    assert!(child.wait().expect("a child can be waited for").success(), "kcat was refused");
}
