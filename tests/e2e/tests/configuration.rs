//! Bad configuration: one line that says what and where, and exit code 2.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use testkit::binaries;

/// Runs a program to its end; answers its exit code and what it said.
fn run(program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binaries::path(program)).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
}

/// Refused with exit code 2 and one line that has all of these words.
fn assert_refused(program: &str, arguments: &[&str], words: &[&str]) {
    let (code, said) = run(program, arguments);
    assert_eq!(code, Some(2), "{program} {arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    for word in words {
        assert!(said.contains(word), "{program} {arguments:?} does not say {word:?}: {said}");
    }
}

fn file(folder: &Path, text: &str) -> String {
    let path = folder.join("settings.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The subcommand that runs each program.
const PROGRAMS: [(&str, &str); 3] = [("hub-broker", "serve"), ("edge-agent", "run"), ("bridge", "run")];

#[test]
fn an_unknown_key_names_the_file_the_line_and_a_known_key() {
    for ((program, verb), slip) in PROGRAMS.iter().zip(["data_dri", "lingerms", "huub"]) {
        let folder = tempfile::tempdir().unwrap();
        let config = file(folder.path(), &format!("# settings\n{slip} = 1\n"));
        assert_refused(
            program,
            &[verb, "--config", &config],
            &["settings.toml", "line 2", slip, "did you mean"],
        );
    }
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_line() {
    for (program, verb, line) in [
        ("hub-broker", "serve", "default_partitions = \"four\""),
        ("edge-agent", "run", "linger_ms = \"soon\""),
        ("bridge", "run", "hub = 9092"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = file(folder.path(), line);
        assert_refused(program, &[verb, "--config", &config], &["settings.toml", "line 1", "invalid type"]);
    }
}

#[test]
fn what_is_not_toml_is_said_so_with_its_line() {
    for (program, verb) in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        let config = file(folder.path(), "\n\n<xml/>");
        assert_refused(program, &[verb, "--config", &config], &["settings.toml", "line 3"]);
    }
}

#[test]
fn a_configuration_file_that_is_not_there_is_named() {
    for (program, verb) in PROGRAMS {
        assert_refused(
            program,
            &[verb, "--config", "/nonexistent/x.toml"],
            &["/nonexistent/x.toml", "No such file"],
        );
    }
}

#[test]
fn an_unknown_flag_is_named() {
    for (program, verb) in PROGRAMS {
        assert_refused(program, &[verb, "--no-such-flag"], &["--no-such-flag"]);
    }
}

#[test]
fn a_port_in_use_names_the_listener_and_the_address() {
    for flag in ["--mqtt-listen", "--kafka-listen", "--http-listen"] {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let mut arguments = vec!["serve", "--data-dir", folder.path().to_str().unwrap()];
        for other in ["--mqtt-listen", "--kafka-listen", "--http-listen"] {
            arguments.extend([other, if other == flag { address.as_str() } else { "127.0.0.1:0" }]);
        }
        assert_refused("hub-broker", &arguments, &[&address, "in use"]);
    }
}

#[test]
fn a_file_where_the_data_directory_should_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    std::fs::write(&path, "I was here first").unwrap();
    let path = path.display().to_string();
    let ports =
        ["--mqtt-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    assert_refused("hub-broker", &[&["serve", "--data-dir", &path], &ports[..]].concat(), &[&path]);
    assert_refused("edge-agent", &["run", "--data-dir", &path], &[&path]);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    // The kernel's own file system refuses everybody, root too.
    let path = "/proc/headwater";
    let ports =
        ["--mqtt-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    assert_refused("hub-broker", &[&["serve", "--data-dir", path], &ports[..]].concat(), &[path]);
    assert_refused("edge-agent", &["run", "--data-dir", path], &[path]);
}

#[test]
fn an_address_that_is_none_is_refused() {
    assert_refused("hub-broker", &["serve", "--mqtt-listen", "1883"], &["mqtt_listen", "HOST:PORT"]);
    assert_refused("edge-agent", &["run", "--hub", "ftp://example"], &["hub"]);
}

#[test]
fn a_door_beyond_loopback_needs_insecure() {
    let arguments = ["serve", "--kafka-listen", "0.0.0.0:9092", "--kafka-advertise", "localhost:9092"];
    assert_refused("hub-broker", &arguments, &["--insecure"]);
}

#[test]
fn help_and_version_are_answers_and_not_errors() {
    for (program, verb) in PROGRAMS {
        for arguments in [&["--help"][..], &["--version"][..], &[verb, "--help"][..]] {
            let (code, said) = run(program, arguments);
            assert_eq!((code, said.as_str()), (Some(0), ""), "{program} {arguments:?}");
        }
    }
}
