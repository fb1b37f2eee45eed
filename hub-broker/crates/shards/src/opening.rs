//! What a data directory holds: the checkpoints, the write-ahead log, and what of both is still anybody's.
//!
//! Where the log is damaged and the groups that it concerns have a majority of other voters, this hub's replicas of
//! those groups are given up: first durably written down, then the rest of the log goes into a new one that takes the
//! damaged one's place. What they had is set aside until others have replaced them; see `aside`. A hub with a replica that its group cannot do without refuses to start instead; see `salvage`.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use checkpoint::Loaded;
use consensus::ReplicaId;
use schemas::NodeId;
use wal::{Concerned, Corruption, GroupId, GroupLog, Lsn, OpenError, PastDamage, Recovered, Wal};

use crate::aside::{Aside, take_unnamed};
use crate::cluster_file::FOUNDERS_REPLICA;
use crate::data_dir::DataDir;
use crate::group_state::GroupState;
use crate::partitions::named_directories;
use crate::recovery::Found;
use crate::replicas::Replicas;
use crate::stored_group::StoredGroup;
use crate::{Config, SalvageError, StartError, StateMachine, salvage};

pub(crate) struct Opened<L> {
    pub stores: Vec<StoredGroup>,
    pub found: Vec<Found>,
    pub wal: L,
}

/// Where the write-ahead log lies, and how it is run.
pub(crate) trait LogPlace {
    type Log;

    fn open(&self, config: wal::Config) -> Result<(Self::Log, Recovered), OpenError>;

    /// See [`Wal::read_past_damage`].
    fn read_past_damage(&self, config: &wal::Config) -> Result<Option<PastDamage>, OpenError>;

    /// Puts a new log with these groups in the place of the damaged one; says where that is now.
    fn replace(
        &self,
        dir: &DataDir,
        groups: BTreeMap<GroupId, GroupLog>,
        file_bytes: Option<u64>,
        first_lsn: Lsn,
    ) -> Result<PathBuf, SalvageError>;
}

/// In the data directory, with threads of its own.
pub(crate) struct InDirectory;

impl LogPlace for InDirectory {
    type Log = Wal;

    fn open(&self, config: wal::Config) -> Result<(Wal, Recovered), OpenError> {
        Wal::open(config)
    }

    fn read_past_damage(&self, config: &wal::Config) -> Result<Option<PastDamage>, OpenError> {
        Wal::read_past_damage(config)
    }

    fn replace(
        &self,
        dir: &DataDir,
        groups: BTreeMap<GroupId, GroupLog>,
        file_bytes: Option<u64>,
        first_lsn: Lsn,
    ) -> Result<PathBuf, SalvageError> {
        salvage::replace(dir, groups, file_bytes, first_lsn)
    }
}

pub(crate) fn open_all<P: LogPlace>(
    place: &P,
    config: &Config,
    dir: &DataDir,
    replicas: &Replicas,
    metadata: Box<dyn StateMachine>,
) -> Result<Opened<P::Log>, StartError> {
    let groups = u32::from(config.shard_count) + 1;
    let (stores, loaded) = open_checkpoints(dir, replicas, groups)?;
    let mut is_damaged = stores.iter().any(StoredGroup::is_damaged);
    let wal_config = wal_config(config, dir, replicas, &loaded);
    let (stores, loaded, opened) = match place.open(wal_config.clone()) {
        Err(OpenError::Corrupt(damage)) => {
            let concerned = concerned(&damage, dir, replicas, groups);
            let is_spared = |(group, own): &(u32, ReplicaId)| {
                let at = *group as usize;
                // One without a whole checkpoint is about to be given up anyway.
                stores[at].is_damaged() || can_spare(loaded[at].as_ref(), *own)
            };
            if !concerned.iter().all(is_spared) {
                return Err(OpenError::Corrupt(damage).into());
            }
            is_damaged = true;
            drop(stores);
            give_up(place, &wal_config, dir, replicas, (&damage, &concerned))?;
            let (stores, loaded) = open_checkpoints(dir, replicas, groups)?;
            let opened = place.open(self::wal_config(config, dir, replicas, &loaded))?;
            (stores, loaded, opened)
        }
        opened => (stores, loaded, opened?),
    };
    remove_unnamed_partitions(dir, is_damaged, &loaded)?;
    let (wal, recovered) = opened;
    let found = sort_out(recovered, &stores, loaded, replicas, metadata)?;
    Ok(Opened { stores, found, wal })
}

/// To each group what is its own.
fn sort_out(
    mut recovered: Recovered,
    stores: &[StoredGroup],
    loaded: Vec<Option<Loaded>>,
    replicas: &Replicas,
    metadata: Box<dyn StateMachine>,
) -> Result<Vec<Found>, StartError> {
    let mut machine = Some(metadata);
    let mut found: Vec<Found> = Vec::new();
    for ((group, loaded), store) in (0..).zip(loaded).zip(stores) {
        let log = recovered.groups.remove(&GroupId(group)).unwrap_or_default();
        let current = replicas.get(group).current;
        let (id, machine) = (GroupId(group), machine.take());
        let is_damaged = store.is_damaged();
        found.push(Found { id, current, loaded, log, machine, membership: None, is_damaged });
    }
    match recovered.groups.keys().next() {
        Some(unknown) => Err(StartError::UnknownGroup { group: unknown.0 }),
        None => Ok(found),
    }
}

/// The groups with a replica here that may have lost something.
fn concerned(damage: &Corruption, dir: &DataDir, replicas: &Replicas, groups: u32) -> Vec<(u32, ReplicaId)> {
    let is_named = |group: &u32| match &damage.groups {
        Concerned::Groups(named) => named.contains(&GroupId(*group)),
        Concerned::All => true,
    };
    let own = |group| Some((group, ReplicaId::new(dir.identity().node.0, replicas.get(group).current?)));
    (0..groups).filter(is_named).filter_map(own).collect()
}

/// Whether the group, as far as its checkpoint tells, can do without the replica here. What the log has behind that is
/// damaged and tells nothing. A checkpoint is made as soon as the members have changed, so only one that a crash kept
/// from being written leaves an older membership here.
pub(crate) fn can_spare(loaded: Option<&Loaded>, own: ReplicaId) -> bool {
    match loaded {
        Some(loaded) => GroupState::decode_of(NodeId(own.node()), &loaded.membership)
            .is_some_and(|state| state.membership.can_spare(own)),
        // Every replica but the first begins with a snapshot: without a checkpoint it has acknowledged nothing.
        None => own.number() != FOUNDERS_REPLICA,
    }
}

fn give_up(
    place: &impl LogPlace,
    config: &wal::Config,
    dir: &DataDir,
    replicas: &Replicas,
    (damage, concerned): (&Corruption, &[(u32, ReplicaId)]),
) -> Result<(), StartError> {
    tracing::error!(%damage, "the replicas that may have lost something are given up and fetched again");
    // What the checkpoints hold is kept too: an older one may be needed.
    let config = wal::Config { replay_after: BTreeMap::new(), ..config.clone() };
    let Some(past) = place.read_past_damage(&config)? else {
        return Err(OpenError::Corrupt(Box::new(damage.clone())).into());
    };
    for (group, own) in concerned {
        Aside::of(dir.path(), *group).prepare().map_err(io(dir.path()))?;
        replicas.give_up(*group, own.number(), past.last_lsn)?;
        metrics::counter!("headwater_replicas_given_up_total").increment(1);
    }
    let mut kept = past.groups;
    kept.retain(|group, _| replicas.get(group.0).current.is_some());
    let aside = place.replace(dir, kept, past.file_bytes, Lsn(past.last_lsn.0 + 1))?;
    tracing::error!(aside = %aside.display(), "the damaged write-ahead log is set aside");
    Ok(())
}

type Checkpoints = (Vec<StoredGroup>, Vec<Option<Loaded>>);

fn open_checkpoints(dir: &DataDir, replicas: &Replicas, groups: u32) -> Result<Checkpoints, StartError> {
    let (mut stores, mut all) = (Vec::new(), Vec::new());
    for group in 0..groups {
        let path = dir.checkpoint(group);
        let own = |number| ReplicaId::new(dir.identity().node.0, number);
        let open = || open_checkpoint(&path, group, replicas.get(group).current.map(own));
        let (mut store, mut loaded) = open()?;
        if store.is_damaged() && replicas.get(group).current.is_none() {
            drop(store);
            clear(&Aside::of(dir.path(), group), &path, &[]).map_err(io(&path))?;
            (store, loaded) = open()?;
        }
        if let Some(found) = &loaded {
            let aside = Aside::of(dir.path(), group);
            if !is_current(found, replicas.get(group).current) {
                // What a replica has left that was given up: it could not be removed then.
                drop(store);
                clear(&aside, &path, &named_directories(&dir.log(), found)).map_err(io(&path))?;
                (store, loaded) = open()?;
            } else if aside.is_prepared() {
                aside.remove().map_err(io(dir.path()))?;
            }
        }
        stores.push(store);
        all.push(loaded);
    }
    Ok((stores, all))
}

/// Removes a replica's checkpoints, or sets them aside with its partitions; these go first, because nothing else knows
/// whose they are. Without that they go with those that no checkpoint names.
fn clear(aside: &Aside, checkpoint: &Path, partitions: &[PathBuf]) -> io::Result<()> {
    if !aside.is_prepared() {
        return fs::remove_dir_all(checkpoint);
    }
    partitions.iter().try_for_each(|directory| aside.take(directory))?;
    aside.take_checkpoint(checkpoint)
}

fn io(path: &Path) -> impl Fn(io::Error) -> crate::DataDirError {
    move |source| crate::DataDirError::Io { path: path.to_owned(), source }
}

/// Where no checkpoint of a group is whole and the group can do without the replica that it was of, that is to be given
/// up.
fn open_checkpoint(
    path: &Path,
    group: u32,
    own: Option<ReplicaId>,
) -> Result<(StoredGroup, Option<Loaded>), StartError> {
    let source = match StoredGroup::open(path) {
        Ok(opened) => return Ok(opened),
        Err(source) => source,
    };
    if let checkpoint::OpenError::Damaged { membership: Some(membership), .. } = &source
        && own.is_none_or(|own| {
            GroupState::decode_of(NodeId(own.node()), membership)
                .is_some_and(|state| state.membership.can_spare(own))
        })
    {
        tracing::error!(group, error = %source, "no checkpoint of the replica is whole");
        return Ok((StoredGroup::of_damaged(path), None));
    }
    Err(StartError::Checkpoint { group, source })
}

/// Whether the checkpoint is of the replica that this hub has. One that cannot be read is not thrown away for that.
fn is_current(loaded: &Loaded, current: Option<u32>) -> bool {
    GroupState::decode(&loaded.membership).is_none_or(|state| Some(state.origin.replica_number) == current)
}

fn wal_config(config: &Config, dir: &DataDir, replicas: &Replicas, loaded: &[Option<Loaded>]) -> wal::Config {
    wal::Config {
        file_bytes: config.wal_file_bytes,
        sync: config.sync,
        kept_bytes_max: config.wal_keep_bytes,
        replay_after: replay_after(loaded),
        void: replicas.void().into_iter().map(|(group, lsn)| (GroupId(group), lsn)).collect(),
        void_entries: void_entries(loaded),
        ..wal::Config::new(dir.wal())
    }
}

/// The entry up to which each group's checkpoint holds everything.
fn replay_after(loaded: &[Option<Loaded>]) -> BTreeMap<GroupId, u64> {
    let applied = |loaded: &Option<Loaded>| loaded.as_ref().map_or(0, |loaded| loaded.position.applied);
    (0..).zip(loaded).map(|(group, loaded)| (GroupId(group), applied(loaded))).collect()
}

/// The barriers up to which a group's entries were replaced by a snapshot.
fn void_entries(loaded: &[Option<Loaded>]) -> BTreeMap<GroupId, Lsn> {
    let barrier = |loaded: &Option<Loaded>| {
        let state = GroupState::decode(&loaded.as_ref()?.membership)?;
        Some(state.origin.void_entries_through).filter(|lsn| lsn.0 > 0)
    };
    let barriers = (0..).zip(loaded).map(|(group, loaded)| (GroupId(group), barrier(loaded)));
    barriers.filter_map(|(group, lsn)| Some((group, lsn?))).collect()
}

/// Directories that no checkpoint knows: partitions closed since, or opened since and about to be made again. Where
/// checkpoints or the log are damaged, they may be of a replica that is given up, and are set aside.
fn remove_unnamed_partitions(
    dir: &DataDir,
    is_damaged: bool,
    loaded: &[Option<Loaded>],
) -> Result<(), StartError> {
    let log = &dir.log();
    let named: HashSet<PathBuf> =
        loaded.iter().flatten().flat_map(|loaded| named_directories(log, loaded)).collect();
    for entry in fs::read_dir(log).map_err(io(log))? {
        let path = entry.map_err(io(log))?.path();
        if path.is_dir() && !named.contains(&path) {
            let gone = if is_damaged { take_unnamed(dir.path(), &path) } else { fs::remove_dir_all(&path) };
            gone.map_err(io(&path))?;
        }
    }
    Ok(())
}
