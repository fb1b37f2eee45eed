//! A week without a hub, compressed: everything that was measured is in the log once and in order, or a gap stands for
//! it, and the counts add up.
//!
//! `WEEK_RECORDS` says how many records the week has; a record a second and ten sensors make 7 million.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::time::Instant;

use common::world::{Op, World, block_on};
use common::{batch, topic};
use edge_agent::buffer::durable;

const RECORDS: u64 = 300_000;
const BATCH_RECORDS: u64 = 100;
/// Batches that are handed over before the first is durable.
const AHEAD: usize = 32;
/// Enough for all of it.
const LARGE: u64 = 4 << 30;

fn week() -> u64 {
    std::env::var("WEEK_RECORDS").map_or(RECORDS, |text| text.parse().unwrap())
}

/// Measures until so many records were.
async fn measure(world: &mut World, until: u64) {
    let to = topic().into();
    let began = Instant::now();
    let records = until - world.next_number;
    let mut waiting = std::collections::VecDeque::new();
    while world.next_number < until {
        let numbers = world.next_number..(world.next_number + BATCH_RECORDS).min(until);
        world.next_number = numbers.end;
        let batch = batch(numbers, world.filler);
        waiting.push_back(world.buffer().append(&to, None, batch).await.unwrap());
        if waiting.len() > AHEAD {
            durable(waiting.pop_front().unwrap()).await.unwrap();
        }
    }
    for answer in waiting {
        durable(answer).await.unwrap();
    }
    world.lanes().await;
    println!("{records} records into the buffer in {:.1} s", began.elapsed().as_secs_f64());
}

async fn ship(world: &mut World) {
    let began = Instant::now();
    world.settle().await;
    println!("all of it into the log in {:.1} s", began.elapsed().as_secs_f64());
    world.assert_exactly_once().await;
}

/// A cap that holds half of the week.
async fn half() -> u64 {
    let mut world = World::new(LARGE, 0);
    measure(&mut world, RECORDS.min(week())).await;
    let bytes = world.buffer().snapshot().bytes;
    bytes / 2 * (week() / RECORDS.min(week()))
}

#[test]
fn everything_that_was_measured_is_there_once_and_in_order() {
    block_on(async {
        let mut world = World::new(LARGE, 0);
        measure(&mut world, week()).await;
        ship(&mut world).await;
        assert!(world.hub.log.iter().copied().eq(0..week()));
        assert_eq!((world.hub.gaps, world.hub.lost), (0, 0));
    });
}

#[test]
fn of_a_week_that_does_not_fit_the_newest_half_is_there() {
    block_on(async {
        let mut world = World::new(half().await, 0);
        measure(&mut world, week()).await;
        ship(&mut world).await;
        let kept = world.hub.log.len() as u64;
        assert!((week() * 2 / 5..=week() / 2).contains(&kept), "{kept} of {}", week());
        assert!(world.hub.log.iter().copied().eq(week() - kept..week()), "the newest");
        assert_eq!(world.hub.lost, week() - kept);
        assert_eq!(world.buffer().snapshot().counters.dropped, week() - kept);
    });
}

/// What was stored and not answered is stored once, although a gap has taken its place meanwhile.
#[test]
fn a_hub_that_dies_with_batches_in_flight_makes_no_difference_to_the_counts() {
    block_on(async {
        let mut world = World::new(half().await, 0);
        measure(&mut world, week() / 4).await;
        world.run(&Op::Connect { receive_maximum: 40 }).await;
        for _ in 0..3 {
            world.run(&Op::Deliver { busy: false }).await;
            world.run(&Op::Answer).await;
        }
        let answered = world.buffer().snapshot().lanes[0].first;
        // These are stored and their answers are lost; what is behind them never arrives.
        for _ in 0..5 {
            world.run(&Op::Deliver { busy: false }).await;
        }
        assert!(!world.to_hub.is_empty() && world.to_agent.len() >= 5);
        let stored = world.hub.log.len() as u64;
        world.run(&Op::Disconnect).await;
        measure(&mut world, week()).await;
        assert!(world.buffer().snapshot().lanes[0].first >= answered);
        ship(&mut world).await;
        let log = &world.hub.log;
        let (before, after) = log.split_at(stored as usize);
        assert!(before.iter().copied().eq(0..stored), "what was stored then");
        let kept = after.len() as u64;
        assert!(after.iter().copied().eq(week() - kept..week()), "and the newest");
        assert_eq!(world.hub.lost, week() - stored - kept, "gaps stand for what is between");
        assert_eq!(world.buffer().snapshot().counters.dropped, world.hub.lost);
    });
}
