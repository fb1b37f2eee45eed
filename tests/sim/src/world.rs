//! The cluster, its clients and what happens to them: one queue of events in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use schemas::NodeId;
use shards::simulation::{Faults, Parcel, Part, Role};
use shards::{GroupStatus, LogOptions, PartitionCommand};

use crate::client::Client;
use crate::host::{CLUSTER, Host};
use crate::invariants::{Invariants, Violation};
use crate::journal::History;
use crate::mischief::Mischief;
use crate::network::Network;
use crate::plan;
use crate::steward::{Step, Steward};

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub seed: u64,
    /// Virtual time with mischief, in ms; after it everything is healed, and must come to rest.
    pub time_ms: u64,
    pub faults: Faults,
}

impl Options {
    pub fn new(seed: u64) -> Self {
        Self { seed, time_ms: 60_000, faults: Faults::default() }
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    /// Equal for equal histories: checksum and number of events.
    pub history: (u32, u64),
    pub acknowledged: usize,
    pub mischief: usize,
    /// The first invariant that did not hold, and the last events before it.
    pub violation: Option<(Violation, String)>,
}

/// Time for a healed cluster to come to rest.
const REST_MS: u64 = 30_000;
const CLIENTS: i32 = 6;

enum Event {
    Tick(NodeId),
    Deliver { from: NodeId, to: NodeId, epoch: u64, parcel: Box<Parcel> },
    Synced { node: NodeId, epoch: u64 },
    Checkpoint(NodeId),
    Copy(NodeId),
    Restart(NodeId),
    Client(usize),
    Steward,
    Visitor,
    Open,
    Observe,
    Mischief,
}

pub struct World {
    random: StdRng,
    now_ms: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    hosts: BTreeMap<NodeId, Host>,
    /// Counts the lives of each host, so that what was on its way to an earlier one is dropped.
    epochs: BTreeMap<NodeId, u64>,
    network: Network,
    clients: Vec<Client>,
    visitor: Client,
    visitors: i64,
    steward: Steward,
    invariants: Invariants,
    history: History,
    mischief: usize,
    mischief_ends: u64,
}

/// Runs one simulation in a directory of its own.
pub fn run(options: Options) -> Report {
    let folder = memory_folder();
    let mut world = World::new(folder.path(), options);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run(options)));
    let outcome = outcome.unwrap_or_else(|panic| Err(Violation::Refused(message_of(panic.as_ref()))));
    Report {
        seed: options.seed,
        history: world.history.fingerprint(),
        acknowledged: world.invariants.acknowledged_count(),
        mischief: world.mischief,
        violation: outcome.err().map(|violation| (violation, world.history.tail(60))),
    }
}

/// In memory where the machine has such a folder: what a simulated disk loses is the simulation's to say.
fn memory_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder can be made")
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

impl World {
    fn new(root: &Path, options: Options) -> Self {
        let mut random = StdRng::seed_from_u64(options.seed);
        let count: u32 = *[3, 3, 4, 5].choose(&mut random).unwrap_or(&3);
        let founder = NodeId(1);
        let mut hosts = BTreeMap::new();
        for node in (1..=count).map(NodeId) {
            let part = if node == founder {
                Part::Founder
            } else {
                Part::Member { cluster: CLUSTER, replica_floor: 1 }
            };
            hosts.insert(node, Host::new(root, node, part, options.faults, options.seed));
        }
        Self {
            now_ms: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            epochs: hosts.keys().map(|node| (*node, 0)).collect(),
            hosts,
            network: Network::default(),
            clients: (0..CLIENTS).map(|n| Client::new(n, founder)).collect(),
            visitor: Client::visitor(0, founder),
            visitors: 0,
            steward: Steward::new(plan::GROUPS, founder),
            invariants: Invariants::default(),
            history: History::default(),
            mischief: 0,
            mischief_ends: options.time_ms,
            random,
        }
    }

    fn run(&mut self, options: Options) -> Result<(), Violation> {
        let nodes: Vec<NodeId> = self.hosts.keys().copied().collect();
        for (offset, node) in (0..).zip(&nodes) {
            self.start(*node)?;
            self.at(offset * 7, Event::Tick(*node));
            self.at(plan::CHECKPOINT_MS + offset * 100, Event::Checkpoint(*node));
        }
        self.open_partitions();
        let three: BTreeSet<NodeId> = nodes.iter().take(3).copied().collect();
        self.steward.want(&three);
        (0..self.clients.len()).for_each(|client| self.at(500, Event::Client(client)));
        self.at(plan::STEWARD_MS, Event::Steward);
        self.at(plan::VISITOR_MS, Event::Visitor);
        self.at(plan::OBSERVE_MS, Event::Observe);
        self.at(3000, Event::Mischief);
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > options.time_ms + REST_MS {
                break;
            }
            self.now_ms = at;
            self.happen(event)?;
        }
        self.at_rest()
    }

    fn at(&mut self, after_ms: u64, event: Event) {
        self.next_event += 1;
        self.queue.insert((self.now_ms + after_ms, self.next_event), event);
    }

    fn note(&mut self, what: &impl std::fmt::Display) {
        self.history.note(self.now_ms, what);
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Tick(node) => self.tick(node),
            Event::Deliver { from, to, epoch, parcel } => {
                if self.epochs.get(&to) == Some(&epoch) && self.network.is_open(from, to) {
                    self.with_hub(to, |hub| hub.receive(from, *parcel));
                }
            }
            Event::Synced { node, epoch } => self.synced(node, epoch),
            Event::Checkpoint(node) => {
                let group = self.random.gen_range(0..plan::GROUPS);
                self.with_hub(node, |hub| {
                    hub.checkpoint(group);
                });
                self.at(plan::CHECKPOINT_MS / 2, Event::Checkpoint(node));
            }
            Event::Copy(node) => self.copy(node),
            Event::Restart(node) => self.start(node)?,
            Event::Client(client) => self.client(client)?,
            Event::Steward => self.steward_steps(),
            Event::Visitor => self.visitor()?,
            Event::Open => self.open_partitions(),
            Event::Observe => self.observe()?,
            Event::Mischief => self.next_mischief()?,
        }
        Ok(())
    }

    /// Has a hub do something, then carries out what came of it.
    fn with_hub(&mut self, node: NodeId, then: impl FnOnce(&mut shards::simulation::Hub)) {
        let Some(host) = self.hosts.get_mut(&node) else { return };
        host.set_clock(self.now_ms);
        let stalled_until = host.stalled_until;
        let Some(hub) = host.hub() else { return };
        then(hub);
        hub.turn();
        let parcels = hub.take_parcels();
        let wants_sync = hub.unsynced_frames() > 0;
        let wants_copy = !hub.snapshots_wanted().is_empty();
        let begins = wants_sync && !host.syncing;
        host.syncing |= begins;
        for (to, parcel) in parcels {
            self.send(node, to, parcel);
        }
        if begins {
            let takes = self.random.gen_range(1..8).max(stalled_until.saturating_sub(self.now_ms));
            let epoch = self.epochs.get(&node).copied().unwrap_or(0);
            self.at(takes, Event::Synced { node, epoch });
        }
        if wants_copy {
            let takes = self.random.gen_range(1..plan::COPY_MS);
            self.at(takes, Event::Copy(node));
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, parcel: Parcel) {
        let epoch = self.epochs.get(&to).copied().unwrap_or(0);
        for delay in self.network.delays(from, to, &mut self.random) {
            self.at(delay, Event::Deliver { from, to, epoch, parcel: Box::new(parcel.clone()) });
        }
    }

    fn tick(&mut self, node: NodeId) {
        let frozen = self.hosts.get(&node).is_some_and(|host| host.frozen_at.is_some());
        if !frozen {
            self.with_hub(node, shards::simulation::Hub::tick);
        }
        self.at(plan::TICK_MS, Event::Tick(node));
    }

    fn synced(&mut self, node: NodeId, epoch: u64) {
        if self.epochs.get(&node) != Some(&epoch) {
            return;
        }
        let Some(host) = self.hosts.get_mut(&node) else { return };
        if host.stalled_until > self.now_ms {
            let takes = host.stalled_until - self.now_ms;
            return self.at(takes, Event::Synced { node, epoch });
        }
        host.syncing = false;
        self.with_hub(node, shards::simulation::Hub::sync);
    }

    /// Copies the oldest snapshot that a hub wants, if it can reach the one that has it.
    fn copy(&mut self, node: NodeId) {
        let Some(mut host) = self.hosts.remove(&node) else { return };
        host.set_clock(self.now_ms);
        if let Some(hub) = host.hub()
            && let Some(wanted) = hub.snapshots_wanted().first().cloned()
        {
            let from = NodeId(wanted.from().node());
            let reachable = self.network.is_open(node, from) && self.network.is_open(from, node);
            let now_ms = self.now_ms;
            let other = self.hosts.get_mut(&from).filter(|_| reachable);
            let other = other.and_then(|other| {
                other.set_clock(now_ms);
                other.hub()
            });
            hub.copy_snapshot(wanted, other);
        }
        self.hosts.insert(node, host);
        self.with_hub(node, |_| {});
    }

    fn start(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(host) = self.hosts.get_mut(&node).filter(|host| !host.is_up()) else { return Ok(()) };
        let started = host.start(self.now_ms);
        started.map_err(|error| Violation::Refused(format!("hub {node} does not start: {error}")))?;
        self.note(&format_args!("hub {node} starts"));
        self.with_hub(node, |_| {});
        Ok(())
    }

    fn crash(&mut self, node: NodeId, restart_ms: u64) {
        let Some(host) = self.hosts.get_mut(&node).filter(|host| host.is_up()) else { return };
        host.crash(&mut self.random);
        *self.epochs.entry(node).or_default() += 1;
        self.at(restart_ms, Event::Restart(node));
        // The others' connections end at once where the machine is still there to say so.
        if self.random.gen_bool(0.5) {
            let others: Vec<NodeId> = self.hosts.keys().copied().filter(|other| *other != node).collect();
            for other in others {
                if self.network.is_open(node, other) {
                    self.with_hub(other, |hub| hub.hub_gone(node));
                }
            }
        }
    }

    /// Until every partition is open where it was founded.
    fn open_partitions(&mut self) {
        for index in 0..plan::PARTITIONS {
            let options = LogOptions { segment_bytes: plan::SEGMENT_BYTES };
            let partition = plan::partition(index);
            let command = PartitionCommand::Open { partition, options };
            self.with_hub(NodeId(1), |hub| {
                if hub.partition(partition).is_none() {
                    hub.command(plan::shard(index), command, Box::new(drop));
                }
            });
        }
        if self.now_ms < plan::OPENED_MS {
            self.at(plan::OPENED_MS / 10, Event::Open);
        }
    }

    fn client(&mut self, index: usize) -> Result<(), Violation> {
        self.at(plan::CLIENT_MS, Event::Client(index));
        let client = &mut self.clients[index];
        let acknowledged = client.settle(self.now_ms).map_err(Violation::Acknowledged)?;
        let (leader, partition) = (client.leader, client.partition);
        for batch in acknowledged {
            self.history.note(self.now_ms, &format_args!("{batch:?}"));
            self.invariants.acknowledged(batch)?;
        }
        if !self.clients[index].is_idle() {
            return Ok(());
        }
        let known =
            self.hosts.get_mut(&leader).and_then(Host::hub).map(|hub| hub.leader(plan::group(partition)));
        let nodes: Vec<NodeId> = self.hosts.keys().copied().collect();
        self.clients[index].leader = match known.flatten() {
            Some(known) => known.node,
            None => *nodes.choose(&mut self.random).unwrap_or(&leader),
        };
        let leader = self.clients[index].leader;
        let appends = self.clients[index].send(self.now_ms, &mut self.random);
        self.with_hub(leader, |hub| {
            for (append, done) in appends {
                hub.append(plan::shard(partition), append, done);
            }
            hub.propose_metadata(Bytes::from_static(b"a command"), Box::new(drop));
        });
        Ok(())
    }

    /// A producer that writes once and is never heard of again; those before it are forgotten after a while.
    fn visitor(&mut self) -> Result<(), Violation> {
        self.at(plan::VISITOR_MS, Event::Visitor);
        let acknowledged = self.visitor.settle(self.now_ms).map_err(Violation::Acknowledged)?;
        for batch in acknowledged {
            self.invariants.acknowledged(batch)?;
        }
        let leaders = self.leaders();
        let group = plan::group(plan::VISITED_PARTITION);
        let Some(leader) = leaders.get(&group).and_then(|status| status.own) else { return Ok(()) };
        self.visitors += 1;
        self.visitor = Client::visitor(self.visitors, NodeId(leader.node()));
        let appends = self.visitor.send(self.now_ms, &mut self.random);
        self.with_hub(NodeId(leader.node()), |hub| {
            let shard = plan::shard(plan::VISITED_PARTITION);
            for (append, done) in appends {
                hub.append(shard, append, done);
            }
            let partition = plan::partition(plan::VISITED_PARTITION);
            let expire = PartitionCommand::ExpireProducers { partition, after_ms: plan::EXPIRE_MS };
            hub.command(shard, expire, Box::new(drop));
        });
        Ok(())
    }

    /// What the leaders know of each group: of several that take themselves for one, the newest.
    fn leaders(&mut self) -> BTreeMap<u32, GroupStatus> {
        let mut found: BTreeMap<u32, GroupStatus> = BTreeMap::new();
        for host in self.hosts.values_mut() {
            let Some(hub) = host.hub() else { continue };
            for status in hub.status().into_iter().filter(|status| status.role == Role::Leader) {
                let newer = found.get(&status.group).is_none_or(|known| known.term < status.term);
                if newer && hub.serving(status.group).is_some() {
                    found.insert(status.group, status);
                }
            }
        }
        found
    }

    fn steward_steps(&mut self) {
        self.at(plan::STEWARD_MS, Event::Steward);
        let leaders = self.leaders();
        for status in leaders.values() {
            let (Some(own), Some(step)) = (status.own, self.steward.next_step(status)) else { continue };
            self.note(&format_args!("group {}: {step:?}", status.group));
            self.with_hub(NodeId(own.node()), |hub| match step {
                Step::Change(change) => drop(hub.change_membership(status.group, change)),
                Step::Transfer(to) => drop(hub.transfer(status.group, to)),
            });
        }
        self.replace_what_was_given_up(&leaders);
    }

    /// A replica that is given up gets a successor; one that is in no membership any more goes.
    fn replace_what_was_given_up(&mut self, leaders: &BTreeMap<u32, GroupStatus>) {
        let nodes: Vec<NodeId> = self.hosts.keys().copied().collect();
        for node in nodes {
            let Some(hub) = self.hosts.get_mut(&node).and_then(Host::hub) else { continue };
            let given_up = hub.given_up();
            let statuses = hub.status();
            given_up.into_iter().for_each(|(group, id)| self.steward.replace(group, id));
            for status in statuses {
                let Some(own) = status.own.filter(|own| self.steward.is_dropped(status.group, *own)) else {
                    continue;
                };
                // Only a leader can tell that the removal is committed.
                let removed = leaders.get(&status.group).is_some_and(|it| !it.membership.contains(own));
                if removed {
                    self.with_hub(node, |hub| drop(hub.destroy_replica(status.group, own.number())));
                }
            }
        }
    }

    fn observe(&mut self) -> Result<(), Violation> {
        self.at(plan::OBSERVE_MS, Event::Observe);
        for (node, host) in &mut self.hosts {
            if let Some(hub) = host.hub() {
                let statuses = hub.status();
                self.invariants.look(*node, hub, &statuses)?;
            }
        }
        Ok(())
    }

    fn next_mischief(&mut self) -> Result<(), Violation> {
        if self.now_ms >= self.mischief_ends {
            return self.heal_everything();
        }
        let nodes: Vec<NodeId> = self.hosts.keys().copied().collect();
        let mischief = Mischief::draw(&mut self.random, &nodes, plan::GROUPS);
        if self.is_allowed(&mischief) {
            self.note(&mischief);
            self.mischief += 1;
            self.make(mischief);
        }
        let pause = self.random.gen_range(50..1500);
        self.at(pause, Event::Mischief);
        Ok(())
    }

    /// A second replica may only be lost once the first has its successor: nothing survives more than that.
    fn is_allowed(&mut self, mischief: &Mischief) -> bool {
        match mischief {
            Mischief::Wipe(_) | Mischief::Damage(..) => {
                let leaders = self.leaders();
                self.steward.is_settled(&leaders) && self.steward.replicas_min() > 2 && self.is_complete()
            }
            _ => true,
        }
    }

    /// Every replica that there is to be is there.
    fn is_complete(&mut self) -> bool {
        let mut present = BTreeSet::new();
        for host in self.hosts.values_mut() {
            let statuses = host.hub().map(shards::simulation::Hub::status).unwrap_or_default();
            present.extend(statuses.into_iter().filter_map(|status| Some((status.group, status.own?))));
        }
        self.steward.wanted().all(|replica| present.contains(&replica))
    }

    fn make(&mut self, mischief: Mischief) {
        let now_ms = self.now_ms;
        match mischief {
            Mischief::Crash(node) => {
                let restart = self.random.gen_range(10..6000);
                self.crash(node, restart);
            }
            Mischief::CrashAll => {
                for node in self.hosts.keys().copied().collect::<Vec<_>>() {
                    let restart = self.random.gen_range(10..3000);
                    self.crash(node, restart);
                }
            }
            Mischief::Wipe(node) => self.wipe(node),
            Mischief::Damage(node, group) => self.with_hub(node, |hub| hub.damage(group)),
            Mischief::Stall(node, ms) => self.on_host(node, |host| host.stalled_until = now_ms + ms),
            Mischief::Skew(node, ms) => self.on_host(node, |host| host.skew_ms = ms),
            Mischief::Freeze(node, _) => self.on_host(node, |host| host.frozen_at = Some(now_ms)),
            Mischief::CutOneWay(from, to) => self.network.cut(from, to),
            Mischief::Part(one, other) => self.network.part(one, other),
            Mischief::Isolate(node) => {
                for other in self.hosts.keys().copied().filter(|other| *other != node).collect::<Vec<_>>() {
                    self.network.part(node, other);
                }
            }
            Mischief::Weather(lost, twice, delay_ms) => {
                (self.network.lost, self.network.twice, self.network.delay_ms) = (lost, twice, delay_ms);
            }
            Mischief::Heal => self.heal(),
            Mischief::Move => {
                let mut nodes: Vec<NodeId> = self.hosts.keys().copied().collect();
                nodes.shuffle(&mut self.random);
                let count = self.random.gen_range(2..=3);
                self.steward.want(&nodes.into_iter().take(count).collect());
            }
            Mischief::HandOver(group) => {
                let leaders = self.leaders();
                let Some(status) = leaders.get(&group) else { return };
                let voters = status.membership.voters.clone();
                if let (Some(to), Some(own)) = (voters.choose(&mut self.random), status.own) {
                    self.with_hub(NodeId(own.node()), |hub| drop(hub.transfer(group, *to)));
                }
            }
        }
    }

    fn wipe(&mut self, node: NodeId) {
        let floor = self.steward.floor();
        self.on_host(node, |_| {});
        if let Some(host) = self.hosts.get_mut(&node) {
            host.wipe(&mut self.random, floor);
            *self.epochs.entry(node).or_default() += 1;
            self.steward.replace_all(node);
            let restart = self.random.gen_range(10..3000);
            self.at(restart, Event::Restart(node));
        }
    }

    fn on_host(&mut self, node: NodeId, then: impl FnOnce(&mut Host)) {
        if let Some(host) = self.hosts.get_mut(&node) {
            then(host);
        }
    }

    fn heal(&mut self) {
        self.network.heal();
        for host in self.hosts.values_mut() {
            host.frozen_at = None;
            host.stalled_until = host.stalled_until.min(self.now_ms);
        }
    }

    fn heal_everything(&mut self) -> Result<(), Violation> {
        self.note(&"everything is healed");
        self.heal();
        for node in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.start(node)?;
        }
        Ok(())
    }

    /// A cluster that was left alone has leaders, its members, and goes on acknowledging.
    fn at_rest(&mut self) -> Result<(), Violation> {
        self.observe()?;
        let leaders = self.leaders();
        if !self.steward.is_settled(&leaders) {
            let mut known = String::new();
            for host in self.hosts.values_mut() {
                let statuses = host.hub().map(shards::simulation::Hub::status);
                for status in statuses.into_iter().flatten().filter(|status| status.own.is_some()) {
                    known.push_str(&format!("\n{status:?}"));
                }
            }
            return Err(Violation::Refused(format!("a healed cluster does not come to rest:{known}")));
        }
        Ok(())
    }
}
