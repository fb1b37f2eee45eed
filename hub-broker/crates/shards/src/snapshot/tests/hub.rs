//! One group's files on one hub, and a line to another hub that can be cut.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use checkpoint::Position;
use consensus::{Membership, ReplicaId};
use partition_log::{FileCache, LogOptions, Origin, PartitionLog, PartitionState, Verified};
use schemas::{
    BatchBuilder, BuilderOptions, Compression, Offset, PartitionId, PartitionIndex, RawBatch, TopicId,
};
use tempfile::TempDir;
use uuid::Uuid;
use wal::Lsn;

use crate::capture::{Captured, capture_partitions};
use crate::entry::Command;
use crate::group_state::{GroupState, StateOrigin};
use crate::keys::key_partition;
use crate::limits::SNAPSHOT_QUIET_MAX;
use crate::mend::DamagedFiles;
use crate::order::Install;
use crate::partitions::{PartitionSet, generation_directory, named_directories};
use crate::readers::Readers;
use crate::snapshot::format::{CLOSE, Close, FileId, OPEN, Open, READ, Read, Refusal, closed};
use crate::snapshot::{Arrived, ArrivedMachine, Ask, FetchError, Notice, Offer, Shelf, Target, Wanted, copy};
use crate::stored_group::StoredGroup;
use crate::{Append, AppliedAt, PartitionCommand};

pub const GROUP: u32 = 3;
pub const TERM: u64 = 5;
/// Of the follower, before anything is installed.
pub const NUMBER: u32 = 9;

pub fn leader_id() -> ReplicaId {
    ReplicaId::new(1, 1)
}

pub fn follower_id() -> ReplicaId {
    ReplicaId::new(2, NUMBER)
}

pub fn membership() -> Membership {
    Membership { voters: vec![leader_id()], learners: vec![follower_id()], ..Membership::default() }
}

pub fn partition(n: i32) -> PartitionId {
    PartitionId { topic: TopicId(Uuid::from_u128(7)), index: PartitionIndex(n) }
}

pub fn batch(number: u64) -> Bytes {
    let mut builder =
        BatchBuilder::new(BuilderOptions { compression: Compression::None, ..BuilderOptions::default() });
    let value = format!("value {number} {}", "x".repeat(usize::try_from(number % 7).expect("small") * 20));
    builder.push(1000, None, Some(value.as_bytes()), &[]).expect("room");
    builder.finish().expect("a batch")
}

pub struct Hub {
    pub log: PathBuf,
    pub checkpoints: PathBuf,
    pub files: FileCache,
    pub readers: Readers,
    pub set: PartitionSet,
    pub stored: StoredGroup,
    pub origin: StateOrigin,
    pub applied: (u64, u64),
    /// What copies have found whole since it was opened.
    pub verified: Verified,
}

impl Hub {
    pub fn new(dir: &TempDir, number: u32) -> Self {
        let hub = Self::open(dir.path());
        Self { origin: StateOrigin::first(number), ..hub }
    }

    /// What is on the disk.
    pub fn open(dir: &Path) -> Self {
        let (log, checkpoints) = (dir.join("log"), dir.join("checkpoint").join(GROUP.to_string()));
        std::fs::create_dir_all(&log).expect("made");
        let (stored, loaded) = StoredGroup::open(&checkpoints).expect("opens");
        if let Some(loaded) = &loaded {
            let named = named_directories(&log, loaded);
            for entry in std::fs::read_dir(&log).expect("readable") {
                let path = entry.expect("an entry").path();
                if !named.contains(&path) {
                    std::fs::remove_dir_all(path).expect("removed");
                }
            }
        }
        let (files, readers) = (FileCache::new(8), Readers::default());
        let state = loaded.as_ref().map(|loaded| GroupState::decode(&loaded.membership).expect("a state"));
        let origin = state.map_or(StateOrigin::first(NUMBER), |state| state.origin);
        let mut set = PartitionSet::new(&log, origin.generation, &files, &readers);
        for (key, bytes) in loaded.iter().flat_map(|loaded| &loaded.states) {
            let id = key_partition(key).expect("a partition");
            let state = PartitionState::decode(bytes).expect("a state");
            let directory = generation_directory(&log, id, origin.generation);
            let (log, damage) = PartitionLog::recover(&directory, &state, &files).expect("recovered");
            assert_eq!(damage, []);
            set.insert(log);
        }
        let applied = loaded.map_or((0, 0), |loaded| (loaded.position.applied, loaded.position.term));
        let verified = Verified::default();
        Self { log, checkpoints, files, readers, set, stored, origin, applied, verified }
    }

    fn apply(&mut self, command: &Command) {
        self.applied = (self.applied.0 + 1, TERM);
        let at = AppliedAt { index: self.applied.0, term: TERM, stamp_ms: 1000 };
        self.set.apply(at, command).expect("applied");
        self.set.publish().expect("published");
    }

    pub fn command(&mut self, command: PartitionCommand) {
        self.apply(&Command::Partition(command));
    }

    pub fn create(&mut self, n: i32) {
        let options = LogOptions { segment_bytes: 600 };
        self.command(PartitionCommand::Open { partition: partition(n), options });
    }

    /// Entry by entry, spread over the partitions; which one and what follows from the index alone.
    pub fn append(&mut self, batches: u64, partitions: i32) {
        for _ in 0..batches {
            let index = self.applied.0 + 1;
            let n = i32::try_from(index * 7 % u64::try_from(partitions).expect("positive")).expect("small");
            let batch = batch(index);
            let origin = Origin::Kafka;
            self.apply(&Command::Append(Append {
                partition: partition(n),
                origin,
                batch,
                expected_term: None,
            }));
        }
    }

    pub fn captured(&mut self) -> Captured {
        let (applied, term) = self.applied;
        let mut captured = Captured {
            position: Position { applied, term, commit: applied },
            group: GroupState {
                origin: self.origin,
                membership: membership(),
                last_stamp_ms: 1000,
                is_installed: false,
            },
            states: None,
            dirty: Vec::new(),
            obsolete: Vec::new(),
            closed: Vec::new(),
            damaged: Vec::new(),
        };
        captured.states = capture_partitions(&mut self.set, &mut captured);
        captured.dirty.iter().for_each(|file| file.sync().expect("synced"));
        captured
    }

    pub fn checkpoint(&mut self) {
        let captured = self.captured();
        self.stored.store(captured).expect("stored");
    }

    pub fn offer(&mut self) -> Offer {
        self.checkpoint();
        let newest = self.stored.newest().expect("readable").expect("a checkpoint");
        let state = GroupState::decode(&newest.membership).expect("a state");
        let (position, states) = (newest.position, newest.states);
        Offer { group: GROUP, position, state, states, damaged: Vec::new(), pin: self.stored.pin() }
    }

    pub fn wanted(&self, leader: &Hub) -> Wanted {
        let (index, term) = leader.applied;
        let generation = self.origin.generation + 1;
        let (from, to, damaged) = (leader_id(), follower_id(), DamagedFiles::default());
        Wanted { group: GROUP, index, term, from, to, generation, damaged }
    }

    pub fn copy(&self, wanted: &Wanted, line: &mut Line<'_>) -> Result<Arrived, FetchError> {
        copy(wanted, &self.target(0), line)
    }

    pub fn target(&self, reserve_bytes: u64) -> Target<'_> {
        let Self { log, files, checkpoints, verified, .. } = self;
        Target { log, files, checkpoints, reserve_bytes, verified }
    }

    pub fn install_order(&self, arrived: Arrived, void: Lsn) -> Install {
        Install {
            group: GROUP,
            replica_number: NUMBER,
            membership: membership(),
            void_entries_through: void,
            arrived,
            reply: Box::new(|_| {}),
        }
    }

    /// All that follows once a snapshot has arrived.
    pub fn install(&mut self, arrived: Arrived, void: Lsn) {
        let install = self.install_order(arrived, void);
        self.stored.install(&install).expect("installed");
        self.switch(install.arrived, void);
    }

    /// What the executor does when the snapshot is durable.
    pub fn switch(&mut self, arrived: Arrived, void: Lsn) {
        let ArrivedMachine::Partitions(logs) = arrived.machine else { panic!("not the metadata's") };
        self.set.replace(arrived.generation, logs);
        self.applied = (arrived.position.applied, arrived.position.term);
        self.origin = StateOrigin {
            replica_number: NUMBER,
            generation: arrived.generation,
            void_entries_through: void,
        };
    }

    /// Base offsets and CRCs of every partition's batches.
    pub fn contents(&mut self) -> Vec<(PartitionId, Vec<(i64, u32)>)> {
        let logs: Vec<_> = self.set.iter_mut().map(|partition| partition.log.reader()).collect();
        let mut all: Vec<_> = logs
            .iter()
            .map(|reader| {
                assert_eq!(
                    self.readers.get(reader.id()).expect("a reader").high_watermark(),
                    reader.high_watermark()
                );
                (reader.id(), batches(&self.readers.get(reader.id()).expect("a reader")))
            })
            .collect();
        all.sort();
        assert_eq!(self.readers.len(), all.len());
        all
    }

    /// The directories of all partitions, by name.
    pub fn directories(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.log).expect("readable");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("text")
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

pub fn batches(reader: &partition_log::PartitionReader) -> Vec<(i64, u32)> {
    let mut found = Vec::new();
    let mut from = reader.log_start();
    while from < reader.high_watermark() {
        let mut bytes = reader.read(from, 1 << 20).expect("whole");
        while let Some(batch) = RawBatch::split_first(&mut bytes).expect("whole batches") {
            found.push((batch.header().base_offset, batch.header().crc));
            from = Offset(batch.header().last_offset() + 1);
        }
    }
    found
}

/// A leader with some partitions, and a follower that has the first part of their log.
pub fn pair(shared: u64, more: u64) -> (TempDir, Hub, TempDir, Hub) {
    let (ours, theirs) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (mut leader, mut follower) = (Hub::new(&ours, 1), Hub::new(&theirs, NUMBER));
    for hub in [&mut leader, &mut follower] {
        (0..3).for_each(|n| hub.create(n));
        hub.append(shared, 3);
        hub.checkpoint();
    }
    leader.append(more, 3);
    (ours, leader, theirs, follower)
}

/// Asks a shelf directly; breaks off before a request, once.
pub struct Line<'a> {
    pub shelf: &'a mut Shelf,
    pub now: Instant,
    pub requests_left: usize,
    pub requests: usize,
    /// Bytes of segments that came over.
    pub bytes: u64,
    /// What was said to whoever looks on.
    pub expected: u64,
    pub received: u64,
    pub notices: Vec<Notice>,
    /// Changes what comes over.
    pub tamper: fn(Bytes) -> Bytes,
    /// The sender is of before there was a list of damaged segments.
    pub is_old: bool,
    /// What it takes the disk here to read a piece of a file, how many there were, and when anything was asked last.
    pub reading_takes: Duration,
    pub pieces: usize,
    asked_at: Instant,
}

impl<'a> Line<'a> {
    pub fn new(shelf: &'a mut Shelf) -> Self {
        let (now, notices) = (Instant::now(), Vec::new());
        Self {
            shelf,
            now,
            requests_left: usize::MAX,
            requests: 0,
            bytes: 0,
            expected: 0,
            received: 0,
            notices,
            tamper: |bytes| bytes,
            is_old: false,
            reading_takes: Duration::ZERO,
            pieces: 0,
            asked_at: now,
        }
    }

    pub fn until(shelf: &'a mut Shelf, requests: usize) -> Self {
        Self { requests_left: requests, ..Self::new(shelf) }
    }
}

impl Ask for Line<'_> {
    fn ask(&mut self, kind: u8, body: Bytes) -> Result<Bytes, FetchError> {
        self.requests_left = self.requests_left.checked_sub(1).ok_or(FetchError::Silent)?;
        self.requests += 1;
        self.asked_at = self.now;
        self.notices.extend(self.shelf.expire(self.now));
        match kind {
            OPEN => {
                let opened = self.shelf.open(Open::decode(&body).expect("an open"), self.now);
                Ok(opened.map_err(FetchError::Refused)?.encode())
            }
            READ => {
                let read = Read::decode(&body).expect("a read");
                if self.is_old && read.file == FileId::DAMAGED {
                    return Err(FetchError::Refused(Refusal::Malformed));
                }
                let piece = self.shelf.read(&read, false, self.now).map_err(FetchError::Refused)?;
                if read.file.partition != u32::MAX {
                    self.bytes += piece.bytes.len() as u64;
                }
                Ok((self.tamper)(piece.encode()))
            }
            CLOSE => {
                self.notices.extend(self.shelf.close(Close::decode(&body).expect("a close")));
                Ok(closed())
            }
            kind => panic!("kind {kind}"),
        }
    }

    fn pause(&mut self, _bytes: u64, _sender_is_slow: bool) -> Result<(), FetchError> {
        Ok(())
    }

    fn is_quiet(&mut self) -> bool {
        self.pieces += 1;
        self.now += self.reading_takes;
        self.now - self.asked_at >= SNAPSHOT_QUIET_MAX
    }

    fn expect(&mut self, bytes: u64) {
        self.expected = bytes;
    }

    fn receive(&mut self, bytes: u64) {
        self.received += bytes;
    }
}
