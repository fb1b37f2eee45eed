//! The program as a command line sees it.

use std::process::Command;

#[test]
fn help_shows_a_configuration() {
    let output = Command::new(env!("CARGO_BIN_EXE_bridge")).arg("--help").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.contains("[[pipelines]]"), "{printed}");
}

#[test]
fn a_check_without_a_hub_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bridge.toml");
    let text = "hub = \"127.0.0.1:1\"\n[[pipelines]]\nname = \"v\"\ntopics = [\"t\"]\nsink = { kind = \"json-view\" }\n";
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bridge"));
    let output = command
        .arg("check")
        .arg("--config")
        .arg(&config)
        .env("HEADWATER_HUB", "127.0.0.1:1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.lines().last().unwrap().contains("127.0.0.1:1"), "{said}");
}
