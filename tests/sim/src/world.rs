//! The cluster, its clients and what happens to them: one queue of events in virtual time.

mod care;
mod decay;
mod hubs;
mod traffic;
mod trouble;
mod watch;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use schemas::NodeId;
use shards::simulation::{Parcel, ParcelBody, Part, ReplicaId, ReplicaQuestion, SegmentDamaged};

use crate::client::Client;
use crate::consumer::Consumer;
use crate::coordinator::Coordinator;
use crate::host::{CLUSTER, Host};
use crate::invariants::{Invariants, Violation};
use crate::journal::History;
use crate::network::Network;
use crate::options::{Options, Report};
use crate::plan;
use crate::steward::Steward;

use decay::Rotten;

enum Event {
    Tick(NodeId),
    Deliver {
        from: NodeId,
        to: NodeId,
        epoch: u64,
        parcel: Box<Parcel>,
    },
    Synced {
        node: NodeId,
        epoch: u64,
    },
    Checkpoint(NodeId),
    Copy(NodeId),
    Scrub(NodeId),
    Compact(NodeId),
    /// One hub's replica asks another's whether it has the same.
    Ask {
        from: NodeId,
        epoch: u64,
        question: Box<ReplicaQuestion>,
    },
    /// A damaged segment is to be made again.
    Mend {
        node: NodeId,
        epoch: u64,
        damaged: Box<SegmentDamaged>,
    },
    /// The disk has room again, unless it is full anew.
    Room(NodeId),
    Restart(NodeId),
    Thaw(NodeId, u64),
    /// The metadata hears that a hub is a new incarnation, which has none of the replicas up to this number.
    Registered(NodeId, u32),
    Client(usize),
    Coordinator(usize),
    Consumer(usize),
    Visitor,
    Retain,
    Steward,
    Open,
    Observe,
    Mischief,
    /// Whether the healed cluster is at rest, by this time at the latest.
    Rest(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Mischief,
    /// Nothing goes wrong any more, and everybody works.
    Healed,
    /// Nobody asks for anything any more.
    Quiet,
    Over,
}

pub struct World {
    options: Options,
    random: StdRng,
    now_ms: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    hosts: BTreeMap<NodeId, Host>,
    network: Network,
    clients: Vec<Client>,
    coordinators: Vec<Coordinator>,
    consumers: Vec<Consumer>,
    visitor: Client,
    visitors: i64,
    steward: Steward,
    invariants: Invariants,
    history: History,
    mischief: usize,
    /// A replica was lost and may not have its successor yet.
    is_mourning: bool,
    /// A replica that was damaged for good and waits for leave to go.
    doomed: Option<(NodeId, u32, ReplicaId)>,
    /// Where bytes have changed on a disk, until that is mended.
    rotten: Vec<Rotten>,
    /// A replica that is to be altered as soon as its group is whole, and until when that is waited for.
    to_alter: Option<(NodeId, u32, u64)>,
    phase: Phase,
    /// What each sender had acknowledged when the cluster was healed.
    progress: Vec<u64>,
    /// Hubs that serve a group since the last event.
    new_leaders: Vec<NodeId>,
}

/// Runs one simulation in a directory of its own.
pub fn run(options: Options) -> Report {
    let folder = memory_folder();
    let mut world = World::new(folder.path(), options);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let outcome = outcome.unwrap_or_else(|panic| Err(Violation::Refused(message_of(panic.as_ref()))));
    Report {
        seed: options.seed,
        again: options.again(),
        history: world.history.fingerprint(),
        acknowledged: world.invariants.acknowledged_count(),
        consumed: world.consumers.iter().map(|consumer| consumer.position.0).sum(),
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

fn clients(leader: NodeId) -> Vec<Client> {
    let plain = (0..plan::CLIENTS).map(|n| Client::new(n, leader));
    plain.chain((0..plan::KEYED_CLIENTS).map(|n| Client::keyed(n, leader))).collect()
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
        let coordinator = |index| Coordinator::new(Client::coordinator(index, founder));
        Self {
            options,
            random,
            now_ms: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            hosts,
            network: Network::default(),
            clients: clients(founder),
            // Producers are forgotten in the last partition.
            coordinators: (0..plan::VISITED_PARTITION).map(coordinator).collect(),
            consumers: (0..plan::CONSUMERS).map(|n| Consumer::new(n, founder)).collect(),
            visitor: Client::visitor(0, founder),
            visitors: 0,
            steward: Steward::new(plan::GROUPS, founder),
            invariants: Invariants::default(),
            history: History::new(options.is_told),
            mischief: 0,
            is_mourning: false,
            doomed: None,
            rotten: Vec::new(),
            to_alter: None,
            phase: Phase::Mischief,
            progress: Vec::new(),
            new_leaders: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        let nodes = self.nodes();
        for (offset, node) in (0..).zip(&nodes) {
            self.start(*node)?;
            self.at(offset * 7, Event::Tick(*node));
            self.at(plan::CHECKPOINT_MS + offset * 100, Event::Checkpoint(*node));
            self.at(plan::SCRUB_MS + offset * 30, Event::Scrub(*node));
            self.at(plan::COMPACT_MS + offset * 50, Event::Compact(*node));
        }
        self.open_partitions();
        for group in 0..plan::GROUPS {
            self.steward.want(group, nodes.iter().take(3).copied().collect());
        }
        (0..self.clients.len()).for_each(|index| self.at(500, Event::Client(index)));
        (0..self.coordinators.len()).for_each(|index| self.at(600, Event::Coordinator(index)));
        (0..self.consumers.len()).for_each(|index| self.at(700, Event::Consumer(index)));
        self.at(plan::STEWARD_MS, Event::Steward);
        self.at(plan::VISITOR_MS, Event::Visitor);
        self.at(plan::RETAIN_MS, Event::Retain);
        self.at(plan::OBSERVE_MS, Event::Observe);
        self.at(plan::CALM_MS, Event::Mischief);
        while self.phase != Phase::Over
            && let Some(((at, _), event)) = self.queue.pop_first()
        {
            self.now_ms = at;
            self.count(&event);
            self.happen(event)?;
            self.look_at_new_leaders()?;
        }
        Ok(())
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.hosts.keys().copied().collect()
    }

    fn at(&mut self, after_ms: u64, event: Event) {
        self.next_event += 1;
        self.queue.insert((self.now_ms + after_ms, self.next_event), event);
    }

    fn note(&mut self, what: &impl std::fmt::Display) {
        self.history.note(self.now_ms, what);
    }

    /// The history holds when each event happened, and of a message all there is.
    fn count(&mut self, event: &Event) {
        self.history.count(&self.now_ms.to_be_bytes());
        if let Event::Deliver { from, to, parcel, .. } = event {
            let numbers =
                [u64::from(from.0), u64::from(to.0), u64::from(parcel.group), parcel.from, parcel.to];
            numbers.iter().for_each(|number| self.history.count(&number.to_be_bytes()));
            match &parcel.body {
                ParcelBody::Message(bytes) => self.history.count(bytes),
                beat @ ParcelBody::Beat { .. } => self.history.count(format!("{beat:?}").as_bytes()),
            }
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Tick(node) => self.tick(node),
            Event::Deliver { from, to, epoch, parcel } => self.deliver(from, to, epoch, *parcel),
            Event::Synced { node, epoch } => self.synced(node, epoch),
            Event::Checkpoint(node) => {
                let random = &mut self.random;
                if let Some(group) = self.hosts.get_mut(&node).map(|host| host.next_to_checkpoint(random)) {
                    self.with_hub(node, |hub| _ = hub.checkpoint(group));
                }
                self.at(plan::CHECKPOINT_MS / 2, Event::Checkpoint(node));
            }
            Event::Copy(node) => self.copy(node),
            Event::Scrub(node) => self.scrub(node),
            Event::Compact(node) => self.compact(node)?,
            Event::Ask { from, epoch, question } => self.deliver_question(from, epoch, *question),
            Event::Mend { node, epoch, damaged } => self.mend(node, epoch, *damaged),
            Event::Room(node) => self.room_again(node),
            Event::Restart(node) => self.start(node)?,
            Event::Thaw(node, since) => self.thaw(node, since),
            Event::Registered(node, floor) => self.steward.replace_all(node, floor),
            Event::Client(index) => self.client(index)?,
            Event::Coordinator(index) => self.coordinator(index)?,
            Event::Consumer(index) => self.consumer(index)?,
            Event::Visitor => self.visitor()?,
            Event::Retain => self.retain(),
            Event::Steward => self.steward_steps()?,
            Event::Open => self.open_partitions(),
            Event::Observe => self.observe()?,
            Event::Mischief => self.next_mischief()?,
            Event::Rest(until) => self.rest(until)?,
        }
        Ok(())
    }
}
