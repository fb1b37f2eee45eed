//! One simulated hub.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use bytes::Bytes;
use consensus::{MembershipChange, ReplicaId, TailBudget};
use parking_lot::Mutex;
use partition_log::FileCache;
use peers::Parcel;
use schemas::{NodeId, Offset, PartitionId, ShardId, Term};
use tokio::sync::oneshot;
use uuid::Uuid;
use wal::GroupId;
use wal::simulation::SimDisk;

use super::comparing::ReplicaQuestion;
use super::disk::Durable;
use super::log::{Crash, Log, OnDisk};
use super::mending::SegmentDamaged;
use super::reading::TAIL_BYTES_MAX;
use super::snapshots::SnapshotWanted;
use crate::answer::{Answer, CommandDone, Permit, ProposeDone};
use crate::clock::{Clock, Reading};
use crate::core::{Core, Surroundings};
use crate::data_dir::DataDir;
use crate::entry::Command;
use crate::exchange::Asked;
use crate::faults::Faults;
use crate::group::Request;
use crate::leaders::Leaders;
use crate::limits::{ELECTION_TICKS, TAILS_SHARED_BYTES_MAX};
use crate::message::Message;
use crate::opening::{Opened, open_all};
use crate::order::Install;
use crate::outbox::{Outbox, Wish};
use crate::readers::Readers;
use crate::recovery::{Ground, Recovered};
use crate::replicas::Replicas;
use crate::snapshot::{Notice, Shelf};
use crate::stored_group::StoredGroup;
use crate::{
    Append, AppendDone, ChangeError, CommandError, Config, PartitionCommand, ReadIndexError, Retention,
    StartError, StateMachine,
};

/// How a hub begins.
#[derive(Debug, Clone)]
pub struct HubConfig {
    pub dir: PathBuf,
    pub node: NodeId,
    pub shard_count: u16,
    pub seed: u64,
    pub faults: Faults,
    pub part: Part,
    /// As in the hub's own configuration.
    pub wal_file_bytes: u64,
    pub wal_keep_bytes: u64,
    /// What the hub's clocks show.
    pub wall_ms: i64,
    pub boot_ms: i64,
}

/// The hub's part in its cluster; counts when its directory is new.
#[derive(Debug, Clone)]
pub enum Part {
    Founder,
    Member { cluster: Uuid, replica_floor: u32 },
}

/// What a hub was that loses everything: with [`Faults::wiped_replica_keeps_id`] it goes on as that.
#[derive(Debug, Clone, Default)]
pub struct Wipe {
    pub(super) replicas: Vec<(u32, ReplicaId, consensus::Membership)>,
}

pub struct Hub {
    pub(super) core: Core,
    pub(super) clock: Arc<Clock>,
    pub(super) stores: Vec<StoredGroup>,
    pub(super) shelf: Shelf,
    pub(super) ground: Ground,
    /// The instant that counts as the simulation's first, and the boot clock then.
    began: (Instant, i64),
    pub(super) node: NodeId,
    pub(super) replicas: Arc<Replicas>,
    pub(super) leaders: Leaders,
    pub(super) write_ahead: Log,
    pub(super) is_log_replaced: bool,
    pub(super) read_back: usize,
    parcels: Vec<(NodeId, Parcel)>,
    pub(super) durable: Durable,
    pub(super) wanted: Vec<SnapshotWanted>,
    pub(super) questions: Vec<ReplicaQuestion>,
    pub(super) damaged: Vec<SegmentDamaged>,
    /// What those who read the files have found, and nobody has heard of yet.
    notices: Notices,
    /// Snapshots that wait for room.
    pub(super) installs: Vec<Install>,
    /// The disk is full.
    pub(super) is_full: bool,
    permits: Arc<AtomicU64>,
    _dir: DataDir,
}

impl Hub {
    /// Recovers what the directory and `disk` hold. `wiped` is what the hub was before it lost everything.
    pub fn start(
        config: &HubConfig,
        disk: &SimDisk,
        machine: Box<dyn StateMachine>,
        wiped: &Wipe,
    ) -> Result<Self, StartError> {
        crate::fail::panic_from_now_on();
        let (dir, shards) = open(config)?;
        let cluster = dir.cluster().ok_or(StartError::NoCluster)?;
        let replicas = Arc::new(dir.replicas(&cluster)?);
        let kept: &[_] = if config.faults.wiped_replica_keeps_id { &wiped.replicas } else { &[] };
        for (group, own, _) in kept {
            replicas.begin(*group, own.number())?;
        }
        if config.faults.skip_wal_sync {
            disk.skip_syncs();
        }
        let place = OnDisk { disk, faults: config.faults, is_replaced: Cell::default() };
        let Opened { stores, mut found, wal } = open_all(&place, &shards, &dir, &replicas, machine)?;
        for (group, _, membership) in kept {
            found[*group as usize].membership = Some(membership.clone());
        }
        let notices = Notices::default();
        let ground = ground(config, &dir, cluster.founder, &notices);
        let recovered: Result<Vec<_>, _> = found.into_iter().map(|found| ground.recover(found)).collect();
        let recovered = recovered?;
        let clock = clock(config, &recovered, cluster.founder);
        let around = Surroundings {
            node: config.node,
            executors: 1,
            clock: clock.clone(),
            replicas: replicas.clone(),
            ground: ground.clone(),
            faults: config.faults,
        };
        let mut hub = Self {
            core: Core::new(around, recovered),
            clock,
            stores,
            shelf: Shelf::new(&dir.log()),
            ground,
            began: (Instant::now(), config.boot_ms),
            node: config.node,
            replicas,
            leaders: Leaders::new(config.node, u32::from(config.shard_count) + 1),
            write_ahead: Log::new(wal),
            is_log_replaced: place.is_replaced.get(),
            read_back: 0,
            parcels: Vec::new(),
            durable: Durable::all(&dir.log()),
            wanted: Vec::new(),
            questions: Vec::new(),
            damaged: Vec::new(),
            notices,
            installs: Vec::new(),
            is_full: false,
            permits: Arc::default(),
            _dir: dir,
        };
        hub.core.begin();
        hub.turn();
        Ok(hub)
    }

    /// What the hub's clocks show from now on.
    pub fn set_clock(&mut self, wall_ms: i64, boot_ms: i64) {
        self.clock.give(Reading { wall_ms, boot_ms });
    }

    /// The hub's time as an instant, for what counts in those.
    pub(super) fn now(&self) -> Instant {
        let (began, boot_ms) = self.began;
        let passed_ms = self.clock.boot_ms().saturating_sub(boot_ms);
        began + std::time::Duration::from_millis(u64::try_from(passed_ms).unwrap_or(0))
    }

    /// One tick passes. A disk that has not answered for an election timeout counts as stalled.
    pub fn tick(&mut self) {
        let stalled_ticks = self.write_ahead.tick();
        self.core.suspend(stalled_ticks > ELECTION_TICKS);
        self.core.tick();
        self.install();
        let notices = self.shelf.expire(self.now());
        notices.into_iter().for_each(|notice| self.hear(notice));
    }

    /// What the groups are to hear of the snapshots that others copy.
    pub(super) fn hear(&mut self, notice: Notice) {
        self.core.handle(match notice {
            Notice::Ready { group, mark } => Message::Checkpointed { slot: group as usize, made: Some(mark) },
            Notice::Sent { group, to, ok } => Message::SnapshotSent { slot: group as usize, to, ok },
            Notice::Damaged { group, replica_number: number, file } => {
                Message::Damaged { slot: group as usize, number, file: Some(file) }
            }
        });
    }

    /// Another hub's replicas say this.
    pub fn receive(&mut self, from: NodeId, parcel: Parcel) {
        let slot = parcel.group as usize;
        if let Some(message) = crate::inbound::message(from, self.node, parcel)
            && slot < self.stores.len()
        {
            let permit = self.permit();
            self.core.handle(Message::Peer { slot, message, permit });
        }
    }

    /// What the hub's replicas have to say, in order.
    pub fn take_parcels(&mut self) -> Vec<(NodeId, Parcel)> {
        std::mem::take(&mut self.parcels)
    }

    /// The process of that hub is gone.
    pub fn hub_gone(&mut self, node: NodeId) {
        self.core.handle(Message::LeaderGone { node });
    }

    pub fn append(&mut self, shard: ShardId, append: Append, done: AppendDone) {
        let answer = Answer::append(done, self.permit());
        self.request(group_of(shard), Request { command: Command::Append(append), answer });
    }

    pub fn command(&mut self, shard: ShardId, command: PartitionCommand, done: CommandDone) {
        let answer = Answer::command(done, self.permit());
        self.request(group_of(shard), Request { command: Command::Partition(command), answer });
    }

    /// Says where the partition starts then, if retention has moved that.
    pub fn retain(
        &mut self,
        (shard, partition): (ShardId, PartitionId),
        retention: Retention,
        done: impl FnOnce(Result<Option<Offset>, CommandError>) + Send + 'static,
    ) {
        let (slot, done, permit) = (group_of(shard) as usize, Box::new(done), self.permit());
        self.core.handle(Message::Retain { slot, partition, retention, done, permit });
    }

    pub fn propose_metadata(&mut self, command: Bytes, done: ProposeDone) {
        let answer = Answer::propose(done, self.permit());
        self.request(0, Request { command: Command::Metadata(command), answer });
    }

    pub fn change_membership(
        &mut self,
        group: u32,
        change: MembershipChange,
    ) -> oneshot::Receiver<Result<(), ChangeError>> {
        let (reply, told) = oneshot::channel();
        self.core.handle(Message::ChangeMembership { slot: group as usize, change, reply });
        told
    }

    pub fn transfer(&mut self, group: u32, to: ReplicaId) -> oneshot::Receiver<Result<(), ChangeError>> {
        let (reply, told) = oneshot::channel();
        self.core.handle(Message::Transfer { slot: group as usize, to, reply });
        told
    }

    /// The hub is about to stop: others are to lead. Told when nothing is led here that they could lead.
    pub fn hand_over(&mut self) -> Receiver<()> {
        let (reply, told) = sync_channel(1);
        self.core.handle(Message::HandOver(reply));
        told
    }

    pub fn read_index(&mut self, group: u32) -> oneshot::Receiver<Result<Term, ReadIndexError>> {
        let (reply, told) = oneshot::channel();
        self.core.handle(Message::ReadIndex { slot: group as usize, reply });
        told
    }

    /// The group's replica of this number is no more.
    pub fn destroy_replica(&mut self, group: u32, number: u32) -> oneshot::Receiver<()> {
        let (reply, told) = oneshot::channel();
        self.core.handle(Message::Destroy { slot: group as usize, number, reply });
        told
    }

    /// Damage was found in what the group's replica of this number has stored, nobody knows where.
    pub fn damage(&mut self, group: u32, number: u32) {
        self.core.handle(Message::Damaged { slot: group as usize, number, file: None });
    }

    /// A checkpoint of the group; false if there is nothing to write.
    pub fn checkpoint(&mut self, group: u32) -> bool {
        let force = !self.stores[group as usize].is_settled();
        self.write_checkpoint(group, force).is_some()
    }

    /// What the hub is: to be remembered when it is wiped.
    pub fn wipe(&mut self) -> Wipe {
        let known = self.status().into_iter().filter(|status| !status.membership.is_empty());
        let replicas = known.filter_map(|it| Some((it.group, it.own?, it.membership))).collect();
        Wipe { replicas }
    }

    /// The hub is gone; of the log there is what `crash` says, and of each segment's file as many bytes as `keep` says of
    /// the durable and of all that were written.
    pub fn crash(self, crash: Crash, keep: &mut dyn FnMut(u64, u64) -> u64) -> SimDisk {
        self.durable.crash(&self.ground.log, keep);
        self.write_ahead.crash(crash)
    }

    /// Carries out what came of everything that the hub was told.
    pub fn turn(&mut self) {
        loop {
            let notices = std::mem::take(&mut *self.notices.lock());
            notices.into_iter().for_each(|notice| self.hear(notice));
            let outbox = self.core.finish_turn();
            if outbox.is_empty() {
                return;
            }
            self.perform(outbox);
        }
    }

    fn perform(&mut self, outbox: Outbox) {
        let Outbox { frames, readies, parcels, wishes, views, .. } = outbox;
        for (node, parcels) in parcels {
            self.parcels.extend(parcels.into_iter().map(|parcel| (node, parcel)));
        }
        if !readies.is_empty() || !frames.is_empty() {
            self.write_ahead.write(frames, readies);
        }
        for (group, view) in views {
            self.leaders.update(group, view.as_ref());
        }
        wishes.into_iter().for_each(|wish| self.fulfil(wish));
    }

    fn fulfil(&mut self, wish: Wish) {
        match wish {
            Wish::Barrier { group, hard_state } => self.write_ahead.write_barrier(group, hard_state),
            Wish::Begin { group, number } => {
                let done = self.replicas.begin(group.0, number).is_ok();
                self.core.handle(Message::Begun { slot: group.0 as usize, number, done });
            }
            Wish::GiveUp { group, number, void, directories } => {
                self.installs.retain(|install| install.group != group.0);
                let written = self.replicas.give_up(group.0, number, void).is_ok();
                if written {
                    self.write_ahead.wal.forget(group);
                }
                let done = written && self.stores[group.0 as usize].destroy(directories).is_ok();
                self.core.handle(Message::GivenUp { slot: group.0 as usize, number, done });
            }
            Wish::Checkpoint { group } => {
                let made = self.offer_snapshot(group.0);
                self.core.handle(Message::Checkpointed { slot: group.0 as usize, made });
            }
            Wish::CheckpointSoon { group } => drop(self.write_checkpoint(group.0, false)),
            Wish::ReadLog(wanted) => self.read_log(&wanted),
            Wish::KeepLog { group, from } => self.write_ahead.wal.keep(group, from),
            Wish::Compare(question) => self.put(ReplicaQuestion(Asked::Compare(*question))),
            Wish::Plead(plea) => self.put(ReplicaQuestion(Asked::Leave(plea))),
            Wish::Offered { group, index, to } => {
                let now = self.now();
                self.shelf.tell(group.0, index, to, now);
            }
            Wish::Fetch(wanted) => {
                self.wanted.retain(|it| it.0.group != wanted.group);
                self.wanted.push(SnapshotWanted(wanted));
            }
            Wish::CancelFetch { group } => self.wanted.retain(|it| it.0.group != group.0),
            Wish::NoteDamage { group, generation, damage } => {
                self.stores[group.0 as usize].note_damage(generation, *damage);
            }
            Wish::Mend(damaged) => self.damaged.push(SegmentDamaged(*damaged)),
            Wish::Install(switch) => {
                self.installs.push(Install {
                    group: switch.group,
                    replica_number: switch.replica_number,
                    membership: switch.mark.membership,
                    void_entries_through: switch.void_entries_through,
                    arrived: switch.arrived,
                    reply: Box::new(drop),
                });
                self.install();
            }
        }
    }

    pub(super) fn write_checkpoint(
        &mut self,
        group: u32,
        force: bool,
    ) -> Option<(checkpoint::Position, crate::group_state::GroupState, Vec<PathBuf>)> {
        let (reply, captured) = sync_channel(1);
        self.core.handle(Message::Capture { slot: group as usize, force, reply });
        let captured = captured.try_recv().ok()??;
        self.durable.synced(&captured.dirty);
        let (position, state) = (captured.position, captured.group.clone());
        let damaged = captured.damaged.clone();
        let through = self.stores[group as usize].store(captured).ok()??;
        self.write_ahead.wal.release(GroupId(group), through);
        Some((position, state, damaged))
    }

    fn request(&mut self, group: u32, request: Request) {
        self.core.handle(Message::Request { slot: group as usize, request });
    }

    fn permit(&self) -> Permit {
        Permit::take(&self.permits, 0, u64::MAX).expect("nothing always fits")
    }
}

/// The hub's clock, which goes on from the last stamp of any group.
fn clock(config: &HubConfig, recovered: &[Recovered], founder: bool) -> Arc<Clock> {
    let clock = Arc::new(Clock::given(Reading { wall_ms: config.wall_ms, boot_ms: config.boot_ms }));
    clock.go_on_from(recovered.iter().filter_map(Recovered::last_stamp_ms).max(), founder);
    clock
}

fn group_of(shard: ShardId) -> u32 {
    u32::from(shard.0) + 1
}

fn open(config: &HubConfig) -> Result<(DataDir, Config), StartError> {
    let &HubConfig { node, shard_count, wal_file_bytes, wal_keep_bytes, .. } = config;
    let shards = Config { node, shard_count, wal_file_bytes, wal_keep_bytes, ..Config::new(&config.dir) };
    let mut dir = DataDir::open(&shards)?;
    match &config.part {
        Part::Founder => dir.found()?,
        Part::Member { cluster, replica_floor } => dir.join(*cluster, *replica_floor)?,
    }
    Ok((dir, shards))
}

type Notices = Arc<Mutex<Vec<Notice>>>;

fn ground(config: &HubConfig, dir: &DataDir, founder: bool, notices: &Notices) -> Ground {
    let heard = notices.clone();
    Ground {
        log: dir.log(),
        files: FileCache::new(READ_FILES),
        readers: Readers::default(),
        node: config.node,
        founder,
        seed: config.seed,
        tails: TailBudget::new(TAILS_SHARED_BYTES_MAX),
        tail_bytes_max: TAIL_BYTES_MAX,
        tell: Arc::new(move |notice| heard.lock().push(notice)),
    }
}

/// Files that a simulated hub keeps open for readers.
const READ_FILES: usize = 16;
