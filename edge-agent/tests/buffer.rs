//! The buffer on a real LMDB environment: order, streams, the cap, gaps, and what a crash leaves.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::path::PathBuf;

use common::world::block_on;
use common::{append, append_as, batch, device, noisy_batch, numbers, open, topic};
use edge_agent::buffer::{Amendment, BootOffset, Buffer, Content, GapAnswer, Item};
use edge_agent::destination::Priority;
use edge_agent::limits::{BACKLOG_LANES_MAX, SHIP_SPAN_ENTRIES};
use schemas::{GapCount, PartitionIndex, RawBatch, Sequence, TopicName, read_gap};

fn no_checker() -> Option<PathBuf> {
    Some(PathBuf::from("/bin/true"))
}

fn items(buffer: &Buffer, lane: u8) -> Vec<Item> {
    buffer.reader().read(lane, 0..u64::MAX, usize::MAX, usize::MAX).unwrap()
}

fn data(item: &Item) -> Vec<u64> {
    match &item.content {
        Content::Batch(bytes) => numbers(&RawBatch::parse(bytes.clone()).unwrap()),
        _ => Vec::new(),
    }
}

/// Records that an item's gap says are lost.
fn lost(item: &Item) -> u64 {
    let Content::Gap(bytes) = &item.content else { return 0 };
    let batch = RawBatch::parse(bytes.clone()).unwrap();
    let record = batch.records().unwrap().next().unwrap().unwrap();
    match read_gap(&record).unwrap().unwrap().count {
        GapCount::Known(count) => count.into(),
        GapCount::Unknown => panic!("the count is known"),
    }
}

async fn fill(buffer: &Buffer, batches: u64, each: u64, filler: usize) -> u64 {
    for n in 0..batches {
        append(buffer, batch(n * each..(n + 1) * each, filler)).await.unwrap();
    }
    batches * each
}

#[test]
fn batches_come_back_in_order_with_one_stream_and_following_sequences() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 20, None);
        fill(&buffer, 20, 3, 0).await;
        let items = items(&buffer, 1);
        assert_eq!(items.iter().flat_map(data).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
        assert!(
            items.iter().all(|item| item.stored == items[0].stored && schemas::is_stream_id(item.stored))
        );
        let bases: Vec<i32> = items.iter().map(|item| item.base.0).collect();
        assert_eq!(bases, (0..20).map(|n| 3 * n).collect::<Vec<_>>());
        buffer.close().await.unwrap();
    });
}

#[test]
fn every_start_begins_a_new_stream_and_old_batches_keep_theirs() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        for start in 0..3 {
            let buffer = open(folder.path(), 64 << 20, None);
            append(&buffer, batch(start..start + 1, 0)).await.unwrap();
            let items = items(&buffer, 1);
            let streams: std::collections::HashSet<i64> = items.iter().map(|item| item.stored.0).collect();
            assert_eq!((items.len() as u64, streams.len() as u64), (start + 1, start + 1));
            assert!(items.iter().all(|item| item.base == Sequence::ZERO));
            let path = folder.path().join("buffer").canonicalize().unwrap();
            buffer.close().await.unwrap();
            if let Some(closing) = heed::env_closing_event(path) {
                closing.wait();
            }
        }
    });
}

#[test]
fn a_topic_is_a_lane_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 20, None);
        append(&buffer, batch(0..1, 0)).await.unwrap();
        let other = TopicName::try_from("other").unwrap();
        let answer = buffer.append(&other.clone().into(), None, batch(7..8, 0)).await.unwrap();
        edge_agent::buffer::durable(answer).await.unwrap();
        let lanes = buffer.snapshot().lanes.clone();
        assert_eq!(lanes.iter().map(|lane| lane.topic.clone()).collect::<Vec<_>>(), [topic(), other]);
        assert_eq!(items(&buffer, 2).iter().flat_map(data).collect::<Vec<_>>(), [7]);
    });
}

#[test]
fn the_priorities_of_a_topic_are_lanes_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 20, None);
        append(&buffer, batch(0..1, 0)).await.unwrap();
        append_as(&buffer, Priority::Alarm, batch(7..8, 0)).await.unwrap();
        let lanes = buffer.snapshot().lanes.clone();
        let found: Vec<_> = lanes.iter().map(|lane| (lane.topic.clone(), lane.priority)).collect();
        assert_eq!(found, [(topic(), Priority::Telemetry), (topic(), Priority::Alarm)]);
        assert_eq!(items(&buffer, 2).iter().flat_map(data).collect::<Vec<_>>(), [7]);
    });
}

/// Id, whether it is a backlog, and the numbers of its records.
fn lanes(buffer: &Buffer) -> Vec<(u8, bool, Vec<u64>)> {
    let lanes = buffer.snapshot().lanes.clone();
    let of = |id| items(buffer, id).iter().flat_map(data).collect();
    lanes.iter().map(|lane| (lane.id, lane.is_backlog, of(lane.id))).collect()
}

async fn trim_all(buffer: &Buffer, lane: u8) {
    let last = items(buffer, lane).last().unwrap().number;
    let mut snapshots = buffer.subscribe();
    snapshots.mark_unchanged();
    buffer.trim(lane, last, Vec::new(), true).await.unwrap();
    snapshots.changed().await.unwrap();
}

#[test]
fn a_split_lane_goes_on_as_another_one_and_leaves_when_it_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 20, None);
        buffer.amend(Amendment::Split { lane: 1 }).await.unwrap();
        append(&buffer, batch(0..2, 0)).await.unwrap();
        buffer.amend(Amendment::Split { lane: 1 }).await.unwrap();
        assert_eq!(lanes(&buffer), [(1, true, vec![0, 1]), (2, false, vec![])]);
        buffer.amend(Amendment::Split { lane: 2 }).await.unwrap();
        assert_eq!(lanes(&buffer).len(), 2, "an empty lane is not split");

        append(&buffer, batch(2..3, 0)).await.unwrap();
        assert_eq!(lanes(&buffer), [(1, true, vec![0, 1]), (2, false, vec![2])]);
        let streams: Vec<_> = [1, 2].map(|lane| items(&buffer, lane)[0].stored).into();
        assert_ne!(streams[0], streams[1]);
        assert_eq!(items(&buffer, 2)[0].base, Sequence::ZERO);

        trim_all(&buffer, 1).await;
        assert_eq!(lanes(&buffer), [(2, false, vec![2])]);
        append_as(&buffer, Priority::Bulk, batch(3..4, 0)).await.unwrap();
        assert_eq!(lanes(&buffer)[1].0, 3, "its id is used again as late as can be");
    });
}

#[test]
fn a_destination_has_only_so_many_backlogs() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 20, None);
        for n in 0..6u64 {
            append(&buffer, batch(n..n + 1, 0)).await.unwrap();
            let live = lanes(&buffer).iter().find(|(_, is_backlog, _)| !is_backlog).unwrap().0;
            buffer.amend(Amendment::Split { lane: live }).await.unwrap();
        }
        let found = lanes(&buffer);
        assert_eq!(found.iter().filter(|(_, is_backlog, _)| *is_backlog).count(), BACKLOG_LANES_MAX);
        assert_eq!(found.last().unwrap(), &(5, false, vec![4, 5]));
    });
}

#[test]
fn lane_ids_are_used_again_however_often_lanes_are_split() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 20, None);
        for n in 0..600u64 {
            append(&buffer, batch(n..n + 1, 0)).await.unwrap();
            let live = buffer.snapshot().lanes.last().unwrap().id;
            buffer.amend(Amendment::Split { lane: live }).await.unwrap();
            trim_all(&buffer, live).await;
        }
        assert_eq!(buffer.snapshot().lanes.len(), 1);
        assert_eq!(buffer.snapshot().counters.acknowledged, 600);
    });
}

#[test]
fn a_split_survives_a_crash_and_what_both_lanes_hold() {
    let mut world = common::world::World::checked_by(no_checker(), 64 << 20, 300);
    block_on(async {
        world.run(&common::world::Op::Append { records: 3 }).await;
        world.buffer().amend(Amendment::Split { lane: 1 }).await.unwrap();
        world.run(&common::world::Op::Append { records: 2 }).await;
        world.restart().await;
        assert_eq!(lanes(world.buffer()), [(1, true, vec![0, 1, 2]), (2, false, vec![3, 4])]);
        // Also where nothing but the marker and the pages tells of them.
        world.crash().await;
        let dir = world.folder.path();
        std::fs::rename(dir.join("buffer"), dir.join("buffer.damaged")).unwrap();
        world.start().await;
        assert_eq!(lanes(world.buffer()), [(1, true, vec![0, 1, 2]), (2, false, vec![3, 4])]);
    });
}

#[test]
fn a_full_buffer_drops_its_oldest_and_the_account_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let cap = 1 << 20;
        let buffer = open(folder.path(), cap, None);
        let appended = fill(&buffer, 3000, 5, 100).await;
        let snapshot = buffer.snapshot();
        assert!(snapshot.bytes <= cap, "{} bytes of {cap}", snapshot.bytes);
        let file = std::fs::metadata(folder.path().join("buffer/data.mdb")).unwrap().len();
        assert!(file <= cap / 3 * 4 + (9 << 20), "the file has {file} bytes");

        let items = items(&buffer, 1);
        let kept: Vec<u64> = items.iter().flat_map(data).collect();
        let dropped: u64 = items.iter().map(lost).sum();
        assert!(dropped > 0 && !kept.is_empty());
        assert_eq!(kept, (dropped..appended).collect::<Vec<_>>(), "what is kept is the newest");
        let counters = snapshot.counters;
        assert_eq!((counters.appended, counters.dropped, counters.acknowledged), (appended, dropped, 0));
        assert_eq!(snapshot.records(), appended - dropped);

        let mut next = Sequence::ZERO;
        for item in &items {
            assert_eq!(item.base, next, "gaps have the exact range of what they replace");
            next = item.base.plus(item.sequences);
        }
        let gaps = items.iter().filter(|item| lost(item) > 0).count() as u64;
        assert!(gaps <= SHIP_SPAN_ENTRIES + 1, "{gaps} gaps: what was never sent is joined");
    });
}

#[test]
fn what_may_have_been_sent_keeps_its_own_gap() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 10, None);
        fill(&buffer, 300, 2, 100).await;
        let gaps: Vec<u64> = items(&buffer, 1).iter().map(lost).filter(|lost| *lost > 0).collect();
        assert!(gaps.len() > 100 && gaps.iter().all(|lost| *lost == 2), "{gaps:?}");
    });
}

#[test]
fn what_is_in_flight_is_dropped_last_and_counts_as_shipped_when_it_was() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 32 << 10, None);
        append(&buffer, batch(0..2, 0)).await.unwrap();
        let first = items(&buffer, 1)[0].clone();
        buffer.set_in_flight(1, first.number + 1);
        fill(&buffer, 100, 2, 100).await;
        assert_eq!(data(&items(&buffer, 1)[0]), [0, 1], "it is on its way");

        buffer.set_in_flight(1, 0);
        fill(&buffer, 2, 2, 100).await;
        assert_eq!(lost(&items(&buffer, 1)[0]), 2);
        let before = buffer.snapshot().counters;
        // Its answer comes after all: the hub has the records.
        let mut snapshots = buffer.subscribe();
        snapshots.mark_unchanged();
        buffer.trim(1, first.number, Vec::new(), true).await.unwrap();
        snapshots.changed().await.unwrap();
        let after = buffer.snapshot().counters;
        assert_eq!((after.dropped, after.acknowledged), (before.dropped - 2, before.acknowledged + 2));
    });
}

#[test]
fn a_gap_that_the_hub_knows_as_records_is_taken_off_the_count() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 32 << 10, None);
        fill(&buffer, 100, 2, 100).await;
        let gaps: Vec<u64> =
            items(&buffer, 1).iter().filter(|item| lost(item) > 0).map(|item| item.number).collect();
        let before = buffer.snapshot().counters;
        let answers = vec![
            GapAnswer { number: gaps[0], is_duplicate: true },
            GapAnswer { number: gaps[1], is_duplicate: false },
        ];
        let mut snapshots = buffer.subscribe();
        snapshots.mark_unchanged();
        buffer.trim(1, gaps[1], answers, true).await.unwrap();
        snapshots.changed().await.unwrap();
        let after = buffer.snapshot().counters;
        assert_eq!((after.dropped, after.acknowledged), (before.dropped - 2, before.acknowledged + 2));
    });
}

#[test]
fn a_gap_is_cut_where_the_hub_says() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 32 << 10, None);
        fill(&buffer, 60, 4, 100).await;
        let gap = items(&buffer, 1)[0].clone();
        let before = buffer.snapshot().counters;
        let amendment = Amendment::CutGap { lane: 1, number: gap.number, at: gap.base.plus(3) };
        buffer.amend(amendment).await.unwrap();
        let cut = items(&buffer, 1)[0].clone();
        assert_eq!((cut.base, cut.sequences, lost(&cut)), (gap.base.plus(3), 1, 1));
        let after = buffer.snapshot().counters;
        assert_eq!((after.dropped, after.acknowledged), (before.dropped - 3, before.acknowledged + 3));
    });
}

#[test]
fn a_streams_partition_is_fixed_once() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 20, None);
        append(&buffer, batch(0..1, 0)).await.unwrap();
        let stored = items(&buffer, 1)[0].stored;
        for partition in [3, 1] {
            let begin =
                Amendment::Begin { lane: 1, stored, stream: stored, partition: PartitionIndex(partition) };
            buffer.amend(begin).await.unwrap();
        }
        assert_eq!(items(&buffer, 1)[0].placement.partition, Some(PartitionIndex(3)));
    });
}

#[test]
fn an_untimed_batch_waits_for_its_boots_clock_and_is_stamped_alike_every_time() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 20, None);
        let boot = uuid::Uuid::from_u128(42);
        for _ in 0..2 {
            let answer = buffer.append(&topic().into(), Some(boot), batch(0..2, 0)).await.unwrap();
            edge_agent::buffer::durable(answer).await.unwrap();
        }
        assert!(matches!(items(&buffer, 1)[0].content, Content::Untimed { boot: found } if found == boot));
        // The one can never be stamped, the other is when the clock is known; what is told later changes nothing.
        let number = items(&buffer, 1)[0].number;
        buffer.amend(Amendment::MarkUntimed { lane: 1, number, boot, arrival_ms: 99 }).await.unwrap();
        for offset_ms in [5000, 7000] {
            let told = BootOffset { boot, offset_ms, is_provisional: false };
            buffer.amend(Amendment::StampBoot(told)).await.unwrap();
        }
        let shipped: Vec<RawBatch> = items(&buffer, 1)
            .into_iter()
            .map(|item| match item.content {
                Content::Batch(bytes) => RawBatch::parse(bytes).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        shipped.iter().for_each(|batch| batch.verify_crc().unwrap());
        assert_eq!(shipped[0].header().base_timestamp, 99);
        let record = shipped[0].records().unwrap().nth(1).unwrap().unwrap();
        let header = record.header("untimed").unwrap().unwrap();
        assert_eq!(*header, format!("1 {boot} 1700000000001"));
        assert_eq!(shipped[1].header().base_timestamp, 1_700_000_005_000);
    });
}

#[test]
fn an_untimed_record_that_has_no_room_for_the_header_travels_without_it() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 20, None);
        let boot = uuid::Uuid::from_u128(42);
        let large = noisy_batch(0, schemas::limits::RECORD_BYTES_MAX - 60);
        let answer = buffer.append(&topic().into(), Some(boot), large.clone()).await.unwrap();
        edge_agent::buffer::durable(answer).await.unwrap();
        let number = items(&buffer, 1)[0].number;
        buffer.amend(Amendment::MarkUntimed { lane: 1, number, boot, arrival_ms: 99 }).await.unwrap();
        let Content::Batch(bytes) = items(&buffer, 1)[0].content.clone() else { panic!("not marked") };
        let (sent, measured) = (RawBatch::parse(bytes).unwrap(), RawBatch::parse(large).unwrap());
        sent.verify_crc().unwrap();
        assert_eq!(sent.header().max_timestamp, 99);
        assert_eq!(sent.body().unwrap(), measured.body().unwrap());
    });
}

#[test]
fn after_a_crash_everything_that_was_answered_is_there() {
    let mut world = common::world::World::new(64 << 20, 3000);
    block_on(async {
        for records in 1..30 {
            world.run(&common::world::Op::Append { records }).await;
        }
        world.restart().await;
        let found: Vec<u64> = items(world.buffer(), 1).iter().flat_map(data).collect();
        assert_eq!(found, (0..world.next_number).collect::<Vec<_>>());
    });
}

#[test]
fn a_batch_that_is_none_is_refused_and_others_of_the_commit_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), 64 << 20, no_checker());
        let good = buffer.append(&topic().into(), None, batch(0..1, 0)).await.unwrap();
        let bad = buffer.append(&topic().into(), None, bytes::Bytes::from_static(b"no batch")).await.unwrap();
        let also_good = buffer.append(&topic().into(), None, batch(1..2, 0)).await.unwrap();
        assert!(edge_agent::buffer::durable(good).await.is_ok());
        assert!(edge_agent::buffer::durable(bad).await.is_err());
        assert!(edge_agent::buffer::durable(also_good).await.is_ok());
        assert_eq!(items(&buffer, 1).iter().flat_map(data).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(device().as_str(), "pump-1");
    });
}
