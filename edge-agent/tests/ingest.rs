//! `ingest`: what it takes, when it is durable, and what it says.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use common::program::{Agent, edge_agent, try_status, until};

/// `ingest -` that goes on for as long as its standard input is held.
fn following(dir: &Path) -> Child {
    let mut command = edge_agent(&["ingest", "--device-id", "pump-1", "--data-dir"]);
    command.arg(dir).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn write(child: &mut Child, line: &str) {
    child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
}

fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_row_that_is_followed_by_none_is_buffered_by_a_running_agent_after_the_linger() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::run(folder.path(), "mqtt://127.0.0.1:1", &["--no-host-input"]);
    agent.wait("the agent", |status| status["running"] == true);
    let mut ingest = following(folder.path());
    write(&mut ingest, "{\"n\": 1}\n");
    agent.wait("the first row", |status| status["buffer"]["records"] == 1);
    write(&mut ingest, "{\"n\": 2}\n");
    agent.wait("the second row", |status| status["buffer"]["records"] == 2);
    assert_eq!(ended(ingest).1, "2 records stored, 0 dropped\n");
}

/// Waits until another process's buffer would be found with so many records after a power cut.
fn wait_durable(dir: &Path, records: u64) {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("buffer")).unwrap();
    until("the rows", || {
        for entry in ["device-id", "marker", "buffer/data.mdb"] {
            std::fs::copy(dir.join(entry), copy.path().join(entry)).ok()?;
        }
        (try_status(copy.path())?["buffer"]["records"] == records).then_some(())
    });
}

#[test]
fn without_an_agent_a_row_is_durable_after_the_linger_and_a_signal_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut ingest = following(folder.path());
    write(&mut ingest, "{\"n\": 1}\n");
    wait_durable(folder.path(), 1);
    write(&mut ingest, "{\"n\": 2}\n");
    wait_durable(folder.path(), 2);
    let held = ingest.stdin.take();
    let pid = rustix::process::Pid::from_child(&ingest);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let (code, said, why) = ended(ingest);
    drop(held);
    assert_eq!((code, said.as_str()), (Some(1), "2 records stored, 0 dropped\n"));
    assert!(why.contains("SIGTERM came before the rows' end"), "{why}");
    assert_eq!(try_status(folder.path()).unwrap()["buffer"]["records"], 2);
}

/// `ingest` of a file with this in it: exit code, standard output and standard error.
fn ingested(name: &str, text: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let mut command = edge_agent(&["ingest", "--device-id", "pump-1", "--data-dir"]);
    command.arg(folder.path().join("data")).args(more).arg(file);
    ended(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

#[test]
fn a_byte_order_mark_neither_hides_the_format_nor_costs_a_row() {
    let json = "\u{feff}{\"time\": 1700000000, \"n\": 1}\n{\"time\": 1700000001, \"n\": 2}\n";
    let csv = "\u{feff}\"date\",\"a\"\n2016-01-11,1\n2016-01-12,2\n";
    for (name, text) in [("rows", json), ("rows.jsonl", json), ("rows", csv), ("rows.csv", csv)] {
        let stored = (Some(0), "2 records stored, 0 dropped\n".to_owned(), String::new());
        assert_eq!(ingested(name, text, &[]), stored, "{name}: {text}");
    }
}

#[test]
fn a_json_array_is_told_to_be_one() {
    for (name, text) in
        [("rows", "[{\"n\": 1}]"), ("rows.json", "\n [\n{\"n\": 1}\n]\n"), ("rows", "\u{feff}[]")]
    {
        let (code, said, why) = ingested(name, text, &[]);
        assert_eq!((code, said.as_str()), (Some(1), ""), "{text}");
        assert!(why.contains("a JSON array; one object a line is needed"), "{why}");
    }
}

#[test]
fn what_was_made_of_a_csv_header_is_told() {
    for (text, told) in [
        ("a,b\n1,2\n", "--time-column"),
        ("date;a\n2016-01-11;1\n", "separated by ';'"),
        ("date\ta\n2016-01-11\t1\n", "separated by tabs"),
        (",date,a\n0,2016-01-11,1\n", "the first column has no name"),
    ] {
        let (code, said, why) = ingested("rows.csv", text, &[]);
        assert_eq!((code, said.as_str()), (Some(0), "1 records stored, 0 dropped\n"), "{text}");
        assert!(why.contains(told) && why.lines().count() == 1, "{why}");
    }
    assert!(ingested("rows.csv", "date,,a\n", &[]).2.contains("column 2 has no name: give it one"));
}

#[test]
fn a_bad_cell_costs_itself_alone_and_bad_rows_the_exit_code_only_where_nothing_is_stored() {
    let (code, said, why) = ingested("rows.csv", "date,a,b\n2016-01-11,NaN,1\n2016-01-12,inf,2\n", &[]);
    assert_eq!((code, said.as_str()), (Some(0), "2 records stored, 0 dropped, 2 bad cells\n"));
    assert!(why.starts_with("line 2: a: NaN") && why.lines().count() == 1, "{why}");
    let (code, said, why) = ingested("rows.csv", "date,a\nsoon,1\n2016-01-12,NaN\n", &[]);
    assert_eq!((code, said.as_str()), (Some(1), "0 records stored, 0 dropped, 2 bad rows, 1 bad cells\n"));
    assert!(why.contains("no row could be taken"), "{why}");
    assert_eq!(ingested("rows.csv", "date,a\nsoon,1\n2016-01-12,1\n", &[]).0, Some(0));
}

#[test]
fn line_protocol_is_told_by_the_name_or_said() {
    let text = "weather,site=north temperature=82 1465839830100400200\nweather temperature=\n# comment\nweather on=t\n";
    let (code, said, why) = ingested("rows.lp", text, &[]);
    assert_eq!((code, said.as_str()), (Some(0), "2 records stored, 0 dropped, 1 bad rows\n"), "{why}");
    assert!(why.starts_with("line 2: field \"temperature\""), "{why}");
    assert_eq!(ingested("rows.txt", text, &["--format", "line-protocol"]).1, said);
}

#[test]
fn rows_are_as_urgent_as_is_said_with_and_without_an_agent() {
    let folder = tempfile::tempdir().unwrap();
    let urgent = |priority: &str| {
        let mut command =
            edge_agent(&["ingest", "--device-id", "pump-1", "--priority", priority, "--data-dir"]);
        command
            .arg(folder.path())
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        write(&mut child, "{\"n\": 1}\n");
        assert_eq!(ended(child), (Some(0), "1 records stored, 0 dropped\n".to_owned(), String::new()));
    };
    let lanes = |status: &serde_json::Value| {
        let lane = |lane: &serde_json::Value| {
            (lane["priority"].as_str().unwrap().to_owned(), lane["records"].as_u64())
        };
        let mut lanes: Vec<_> = status["lanes"].as_array().unwrap().iter().map(lane).collect();
        lanes.retain(|(_, records)| *records > Some(0));
        lanes.sort();
        lanes
    };
    urgent("alarm");
    assert_eq!(lanes(&try_status(folder.path()).unwrap()), [("alarm".to_owned(), Some(1))]);
    let agent = Agent::run(folder.path(), "mqtt://127.0.0.1:1", &["--no-host-input"]);
    agent.wait("the agent", |status| status["running"] == true);
    urgent("alarm");
    urgent("bulk");
    urgent("telemetry");
    let status = agent.wait("all rows", |status| status["buffer"]["records"] == 4);
    let meant =
        [("alarm", 2), ("bulk", 1), ("telemetry", 1)].map(|(name, count)| (name.to_owned(), Some(count)));
    assert_eq!(lanes(&status), meant);
    let refused = edge_agent(&["ingest", "--priority", "high", "-"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}
