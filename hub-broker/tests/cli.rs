//! The program as a command line sees it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::process::Command;

#[test]
fn help_shows_examples() {
    let output = Command::new(env!("CARGO_BIN_EXE_hub-broker")).arg("--help").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.contains("Examples:"), "{printed}");
}

#[test]
fn a_tool_without_a_hub_says_where_it_looked() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hub-broker"));
    let output = command.args(["topic", "list", "--hub", "127.0.0.1:1"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("127.0.0.1:1") && said.contains("is it running?"), "{said}");
}

/// What it printed, and its exit code.
fn run(arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_hub-broker")).args(arguments).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (String::from_utf8(printed).unwrap(), output.status.code())
}

#[test]
fn serve_shows_how_three_hubs_are_started() {
    let (said, code) = run(&["serve", "--help"]);
    assert!(code == Some(0) && said.contains("--seed hub-1:9191,hub-2:9191,hub-3:9191"), "{said}");
}

#[test]
fn a_cluster_listener_without_a_cluster_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let mut arguments = vec!["serve", "--data-dir", path.to_str().unwrap()];
    for listener in ["--mqtt-listen", "--kafka-listen", "--http-listen", "--cluster-listen"] {
        arguments.extend([listener, "127.0.0.1:0"]);
    }
    let (said, code) = run(&arguments);
    assert!(code == Some(2) && said.contains("--seed") && said.contains("cluster init"), "{said}");
}

#[test]
fn a_directory_begins_a_cluster_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let init = ["cluster", "init", "--data-dir", path.to_str().unwrap(), "--node-id", "3"];
    let (said, code) = run(&init);
    assert!(code == Some(0) && said.contains("hub 3 begins a new cluster"), "{said}");
    let (said, code) = run(&init);
    assert!(code == Some(2) && said.contains("already"), "{said}");
}

#[test]
fn a_hub_is_drained_by_its_number() {
    let (said, code) = run(&["cluster", "drain", "0"]);
    assert!(code == Some(2) && said.contains('0'), "{said}");
    let (said, code) = run(&["cluster", "remove", "2", "--hub", "127.0.0.1:1"]);
    assert!(code == Some(1) && said.contains("is it running?"), "{said}");
}
