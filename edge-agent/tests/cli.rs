//! The command line: what is refused, how, and what the tools print.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use common::program::{edge_agent, ingest, output, status};

/// One line on standard error, exit code 2.
fn refused(arguments: &[&str]) -> String {
    let output = output(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{arguments:?}: {message}");
    assert!(output.stdout.is_empty());
    message
}

fn settings(folder: &Path, text: &str) -> String {
    let path = folder.join("agent.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn usage_and_settings_that_cannot_be_are_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let config = settings(folder.path(), "bufer_bytes = 1");
    assert!(refused(&["run", "--config", &config]).contains("did you mean `buffer_bytes`?"));
    let config = settings(folder.path(), "linger_ms = \"soon\"");
    assert!(refused(&["run", "--config", &config]).contains("line 1"));
    let config = settings(folder.path(), "[[inputs]]\nkind = \"modbas\"");
    assert!(refused(&["run", "--config", &config]).contains("modbas"));
    let config = settings(folder.path(), "linger_ms = 99999999");
    for command in ["run", "check", "status"] {
        let message = refused(&[command, "--config", &config]);
        assert!(message.contains(&format!("{config}: linger_ms: 99999999")), "{message}");
    }
    let config = settings(folder.path(), "linger_ms = 9");
    let message = refused(&["run", "--config", &config, "--linger-ms", "99999999"]);
    assert!(message.contains(" linger_ms: 99999999") && !message.contains(&config), "{message}");
    assert!(refused(&["run", "--hub", "http://x"]).contains("http://x"));
    assert!(refused(&["run", "--buffer-bytes", "many"]).contains("many"));
    assert!(refused(&["run", "--no-such-flag"]).contains("--no-such-flag"));
    assert!(refused(&[]).contains("--help"));
}

#[test]
fn what_stands_in_the_way_of_the_agents_files_is_named_with_what_to_do() {
    let (file, folder) = ("move the file away", "move the directory away");
    let ways = [
        ("buffer", false, file),
        ("buffer/data.mdb", true, folder),
        ("buffer/lock.mdb", true, folder),
        ("marker", true, folder),
        ("lock", true, folder),
    ];
    for (name, is_folder, what_to_do) in ways {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(name);
        if is_folder {
            std::fs::create_dir_all(&path).unwrap();
        } else {
            std::fs::write(&path, "").unwrap();
        }
        let data = data.path().to_str().unwrap();
        let output = output(&["run", "--data-dir", data, "--device-id", "d", "--no-host-input"]);
        let message = String::from_utf8(output.stderr).unwrap();
        let last = message.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(2), "{name}: {message}");
        let named = Path::new(data).join(name.split('/').next().unwrap());
        assert!(last.contains(named.to_str().unwrap()) && last.contains(what_to_do), "{name}: {message}");
    }
}

#[test]
fn a_data_directory_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    assert!(refused(&["run", "--data-dir", file]).contains(file));
    assert!(refused(&["run", "--data-dir", "/proc/headwater"]).contains("/proc/headwater"));
    assert!(refused(&["status", "--data-dir", "/nonexistent"]).contains("/nonexistent"));
}

#[test]
fn status_takes_no_room_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let lines = settings(folder.path(), "{\"n\": 1}");
    let dir = folder.path().join("data");
    let dir = dir.to_str().unwrap();
    let mut ingest = edge_agent(&["ingest", "--data-dir", dir, "--format", "json-lines", &lines]);
    assert!(ingest.env("HEADWATER_BUFFER_BYTES", "8388608").status().unwrap().success());
    // It is not told what the agent is.
    let mut status = edge_agent(&["status", "--data-dir", dir]);
    assert!(status.env_remove("HEADWATER_BUFFER__PREALLOCATE").output().unwrap().status.success());
    let meta = std::fs::metadata(folder.path().join("data/buffer/data.mdb")).unwrap();
    // In sectors, whatever the disk's are (stat(2)).
    assert!(meta.blocks() * 512 < 8 << 20, "{} sectors", meta.blocks());
}

#[test]
fn status_makes_no_buffer() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("device-id"), "pump-1\n").unwrap();
    assert_eq!(status(folder.path())["buffer"]["records"], 0);
    let text = output(&["status", "--data-dir", folder.path().to_str().unwrap()]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("buffer      there is none yet\n"), "{text}");
    assert!(!folder.path().join("buffer").exists());
}

#[test]
fn status_tells_of_a_damaged_buffer_that_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    assert!(ingest(folder.path(), 0..1).status.success());
    assert_eq!(status(folder.path())["buffer"]["set_aside_bytes"], serde_json::Value::Null);
    let kept = folder.path().join("buffer.set-aside");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("data.mdb"), vec![1; 8192]).unwrap();
    let text = output(&["status", "--data-dir", folder.path().to_str().unwrap()]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("set aside   8192 bytes of a damaged buffer"), "{text}");
}

#[test]
fn another_device_id_than_the_directorys_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(ingest(folder.path(), 0..1).status.success());
    let dir = folder.path().to_str().unwrap();
    let message = refused(&["run", "--data-dir", dir, "--device-id", "pump-2"]);
    assert!(message.contains("belongs to device pump-1, not to pump-2"), "{message}");
}

#[test]
fn whoever_reads_may_have_seen_enough() {
    let folder = tempfile::tempdir().unwrap();
    assert!(ingest(folder.path(), 0..1).status.success());
    let dir = folder.path().to_str().unwrap();
    let row = settings(folder.path(), "time,a\n1700000000,1\n");
    for arguments in [
        ["status", "--json", "--data-dir", dir].as_slice(),
        &["status", "--data-dir", dir],
        &["ingest", "--data-dir", dir, "--format", "csv", &row],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = edge_agent(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {said}");
    }
}

#[test]
fn help_has_examples_and_version_a_number() {
    let help = output(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("Examples:"));
    let version = output(&["--version"]);
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("edge-agent {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn ingest_names_bad_rows_by_their_line_and_stores_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.csv");
    std::fs::write(&file, "date,a\n2016-01-11,1\nsoon,2\n2016-01-12,3\n2016-01-13\n").unwrap();
    let dir = folder.path().join("data");
    let output =
        edge_agent(&["ingest", "--device-id", "pump-1", "--data-dir"]).arg(&dir).arg(&file).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "2 records stored, 0 dropped, 2 bad rows\n");
    let bad = String::from_utf8(output.stderr).unwrap();
    assert!(bad.contains("line 3: \"soon\" is no time") && bad.contains("line 5: 1 cells"), "{bad}");
    assert_eq!(status(&dir)["records"]["appended"], 2);
}

#[test]
fn a_file_that_is_not_there_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    assert!(refused(&["ingest", "--data-dir", dir, "/nonexistent.csv"]).contains("/nonexistent.csv"));
    assert!(refused(&["ingest", "--data-dir", dir, "--time-column", "at", "Cargo.toml"]).contains("\"at\""));
}

#[test]
fn ingest_obeys_the_cap_and_prints_what_was_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = edge_agent(&["ingest", "--device-id", "pump-1", "--data-dir"]);
    let file = folder.path().join("rows.jsonl");
    // Text that does not compress.
    let mut state = 1u64;
    let rows = (0..60_000).map(|n| {
        let noise: String = (0..12)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                format!("{:016x}", state ^ (state >> 29))
            })
            .collect();
        format!("{{\"ts\":{},\"text\":\"{noise}\"}}\n", 1_700_000_000 + n)
    });
    std::fs::write(&file, rows.collect::<String>()).unwrap();
    command.env("HEADWATER_BUFFER_BYTES", "4194304");
    let dir = folder.path().join("data");
    let output = command.arg(&dir).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let (stored, dropped): (u64, u64) = (words[0].parse().unwrap(), words[3].parse().unwrap());
    // What is dropped was stored first: the oldest goes.
    assert_eq!(stored, 60_000);
    assert!(dropped > 0 && dropped < 60_000, "{line}");
    let status = status(&dir);
    assert_eq!(status["records"]["dropped"].as_u64(), Some(dropped));
    assert_eq!(status["buffer"]["records"].as_u64(), Some(60_000 - dropped));
}

#[test]
fn the_published_file_is_taken_whole() {
    let Some(file) = shared_data("appliances-energy.csv") else {
        eprintln!("skipped: there is no appliances-energy.csv beside the repository");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output =
        edge_agent(&["ingest", "--device-id", "house", "--data-dir"]).arg(folder.path()).arg(file).output();
    let output = output.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "4932 records stored, 0 dropped\n");
    assert!(output.stderr.is_empty());
}

fn shared_data(name: &str) -> Option<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    Some(root.parent()?.join("shared/data").join(name)).filter(|path| path.exists())
}

#[test]
fn more_log_topics_than_a_connection_names_are_told_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let store = |topic: &str| {
        let mut command =
            edge_agent(&["ingest", "--device-id", "pump-1", "--data-dir", dir, "--topic", topic]);
        let csv = folder.path().join("one.csv");
        std::fs::write(&csv, "time,n\n2026-01-01,1\n").unwrap();
        assert!(command.arg(&csv).output().unwrap().status.success());
    };
    (0..80).for_each(|n| store(&format!("topic-{n}")));
    let inputs = |topic: &str| {
        settings(
            folder.path(),
            &format!(
                "data_dir = {dir:?}\n[[inputs]]\nkind = \"exec\"\ncommand = [\"true\"]\ninterval_ms = 1000\n\
                 format = \"json-lines\"\ntopic = \"{topic}\"\n"
            ),
        )
    };
    let told = |topic: &str| {
        let output = output(&["check", "--wait", "1", "--config", &inputs(topic)]);
        let told = String::from_utf8(output.stdout).unwrap();
        told.lines().find(|line| line.starts_with("log topics")).map(str::to_owned)
    };
    assert_eq!(told("topic-3"), None, "a connection names 80");
    let warned = told("another").unwrap();
    assert!(
        warned.contains("WARN") && warned.contains("81") && warned.contains("80: they take turns"),
        "{warned}"
    );
}
