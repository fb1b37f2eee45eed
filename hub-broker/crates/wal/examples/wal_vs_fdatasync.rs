//! How much of the disk's limit the log reaches. In turns, for each size of a group commit: the log, with one group
//! commit under way and the next one waiting; the log with nothing waiting, so that each round pays for waking two
//! threads; and a plain `pwrite` and `fdatasync` of as many bytes over a file that was filled before. Framing is the
//! log's own cost: it is not counted among the bytes.
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

const TURNS: usize = 21;
const TURN: Duration = Duration::from_millis(150);
const GROUPS: u32 = 64;
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of a group commit, and of each of its entries.
const SIZES: [(usize, usize); 7] = [
    (100, 100),
    (4 << 10, 1 << 10),
    (6400, 100),
    (64 << 10, 1 << 10),
    (256 << 10, 4 << 10),
    (1 << 20, 16 << 10),
    (4 << 20, 1 << 20),
];

fn main() {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into).join("wal-benchmark");
    std::fs::create_dir_all(&dir).expect("a directory to write in");
    println!(
        "  commit    entry   disk commit/s    log commit/s   ratio   alone commit/s   ratio   log MiB/s"
    );
    let mut plain = Plain::open(&dir.join("plain"));
    let mut log = Log::open(&dir.join("log"));
    for (commit_bytes, entry_bytes) in SIZES {
        let turn = |_| {
            let disk = plain.turn(commit_bytes);
            (disk, log.turn(commit_bytes, entry_bytes, 2), log.turn(commit_bytes, entry_bytes, 1))
        };
        let turns: Vec<(f64, f64, f64)> = (0..TURNS).map(turn).collect();
        let disk = median(turns.iter().map(|turn| turn.0));
        let wal = median(turns.iter().map(|turn| turn.1));
        let alone = median(turns.iter().map(|turn| turn.2));
        let ratio = median(turns.iter().map(|turn| turn.1 / turn.0));
        let alone_ratio = median(turns.iter().map(|turn| turn.2 / turn.0));
        let mib = wal * commit_bytes as f64 / (1 << 20) as f64;
        println!(
            "{commit_bytes:>8} {entry_bytes:>8} {disk:>15.0} {wal:>15.0} {ratio:>7.2} {alone:>16.0} {alone_ratio:>7.2} {mib:>11.1}"
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
    written: u64,
    written_bytes: u64,
}

impl Log {
    fn open(dir: &Path) -> Self {
        let (wal, _) = Wal::open(Config { file_bytes: FILE_BYTES, ..Config::new(dir) }).expect("a log");
        Log { wal, written: 0, written_bytes: 0 }
    }

    /// Rounds of `commit_bytes` per second, `in_flight` at a time. All entries of a round are written in one call, each
    /// for one of 64 groups.
    fn turn(&mut self, commit_bytes: usize, entry_bytes: usize, in_flight: usize) -> f64 {
        let payload = Bytes::from(vec![0x5a; entry_bytes]);
        let entries = commit_bytes / entry_bytes;
        let (sender, receiver) = mpsc::channel();
        let start = Instant::now();
        let mut rounds = 0;
        let mut waiting = 0;
        while start.elapsed() < TURN || waiting > 0 {
            while waiting < in_flight && start.elapsed() < TURN {
                let frames = (0..entries).map(|_| self.entry(&payload)).collect();
                let sender = sender.clone();
                self.wal.write(frames, Box::new(move |_| sender.send(()).expect("it is waited for")));
                waiting += 1;
            }
            receiver.recv().expect("acknowledged");
            waiting -= 1;
            rounds += 1;
            self.release();
        }
        f64::from(rounds) / start.elapsed().as_secs_f64()
    }

    /// As checkpoints would, every quarter of a file.
    fn release(&mut self) {
        if self.written_bytes > FILE_BYTES / 4 {
            self.written_bytes = 0;
            (0..GROUPS).for_each(|group| self.wal.release(GroupId(group), self.written));
        }
    }

    fn entry(&mut self, payload: &Bytes) -> Frame {
        self.written += 1;
        self.written_bytes += payload.len() as u64;
        let group = GroupId((self.written % u64::from(GROUPS)) as u32);
        Frame::Entry { group, index: self.written, term: 1, entry_kind: 0, payload: payload.clone() }
    }
}
