//! A crash at any point of a snapshot's way in leaves the old state whole, or the new one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use schemas::PartitionId;
use tempfile::TempDir;
use wal::{Frame, GroupId, HardState, Lsn, Wal};

use super::hub::{GROUP, Hub, Line, TERM, pair};
use crate::snapshot::Shelf;

const DEADLINE: Duration = Duration::from_secs(20);
/// Entries of the follower's own log: some are in its state, and the last were never committed and reach beyond the snapshot.
const LOGGED: u64 = 100;
const SHARED: u64 = 20;

/// How far the follower comes before everything stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Requests(usize),
    Copied,
    Barrier,
    Installed,
    Forgotten,
    Appended,
    OldDirectoriesGone,
}

struct Follower {
    hub: Hub,
    wal: Wal,
}

fn wal_config(dir: &Path, hub: &Hub) -> wal::Config {
    let group = GroupId(GROUP);
    wal::Config {
        file_bytes: 64 << 10,
        replay_after: BTreeMap::from([(group, hub.applied.0)]),
        void_entries: BTreeMap::from([(group, hub.origin.void_entries_through)]),
        ..wal::Config::new(dir.join("wal"))
    }
}

fn write(wal: &Wal, frames: Vec<Frame>) -> Lsn {
    let (done, durable) = channel();
    wal.write(frames, Box::new(move |lsn| done.send(lsn).unwrap_or_default()));
    durable.recv_timeout(DEADLINE).expect("durable")
}

fn entry(index: u64, term: u64) -> Frame {
    let payload = Bytes::from(vec![0; 2000]);
    Frame::Entry { group: GroupId(GROUP), index, term, entry_kind: 0, payload }
}

impl Follower {
    fn begin(dir: &Path, hub: Hub) -> Self {
        let (wal, _) = Wal::open(wal_config(dir, &hub)).expect("opens");
        let mut frames: Vec<Frame> = (1..=LOGGED).map(|index| entry(index, TERM - 1)).collect();
        frames.push(Frame::HardState { group: GroupId(GROUP), term: TERM - 1, vote: 0, commit: SHARED });
        write(&wal, frames);
        Self { hub, wal }
    }

    /// Runs the follower's side up to that point, then drops everything.
    fn run(mut self, leader: &mut Hub, until: Until) {
        let mut shelf = Shelf::new(&leader.log);
        shelf.offer(leader.offer(), Instant::now());
        let requests = if let Until::Requests(requests) = until { requests } else { usize::MAX };
        let wanted = self.hub.wanted(leader);
        let Ok(arrived) = self.hub.copy(&wanted, &mut Line::until(&mut shelf, requests)) else { return };
        if matches!(until, Until::Copied | Until::Requests(_)) {
            return;
        }
        let (done, durable) = channel();
        let hard_state = HardState { term: TERM, vote: 0, commit: SHARED };
        self.wal.write_barrier(
            GroupId(GROUP),
            hard_state,
            Box::new(move |lsn| done.send(lsn).unwrap_or_default()),
        );
        let barrier = durable.recv_timeout(DEADLINE).expect("durable");
        if until == Until::Barrier {
            return;
        }
        let install = self.hub.install_order(arrived, barrier);
        self.hub.stored.install(&install).expect("installed");
        if until == Until::Installed {
            return;
        }
        self.wal.release(GroupId(GROUP), install.arrived.position.applied);
        self.wal.forget_entries(GroupId(GROUP));
        self.hub.switch(install.arrived, barrier);
        if until == Until::Forgotten {
            return;
        }
        write(&self.wal, vec![entry(leader.applied.0 + 1, TERM)]);
        if until == Until::Appended {
            return;
        }
        (0..3).for_each(|_| self.hub.checkpoint());
    }
}

type Contents = Vec<(PartitionId, Vec<(i64, u32)>)>;

/// Starts again, and says whether the snapshot is in. Whatever is there, is whole.
fn judge(dir: &Path, old: (u64, &Contents), new: (u64, &Contents)) -> bool {
    let mut hub = Hub::open(dir);
    let (wal, recovered) = Wal::open(wal_config(dir, &hub)).expect("opens");
    let log = recovered.groups.get(&GroupId(GROUP)).cloned().unwrap_or_default();
    let indexes: Vec<u64> = log.entries.iter().map(|entry| entry.index).collect();
    let is_new = hub.applied.0 == new.0;
    if is_new {
        assert_eq!(&hub.contents(), new.1);
        assert!(indexes.is_empty() || indexes == [new.0 + 1], "{indexes:?}");
        assert_eq!(log.hard_state.expect("a hard state").term, TERM);
    } else {
        assert_eq!((hub.applied.0, &hub.contents()), old);
        assert_eq!(indexes, (old.0 + 1..=LOGGED).collect::<Vec<_>>());
        assert!(log.hard_state.expect("a hard state").commit <= LOGGED);
    }
    wal.close();
    is_new
}

fn run(until: Until) -> (bool, TempDir) {
    let (_ours, mut leader, theirs, mut follower) = pair(SHARED, 40);
    let (old, old_contents) = (follower.applied.0, follower.contents());
    Follower::begin(theirs.path(), follower).run(&mut leader, until);
    let is_new = judge(theirs.path(), (old, &old_contents), (leader.applied.0, &leader.contents()));
    // A second start finds the same.
    let again = judge(theirs.path(), (old, &old_contents), (leader.applied.0, &leader.contents()));
    assert_eq!(is_new, again);
    (is_new, theirs)
}

#[test]
fn before_the_manifest_the_old_state_stands() {
    for requests in 0..12 {
        assert!(!run(Until::Requests(requests)).0, "{requests}");
    }
    assert!(!run(Until::Copied).0);
    assert!(!run(Until::Barrier).0);
}

#[test]
fn from_the_manifest_on_the_new_state_stands() {
    for until in [Until::Installed, Until::Forgotten, Until::Appended, Until::OldDirectoriesGone] {
        assert!(run(until).0, "{until:?}");
    }
}

#[test]
fn a_crash_before_the_older_manifests_are_gone_leaves_the_new_state() {
    let (_ours, mut leader, theirs, mut follower) = pair(SHARED, 40);
    follower.checkpoint();
    let before = tempfile::tempdir().expect("a directory");
    let copy = |from: &Path, to: &Path| {
        for entry in std::fs::read_dir(from).expect("readable") {
            let path = entry.expect("an entry").path();
            std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    };
    copy(&follower.checkpoints, before.path());
    let (old, old_contents) = (follower.applied.0, follower.contents());
    let checkpoints = follower.checkpoints.clone();
    Follower::begin(theirs.path(), follower).run(&mut leader, Until::Installed);
    copy(before.path(), &checkpoints);
    assert!(std::fs::read_dir(&checkpoints).expect("readable").count() > 2);
    let new = (leader.applied.0, &leader.contents());
    assert!(judge(theirs.path(), (old, &old_contents), new));
    assert_eq!(std::fs::read_dir(&checkpoints).expect("readable").count(), 2, "only the new one is left");
}
