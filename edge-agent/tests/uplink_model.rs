//! The uplink's state machine over a real buffer against a hub that dies, refuses and forgets: every record is
//! stored once and in order, or a gap stands for it.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use bytes::Bytes;
use common::world::{Op, World, block_on, run, run_without_settling};
use common::{device, topic};
use edge_agent::buffer::LaneView;
use edge_agent::config::Profile;
use edge_agent::destination::Priority;
use edge_agent::limits::CONNECT_TLS_BYTES;
use edge_agent::uplink::{Action, Answer, Core, DropReason, Event, Facts, Now, Plan, reason};
use proptest::prelude::*;
use schemas::mqtt::LOG_TOPICS_MAX;
use uuid::Uuid;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u64..6).prop_map(|records| Op::Append { records }),
        3 => prop_oneof![Just(1u16), Just(2), Just(5), Just(40)].prop_map(|receive_maximum| Op::Connect { receive_maximum }),
        1 => Just(Op::Disconnect),
        8 => prop::bool::weighted(0.1).prop_map(|busy| Op::Deliver { busy }),
        8 => Just(Op::Answer),
        1 => (1u64..2000).prop_map(|ms| Op::Wait { ms }),
        1 => Just(Op::Restart),
        1 => Just(Op::Unadmit),
    ]
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
            world.assert_exactly_once().await;
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
            world.assert_exactly_once().await;
        });
    }
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
        while let Ok(Some(batch)) = schemas::RawBatch::split_first(&mut rest) {
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
    run(
        &mut world,
        &[Op::Append { records: 2 }, Op::Append { records: 3 }, Op::Append { records: 1 }, CONNECT],
    );
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
    let mut core = Core::new(device(), Uuid::from_u128(1), Plan::default());
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
fn among_several_hubs_one_that_stores_nothing_is_left_although_it_answers() {
    let mut world = World::planned(Plan { is_among_several: true, ..Plan::default() });
    run_without_settling(&mut world, &[Op::Append { records: 1 }, CONNECT]);
    assert_eq!(world.core.deadline_ms(), Some(8000), "less patience where there is another");
    let now = |ms| Now { ms, wall_ms: 0 };
    world.core.handle(now(7000), Event::Received);
    assert_eq!(world.core.deadline_ms(), Some(10_000), "signs of life are not enough");
    let busy = Answer { reason: reason::QUOTA_EXCEEDED, ..Answer::default() };
    world.core.handle(now(7100), Event::Answer { token: 0, answer: busy });
    let actions = world.core.handle(now(10_000), Event::Timer);
    assert!(matches!(actions.first(), Some(Action::Drop(DropReason::Stalled))), "{actions:?}");
}

#[test]
fn a_hub_that_takes_nothing_now_is_asked_why() {
    let held_by = |text: Option<&str>| {
        let mut world = World::new(64 << 20, 0);
        run_without_settling(&mut world, &[Op::Append { records: 1 }, CONNECT]);
        let text = text.map(str::to_owned);
        let answer = Answer { reason: reason::QUOTA_EXCEEDED, text, ..Answer::default() };
        world.core.handle(Now { ms: 7000, wall_ms: 0 }, Event::Answer { token: 0, answer });
        world.core.held()
    };
    let said = held_by(Some("the shard has no leader here"));
    assert_eq!(said.as_deref(), Some("the hub takes nothing now: the shard has no leader here"));
    assert_eq!(held_by(None).as_deref(), Some("the hub takes nothing now"));
}

#[test]
fn a_hub_that_stores_what_it_gets_is_stayed_with() {
    let mut world = World::planned(Plan { is_among_several: true, ..Plan::default() });
    run_without_settling(&mut world, &[Op::Append { records: 1 }, CONNECT]);
    let now = |ms| Now { ms, wall_ms: 0 };
    world.core.handle(now(7000), Event::Answer { token: 0, answer: Answer::default() });
    assert_eq!(world.core.deadline_ms(), None);
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
fn a_topic_that_was_deleted_and_made_again_is_written_to_after_another_connect() {
    let mut world = World::new(64 << 20, 0);
    run(&mut world, &[Op::Append { records: 2 }, CONNECT]);
    let old = world.hub.known_streams()[0];
    world.replace_topic(Some(4));
    run(&mut world, &[Op::Append { records: 2 }]);
    assert_eq!(world.hub.log, [0, 1, 2, 3]);
    assert_eq!(world.hub.headers, [("stream-start".to_owned(), format!("1 {old} forgotten"))]);
    assert_eq!(world.admissions_asked, 1);
}

#[test]
fn a_topic_that_was_made_again_with_fewer_partitions_takes_a_new_stream() {
    let mut world = World::new(64 << 20, 0);
    run(&mut world, &[Op::Append { records: 2 }, CONNECT]);
    let old = world.hub.known_streams()[0];
    assert!(world.hub.partitions[&old] > 0, "the device's partition of four is not the only one of one");
    world.replace_topic(Some(1));
    run(&mut world, &[Op::Append { records: 2 }, Op::Append { records: 1 }]);
    assert_eq!(world.hub.log, [0, 1, 2, 3, 4]);
    assert!(world.hub.partitions.values().all(|partition| *partition == 0));
    assert_eq!(world.hub.headers, [("stream-start".to_owned(), format!("1 {old} forgotten"))]);
}

#[test]
fn records_of_another_device_wait_and_it_is_told_which_device_id_they_need() {
    let mut world = World::new(64 << 20, 0);
    run_without_settling(&mut world, &[Op::Append { records: 2 }, CONNECT]);
    let (token, ..) = world.to_hub.pop_front().unwrap();
    let text = Some("a record's key is another device's".to_owned());
    let answer = Answer { reason: reason::NOT_AUTHORIZED, text, ..Answer::default() };
    world.to_agent.push_back((token, answer));
    run_without_settling(&mut world, &[Op::Answer]);
    let held = world.core.held().unwrap();
    assert!(held.contains("another device's") && held.contains("device_id"), "{held}");
    run(&mut world, &[]);
    assert_eq!(world.hub.log, [0, 1], "none is lost");
}

/// Waits from one try to the next, of a hub that does not have the topic.
fn waits_for_topic(reconnect_longest_ms: u64, tries: usize) -> Vec<u64> {
    let mut world = World::planned(Plan { reconnect_longest_ms, ..Plan::default() });
    world.partitions = None;
    run_without_settling(&mut world, &[CONNECT, Op::Append { records: 1 }]);
    let mut waits = Vec::new();
    for _ in 0..tries {
        let wait = world.core.deadline_ms().unwrap() - world.now_ms;
        waits.push(wait);
        run_without_settling(&mut world, &[Op::Wait { ms: wait }]);
    }
    assert_eq!(world.admissions_asked, tries);
    let held = world.core.held().unwrap();
    assert!(held.contains("the log topic telemetry") && held.contains("see that it is there"), "{held}");
    world.partitions = Some(4);
    run(&mut world, &[]);
    assert_eq!(world.hub.log, [0]);
    waits
}

#[test]
fn a_hub_without_the_topic_is_asked_ever_less_often_by_another_connect() {
    for (longest_ms, last_ms) in [(5_000, 60_000), (120_000, 120_000), (900_000, 900_000)] {
        let waits = waits_for_topic(longest_ms, 24);
        let doubling = (0..24).map(|tries| 1000_u64.saturating_mul(1 << tries.min(20)).min(last_ms));
        for (wait, most) in waits.iter().zip(doubling) {
            assert!((most / 2..=most).contains(wait), "{wait} of {most}: {waits:?}");
        }
        assert!(waits[12..].windows(2).any(|pair| pair[0] != pair[1]), "no two alike: {waits:?}");
    }
}

#[test]
fn a_refused_topic_takes_no_more_than_a_third_of_what_a_metered_link_may_send() {
    let a_month_ms = 30 * 24 * 3600 * 1000;
    let metered = Profile::Metered.link(false);
    let longest_ms = u64::try_from(metered.reconnect_longest.as_millis()).unwrap();
    let waits = waits_for_topic(longest_ms, 500);
    let a_connection_ms = waits[20..].iter().sum::<u64>() / (waits.len() as u64 - 20);
    let sent = a_month_ms / a_connection_ms * CONNECT_TLS_BYTES;
    assert!(sent < metered.bytes_per_month_max.unwrap() / 3, "{sent} bytes in a month");
}

/// A lane of the topic with this number, with something in it or nothing.
fn lane_of(number: u8, is_filled: bool) -> LaneView {
    LaneView {
        id: number,
        topic: schemas::TopicName::try_from(format!("topic-{number}").as_str()).unwrap(),
        priority: Priority::Telemetry,
        is_backlog: false,
        first: if is_filled { 8 } else { 16 },
        next: 16,
        records: u64::from(is_filled),
        bytes: 100,
        shipping: None,
        open: None,
    }
}

/// An uplink whose hub opens every topic, and the connections that it makes.
struct Turning {
    core: Core,
    ms: u64,
    lanes: Vec<LaneView>,
    /// Topics that connections named, in their order.
    named: Vec<Vec<schemas::TopicName>>,
}

impl Turning {
    /// Connects.
    fn with(lanes: Vec<LaneView>) -> Self {
        let core = Core::new(device(), Uuid::from_u128(1), Plan::default());
        let mut turning = Self { core, ms: 0, lanes, named: Vec::new() };
        turning.connect();
        turning
    }

    fn connect(&mut self) {
        let topics = self.lanes.iter().map(|lane| lane.topic.clone()).collect();
        let lanes = &self.lanes;
        let is_filled = |lane: &LaneView| lane.first < lane.next;
        let is_waiting =
            |topic: &schemas::TopicName| lanes.iter().any(|lane| lane.topic == *topic && is_filled(lane));
        let named = self.core.topics_to_name(topics, is_waiting);
        let partitions = named.iter().map(|topic| (topic.clone(), 4)).collect();
        let facts = Facts { receive_maximum: 40, max_packet_bytes: None, partitions };
        self.named.push(named.clone());
        assert!(!self.tell(Event::Connected { facts, named }), "it is of no use");
    }

    /// Whether the connection is dropped by it.
    fn tell(&mut self, event: Event) -> bool {
        let now = Now { ms: self.ms, wall_ms: 0 };
        let mut actions = self.core.handle(now, event);
        actions.extend(self.core.handle(now, Event::Lanes(self.lanes.clone())));
        actions.iter().any(|action| matches!(action, Action::Drop(DropReason::NewTopic)))
    }

    /// Time passes until it makes another connection; how long that took, if it ever does.
    fn turn(&mut self) -> Option<u64> {
        let began = self.ms;
        loop {
            let at = self.core.deadline_ms()?;
            assert!(at > self.ms, "it does not spin");
            self.ms = at;
            if self.tell(Event::Timer) {
                self.tell(Event::Disconnected);
                self.connect();
                return Some(self.ms - began);
            }
        }
    }

    /// The hub has everything of the topics that the connection named.
    fn ship(&mut self) {
        for lane in &mut self.lanes {
            if self.named.last().unwrap().contains(&lane.topic) {
                lane.first = lane.next;
            }
        }
        assert!(!self.tell(Event::Received), "it is too early");
    }
}

#[test]
fn more_topics_than_a_connection_names_take_turns_once_those_that_it_named_are_sent() {
    let mut turning = Turning::with((1..=200).map(|number| lane_of(number, true)).collect());
    for shipped in [80, 160, 200] {
        turning.ship();
        assert_eq!(turning.lanes.iter().filter(|lane| lane.first == lane.next).count(), shipped);
        assert!(turning.named.iter().all(|named| named.len() == LOG_TOPICS_MAX));
        let is_held = turning.core.held().is_some_and(|held| held.contains("take turns"));
        assert_eq!(is_held, shipped < 200);
        assert_eq!(turning.turn(), (shipped < 200).then_some(5_000), "{shipped}");
    }
}

#[test]
fn topics_for_which_nothing_waits_cost_no_connection() {
    let mut turning = Turning::with((1..=200).map(|number| lane_of(number, number <= 80)).collect());
    turning.ship();
    assert_eq!(turning.turn(), None);
    turning.lanes[199].next += 8;
    assert!(!turning.tell(Event::Received), "a live record does not make it hop");
    assert_eq!(turning.turn(), Some(5_000));
    assert!(turning.named[1].contains(&turning.lanes[199].topic));
}

#[test]
fn topics_that_are_never_done_keep_no_other_from_its_turn() {
    let mut turning = Turning::with((1..=200).map(|number| lane_of(number, true)).collect());
    for _ in 0..9 {
        assert_eq!(turning.turn(), Some(20_000));
    }
    for lane in &turning.lanes {
        let is_in = |connections: &[Vec<schemas::TopicName>]| {
            connections.iter().flatten().any(|it| *it == lane.topic)
        };
        assert!(turning.named.windows(3).all(is_in), "{} waits for more than two others", lane.topic);
    }
}

#[test]
fn a_new_topic_is_named_on_a_new_connection() {
    let mut core = Core::new(device(), Uuid::from_u128(1), Plan::default());
    let now = Now { ms: 0, wall_ms: 0 };
    core.handle(now, Event::Connected { facts: Facts::default(), named: vec![topic()] });
    let actions = core.handle(now, Event::Lanes(vec![lane_of(2, true)]));
    assert!(matches!(actions.as_slice(), [Action::Drop(DropReason::NewTopic)]), "{actions:?}");
}
