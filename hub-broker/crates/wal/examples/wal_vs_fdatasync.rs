//! How much of the disk's limit the log reaches. In turns, for each size of a group commit: the log with that many
//! payload bytes in flight, and a plain `pwrite` and `fdatasync` of the same bytes over a file that was filled before.
//!
//! ```text
//! cargo run --release -p wal --example wal_vs_fdatasync [DIRECTORY]
//! ```

use bytes::Bytes;
use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};
use wal::{Config, Frame, GroupId, Wal};

const TURNS: usize = 5;
const TURN: Duration = Duration::from_millis(600);
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of a group commit, and of each of its entries.
const SIZES: [(usize, usize); 7] = [
    (100, 100),
    (4 << 10, 1 << 10),
    (64 << 10, 100),
    (64 << 10, 1 << 10),
    (256 << 10, 4 << 10),
    (1 << 20, 16 << 10),
    (4 << 20, 1 << 20),
];

fn main() {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into).join("wal-benchmark");
    std::fs::create_dir_all(&dir).expect("a directory to write in");
    println!(
        "{:>9} {:>8} {:>13} {:>15} {:>11} {:>11} {:>6}",
        "commit", "entry", "log commit/s", "fdatasync/s", "log MiB/s", "disk MiB/s", "ratio"
    );
    let mut plain = Plain::open(&dir.join("plain"));
    let mut log = Log::open(&dir.join("log"));
    for (commit_bytes, entry_bytes) in SIZES {
        let mut rates = Vec::new();
        for _ in 0..TURNS {
            rates.push((log.turn(commit_bytes, entry_bytes), plain.turn(commit_bytes)));
        }
        let (wal, disk) = (median(rates.iter().map(|rate| rate.0)), median(rates.iter().map(|rate| rate.1)));
        let ratio = median(rates.iter().map(|(wal, disk)| wal / disk));
        let mib = commit_bytes as f64 / (1 << 20) as f64;
        println!(
            "{commit_bytes:>9} {entry_bytes:>8} {wal:>13.0} {disk:>15.0} {:>11.1} {:>11.1} {ratio:>6.2}",
            wal * mib,
            disk * mib
        );
    }
    log.wal.close();
    std::fs::remove_dir_all(&dir).expect("what was written is removed");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The disk's limit: the same bytes, over zeros, one after the other.
struct Plain {
    file: std::fs::File,
    position: u64,
}

impl Plain {
    fn open(path: &Path) -> Self {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path).expect("a file");
        let zeros = vec![0; 1 << 20];
        (0..FILE_BYTES >> 20).for_each(|step| file.write_all_at(&zeros, step << 20).expect("fills"));
        file.sync_all().expect("syncs");
        Plain { file, position: 0 }
    }

    /// Commits per second.
    fn turn(&mut self, bytes: usize) -> f64 {
        let payload = vec![0x5a; bytes];
        let start = Instant::now();
        let mut commits = 0;
        while start.elapsed() < TURN {
            if self.position + bytes as u64 > FILE_BYTES {
                self.position = 0;
            }
            self.file.write_all_at(&payload, self.position).expect("writes");
            self.file.sync_data().expect("syncs");
            self.position += bytes as u64;
            commits += 1;
        }
        f64::from(commits) / start.elapsed().as_secs_f64()
    }
}

struct Log {
    wal: Wal,
    index: u64,
}

impl Log {
    fn open(dir: &Path) -> Self {
        let (wal, _) = Wal::open(Config { file_bytes: FILE_BYTES, ..Config::new(dir) }).expect("a log");
        Log { wal, index: 0 }
    }

    /// Commits of `commit_bytes` per second: each entry is written by itself, and the next round starts when all of
    /// the last one are acknowledged.
    fn turn(&mut self, commit_bytes: usize, entry_bytes: usize) -> f64 {
        let payload = Bytes::from(vec![0x5a; entry_bytes]);
        let entries = commit_bytes / entry_bytes;
        let (sender, receiver) = mpsc::channel();
        let start = Instant::now();
        let mut rounds = 0;
        while start.elapsed() < TURN {
            let frames = (0..entries).map(|_| self.entry(&payload)).collect();
            let sender = sender.clone();
            self.wal.write(frames, Box::new(move |_| sender.send(()).expect("it is waited for")));
            receiver.recv().expect("acknowledged");
            self.wal.release(GroupId(1), self.index);
            rounds += 1;
        }
        f64::from(rounds) / start.elapsed().as_secs_f64()
    }

    fn entry(&mut self, payload: &Bytes) -> Frame {
        self.index += 1;
        Frame::Entry {
            group: GroupId(1),
            index: self.index,
            term: 1,
            entry_kind: 0,
            payload: payload.clone(),
        }
    }
}
