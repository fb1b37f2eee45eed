//! Which replicas this hub has, and which it has given up for ever: the file `replicas` of the data directory.
//!
//! ```text
//! headwater replicas, format 1
//! group G current N|none floor N void LSN         groups rising; only those whose record is not the default
//! …
//! crc32c HEX
//! ```
//!
//! `current` is the number of this hub's replica of the group. Numbers up to `floor`, other than the current one,
//! are dead for ever: a message to one of them is dropped. Frames of the group in the write-ahead log up to `void`
//! belong to a replica that was destroyed, and are ignored at recovery.
//!
//! A group without a line has the default record: a founder's replica 1, and none elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use consensus::ReplicaId;
use parking_lot::{Mutex, RwLock};
use schemas::NodeId;
use tokio::sync::watch;
use wal::Lsn;

use crate::cluster_file::{ClusterFile, FOUNDERS_REPLICA};
use crate::text_file::{self, Kind, replace_file};
use crate::{DataDirError, limits};

const KIND: Kind = Kind { title: "headwater replicas", format: 1 };

/// This hub's replica of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplicaRecord {
    pub current: Option<u32>,
    pub floor: u32,
    pub void: Lsn,
}

/// All records, and the file that keeps them.
pub(crate) struct Replicas {
    path: PathBuf,
    default: ReplicaRecord,
    /// Numbers up to this are not this hub's, in any group, unless current.
    cluster_floor: u32,
    /// As they are on the disk.
    records: RwLock<BTreeMap<u32, ReplicaRecord>>,
    /// Held while the file is replaced, so that of two changes neither is lost; whoever only asks does not wait for it.
    changing: Mutex<()>,
    node: NodeId,
    /// Given up, and not known to be replaced.
    lost: watch::Sender<Vec<(u32, ReplicaId)>>,
}

impl Replicas {
    pub(crate) fn load(path: PathBuf, node: NodeId, cluster: &ClusterFile) -> Result<Self, DataDirError> {
        let records = match text_file::read(&path)? {
            Some(bytes) => decode(&path, &bytes)?,
            None => BTreeMap::new(),
        };
        let current = cluster.founder.then_some(FOUNDERS_REPLICA);
        let default = ReplicaRecord { current, floor: current.unwrap_or(0), void: Lsn(0) };
        let gone = |(group, record): (&u32, &ReplicaRecord)| {
            let given_up = record.current.is_none() && record.floor > 0;
            given_up.then(|| (*group, ReplicaId::new(node.0, record.floor)))
        };
        let lost = watch::Sender::new(records.iter().filter_map(gone).collect());
        let cluster_floor = cluster.replica_floor;
        let (records, changing) = (RwLock::new(records), Mutex::new(()));
        Ok(Self { path, default, cluster_floor, records, changing, node, lost })
    }

    pub(crate) fn get(&self, group: u32) -> ReplicaRecord {
        self.records.read().get(&group).copied().unwrap_or(self.default)
    }

    /// Whether a message may bring this replica to life: its number was never this hub's before.
    pub(crate) fn may_begin(&self, group: u32, number: u32) -> bool {
        number > self.get(group).floor && number > self.cluster_floor
    }

    /// The replica begins, empty. Durable when this returns.
    pub(crate) fn begin(&self, group: u32, number: u32) -> Result<(), DataDirError> {
        self.change(group, |record| ReplicaRecord {
            current: Some(number),
            floor: number,
            void: record.void,
        })?;
        self.lost.send_if_modified(|lost| forget(lost, |of, id| of == group && id.number() < number));
        Ok(())
    }

    /// The replica is destroyed, with everything of it in the log up to `void`. Durable when this returns.
    pub(crate) fn give_up(&self, group: u32, number: u32, void: Lsn) -> Result<(), DataDirError> {
        let ReplicaRecord { floor, .. } = self.change(group, |record| ReplicaRecord {
            current: None,
            floor: record.floor.max(number),
            void: record.void.max(void),
        })?;
        self.lost.send_modify(|lost| {
            forget(lost, |of, _| of == group);
            lost.push((group, ReplicaId::new(self.node.0, floor)));
        });
        Ok(())
    }

    /// What was given up and has not been replaced, as far as this hub knows.
    pub(crate) fn lost(&self) -> watch::Receiver<Vec<(u32, ReplicaId)>> {
        self.lost.subscribe()
    }

    pub(crate) fn confirm_replaced(&self, group: u32, replica: ReplicaId) {
        self.lost.send_if_modified(|lost| forget(lost, |of, id| of == group && id == replica));
    }

    /// Frames of each group that are another replica's.
    pub(crate) fn void(&self) -> BTreeMap<u32, Lsn> {
        let records = self.records.read();
        records.iter().filter(|(_, it)| it.void > Lsn(0)).map(|(group, it)| (*group, it.void)).collect()
    }

    /// The file first: what is not on the disk has not happened. Until then everyone is told what was before.
    fn change(
        &self,
        group: u32,
        to: impl FnOnce(ReplicaRecord) -> ReplicaRecord,
    ) -> Result<ReplicaRecord, DataDirError> {
        let _alone = self.changing.lock();
        let record = to(self.get(group));
        let mut changed = self.records.read().clone();
        changed.insert(group, record);
        let written = replace_file(&self.path, encode(&changed).as_bytes());
        written.map_err(|source| DataDirError::Io { path: self.path.clone(), source })?;
        *self.records.write() = changed;
        Ok(record)
    }
}

/// True if there was any.
fn forget(lost: &mut Vec<(u32, ReplicaId)>, is_it: impl Fn(u32, ReplicaId) -> bool) -> bool {
    let before = lost.len();
    lost.retain(|(group, id)| !is_it(*group, *id));
    lost.len() < before
}

fn encode(records: &BTreeMap<u32, ReplicaRecord>) -> String {
    let mut lines = String::new();
    for (group, ReplicaRecord { current, floor, void }) in records {
        let current = current.map_or_else(|| "none".to_owned(), |number| number.to_string());
        // A string takes everything.
        let _ = writeln!(lines, "group {group} current {current} floor {floor} void {}", void.0);
    }
    KIND.seal(&lines)
}

fn decode(path: &Path, bytes: &[u8]) -> Result<BTreeMap<u32, ReplicaRecord>, DataDirError> {
    let damaged = |what| DataDirError::Damaged { path: path.to_owned(), what };
    let mut records = BTreeMap::new();
    for line in KIND.open(path, bytes)?.lines() {
        let (group, record) = parse(line).ok_or_else(|| damaged("a line is no group's"))?;
        if records.last_key_value().is_some_and(|(last, _)| *last >= group) {
            return Err(damaged("the groups do not rise"));
        }
        if group > u32::from(limits::SHARD_COUNT_MAX) || record.current.is_some_and(|it| it > record.floor) {
            return Err(damaged("a number is out of its range"));
        }
        records.insert(group, record);
    }
    Ok(records)
}

fn parse(line: &str) -> Option<(u32, ReplicaRecord)> {
    let mut words = line.split(' ');
    let mut field = |name: &str| words.next().filter(|word| *word == name).and_then(|_| words.next());
    let group = field("group")?.parse().ok()?;
    let current = match field("current")? {
        "none" => None,
        number => Some(number.parse().ok()?),
    };
    let floor = field("floor")?.parse().ok()?;
    let void = Lsn(field("void")?.parse().ok()?);
    words.next().is_none().then_some((group, ReplicaRecord { current, floor, void }))
}

#[cfg(test)]
mod tests;
