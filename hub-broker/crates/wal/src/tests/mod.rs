//! Tests of the whole log on a simulated disk.

mod barrier;
mod crash;
mod damage;
mod golden;
mod keeper;
mod ledger;
mod lifecycle;
mod reading;
mod retention;

use crate::simulation::SimDisk;
use crate::{Config, Fail, Failure, Frame, GroupId, Lsn, OpenError, Recovered, Wal};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

/// Far more than any of the waits needs.
const DEADLINE: Duration = Duration::from_secs(20);
const FILE_BYTES: u64 = crate::limits::FILE_BYTES_MIN;

fn config() -> Config {
    Config { file_bytes: FILE_BYTES, room_retry: Duration::from_millis(1), ..Config::new("/sim") }
}

/// A configuration whose failures are collected instead of aborting.
fn watched() -> (Config, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let fail = Fail::new(move |failure: &Failure| sink.lock().push(failure.to_string()));
    (Config { fail, ..config() }, seen)
}

fn open(disk: &SimDisk) -> (Wal, Recovered) {
    try_open(disk, config()).expect("the log opens")
}

#[expect(clippy::needless_pass_by_value, reason = "shorter calls")]
fn try_open(disk: &SimDisk, config: Config) -> Result<(Wal, Recovered), OpenError> {
    Wal::open_on(Arc::new(disk.clone()), &config)
}

fn entry(group: u32, index: u64, payload: &[u8]) -> Frame {
    let payload = Bytes::copy_from_slice(payload);
    Frame::Entry { group: GroupId(group), index, term: 1, entry_kind: 0, payload }
}

fn hard_state(group: u32, term: u64) -> Frame {
    Frame::HardState { group: GroupId(group), term, vote: 7, commit: term * 10 }
}

/// Writes and waits until the frames are durable.
fn write(wal: &Wal, frames: Vec<Frame>) -> Lsn {
    let (sender, receiver) = mpsc::channel();
    wal.write(frames, Box::new(move |lsn| sender.send(lsn).unwrap_or_default()));
    receiver.recv_timeout(DEADLINE).expect("the write is acknowledged")
}

fn indexes(recovered: &Recovered, group: u32) -> Vec<u64> {
    let log = recovered.groups.get(&GroupId(group));
    log.map(|log| log.entries.iter().map(|entry| entry.index).collect()).unwrap_or_default()
}

/// Waits for a state of the log that its own threads bring about.
#[expect(clippy::disallowed_methods, reason = "a poll with a deadline")]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
