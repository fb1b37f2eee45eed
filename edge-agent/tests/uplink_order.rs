//! In which order and how fast the uplink's state machine ships: live records before a backlog, at the rate that was
//! asked for, together where they may wait, and within a month's bytes.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;

use bytes::Bytes;
use common::world::{Op, World, block_on};
use common::{append, append_as, append_to, batch, records_of, topic};
use edge_agent::buffer::{Amendment, BootOffset};
use edge_agent::config::CatchUp;
use edge_agent::destination::{Destination, Priority};
use edge_agent::uplink::{Answer, Event, Plan, reason};
use proptest::prelude::*;
use uuid::Uuid;

const CONNECT: Op = Op::Connect { receive_maximum: 40 };
/// Bytes that make a backlog of a batch with one record.
const FILLER: usize = 1000;

fn live_first(rate: Option<u64>) -> Plan {
    Plan { catch_up: CatchUp::LiveFirst, catch_up_bytes_per_second: rate, ..Plan::default() }
}

/// So many batches of one record, which nothing compresses.
async fn gather(world: &mut World, batches: u64) {
    for _ in 0..batches {
        let number = world.next_number;
        world.next_number += 1;
        append(world.buffer(), noisy(number)).await.unwrap();
    }
    world.lanes().await;
}

async fn gather_small(world: &mut World, batches: u64) {
    for _ in 0..batches {
        world.run(&Op::Append { records: 1 }).await;
    }
}

fn noisy(number: u64) -> Bytes {
    common::noisy_batch(number, FILLER)
}

/// Everything that is on its way is stored and answered, until nothing more is sent at this moment.
async fn exchange(world: &mut World) {
    loop {
        world.lanes().await;
        if world.to_hub.is_empty() && world.to_agent.is_empty() {
            return;
        }
        world.deliver(false);
        world.run(&Op::Answer).await;
    }
}

#[test]
fn what_is_measured_now_overtakes_a_backlog_that_drains_at_its_rate() {
    block_on(async {
        const RATE: u64 = 50_000;
        let mut world = World::planned(live_first(Some(RATE)));
        gather(&mut world, 400).await;
        world.run(&CONNECT).await;
        exchange(&mut world).await;
        let start_ms = world.now_ms;
        for _ in 0..8 {
            // A second later something is measured, and reaches the hub at once.
            for _ in 0..20 {
                world.now_ms += 50;
                world.tell(Event::Timer).await;
                exchange(&mut world).await;
            }
            let number = world.next_number;
            gather(&mut world, 1).await;
            exchange(&mut world).await;
            assert!(world.hub.log.contains(&number), "{number} waits");
        }
        while !world.core.is_drained() {
            world.now_ms = world.core.deadline_ms().expect("it waits for the time alone");
            world.tell(Event::Timer).await;
            exchange(&mut world).await;
        }
        let seconds = (world.now_ms - start_ms) / 1000;
        let least = 400 * FILLER as u64 / RATE - 1;
        assert!((least..least + 3).contains(&seconds), "{seconds} s for what takes {least} s");
        let (backlog, live): (Vec<u64>, Vec<u64>) = world.hub.log.iter().partition(|number| **number < 400);
        assert_eq!(
            (backlog, live),
            ((0..400).collect(), (400..408).collect()),
            "each in its order, and once"
        );
        // Any commit takes the last trim along.
        let amendment = Amendment::StampBoot(BootOffset {
            boot: Uuid::from_u128(1),
            offset_ms: 0,
            is_provisional: false,
        });
        world.buffer().amend(amendment).await.unwrap();
        let snapshot = world.buffer().snapshot();
        assert_eq!((snapshot.records(), snapshot.lanes.len()), (0, 1), "the backlog's lane is gone");
    });
}

#[test]
fn in_order_a_backlog_has_its_rate_and_nothing_overtakes_it() {
    block_on(async {
        let plan = Plan { catch_up_bytes_per_second: Some(100_000), ..Plan::default() };
        let mut world = World::planned(plan);
        gather(&mut world, 300).await;
        world.run(&CONNECT).await;
        exchange(&mut world).await;
        gather(&mut world, 5).await;
        exchange(&mut world).await;
        assert!(world.hub.log.len() < 60, "a quarter of a second's worth: {}", world.hub.log.len());
        while !world.core.is_drained() {
            world.now_ms = world.core.deadline_ms().expect("it waits for the time alone");
            world.tell(Event::Timer).await;
            exchange(&mut world).await;
        }
        assert!((2500..4500).contains(&world.now_ms), "{} ms for 300 KB", world.now_ms);
        assert_eq!(world.hub.log, (0..305).collect::<Vec<_>>());
    });
}

#[test]
fn a_handful_of_records_is_no_backlog() {
    block_on(async {
        let mut world = World::planned(live_first(None));
        gather(&mut world, 3).await;
        world.run(&CONNECT).await;
        exchange(&mut world).await;
        assert_eq!(world.hub.log, [0, 1, 2]);
        assert_eq!(world.hub.known_streams().len(), 1);
    });
}

#[test]
fn a_backlog_that_the_hub_itself_caused_is_one_too() {
    block_on(async {
        let mut world = World::planned(live_first(None));
        gather(&mut world, 1).await;
        world.run(&CONNECT).await;
        world.deliver(true);
        world.run(&Op::Answer).await;
        gather(&mut world, 400).await;
        assert!(world.core.held().is_some());
        world.run(&Op::Wait { ms: 30_000 }).await;
        let lanes = world.buffer().snapshot().lanes.clone();
        assert_eq!(lanes.iter().map(|lane| lane.is_backlog).collect::<Vec<_>>(), [true, false]);
    });
}

#[test]
fn backlogs_of_several_outages_go_one_after_another() {
    block_on(async {
        let mut world = World::planned(live_first(Some(50_000)));
        for _ in 0..3 {
            gather(&mut world, 100).await;
            world.run(&CONNECT).await;
            exchange(&mut world).await;
            world.run(&Op::Disconnect).await;
        }
        world.run(&CONNECT).await;
        let backlogs = world.buffer().snapshot().lanes.iter().filter(|lane| lane.is_backlog).count();
        assert_eq!(backlogs, 3, "nothing is shipped so fast");
        world.settle().await;
        assert_eq!(world.hub.log, (0..300).collect::<Vec<_>>());
    });
}

#[test]
fn bulk_does_not_overtake_a_backlog_of_telemetry() {
    block_on(async {
        let mut world = World::planned(live_first(None));
        gather(&mut world, 400).await;
        // One publish at a time.
        world.run(&Op::Connect { receive_maximum: 2 }).await;
        append_as(world.buffer(), Priority::Bulk, noisy(400)).await.unwrap();
        append(world.buffer(), noisy(401)).await.unwrap();
        exchange(&mut world).await;
        let live_at = world.hub.log.iter().position(|number| *number == 401).unwrap();
        assert!(live_at < 300, "what is measured now overtakes both, after {live_at}");
        world.hub.log.remove(live_at);
        assert_eq!(world.hub.log, (0..401).collect::<Vec<_>>());
    });
}

/// The backlogs that there were, in the order in which they were begun.
#[derive(Default)]
struct Backlogs {
    known: Vec<SeenBacklog>,
}

struct SeenBacklog {
    lane: u8,
    numbers: BTreeSet<u64>,
    /// What the hub had stored when it was a backlog at last.
    stored_before: usize,
}

impl Backlogs {
    fn look(&mut self, world: &World) {
        let snapshot = world.buffer().snapshot();
        let is_there = |lane: u8| snapshot.lanes.iter().any(|view| view.is_backlog && view.id == lane);
        // An id is used again for another lane.
        self.known.iter_mut().filter(|seen| !is_there(seen.lane)).for_each(|seen| seen.lane = 0);
        for view in snapshot.lanes.iter().filter(|view| view.is_backlog) {
            if self.known.iter().all(|seen| seen.lane != view.id) {
                let numbers = records_of(world.buffer(), view.id).0.into_iter().collect();
                let stored_before = world.hub.log.len();
                self.known.push(SeenBacklog { lane: view.id, numbers, stored_before });
            }
        }
    }

    /// Of each, nothing that was stored since it is a backlog came before the end of the one before it.
    fn assert_one_after_another(&self, log: &[u64]) {
        for pair in self.known.windows(2) {
            let [earlier, later] = pair else { continue };
            let places = |backlog: &SeenBacklog| -> Vec<usize> {
                let stored = log.iter().enumerate().skip(later.stored_before);
                stored.filter(|(_, number)| backlog.numbers.contains(number)).map(|(at, _)| at).collect()
            };
            assert!(places(earlier).last() < places(later).first() || places(later).is_empty(), "{log:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn live_first_stores_every_record_once_and_one_backlog_after_another(
        ops in prop::collection::vec(prop_oneof![
            3 => (1u64..200).prop_map(|records| Op::Append { records }),
            2 => Just(CONNECT),
            2 => Just(Op::Disconnect),
            6 => prop::bool::weighted(0.1).prop_map(|busy| Op::Deliver { busy }),
            6 => Just(Op::Answer),
            1 => Just(Op::Wait { ms: 700 }),
            1 => Just(Op::Restart),
        ], 1..80),
    ) {
        block_on(async {
            let mut world = World::planned(live_first(Some(20_000)));
            world.filler = 300;
            let mut backlogs = Backlogs::default();
            for op in ops.iter().chain([&CONNECT]) {
                world.run(op).await;
                backlogs.look(&world);
            }
            world.settle().await;
            backlogs.assert_one_after_another(&world.hub.log);
            let stored: BTreeSet<u64> = world.hub.log.iter().copied().collect();
            assert_eq!(stored.len(), world.hub.log.len(), "once");
            assert_eq!(stored, (0..world.next_number).collect());
            assert_eq!(world.hub.lost, 0);
        });
    }
}

#[test]
fn neighbours_travel_together_when_they_may_wait() {
    block_on(async {
        let mut world = World::planned(Plan { ship_wait_ms: 60_000, ..Plan::default() });
        world.run(&CONNECT).await;
        gather_small(&mut world, 1).await;
        assert!(world.to_hub.is_empty());
        assert_eq!(world.core.deadline_ms(), Some(60_000));
        world.now_ms = 59_999;
        gather_small(&mut world, 4).await;
        assert!(world.to_hub.is_empty());
        world.run(&Op::Wait { ms: 1 }).await;
        assert_eq!(world.to_hub.len(), 1, "one publish for the five");
        exchange(&mut world).await;
        assert_eq!(world.hub.log, [0, 1, 2, 3, 4]);
        // The next waits anew, and a flush ends it.
        gather_small(&mut world, 1).await;
        assert!(world.to_hub.is_empty());
        world.tell(Event::Flush).await;
        exchange(&mut world).await;
        assert_eq!(world.hub.log.last(), Some(&5));
    });
}

#[test]
fn a_new_connection_ships_what_is_there_without_waiting_for_more() {
    block_on(async {
        let mut world = World::planned(Plan { ship_wait_ms: 60_000, ..Plan::default() });
        gather(&mut world, 2).await;
        world.run(&CONNECT).await;
        assert_eq!(world.to_hub.len(), 1);
    });
}

#[test]
fn alarms_wait_for_nothing_and_are_another_uplinks() {
    block_on(async {
        let alarm = Destination { topic: topic(), priority: Priority::Alarm };
        let alarms =
            Plan { carries: edge_agent::uplink::Carries::Alarms, ship_wait_ms: 60_000, ..Plan::default() };
        for (plan, is_sent) in [(alarms, true), (Plan { ship_wait_ms: 0, ..Plan::default() }, false)] {
            let mut world = World::planned(plan);
            world.run(&CONNECT).await;
            append_to(world.buffer(), &alarm, batch(0..1, 0)).await.unwrap();
            world.lanes().await;
            assert_eq!(world.to_hub.len(), usize::from(is_sent));
        }
    });
}

#[test]
fn when_the_months_bytes_are_used_up_nothing_but_alarms_is_sent_and_it_says_so() {
    block_on(async {
        let mut world = World::planned(Plan::default());
        world.run(&CONNECT).await;
        world.tell(Event::BudgetUsedUp(true)).await;
        gather(&mut world, 2).await;
        assert!(world.to_hub.is_empty() && world.core.deadline_ms().is_none());
        assert!(world.core.held().unwrap().contains("bytes"), "{:?}", world.core.held());
        world.tell(Event::BudgetUsedUp(false)).await;
        exchange(&mut world).await;
        assert_eq!(world.hub.log, [0, 1]);
    });
}

#[test]
fn a_lane_whose_change_is_refused_asks_again_in_a_second_and_stops_no_other() {
    block_on(async {
        let mut world = World::planned(Plan::default());
        world.run(&CONNECT).await;
        gather(&mut world, 1).await;
        exchange(&mut world).await;
        world.refuses_amendments = true;
        append_as(world.buffer(), Priority::Bulk, batch(1..2, 0)).await.unwrap();
        world.lanes().await;
        assert_eq!(world.core.held().as_deref(), Some("no room"));
        append(world.buffer(), batch(2..3, 0)).await.unwrap();
        world.lanes().await;
        exchange(&mut world).await;
        assert_eq!(world.hub.log, [0, 2]);
        assert_eq!(world.core.deadline_ms(), Some(world.now_ms + 1_000));
        world.refuses_amendments = false;
        world.run(&Op::Wait { ms: 1_000 }).await;
        exchange(&mut world).await;
        assert_eq!(world.hub.log, [0, 2, 1]);
    });
}

#[test]
fn an_answer_of_the_device_is_said_until_the_hub_has_it() {
    block_on(async {
        let mut world = World::planned(Plan::default());
        let letter = Bytes::from_static(b"done");
        world.tell(Event::Letter(letter.clone())).await;
        assert!(world.letters.is_empty());
        world.run(&CONNECT).await;
        assert_eq!(world.letters, ["done"]);
        world.run(&Op::Disconnect).await;
        world.run(&CONNECT).await;
        assert_eq!(world.letters.len(), 2, "it was not answered");
        let (token, _) = world.to_agent.pop_front().unwrap();
        let busy = Answer { reason: reason::QUOTA_EXCEEDED, ..Answer::default() };
        world.tell(Event::Answer { token, answer: busy }).await;
        world.now_ms = world.core.deadline_ms().unwrap();
        world.tell(Event::Timer).await;
        assert_eq!(world.letters.len(), 3);
        world.run(&Op::Answer).await;
        world.run(&Op::Disconnect).await;
        world.run(&CONNECT).await;
        assert_eq!(world.letters.len(), 3, "it was answered");
        for number in 0..64 {
            assert!(world.core.has_room_for_letter());
            world.run(&Op::Disconnect).await;
            // That somebody asks again makes no second letter of it.
            for _ in 0..2 {
                world.tell(Event::Letter(Bytes::from(format!("answer {number}")))).await;
            }
        }
        assert!(!world.core.has_room_for_letter());
    });
}

#[test]
fn a_hub_that_takes_no_answers_of_the_device_is_asked_ever_more_seldom() {
    block_on(async {
        let mut world = World::planned(Plan::default());
        world.run(&CONNECT).await;
        let letters: Vec<Bytes> = (0..3).map(|n| Bytes::from(format!("answer {n}"))).collect();
        for letter in &letters {
            world.tell(Event::Letter(letter.clone())).await;
        }
        let mut waits = Vec::new();
        for _ in 0..12 {
            while let Some((token, _)) = world.to_agent.pop_front() {
                let busy = Answer { reason: reason::QUOTA_EXCEEDED, ..Answer::default() };
                world.tell(Event::Answer { token, answer: busy }).await;
            }
            world.tell(Event::Received).await;
            let at = world.core.deadline_ms().unwrap();
            waits.push(at - world.now_ms);
            world.now_ms = at;
            world.tell(Event::Timer).await;
        }
        assert!((125..=250).contains(&waits[0]) && (15_000..=30_000).contains(&waits[11]), "{waits:?}");
        assert_eq!(world.letters.len(), 3 * 13, "all of them each time");
        world.run(&Op::Answer).await;
        world.tell(Event::Letter(letters[0].clone())).await;
        let (token, _) = world.to_agent.pop_front().unwrap();
        let busy = Answer { reason: reason::QUOTA_EXCEEDED, ..Answer::default() };
        world.tell(Event::Answer { token, answer: busy }).await;
        let wait = world.core.deadline_ms().unwrap() - world.now_ms;
        assert!((125..=250).contains(&wait), "it took something: {wait}");
    });
}

/// The header of records that were never stamped, where it is one.
fn untimed(world: &World) -> Vec<String> {
    let headers = world.hub.headers.iter().filter(|(name, _)| name == "untimed");
    headers.map(|(_, value)| value.clone()).collect()
}

#[test]
fn what_nobody_knows_the_time_of_waits_a_minute_and_is_shipped_marked() {
    block_on(async {
        let mut world = World::planned(Plan::default());
        // The state machine's own boot is 1.
        for boot in [2, 1] {
            let boot = Some(Uuid::from_u128(boot));
            let answer = world.buffer().append(&topic().into(), boot, batch(0..1, 0)).await.unwrap();
            edge_agent::buffer::durable(answer).await.unwrap();
        }
        world.now_ms = 5_000;
        world.run(&CONNECT).await;
        exchange(&mut world).await;
        let of = |boot| format!("1 {} 1700000000000", Uuid::from_u128(boot));
        assert_eq!(untimed(&world), [of(2)], "an earlier boot's can never be stamped");
        assert_eq!(world.core.deadline_ms(), Some(65_000));
        world.now_ms = 64_999;
        world.tell(Event::Timer).await;
        exchange(&mut world).await;
        assert_eq!(untimed(&world), [of(2)]);
        world.now_ms = 65_000;
        world.tell(Event::Timer).await;
        exchange(&mut world).await;
        assert_eq!(untimed(&world), [of(2), of(1)]);
        // When they arrived, by the hub's clock.
        assert_eq!(world.hub.times, [1_700_000_000_000; 2]);
    });
}

#[test]
fn a_link_that_is_cut_every_twenty_seconds_ships_it_all_the_same() {
    block_on(async {
        let mut world = World::planned(Plan::default());
        let boot = Some(Uuid::from_u128(1));
        let answer = world.buffer().append(&topic().into(), boot, batch(0..1, 0)).await.unwrap();
        edge_agent::buffer::durable(answer).await.unwrap();
        let mut stored_after = Vec::new();
        for connection in 0..3 {
            world.run(&CONNECT).await;
            for _ in 0..20 {
                world.run(&Op::Wait { ms: 1_000 }).await;
                exchange(&mut world).await;
            }
            stored_after.push(world.hub.log.len());
            world.run(&Op::Disconnect).await;
            // How long there is none does not count.
            world.now_ms += 100_000 * connection;
        }
        assert_eq!((stored_after, untimed(&world).len()), (vec![0, 0, 1], 1));
    });
}

#[test]
fn after_a_connection_that_lasted_long_enough_the_next_waits_for_the_time_anew() {
    block_on(async {
        let mut world = World::planned(Plan::default());
        world.run(&CONNECT).await;
        world.run(&Op::Wait { ms: 90_000 }).await;
        world.run(&Op::Disconnect).await;
        let boot = Some(Uuid::from_u128(1));
        let answer = world.buffer().append(&topic().into(), boot, batch(0..1, 0)).await.unwrap();
        edge_agent::buffer::durable(answer).await.unwrap();
        world.run(&CONNECT).await;
        exchange(&mut world).await;
        assert_eq!(world.hub.log.len(), 0);
        assert_eq!(world.core.deadline_ms(), Some(150_000));
    });
}
