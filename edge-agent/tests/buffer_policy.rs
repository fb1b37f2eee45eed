//! What gives way when there is no room, and that a gap stands for all of it.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::world::block_on;
use common::{append, append_as, batch, options, records_of, topic};
use edge_agent::buffer::{
    Amendment, Appended, BootOffset, Buffer, BufferOptions, Caps, Policy, Retention, WriteError, durable,
};
use edge_agent::destination::{Destination, Priority};
use edge_agent::limits::SHIP_SPAN_ENTRIES;
use tokio::sync::oneshot;

const CAP: u64 = 256 << 10;

fn keeping(folder: &Path, retention: Retention) -> Buffer {
    let options = BufferOptions { retention, ..options(folder, retention.cap_bytes, None) };
    Buffer::open(&options).unwrap()
}

fn with(policy: Policy) -> Retention {
    Retention { policy, ..Retention::up_to(CAP) }
}

/// What is in the buffer of a priority, and how many records its gaps stand for.
fn held(buffer: &Buffer, priority: Priority) -> (Vec<u64>, u64) {
    let lanes = buffer.snapshot().lanes.clone();
    let of = lanes.iter().filter(|lane| lane.priority == priority);
    of.fold((Vec::new(), 0), |(mut numbers, lost), lane| {
        let (more, gaps) = records_of(buffer, lane.id);
        numbers.extend(more);
        (numbers, lost + gaps)
    })
}

fn adds_up(buffer: &Buffer) {
    let snapshot = buffer.snapshot();
    let counters = snapshot.counters;
    assert_eq!(
        counters.appended,
        snapshot.records() + counters.acknowledged + counters.dropped,
        "{counters:?}"
    );
}

async fn fill(
    buffer: &Buffer,
    priority: Priority,
    from: u64,
    batches: u64,
) -> Vec<Result<Appended, WriteError>> {
    let mut answers = Vec::new();
    for n in from..from + batches {
        answers.push(append_as(buffer, priority, batch(2 * n..2 * n + 2, 500)).await);
    }
    answers
}

#[test]
fn the_least_urgent_gives_way_first_and_never_to_what_is_less_urgent() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = keeping(folder.path(), with(Policy::DropOldest));
        fill(&buffer, Priority::Alarm, 0, 20).await;
        fill(&buffer, Priority::Bulk, 20, 40).await;
        fill(&buffer, Priority::Telemetry, 60, 200).await;
        let (alarms, alarms_lost) = held(&buffer, Priority::Alarm);
        let (telemetry, telemetry_lost) = held(&buffer, Priority::Telemetry);
        let (bulk, bulk_lost) = held(&buffer, Priority::Bulk);
        assert_eq!((alarms, alarms_lost), ((0..40).collect(), 0));
        assert_eq!((bulk, bulk_lost), (vec![], 80), "all of it, before any telemetry");
        assert!(telemetry_lost > 0 && telemetry.last() == Some(&519));

        let refused = append_as(&buffer, Priority::Bulk, batch(520..522, 500)).await;
        assert!(matches!(refused, Err(WriteError::Full)), "{refused:?}");
        assert_eq!(held(&buffer, Priority::Bulk).1, 82);
        assert_eq!(held(&buffer, Priority::Telemetry), (telemetry, telemetry_lost));
        adds_up(&buffer);
    });
}

#[test]
fn a_priority_that_has_used_up_its_own_cap_gives_way_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let caps = Caps { telemetry: Some(64 << 10), ..Caps::default() };
    block_on(async {
        let buffer = keeping(folder.path(), Retention { caps, ..Retention::up_to(CAP) });
        fill(&buffer, Priority::Bulk, 0, 20).await;
        fill(&buffer, Priority::Telemetry, 20, 100).await;
        assert_eq!(held(&buffer, Priority::Bulk), ((0..40).collect(), 0));
        let (telemetry, lost) = held(&buffer, Priority::Telemetry);
        assert!(lost > 0 && telemetry.last() == Some(&239));
        assert!(buffer.snapshot().bytes < CAP / 2);
        adds_up(&buffer);
    });
}

#[test]
fn drop_newest_keeps_the_oldest_and_says_what_it_did_not_take() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = keeping(folder.path(), with(Policy::DropNewest));
        let answers = fill(&buffer, Priority::Telemetry, 0, 2 * SHIP_SPAN_ENTRIES).await;
        let taken = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
        assert!(answers[..taken as usize].iter().all(Result::is_ok), "what came first is what was taken");
        let (kept, lost) = held(&buffer, Priority::Telemetry);
        assert_eq!(kept, (0..2 * taken).collect::<Vec<_>>());
        assert_eq!(lost, 4 * SHIP_SPAN_ENTRIES - 2 * taken);
        adds_up(&buffer);
        let entries = common::items(&buffer, 1).len() as u64;
        assert!(entries <= SHIP_SPAN_ENTRIES + 1, "{entries} entries: gaps that were never sent are joined");
    });
}

/// An amendment is answered when everything before it was tried.
async fn tried(buffer: &Buffer) {
    let boot = uuid::Uuid::from_u128(1);
    buffer
        .amend(Amendment::StampBoot(BootOffset { boot, offset_ms: 0, is_provisional: false }))
        .await
        .unwrap();
}

#[test]
fn block_makes_whoever_appends_wait_until_a_hub_has_taken_something() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = keeping(folder.path(), with(Policy::Block));
        let to = Destination::from(topic());
        let mut waiting = std::collections::VecDeque::new();
        for n in 0..60 {
            waiting.push_back(buffer.append(&to, None, batch(n..n + 1, 8000)).await.unwrap());
        }
        // A small one finds room, and does not overtake.
        waiting.push_back(buffer.append(&to, None, batch(60..61, 0)).await.unwrap());
        let mut found = Vec::new();
        while !waiting.is_empty() {
            tried(&buffer).await;
            let before = waiting.len();
            while let Some(Ok(stored)) = waiting.front_mut().map(oneshot::Receiver::try_recv) {
                assert_eq!(stored.unwrap(), Appended { dropped: 0 });
                waiting.pop_front();
            }
            assert!(waiting.len() < before, "a trim makes room for some");
            assert!(waiting.iter_mut().all(|answer| answer.try_recv().is_err()), "in their order");
            let entries = common::items(&buffer, 1);
            assert!(buffer.snapshot().bytes <= CAP);
            found.extend(records_of(&buffer, 1).0);
            buffer.trim(1, entries.last().unwrap().number, Vec::new(), false).await.unwrap();
        }
        assert_eq!(found, (0..=60).collect::<Vec<_>>());
        tried(&buffer).await;
        adds_up(&buffer);
        assert_eq!(buffer.snapshot().counters.dropped, 0);
    });
}

#[test]
fn what_waits_at_the_stop_is_lost_and_said() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = keeping(folder.path(), with(Policy::Block));
        let to = Destination::from(topic());
        let mut answers = Vec::new();
        for n in 0..40 {
            answers.push(buffer.append(&to, None, batch(n..n + 1, 8000)).await.unwrap());
        }
        let other = buffer.clone();
        buffer.close().await.unwrap();
        let mut stored = 0;
        for answer in answers {
            match durable(answer).await {
                Ok(_) => stored += 1,
                Err(WriteError::Full) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let (kept, lost) = held(&other, Priority::Telemetry);
        assert_eq!(kept, (0..stored).collect::<Vec<_>>());
        assert_eq!(stored + lost, 40);
        assert!(lost > 0);
    });
}

#[test]
fn a_batch_that_is_too_old_becomes_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let retention = Retention { age_max: Some(Duration::from_secs(20)), ..Retention::up_to(CAP) };
        let buffer = keeping(folder.path(), retention);
        let clock = edge_agent::time::Clock::of_this_machine();
        let mut snapshots = buffer.subscribe();
        let taken = |at_ms: i64| common::batch_at(0..3, at_ms);
        let now_ms = clock.boot_ms();
        let to = Destination::from(topic());
        for at_ms in [now_ms - 25_000, now_ms] {
            let answer = buffer.append(&to, Some(clock.boot()), taken(at_ms)).await.unwrap();
            durable(answer).await.unwrap();
        }
        let dropped = |counters: &edge_agent::buffer::Counters| counters.dropped;
        snapshots.wait_for(|snapshot| dropped(&snapshot.counters) > 0).await.unwrap();
        assert_eq!((dropped(&buffer.snapshot().counters), buffer.snapshot().records()), (3, 3));
        let gap = &common::items(&buffer, 1)[0];
        assert_eq!(common::gap_of(gap).unwrap().reason, schemas::GapReason::TooOld);
        // Telemetry that is timed and was taken now stays.
        append(&buffer, batch(3..4, 0)).await.unwrap();
        adds_up(&buffer);
    });
}

#[test]
fn other_limits_hold_from_then_on() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let buffer = keeping(folder.path(), with(Policy::DropNewest));
        fill(&buffer, Priority::Bulk, 0, 20).await;
        assert_eq!(held(&buffer, Priority::Bulk).0.len(), 40);
        let caps = Caps { bulk: Some(CAP / 16), ..Caps::default() };
        let retention = Retention { caps, cap_bytes: 1, ..with(Policy::DropOldest) };
        buffer.retain(retention, None).await.unwrap();
        fill(&buffer, Priority::Bulk, 20, 1).await;
        let (numbers, lost) = held(&buffer, Priority::Bulk);
        assert_eq!((numbers.last(), numbers.len() as u64 + lost), (Some(&41), 42));
        assert!(numbers.len() < 20, "{numbers:?}");
        assert_eq!(buffer.snapshot().cap_bytes, CAP, "the whole buffer's stays");
        adds_up(&buffer);
    });
}
