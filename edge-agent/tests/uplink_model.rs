//! The uplink's state machine over a real buffer against a hub that dies, refuses and forgets: every record is
//! stored once and in order, or a gap stands for it.

mod common;

use std::collections::VecDeque;
use std::path::PathBuf;

use bytes::Bytes;
use common::{Hub, append, batch, device, open, topic};
use edge_agent::buffer::Buffer;
use edge_agent::uplink::{Action, Answer, Core, DropReason, Event, Facts, Now, reason};
use proptest::prelude::*;
use uuid::Uuid;

/// The child process is no part of this: a program that says nothing makes the check happen here.
fn no_checker() -> Option<PathBuf> {
    Some(PathBuf::from("/bin/true"))
}

#[derive(Clone, Debug)]
enum Op {
    Append { records: u64 },
    Connect { receive_maximum: u16 },
    Disconnect,
    /// The hub takes the next publish; it may be too busy for it, or not answer for ever.
    Deliver { busy: bool },
    /// The next answer reaches the agent.
    Answer,
    Wait { ms: u64 },
    /// The process ends at once and another begins.
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u64..6).prop_map(|records| Op::Append { records }),
        3 => prop_oneof![Just(1u16), Just(2), Just(5), Just(40)].prop_map(|receive_maximum| Op::Connect { receive_maximum }),
        1 => Just(Op::Disconnect),
        8 => prop::bool::weighted(0.1).prop_map(|busy| Op::Deliver { busy }),
        8 => Just(Op::Answer),
        1 => (1u64..2000).prop_map(|ms| Op::Wait { ms }),
        1 => Just(Op::Restart),
    ]
}

struct World {
    folder: tempfile::TempDir,
    cap_bytes: u64,
    filler: usize,
    buffer: Option<Buffer>,
    core: Core,
    hub: Hub,
    now_ms: u64,
    is_connected: bool,
    window: u64,
    to_hub: VecDeque<(u64, i32, Bytes)>,
    to_agent: VecDeque<(u64, Answer)>,
    next_number: u64,
}

impl World {
    fn new(cap_bytes: u64, filler: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path(), cap_bytes, no_checker());
        Self {
            folder,
            cap_bytes,
            filler,
            buffer: Some(buffer),
            core: Core::new(device(), Uuid::from_u128(1)),
            hub: Hub::default(),
            now_ms: 0,
            is_connected: false,
            window: 0,
            to_hub: VecDeque::new(),
            to_agent: VecDeque::new(),
            next_number: 0,
        }
    }

    fn buffer(&self) -> &Buffer {
        self.buffer.as_ref().unwrap()
    }

    async fn run(&mut self, op: &Op) {
        match *op {
            Op::Append { records } => {
                let numbers = self.next_number..self.next_number + records;
                self.next_number = numbers.end;
                append(self.buffer(), batch(numbers, self.filler)).await.unwrap();
                self.lanes().await;
            }
            Op::Connect { receive_maximum } if !self.is_connected => self.connect(receive_maximum).await,
            Op::Connect { .. } => {}
            Op::Disconnect => self.disconnect().await,
            Op::Deliver { busy } => self.deliver(busy),
            Op::Answer => {
                if let Some((token, answer)) = self.to_agent.pop_front() {
                    self.tell(Event::Answer { token, answer }).await;
                }
            }
            Op::Wait { ms } => {
                self.now_ms += ms;
                self.tell(Event::Timer).await;
            }
            Op::Restart => self.restart().await,
        }
    }

    fn deliver(&mut self, busy: bool) {
        if let Some((token, partition, payload)) = self.to_hub.pop_front() {
            let answer = if busy {
                Answer { reason: reason::QUOTA_EXCEEDED, ..Answer::default() }
            } else {
                self.hub.publish(partition, &payload)
            };
            self.to_agent.push_back((token, answer));
        }
    }

    async fn connect(&mut self, receive_maximum: u16) {
        self.is_connected = true;
        self.window = u64::from((receive_maximum / 2).max(1));
        let partitions = [(topic(), 4)].into();
        let facts = Facts { receive_maximum, max_packet_bytes: None, partitions };
        self.tell(Event::Connected { facts, named: vec![topic()] }).await;
        self.lanes().await;
    }

    async fn disconnect(&mut self) {
        self.is_connected = false;
        self.to_hub.clear();
        self.to_agent.clear();
        self.tell(Event::Disconnected).await;
    }

    /// Nothing is told to anybody: what was not committed is gone.
    async fn restart(&mut self) {
        self.disconnect().await;
        let buffer = self.buffer.take().unwrap();
        let mut ended = buffer.subscribe();
        drop(buffer);
        while ended.changed().await.is_ok() {}
        self.buffer = Some(reopen(self.folder.path(), self.cap_bytes));
        self.core = Core::new(device(), Uuid::from_u128(1));
        self.lanes().await;
    }

    async fn lanes(&mut self) {
        for lane in self.buffer().snapshot().lanes.clone() {
            let event = Event::Lane { lane: lane.id, topic: lane.topic, first: lane.first, next: lane.next };
            self.tell(event).await;
        }
    }

    async fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = Now { ms: self.now_ms, wall_ms: 1_700_000_000_000 };
            for action in self.core.handle(now, event) {
                match action {
                    Action::Publish { token, partition, payload, .. } => {
                        assert!(self.is_connected, "nothing is sent without a connection");
                        self.to_hub.push_back((token, partition.0, payload));
                        let unanswered = self.to_hub.len() + self.to_agent.len();
                        assert!(unanswered as u64 <= self.window, "{unanswered} in flight of {}", self.window);
                    }
                    Action::Read { lane, from, until } => {
                        let items = self.buffer().reader().read(lane, from..until, 4096, 16).unwrap();
                        events.push_back(Event::Items { lane, from, items });
                    }
                    Action::Trim { lane, through, gaps, at_once } => {
                        self.buffer().trim(lane, through, gaps, at_once).await.unwrap();
                    }
                    Action::InFlight { lane, end } => self.buffer().set_in_flight(lane, end),
                    Action::Amend { lane, amendment } => {
                        self.buffer().amend(amendment).await.unwrap();
                        events.push_back(Event::Amended { lane });
                    }
                    Action::Drop(reason) => panic!("no reason to drop: {reason:?}"),
                }
            }
        }
    }

    /// The hub and the network behave from now on.
    async fn settle(&mut self) {
        if !self.is_connected {
            self.connect(40).await;
        }
        for _ in 0..100_000 {
            if self.core.is_drained() && self.to_hub.is_empty() && self.to_agent.is_empty() {
                return;
            }
            if self.to_hub.is_empty() && self.to_agent.is_empty() {
                // It waits for a commit, or for the hub to be less busy.
                self.now_ms += 30_000;
                let snapshots = self.buffer().subscribe();
                self.tell(Event::Timer).await;
                if self.to_hub.is_empty() && !self.core.is_drained() {
                    self.await_commit(snapshots).await;
                }
                self.lanes().await;
            }
            self.deliver(false);
            self.run(&Op::Answer).await;
        }
        panic!("the uplink does not come to an end: {:?}", self.core);
    }

    async fn await_commit(
        &self,
        mut snapshots: tokio::sync::watch::Receiver<std::sync::Arc<edge_agent::buffer::Snapshot>>,
    ) {
        let _ = tokio::time::timeout(std::time::Duration::from_millis(200), snapshots.changed()).await;
    }

    fn assert_exactly_once(&self) {
        let log = &self.hub.log;
        assert!(log.is_sorted_by(|one, other| one < other), "in order and once: {log:?}");
        let counters = self.buffer().snapshot().counters;
        assert_eq!(log.len() as u64 + self.hub.lost, self.next_number, "stored and lost add up: {counters:?}");
    }
}

/// The environment of the buffer before is closed by its last user, which may be a moment away.
fn reopen(dir: &std::path::Path, cap_bytes: u64) -> Buffer {
    let closing = heed::env_closing_event(dir.join("buffer").canonicalize().unwrap());
    if let Some(closing) = closing {
        closing.wait();
    }
    open(dir, cap_bytes, no_checker())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_stored_once_and_in_order(ops in prop::collection::vec(op(), 1..150)) {
        block_on(async {
            let mut world = World::new(64 << 20, 0);
            for op in &ops {
                world.run(op).await;
            }
            world.settle().await;
            world.assert_exactly_once();
            assert_eq!(world.hub.lost, 0);
            assert_eq!(world.hub.log.len() as u64, world.next_number);
        });
    }

    #[test]
    fn what_a_full_buffer_drops_is_said_exactly(ops in prop::collection::vec(op(), 50..250)) {
        block_on(async {
            let mut world = World::new(24 << 10, 100);
            for op in &ops {
                world.run(op).await;
            }
            world.settle().await;
            world.assert_exactly_once();
        });
    }
}

fn run(world: &mut World, ops: &[Op]) {
    block_on(async {
        for op in ops {
            world.run(op).await;
        }
        world.settle().await;
    });
}

const CONNECT: Op = Op::Connect { receive_maximum: 8 };
const DELIVER: Op = Op::Deliver { busy: false };

#[test]
fn an_unanswered_publish_is_sent_again_and_stored_once() {
    let mut world = World::new(64 << 20, 0);
    run(&mut world, &[Op::Append { records: 3 }, CONNECT, DELIVER, Op::Disconnect, CONNECT]);
    assert_eq!(world.hub.log, [0, 1, 2]);
}

#[test]
fn a_stream_that_the_hub_forgot_is_moved_to_a_new_one() {
    let mut world = World::new(64 << 20, 0);
    run(&mut world, &[Op::Append { records: 2 }, CONNECT]);
    let old = world.hub.known_streams()[0];
    world.hub.forget(old);
    run(&mut world, &[Op::Append { records: 2 }, Op::Append { records: 1 }]);
    assert_eq!(world.hub.log, [0, 1, 2, 3, 4]);
    assert_eq!(world.hub.headers, [("stream-start".to_owned(), format!("1 {old} forgotten"))]);
    assert_ne!(world.hub.known_streams(), [old]);
    assert_eq!(world.buffer().snapshot().counters.moved_streams, 1);
}

#[test]
fn a_moved_stream_keeps_its_bytes_over_a_restart() {
    let mut world = World::new(64 << 20, 0);
    run(&mut world, &[Op::Append { records: 2 }, CONNECT]);
    world.hub.forget(world.hub.known_streams()[0]);
    // The move is answered, the batch that follows it reaches the hub, its answer is lost.
    run_without_settling(&mut world, &[Op::Append { records: 2 }, DELIVER, Op::Answer, DELIVER, Op::Restart]);
    run(&mut world, &[CONNECT]);
    assert_eq!(world.hub.log, [0, 1, 2, 3]);
}

fn run_without_settling(world: &mut World, ops: &[Op]) {
    block_on(async {
        for op in ops {
            world.run(op).await;
        }
    });
}

#[test]
fn a_fork_moves_only_the_refused_batch() {
    let mut world = World::new(64 << 20, 0);
    run_without_settling(&mut world, &[Op::Append { records: 2 }, Op::Append { records: 1 }, CONNECT]);
    // A copy of the data directory has shipped other bytes under the same sequences.
    let (_, partition, payload) = world.to_hub[0].clone();
    let mut forged = RawBatchBytes(payload.to_vec());
    forged.change_a_time();
    world.hub.publish(partition, &forged.0.into());
    assert_eq!(world.hub.log, [0, 1, 2]);
    run(&mut world, &[]);
    assert_eq!(world.hub.log, [0, 1, 2, 0, 1, 2], "both are there: they are not the same records");
    assert!(world.hub.headers.iter().any(|(name, value)| name == "stream-start" && value.ends_with("fork")));
}

/// The first batch of a publish, to be forged.
struct RawBatchBytes(Vec<u8>);

impl RawBatchBytes {
    fn change_a_time(&mut self) {
        let mut rest = Bytes::from(self.0.clone());
        let mut forged = Vec::new();
        while let Some(batch) = schemas::RawBatch::split_first(&mut rest).unwrap() {
            let header = batch.header().clone();
            let mut bytes = batch.into_bytes().to_vec();
            schemas::patch_times(&mut bytes, header.base_timestamp - 1, header.max_timestamp - 1);
            forged.extend(bytes);
        }
        self.0 = forged;
    }
}

#[test]
fn a_malformed_batch_becomes_a_gap_and_the_rest_goes_on() {
    let mut world = World::new(64 << 20, 0);
    world.hub.poison = Some(3);
    run(&mut world, &[Op::Append { records: 2 }, Op::Append { records: 3 }, Op::Append { records: 1 }, CONNECT]);
    assert_eq!(world.hub.log, [0, 1, 5]);
    assert_eq!((world.hub.gaps, world.hub.lost), (1, 3));
    let counters = world.buffer().snapshot().counters;
    assert_eq!((counters.quarantined, counters.dropped), (3, 3));
    assert_eq!(std::fs::read_dir(world.folder.path().join("quarantine")).unwrap().count(), 1);
}

#[test]
fn a_connection_that_says_nothing_is_dropped() {
    let mut world = World::new(64 << 20, 0);
    run_without_settling(&mut world, &[Op::Append { records: 1 }, CONNECT]);
    let deadline = world.core.deadline_ms().unwrap();
    assert_eq!(deadline, 20_000);
    let now = |ms| Now { ms, wall_ms: 0 };
    assert!(world.core.handle(now(deadline - 1), Event::Timer).is_empty());
    let actions = world.core.handle(now(deadline), Event::Timer);
    assert!(matches!(actions.as_slice(), [Action::Drop(DropReason::Stalled)]), "{actions:?}");
}

#[test]
fn an_unanswered_ping_counts_and_any_packet_is_a_sign_of_life() {
    let mut core = Core::new(device(), Uuid::from_u128(1));
    let now = |ms| Now { ms, wall_ms: 0 };
    let facts = Facts { receive_maximum: 10, ..Facts::default() };
    core.handle(now(0), Event::Connected { facts, named: vec![topic()] });
    assert_eq!(core.deadline_ms(), None, "nothing is unanswered");
    core.handle(now(1000), Event::PingSent);
    assert_eq!(core.deadline_ms(), Some(21_000));
    core.handle(now(5000), Event::Received);
    assert_eq!(core.deadline_ms(), Some(25_000));
    core.handle(now(6000), Event::PingAnswered);
    assert_eq!(core.deadline_ms(), None);
}

#[test]
fn a_broker_that_knows_no_topics_gets_nothing() {
    let mut world = World::new(64 << 20, 0);
    block_on(async {
        world.run(&Op::Append { records: 1 }).await;
        world.is_connected = true;
        let facts = Facts { receive_maximum: 10, ..Facts::default() };
        world.tell(Event::Connected { facts, named: vec![topic()] }).await;
        world.lanes().await;
    });
    assert!(world.to_hub.is_empty());
    assert!(world.core.held().unwrap().contains("telemetry"));
}

#[test]
fn a_new_topic_is_named_on_a_new_connection() {
    let mut core = Core::new(device(), Uuid::from_u128(1));
    let now = Now { ms: 0, wall_ms: 0 };
    core.handle(now, Event::Connected { facts: Facts::default(), named: vec![topic()] });
    let other = schemas::TopicName::try_from("other").unwrap();
    let actions = core.handle(now, Event::Lane { lane: 2, topic: other, first: 8, next: 16 });
    assert!(matches!(actions.as_slice(), [Action::Drop(DropReason::NewTopic)]), "{actions:?}");
}
