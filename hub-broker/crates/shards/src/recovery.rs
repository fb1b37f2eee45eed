//! From what is on the disk to a group.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use checkpoint::Loaded;
use consensus::{Membership, Replica, ReplicaConfig, ReplicaId, Restored, TailBudget, changes_membership};
use partition_log::{FileCache, PartitionLog, PartitionState};
use schemas::{NodeId, PartitionId};
use wal::{GroupId, GroupLog, HardState};

use crate::aside::Aside;
use crate::cluster_file::FOUNDERS_REPLICA;
use crate::data_dir::CHECKPOINTS;
use crate::fail;
use crate::group::{Group, Machine};
use crate::group_state::{ALONE, GroupState, StateOrigin};
use crate::keys::{key_partition, metadata_key};
use crate::known_damage::KnownDamage;
use crate::limits::{ELECTION_TICKS, HEARTBEAT_TICKS, LOG_READ_BYTES};
use crate::log_reads::to_log_entry;
use crate::partitions::{PartitionSet, generation_directory, named_directories};
use crate::readers::Readers;
use crate::snapshot::{self, Tell};
use crate::{StartError, StateMachine};

/// What every group of the hub is made with.
#[derive(Clone)]
pub(crate) struct Ground {
    pub log: PathBuf,
    pub files: FileCache,
    pub readers: Readers,
    pub node: NodeId,
    /// Whether the cluster began with this hub.
    pub founder: bool,
    pub seed: u64,
    pub tails: TailBudget,
    /// Bytes of applied entries that each replica keeps in memory.
    pub tail_bytes_max: usize,
    /// Hears of damage that a group's files are found to have.
    pub tell: Tell,
}

/// What was found of one group, before it runs.
pub(crate) struct Found {
    pub id: GroupId,
    /// The number of the replica that this hub has.
    pub current: Option<u32>,
    pub loaded: Option<Loaded>,
    pub log: GroupLog,
    pub machine: Option<Box<dyn StateMachine>>,
    /// Who belonged to the group of a replica that has lost everything, and goes on all the same: a fault.
    pub membership: Option<Membership>,
    /// No checkpoint is whole, and the group can do without this replica.
    pub is_damaged: bool,
}

/// A group as it can go on.
pub(crate) struct Recovered {
    pub id: GroupId,
    pub state: RecoveredState,
    /// The metadata's machine, where no replica has it.
    pub machine: Option<Box<dyn StateMachine>>,
}

pub(crate) enum RecoveredState {
    Absent,
    Present(Box<Group>),
    /// The replica has lost what it may have promised; the others have it.
    Damaged {
        number: u32,
        directories: Vec<PathBuf>,
        /// What it has promised, as far as that was found.
        hard_state: HardState,
    },
}

impl Recovered {
    /// The last stamp that the group is known to have been given.
    pub(crate) fn last_stamp_ms(&self) -> Option<i64> {
        match &self.state {
            RecoveredState::Present(group) => Some(group.last_stamp_ms).filter(|stamp| *stamp != i64::MIN),
            RecoveredState::Absent | RecoveredState::Damaged { .. } => None,
        }
    }
}

impl Ground {
    /// A replica that has nothing yet and waits for its snapshot.
    pub(crate) fn begin(&self, id: GroupId, own: ReplicaId, machine: Option<Box<dyn StateMachine>>) -> Group {
        let machine = match machine {
            Some(machine) => Machine::Metadata(machine),
            None => {
                Machine::Partitions(PartitionSet::new(&self.log, 0, &self.files_of(id, own), &self.readers))
            }
        };
        match Replica::new(&self.config(id, own), Restored::default()) {
            Ok(replica) => Group::new(id, own, replica, machine),
            Err(error) => fail::stop("a replica without a log cannot begin", &error),
        }
    }

    /// The open files, as one group's logs use them.
    fn files_of(&self, group: GroupId, own: ReplicaId) -> FileCache {
        snapshot::watched(&self.files, group.0, own.number(), &self.tell)
    }

    pub(crate) fn recover(&self, found: Found) -> Result<Recovered, StartError> {
        let Found { id, current, loaded, log, mut machine, membership, is_damaged } = found;
        let Some(number) = current else {
            return Ok(Recovered { id, state: RecoveredState::Absent, machine });
        };
        let hard_state = log.hard_state.unwrap_or_default();
        if is_damaged {
            self.keep_aside(id)?;
            let state = RecoveredState::Damaged { number, directories: Vec::new(), hard_state };
            return Ok(Recovered { id, state, machine });
        }
        let own = ReplicaId::new(self.node.0, number);
        let mut state = self.group_state(id, own, loaded.as_ref())?;
        if let Some(membership) = membership.filter(|_| loaded.is_none()) {
            state.membership = membership;
        }
        // A change behind the checkpoint is not in its membership yet, committed or not: after it the group may be one
        // that cannot do without this replica.
        let is_as_stored = !log.entries.iter().any(|entry| changes_membership(entry.entry_kind));
        let is_spared = is_as_stored && state.membership.can_spare(own);
        let directories = loaded.as_ref().map(|loaded| named_directories(&self.log, loaded));
        match self.recover_group(id, own, state, loaded, log, &mut machine) {
            Ok(group) => Ok(Recovered { id, state: RecoveredState::Present(Box::new(group)), machine }),
            Err(error) if is_spared && error.is_damage() => {
                tracing::error!(group = %id, %own, %error, "the replica is damaged: it is given up and fetched again");
                metrics::counter!("headwater_replicas_given_up_total").increment(1);
                self.keep_aside(id)?;
                let directories = directories.unwrap_or_default();
                let state = RecoveredState::Damaged { number, directories, hard_state };
                Ok(Recovered { id, state, machine })
            }
            Err(error) => Err(error),
        }
    }

    /// The others may turn out to be gone: what there is of the replica is kept.
    fn keep_aside(&self, id: GroupId) -> Result<(), StartError> {
        let data = data_of(&self.log);
        let failed = |source| crate::DataDirError::Io { path: data.to_owned(), source };
        Ok(Aside::of(data, id.0).prepare().map_err(failed)?)
    }

    fn group_state(
        &self,
        id: GroupId,
        own: ReplicaId,
        loaded: Option<&Loaded>,
    ) -> Result<GroupState, StartError> {
        if let Some(loaded) = loaded {
            let unreadable = || StartError::State { group: id.0, what: "not a group's state".to_owned() };
            return GroupState::decode_of(self.node, &loaded.membership).ok_or_else(unreadable);
        }
        let first = self.founder && own.number() == FOUNDERS_REPLICA;
        let voters = if first { vec![own] } else { Vec::new() };
        Ok(GroupState {
            origin: StateOrigin::first(own.number()),
            membership: Membership { voters, ..Membership::default() },
            last_stamp_ms: i64::MIN,
            is_installed: false,
        })
    }

    /// The machine is taken only where it becomes the group's.
    fn recover_group(
        &self,
        id: GroupId,
        own: ReplicaId,
        state: GroupState,
        loaded: Option<Loaded>,
        log: GroupLog,
        machine: &mut Option<Box<dyn StateMachine>>,
    ) -> Result<Group, StartError> {
        let position = loaded.as_ref().map(|loaded| loaded.position).unwrap_or_default();
        let states = loaded.map(|loaded| loaded.states).unwrap_or_default();
        let restored = restored(own, &state.membership, position, log);
        let replica = Replica::new(&self.config(id, own), restored)
            .map_err(|source| StartError::Log { group: id.0, source })?;
        if let Some(machine) = machine {
            restore_metadata(machine.as_mut(), &states)?;
        }
        let (machine, damaged) = match machine.take() {
            Some(machine) => (Machine::Metadata(machine), Vec::new()),
            None => {
                let (partitions, damaged) =
                    self.recover_partitions(id.0, own, state.origin.generation, &states)?;
                (Machine::Partitions(partitions), damaged)
            }
        };
        let mut group = Group::new(id, own, replica, machine);
        group.found_damaged = damaged;
        group.membership = state.membership;
        group.applied = (position.applied, position.term);
        group.last_stamp_ms = state.last_stamp_ms;
        group.origin = state.origin;
        let checkpoint = data_of(&self.log).join(CHECKPOINTS).join(id.0.to_string());
        if let Some(known) = KnownDamage::read(&checkpoint, own.number()) {
            group.remember_damage(known);
        }
        Ok(group)
    }

    fn config(&self, id: GroupId, own: ReplicaId) -> ReplicaConfig {
        ReplicaConfig {
            election_ticks: ELECTION_TICKS as usize,
            heartbeat_ticks: HEARTBEAT_TICKS as usize,
            tail_bytes_max: self.tail_bytes_max,
            tail_bytes_catching_up_max: 16 * self.tail_bytes_max,
            tail_bytes_idle_max: self.tail_bytes_max / 16,
            tail_budget: self.tails.clone(),
            read_bytes_max: LOG_READ_BYTES,
            ..ReplicaConfig::new(own, self.seed ^ (u64::from(id.0) << 16))
        }
    }

    /// With the files that are damaged. What is done about them is seen when the group runs.
    fn recover_partitions(
        &self,
        group: u32,
        own: ReplicaId,
        generation: u32,
        states: &StoredStates,
    ) -> Result<(PartitionSet, Vec<PathBuf>), StartError> {
        let files = self.files_of(GroupId(group), own);
        let (mut logs, mut damaged) = (Vec::with_capacity(states.len()), Vec::new());
        for (key, bytes) in states {
            let unknown = || StartError::State { group, what: format!("unknown key {key}") };
            let id: PartitionId = key_partition(key).ok_or_else(unknown)?;
            let state = PartitionState::decode(bytes).map_err(|source| StartError::PartitionState {
                group,
                partition: id,
                source,
            })?;
            let directory = generation_directory(&self.log, id, generation);
            let recovered = PartitionLog::recover(&directory, &state, &files);
            let (log, damage) =
                recovered.map_err(|source| StartError::Partition { group, partition: id, source })?;
            for damage in damage {
                tracing::error!(partition = %id, %damage, "a partition is damaged; what is damaged is not served");
                damaged.extend(damage.is_loss().then_some(damage.file));
            }
            logs.push(log);
        }
        let mut partitions = PartitionSet::new(&self.log, generation, &files, &self.readers);
        logs.into_iter().for_each(|log| partitions.insert(log));
        Ok((partitions, damaged))
    }
}

/// The data directory.
fn data_of(log: &Path) -> &Path {
    log.parent().unwrap_or(log)
}

type StoredStates = BTreeMap<checkpoint::Key, bytes::Bytes>;

fn restored(
    own: ReplicaId,
    membership: &Membership,
    position: checkpoint::Position,
    log: GroupLog,
) -> Restored {
    let hard_state = log.hard_state.unwrap_or_default();
    Restored {
        hard_state: consensus::HardState {
            term: hard_state.term,
            vote: if hard_state.vote == ALONE.0 { own.0 } else { hard_state.vote },
            commit: hard_state.commit,
        },
        applied: position.applied,
        applied_term: position.term,
        entries: log.entries.into_iter().map(to_log_entry).collect(),
        membership: membership.clone(),
    }
}

fn restore_metadata(machine: &mut dyn StateMachine, states: &StoredStates) -> Result<(), StartError> {
    match states.get(&metadata_key()) {
        Some(snapshot) => {
            machine.restore(snapshot).map_err(|error| StartError::State { group: 0, what: error.to_string() })
        }
        None => Ok(()),
    }
}
