//! The program as a command line sees it.

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
