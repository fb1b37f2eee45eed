//! The cluster around the shards: who leads, who has replicas, and how that is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use consensus::{MembershipChange, ReplicaId};
use peers::Peers;
use schemas::{ShardId, Term};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::aside;
use crate::doors::{METADATA_GROUP, group_of};
use crate::message::{Message, Place};
use crate::{
    ChangeError, CopyProgress, DataDirError, GroupStatus, GroupView, Leader, ReadIndexError, Shards,
};

impl Shards {
    /// The other hubs.
    pub fn peers(&self) -> &Peers {
        &self.doors.shared.peers
    }

    /// A founder's cluster has its id: it is written down and said to the peers. Nothing changes for one that has it.
    /// Blocks for a small write.
    pub fn set_cluster(&self, id: Uuid) -> Result<(), DataDirError> {
        if let Some(running) = self.running.lock().as_mut() {
            running.dir.name_cluster(id)?;
        }
        self.peers().set_cluster(id);
        Ok(())
    }

    /// Who leads the shard, as far as this hub knows.
    pub fn leader(&self, shard: ShardId) -> Option<Leader> {
        self.doors.shared.leaders.leader(group_of(shard))
    }

    /// The newest term in which somebody led the shard, as far as this hub knows: nobody who leads it now does so in an
    /// older one.
    pub fn last_led(&self, shard: ShardId) -> Option<Term> {
        self.doors.shared.leaders.last_led(group_of(shard))
    }

    /// Who leads the metadata, as far as this hub knows.
    pub fn metadata_leader(&self) -> Option<Leader> {
        self.doors.shared.leaders.leader(METADATA_GROUP)
    }

    /// Who has a replica of the group, as far as this hub knows. Group 0 is the metadata's, shard n is n + 1.
    pub fn replicas(&self, group: u32) -> GroupView {
        self.doors.shared.leaders.view(group)
    }

    /// Ticks with every change of what [`Shards::leader`], [`Shards::replicas`] and [`Shards::is_serving`] say.
    pub fn leadership(&self) -> watch::Receiver<u64> {
        self.doors.shared.leaders.watch()
    }

    /// Whether this segment of the group, or the one with this index, is damaged here and no other hub has given it: it
    /// stays as it is.
    pub fn is_lost(&self, group: u32, file: &Path) -> bool {
        self.doors.shared.leaders.is_lost(group, file)
    }

    /// The term in which this hub leads the shard and has applied an entry of its own.
    pub fn is_serving(&self, shard: ShardId) -> Option<Term> {
        self.doors.shared.leaders.serving(group_of(shard))
    }

    /// The same of a group by number.
    pub fn is_serving_group(&self, group: u32) -> Option<Term> {
        self.doors.shared.leaders.serving(group)
    }

    /// Makes sure that this hub leads the shard: a majority has said so after the call, and what was acknowledged
    /// before the call is applied here. Returns the term in which that holds.
    pub async fn read_index(&self, shard: ShardId) -> Result<Term, ReadIndexError> {
        let place = self.doors.place(shard).ok_or(ReadIndexError::NotLeader { leader: None })?;
        let (reply, told) = oneshot::channel();
        self.doors.send(place, Message::ReadIndex { slot: place.slot, reply });
        told.await.unwrap_or(Err(ReadIndexError::Stopping))
    }

    /// How all groups stand on this hub, by group.
    pub async fn status(&self) -> Vec<GroupStatus> {
        let ask = |inbox: &crate::inbox::Inbox<Message>| {
            let (reply, told) = oneshot::channel();
            inbox.push(Message::Status { reply });
            told
        };
        let asked: Vec<_> = self.doors.inboxes.iter().map(ask).collect();
        let mut groups = Vec::new();
        for told in asked {
            // Executors that are gone say nothing.
            groups.extend(told.await.unwrap_or_default());
        }
        groups.sort_by_key(|status| status.group);
        groups
    }

    /// Has `to`, a voter, take over a group that this hub leads. Returns when it was asked to.
    pub async fn transfer_leadership(&self, group: u32, to: ReplicaId) -> Result<(), ChangeError> {
        self.change(group, |place, reply| Message::Transfer { slot: place.slot, to, reply }).await
    }

    /// Changes who belongs to a group that this hub leads. Returns when the change is through; several that go through
    /// a joint membership when that has begun. One change at a time.
    pub async fn change_membership(&self, group: u32, change: MembershipChange) -> Result<(), ChangeError> {
        self.change(group, |place, reply| Message::ChangeMembership { slot: place.slot, change, reply }).await
    }

    /// This hub's replica with that number is given up for ever, with everything that belongs to it: the group goes on
    /// without it. One that is not here is as good as given up.
    pub async fn destroy_replica(&self, group: u32, number: u32) -> Result<(), ChangeError> {
        self.change(group, |place, reply| Message::Destroy { slot: place.slot, number, reply }).await
    }

    /// Replicas that this hub has given up and that nobody has replaced, as far as it knows.
    pub fn lost_replicas(&self) -> watch::Receiver<Vec<(u32, ReplicaId)>> {
        self.doors.shared.replicas.lost()
    }

    /// The group goes on without this replica.
    pub fn confirm_replaced(&self, group: u32, replica: ReplicaId) {
        self.doors.shared.replicas.confirm_replaced(group, replica);
    }

    /// Groups of which this hub has set aside what a replica had that it gave up at a start, and has no replica any more,
    /// or one with damage. Each once; reads a directory.
    pub fn set_aside(&self) -> io::Result<Vec<u32>> {
        let Some(data) = self.data_path() else { return Ok(Vec::new()) };
        let mut found = aside::all(&data)?;
        found.retain(|it| it.is_kept || self.is_without(it.group));
        let groups: BTreeSet<u32> = found.into_iter().map(|it| it.group).collect();
        Ok(groups.into_iter().collect())
    }

    /// Whether anything is set aside of what a replica of the group had here. Reads a directory.
    pub fn has_set_aside(&self, group: u32) -> io::Result<bool> {
        let Some(data) = self.data_path() else { return Ok(false) };
        Ok(aside::all(&data)?.iter().any(|it| it.group == group))
    }

    /// Whether everything that this hub had stored when it started has been read since: only then what it knows of damage
    /// is all that there was.
    pub fn is_read_through(&self) -> bool {
        self.doors.shared.is_read_through.load(Ordering::Acquire)
    }

    /// Deletes what is set aside of a group. All its replicas MUST be known to have everything, undamaged. What a replica
    /// here will remove itself, once it has everything, stays. Blocks.
    pub fn delete_set_aside(&self, group: u32) -> io::Result<()> {
        self.data_path().map_or(Ok(()), |data| aside::remove_all(&data, group, self.is_without(group)))
    }

    fn is_without(&self, group: u32) -> bool {
        self.doors.shared.replicas.get(group).current.is_none()
    }

    fn data_path(&self) -> Option<PathBuf> {
        self.running.lock().as_ref().map(|running| running.dir.path().to_owned())
    }

    /// The snapshots that are being copied to this hub, by group.
    pub fn copies(&self) -> BTreeMap<u32, CopyProgress> {
        self.running.lock().as_ref().map(|running| running.snapshots.copies()).unwrap_or_default()
    }

    async fn change<T>(
        &self,
        group: u32,
        message: impl FnOnce(Place, oneshot::Sender<T>) -> Message,
    ) -> Result<(), ChangeError>
    where
        T: Into<ChangeOutcome>,
    {
        let place = self.doors.place_of_group(group).ok_or(ChangeError::NotLeader { leader: None })?;
        let (reply, told) = oneshot::channel();
        self.doors.send(place, message(place, reply));
        told.await.map_or(Err(ChangeError::Stopping), |outcome| outcome.into().0)
    }
}

/// Some changes cannot fail.
struct ChangeOutcome(Result<(), ChangeError>);

impl From<()> for ChangeOutcome {
    fn from((): ()) -> Self {
        Self(Ok(()))
    }
}

impl From<Result<(), ChangeError>> for ChangeOutcome {
    fn from(outcome: Result<(), ChangeError>) -> Self {
        Self(outcome)
    }
}
