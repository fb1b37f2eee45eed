//! The state of a data shard: its partitions. Applying a command is a pure function of this state, the command
//! and where it stands in the log.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::path::{Path, PathBuf};

use checkpoint::Loaded;
use partition_log::{Compacted, Compaction, FileCache, LogError, LogOptions, PartitionLog, SequenceVerdict};
use schemas::{LeaderEpoch, Offset, PartitionId, RawBatch};

use crate::answer::Outcome;
use crate::compare::{Mark, PartitionHash};
use crate::data_dir::partition_directory;
use crate::entry::Command;
use crate::group_state::GroupState;
use crate::keys::key_partition;
use crate::readers::Readers;
use crate::{Append, Appended, AppliedAt, PartitionCommand, Retention};

pub(crate) struct PartitionSet {
    partitions: HashMap<PartitionId, Partition>,
    /// Those that the entry being applied has written to.
    touched: Vec<PartitionId>,
    /// Directories of closed partitions, for the checkpoints to remove.
    closed: Vec<PathBuf>,
    log: PathBuf,
    generation: u32,
    files: FileCache,
    readers: Readers,
    /// The last mark that was applied. What is remembered at it is no part of the state.
    mark: Option<Mark>,
}

pub(crate) struct Partition {
    pub(crate) log: PartitionLog,
    /// Differs from the last checkpoint.
    pub(crate) changed: bool,
    touched: bool,
}

impl Partition {
    /// What has been appended to it, ever.
    fn hash(&self) -> PartitionHash {
        let (end, hash) = self.log.running_hash();
        PartitionHash { partition: self.log.id(), end, hash }
    }
}

impl PartitionSet {
    pub(crate) fn new(log: &Path, generation: u32, files: &FileCache, readers: &Readers) -> Self {
        Self {
            partitions: HashMap::new(),
            touched: Vec::new(),
            closed: Vec::new(),
            log: log.to_owned(),
            generation,
            files: files.clone(),
            readers: readers.clone(),
            mark: None,
        }
    }

    /// Takes a recovered partition in.
    pub(crate) fn insert(&mut self, log: PartitionLog) {
        self.readers.insert(log.reader());
        self.partitions.insert(log.id(), Partition { log, changed: false, touched: false });
    }

    /// Goes on with an installed snapshot's partitions instead of those that are here. Readers see no gap: those of a
    /// partition that is still there go on with its new log.
    pub(crate) fn replace(&mut self, generation: u32, logs: Vec<PartitionLog>) {
        let mut old = std::mem::take(&mut self.partitions);
        for id in old.keys() {
            self.closed.push(generation_directory(&self.log, *id, self.generation));
        }
        self.generation = generation;
        self.touched.clear();
        self.mark = None;
        for mut log in logs {
            let id = log.id();
            if let Some(before) = old.remove(&id)
                && !log.take_over(&before.log.reader())
            {
                // A leader has everything that was committed, so this replica had something that never was.
                tracing::error!(partition = %id, had = %before.log.end_offset(), has = %log.end_offset(), "a snapshot ends before the log that it replaces");
                crate::observe::snapshots::divergence();
            }
            self.insert(log);
        }
        old.into_keys().for_each(|id| self.readers.remove(id));
    }

    /// The directories of all partitions here, for a replica that is destroyed.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let open = self.partitions.keys().map(|id| generation_directory(&self.log, *id, self.generation));
        open.chain(self.closed.iter().cloned()).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.partitions.values_mut()
    }

    /// Whether the file can be made again from another replica's batches.
    pub(crate) fn is_repairable(&self, file: &Path) -> bool {
        self.iter().any(|partition| partition.log.reader().can_repair(file))
    }

    /// The partition whose log counts on the file.
    pub(crate) fn of_file(&self, file: &Path) -> Option<PartitionId> {
        let of = |partition: &&Partition| partition.log.reader().needs(file);
        self.iter().find(of).map(|partition| partition.log.id())
    }

    /// Whether a partition's log counts on the file.
    pub(crate) fn needs(&self, file: &Path) -> bool {
        self.of_file(file).is_some()
    }

    /// What the file of the generation before is called now, if a partition's log counts on it.
    pub(crate) fn successor(&self, file: &Path) -> Option<PathBuf> {
        let (before, name) = (self.generation.checked_sub(1)?, file.file_name()?);
        let is_in = |id: &&PartitionId| {
            file.parent().is_some_and(|dir| dir == generation_directory(&self.log, **id, before))
        };
        let id = self.partitions.keys().find(is_in)?;
        Some(generation_directory(&self.log, *id, self.generation).join(name)).filter(|file| self.needs(file))
    }

    /// The directories of partitions closed since the last call.
    pub(crate) fn take_closed(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.closed)
    }

    /// Applies one command. After `NoSpace` nothing of it has happened; it is to be applied again.
    pub(crate) fn apply(&mut self, at: AppliedAt, command: &Command) -> Result<Outcome, LogError> {
        match command {
            Command::Append(append) => self.append(at, append),
            Command::Partition(command) => self.command(at, command),
            Command::Metadata(_) => Ok(Outcome::UnknownPartition),
            Command::Mark => {
                self.mark = Some(Mark::take(at.index, self.iter().map(Partition::hash)));
                Ok(Outcome::Done)
            }
        }
    }

    /// What the partitions were at the last mark.
    pub(crate) fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Shows readers what the entry has appended. After `NoSpace` it is to be called again.
    pub(crate) fn publish(&mut self) -> Result<(), LogError> {
        while let Some(id) = self.touched.last() {
            if let Some(partition) = self.partitions.get_mut(id) {
                partition.log.publish()?;
                partition.touched = false;
            }
            self.touched.pop();
        }
        Ok(())
    }

    /// A new leader has begun its term.
    pub(crate) fn begin_epoch(&mut self, term: u64) -> Result<(), LogError> {
        for partition in self.partitions.values_mut() {
            partition.log.begin_epoch(epoch(term))?;
            partition.changed = true;
        }
        Ok(())
    }

    fn append(&mut self, at: AppliedAt, append: &Append) -> Result<Outcome, LogError> {
        let Some(partition) = self.partitions.get_mut(&append.partition) else {
            return Ok(Outcome::UnknownPartition);
        };
        let Ok(batch) = RawBatch::parse(append.batch.clone()) else {
            return Ok(Outcome::Malformed);
        };
        let log = &mut partition.log;
        let (base_offset, duplicate) = match log.check(&batch, &append.origin) {
            SequenceVerdict::Refuse(error) => return Ok(Outcome::Sequence(error)),
            SequenceVerdict::Duplicate { base_offset } => (base_offset, true),
            SequenceVerdict::Append => {
                let base = log.append(&batch, &append.origin, epoch(at.term), at.stamp_ms)?;
                partition.changed = true;
                if !std::mem::replace(&mut partition.touched, true) {
                    self.touched.push(append.partition);
                }
                (Some(base), false)
            }
        };
        let last_delta = i64::from(batch.header().last_offset_delta);
        Ok(Outcome::Appended(Appended {
            base_offset: base_offset.unwrap_or(UNKNOWN_OFFSET),
            last_offset: base_offset.map_or(UNKNOWN_OFFSET, |base| base.plus(last_delta)),
            log_start: partition.log.log_start(),
            append_time_ms: at.stamp_ms,
            duplicate,
        }))
    }

    fn command(&mut self, at: AppliedAt, command: &PartitionCommand) -> Result<Outcome, LogError> {
        if let PartitionCommand::Open { partition, options } = command {
            return self.open(at, *partition, *options);
        }
        if let PartitionCommand::Close { partition } = command {
            self.close(*partition);
            return Ok(Outcome::Done);
        }
        let Some(partition) = self.partitions.get_mut(&command.partition()) else {
            return Ok(Outcome::UnknownPartition);
        };
        // What the entry appended so far lies before what the command does.
        partition.log.publish()?;
        match command {
            PartitionCommand::Configure { options, .. } => partition.log.configure(*options),
            PartitionCommand::AdvanceStart { to, .. } => partition.log.advance_start(*to)?,
            PartitionCommand::Roll { .. } => partition.log.roll()?,
            PartitionCommand::ExpireProducers { after_ms, .. } => {
                let expired = partition.log.expire_producers(at.stamp_ms, *after_ms);
                tracing::debug!(partition = %partition.log.id(), expired, "forgot idle producers");
            }
            PartitionCommand::Open { .. } | PartitionCommand::Close { .. } => {}
        }
        partition.changed = true;
        Ok(Outcome::Done)
    }

    fn open(&mut self, at: AppliedAt, id: PartitionId, options: LogOptions) -> Result<Outcome, LogError> {
        match self.partitions.entry(id) {
            MapEntry::Occupied(mut open) => {
                open.get_mut().log.configure(options);
                open.get_mut().changed = true;
            }
            MapEntry::Vacant(vacant) => {
                let directory = generation_directory(&self.log, id, self.generation);
                let mut log = PartitionLog::create(&directory, id, options, &self.files)?;
                log.begin_epoch(epoch(at.term))?;
                self.readers.insert(log.reader());
                vacant.insert(Partition { log, changed: true, touched: false });
            }
        }
        Ok(Outcome::Done)
    }

    /// Closing what is not there is fine: the entry may be applied to a state that does not know it any more.
    fn close(&mut self, id: PartitionId) {
        if self.partitions.remove(&id).is_some() {
            self.readers.remove(id);
            self.closed.push(generation_directory(&self.log, id, self.generation));
        }
    }

    /// Where retention would have the partition start. Not part of apply: its result is proposed.
    pub(crate) fn retention_target(
        &self,
        id: PartitionId,
        now_ms: i64,
        retention: Retention,
    ) -> Option<Option<Offset>> {
        let partition = self.partitions.get(&id)?;
        Some(partition.log.retention_target(now_ms, retention.ms, retention.bytes))
    }

    /// Work for another thread; the outer `None` is an unknown partition.
    pub(crate) fn compaction(
        &mut self,
        id: PartitionId,
        options: partition_log::CompactOptions,
    ) -> Option<Option<Compaction>> {
        Some(self.partitions.get_mut(&id)?.log.compaction(options))
    }

    pub(crate) fn install(&mut self, id: PartitionId, compacted: Compacted) {
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.log.install(compacted);
            partition.changed = true;
        }
    }
}

/// A partition's directory: the plain one, or that of the snapshot that was installed last.
pub(crate) fn generation_directory(log: &Path, id: PartitionId, generation: u32) -> PathBuf {
    let mut directory = partition_directory(log, id);
    if generation > 0 {
        directory.set_extension(format!("g{generation}"));
    }
    directory
}

/// The directories that a checkpoint names.
pub(crate) fn named_directories(log: &Path, loaded: &Loaded) -> Vec<PathBuf> {
    let generation = GroupState::decode(&loaded.membership).map_or(0, |state| state.origin.generation);
    let ids = loaded.states.keys().filter_map(key_partition);
    ids.map(|id| generation_directory(log, id, generation)).collect()
}

/// The offset of a duplicate whose place is forgotten, as Kafka writes it.
const UNKNOWN_OFFSET: Offset = Offset(-1);

/// The leader epoch is the raft term while a partition has never been moved.
fn epoch(term: u64) -> LeaderEpoch {
    LeaderEpoch(i32::try_from(term).unwrap_or(i32::MAX))
}
