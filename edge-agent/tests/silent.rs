//! An agent that is there and does not answer.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::program::{Agent, edge_agent, ingest};
use rustix::process::Signal;

#[test]
fn status_and_ingest_tell_of_an_agent_that_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::run(folder.path(), "mqtt://127.0.0.1:1", &["--no-host-input"]);
    agent.wait("the agent", |status| status["running"] == true);
    agent.signal(Signal::STOP);
    let told = format!("the agent (pid {}) does not answer", agent.pid());
    let status = edge_agent(&["status", "--data-dir"]).arg(folder.path()).output().unwrap();
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stderr).contains(&told), "{status:?}");

    let ingest = ingest(folder.path(), 0..10);
    assert_eq!(ingest.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&ingest.stdout), "0 records stored, 0 dropped, 10 perhaps stored\n");
    assert!(String::from_utf8_lossy(&ingest.stderr).contains(&told), "{ingest:?}");

    agent.signal(Signal::CONT);
    agent.wait("what was sent", |status| status["buffer"]["records"] == 10);
}
