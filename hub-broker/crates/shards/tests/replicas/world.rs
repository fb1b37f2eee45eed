//! Several simulated hubs in one thread: time passes by rounds, and every message arrives unless a test says otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use bytes::Bytes;
use schemas::NodeId;
use shards::simulation::*;
use shards::*;
use tempfile::TempDir;
use uuid::Uuid;

use crate::common::*;

pub const TICK_MS: i64 = 50;
/// Rounds within which a group has a leader again: two of the longest election timeouts and then some.
pub const ELECTION_ROUNDS: usize = 60;

pub struct World {
    pub hubs: BTreeMap<u32, Hub>,
    dirs: BTreeMap<u32, TempDir>,
    /// Of the hubs' write-ahead logs.
    disks: BTreeMap<u32, SimDisk>,
    /// Messages from the one to the other are lost.
    pub cut: BTreeSet<(u32, u32)>,
    /// Hubs whose disk does not answer.
    pub stalled: BTreeSet<u32>,
    pub faults: Faults,
    /// Of the hubs' write-ahead logs; they keep four files for those who are behind.
    wal_file_bytes: u64,
    /// Snapshots copied so far.
    pub copies: usize,
    /// Copies of snapshots do not come to an end.
    pub copies_wait: bool,
    /// Questions of replicas to others that were answered so far.
    pub questions: usize,
    /// Nobody gives what a damaged segment lacks.
    pub withholds: bool,
    pub now_ms: i64,
    /// What a hub's wall clock shows beyond the time that it is.
    pub ahead_ms: BTreeMap<u32, i64>,
}

impl World {
    /// Hub 1 is founded alone.
    pub fn found(faults: Faults) -> Self {
        Self::with_log_files(1 << 20, faults)
    }

    fn with_log_files(wal_file_bytes: u64, faults: Faults) -> Self {
        let mut world = Self {
            hubs: BTreeMap::new(),
            dirs: BTreeMap::new(),
            disks: BTreeMap::new(),
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            faults,
            wal_file_bytes,
            copies: 0,
            copies_wait: false,
            questions: 0,
            withholds: false,
            now_ms: 1_700_000_000_000,
            ahead_ms: BTreeMap::new(),
        };
        world.start(1);
        world.rounds(2);
        world
    }

    /// Hubs 1 to 3 with a voter each in every group, and partition 0 open.
    pub fn of_three() -> Self {
        Self::found(Faults::default()).joined_by_two()
    }

    /// The same with small files, so that the log is soon let go.
    pub fn of_three_that_keep_little() -> Self {
        Self::with_log_files(32 << 10, Faults::default()).joined_by_two()
    }

    fn joined_by_two(self) -> Self {
        let mut world = self;
        world.open(0);
        for node in [2, 3] {
            world.start(node);
            for group in 0..=4 {
                world.add(group, ReplicaId::new(node, node));
            }
        }
        world
    }

    pub fn start(&mut self, node: u32) {
        let dir = self.dirs.entry(node).or_insert_with(|| TempDir::new().expect("a directory"));
        let config = HubConfig {
            dir: dir.path().to_owned(),
            node: NodeId(node),
            shard_count: 4,
            seed: u64::from(node) * 77,
            faults: self.faults,
            part: match node {
                1 => Part::Founder,
                _ => Part::Member { cluster: Uuid::from_u128(9), replica_floor: 1 },
            },
            wal_file_bytes: self.wal_file_bytes,
            wal_keep_bytes: 4 * self.wal_file_bytes,
            wall_ms: self.now_ms + self.ahead_ms.get(&node).unwrap_or(&0),
            boot_ms: self.now_ms,
        };
        let disk = self.disks.remove(&node).unwrap_or_else(|| SimDisk::new(u64::from(node)));
        let hub = Hub::start(&config, &disk, Box::new(Diary::default()), &Wipe::default());
        self.hubs.insert(node, hub.expect("the hub starts"));
    }

    pub fn crash(&mut self, node: u32) {
        self.crash_after(node, 0);
    }

    /// Of what is unsynced so many frames are on the disk all the same.
    pub fn crash_after(&mut self, node: u32, frames: usize) {
        let hub = self.hubs.remove(&node).expect("the hub runs");
        let disk = hub.crash(Crash::After { frames }, &mut |durable, _written| durable);
        self.disks.insert(node, disk);
    }

    /// A bit of the log of a hub that is down goes bad; `part` of 256 says where.
    pub fn corrode(&mut self, node: u32, part: u64) {
        let lsn = self.disks[&node].corrode(&mut |below| below * part / 256);
        assert!(lsn.is_some(), "the log has something that it needs");
    }

    pub fn hub(&mut self, node: u32) -> &mut Hub {
        self.hubs.get_mut(&node).expect("the hub runs")
    }

    pub fn status(&mut self, node: u32, group: u32) -> GroupStatus {
        self.hub(node).status().swap_remove(group as usize)
    }

    /// One tick of time, and everything that comes of it.
    pub fn round(&mut self) {
        self.now_ms += TICK_MS;
        for (node, hub) in &mut self.hubs {
            hub.set_clock(self.now_ms + self.ahead_ms.get(node).unwrap_or(&0), self.now_ms);
            hub.tick();
        }
        self.settle();
    }

    pub fn rounds(&mut self, count: usize) {
        (0..count).for_each(|_| self.round());
    }

    /// Until nobody has anything to say, to write or to copy.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    fn step(&mut self) -> bool {
        let mut parcels = Vec::new();
        let mut wanted = Vec::new();
        let (mut questions, mut damaged) = (Vec::new(), Vec::new());
        let mut busy = false;
        for (node, hub) in &mut self.hubs {
            hub.turn();
            if !self.stalled.contains(node) && hub.wants_sync() {
                hub.sync();
                hub.turn();
                busy = true;
            }
            parcels.extend(hub.take_parcels().into_iter().map(|(to, parcel)| (*node, to, parcel)));
            questions.extend(hub.take_questions().into_iter().map(|question| (*node, question)));
            damaged.extend(hub.take_damaged().into_iter().map(|damaged| (*node, damaged)));
            if !self.copies_wait {
                wanted.extend(hub.snapshots_wanted().iter().cloned().map(|wanted| (*node, wanted)));
            }
        }
        for (from, to, parcel) in parcels {
            busy = true;
            if !self.cut.contains(&(from, to.0))
                && let Some(hub) = self.hubs.get_mut(&to.0)
            {
                hub.receive(NodeId(from), parcel);
            }
        }
        for (node, question) in questions {
            busy = true;
            self.deliver(node, question);
        }
        for (node, damaged) in damaged {
            busy = true;
            self.mend(node, damaged);
        }
        for (node, wanted) in wanted {
            busy = true;
            self.copies += 1;
            let mut from = self.hubs.remove(&wanted.from().node());
            self.hub(node).copy_snapshot(wanted.clone(), from.as_mut());
            if let Some(from) = from {
                self.hubs.insert(wanted.from().node(), from);
            }
        }
        busy
    }

    fn mend(&mut self, node: u32, damaged: SegmentDamaged) {
        let mut hub = self.hubs.remove(&node).expect("the hub runs");
        let others: Vec<&Hub> = self.hubs.values().filter(|_| !self.withholds).collect();
        hub.mend(damaged, &others);
        self.hubs.insert(node, hub);
    }

    fn deliver(&mut self, from: u32, question: ReplicaQuestion) {
        let to = question.to().node();
        if !self.cut.contains(&(from, to))
            && !self.cut.contains(&(to, from))
            && let Some(mut other) = self.hubs.remove(&to)
        {
            self.questions += 1;
            self.hub(from).ask(question, &mut other);
            self.hubs.insert(to, other);
        }
    }

    pub fn dir(&self, node: u32) -> &std::path::Path {
        self.dirs[&node].path()
    }

    pub fn until(&mut self, what: &str, rounds: usize, mut is_so: impl FnMut(&mut Self) -> bool) {
        self.settle();
        for _ in 0..rounds {
            if is_so(self) {
                return;
            }
            self.round();
        }
        if !is_so(self) {
            let all: Vec<_> = self.hubs.values_mut().map(Hub::status).collect();
            panic!("not within {rounds} rounds: {what}: {all:?}");
        }
    }

    /// The hub that serves the group.
    pub fn leader(&self, group: u32) -> Option<u32> {
        let serving = |(node, hub): (&u32, &Hub)| Some((hub.serving(group)?, *node));
        self.hubs.iter().filter_map(serving).max().map(|(_, node)| node)
    }

    pub fn wait_for_leader(&mut self, group: u32) -> u32 {
        self.until("a leader that serves", ELECTION_ROUNDS, |world| world.leader(group).is_some());
        self.leader(group).expect("found above")
    }

    /// Learner, caught up, voter.
    pub fn add(&mut self, group: u32, replica: ReplicaId) {
        let change = MembershipChange { add_learners: vec![replica], ..Default::default() };
        self.change(group, change);
        let leader = self.leader(group).expect("a leader");
        self.until("the learner catches up", ELECTION_ROUNDS, |world| {
            let status = world.status(leader, group);
            let caught_up = |it: &Progress| it.id == replica && it.state == ProgressState::Replicate;
            status.progress.iter().any(caught_up)
        });
        self.change(group, MembershipChange { promote: vec![replica], ..Default::default() });
    }

    pub fn change(&mut self, group: u32, change: MembershipChange) {
        let leader = self.wait_for_leader(group);
        let mut told = self.hub(leader).change_membership(group, change);
        self.until("the change is through", ELECTION_ROUNDS, |world| {
            !world.status(leader, group).membership.is_joint()
        });
        assert_eq!(told.try_recv().expect("answered"), Ok(()));
    }

    pub fn open(&mut self, n: i32) {
        let options = LogOptions { segment_bytes: 64 << 10 };
        let command = PartitionCommand::Open { partition: partition(n), options };
        let leader = self.wait_for_leader(group_of(n));
        let opened = Arc::new(AtomicBool::new(false));
        let tell = opened.clone();
        let done = Box::new(move |result: Result<(), CommandError>| {
            tell.store(result.is_ok(), Ordering::Relaxed);
        });
        self.hub(leader).command(shard(n), command, done);
        self.settle();
        assert!(opened.load(Ordering::Relaxed), "the partition is open");
    }

    /// Asks a hub; the answer comes with time.
    pub fn ask(&mut self, node: u32, append: Append, n: i32) -> Asked {
        let (tell, told) = channel();
        self.hub(node).append(shard(n), append, Box::new(move |result| drop(tell.send(result))));
        Asked(told)
    }

    /// Appends at the leader and waits for the answer.
    pub fn append(&mut self, n: i32, batch: Bytes) -> Appended {
        let leader = self.wait_for_leader(group_of(n));
        let asked = self.ask(leader, append(n, batch), n);
        self.settle();
        asked.answer().expect("answered").expect("stored")
    }

    /// Everything in a partition as this hub has it: base offset and CRC.
    pub fn contents(&self, node: u32, n: i32) -> Vec<(i64, u32)> {
        let reader = self.hubs[&node].partition(partition(n));
        reader.as_ref().map(batches).unwrap_or_default()
    }

    /// All hubs have the same, and it is this many batches.
    pub fn wait_for_all(&mut self, n: i32, batches: usize) {
        self.until("every hub has everything", 4 * ELECTION_ROUNDS, |world| {
            let nodes: Vec<u32> = world.hubs.keys().copied().collect();
            nodes.iter().all(|node| world.contents(*node, n).len() == batches)
        });
        let all: BTreeSet<_> = self.hubs.keys().map(|node| self.contents(*node, n)).collect();
        assert_eq!(all.len(), 1, "the hubs agree");
    }
}

pub struct Asked(Receiver<Result<Appended, AppendError>>);

impl Asked {
    /// `None` while there is no answer.
    pub fn answer(&self) -> Option<Result<Appended, AppendError>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("never answered"),
        }
    }
}

pub fn group_of(n: i32) -> u32 {
    u32::from(shard(n).0) + 1
}
