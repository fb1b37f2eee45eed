//! Damage to the buffer's file: the agent always starts, and every record is shipped or a gap stands for it.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use common::world::{Op, World, block_on};
use proptest::prelude::*;

fn checker() -> Option<PathBuf> {
    Some(env!("CARGO_BIN_EXE_edge-agent").into())
}

/// A buffer of some 60 batches, small and large ones, of which the hub has a part; then a crash.
async fn crashed() -> World {
    let mut world = World::checked_by(checker(), 64 << 20, 300);
    for n in 0..20 {
        world.run(&Op::Append { records: 1 + n % 3 }).await;
    }
    world.run(&Op::Connect { receive_maximum: 8 }).await;
    for _ in 0..3 {
        world.run(&Op::Deliver { busy: false }).await;
        world.run(&Op::Answer).await;
    }
    world.restart().await;
    for n in 0..40 {
        world.run(&Op::Append { records: 1 + n % 20 }).await;
    }
    world.crash().await;
    world
}

fn data_file(world: &World) -> PathBuf {
    world.folder.path().join("buffer/data.mdb")
}

/// Which file it is: another one after a salvage.
fn inode(world: &World) -> u64 {
    fs::metadata(data_file(world)).unwrap().ino()
}

/// Flips one bit of a record's value; the filler makes it unmistakable.
fn flip_a_bit_of(world: &World, number: u64) {
    let bytes = fs::read(data_file(world)).unwrap();
    let mut value = number.to_be_bytes().to_vec();
    value.resize(200, (number % 251) as u8);
    let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
    let file = File::options().write(true).open(data_file(world)).unwrap();
    file.write_all_at(&[bytes[at + 100] ^ 4], at as u64 + 100).unwrap();
}

/// Starts on what is left and ships it; nothing may be stored twice or out of order.
async fn recover(world: &mut World) {
    world.start().await;
    world.settle().await;
    assert!(world.hub.log.is_sorted_by(|one, other| one < other), "{:?}", world.hub.log);
}

#[test]
fn a_truncated_file_is_set_aside_and_what_is_left_of_it_is_shipped() {
    block_on(async {
        let mut world = crashed().await;
        let path = data_file(&world);
        let length = fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length * 2 / 3).unwrap();
        let damaged = inode(&world);
        recover(&mut world).await;
        assert_ne!(inode(&world), damaged);
        assert!(
            !world.folder.path().join("buffer.set-aside").exists(),
            "what can be read of it is in the new one"
        );
        assert!(world.hub.log.len() > 20, "most of it can be read: {:?}", world.hub.log);
        assert_eq!(world.hub.unknown_gaps, 1, "what is lost beyond what is known is said");
    });
}

#[test]
fn a_file_of_garbage_leaves_a_gap_of_unknown_size() {
    block_on(async {
        let mut world = crashed().await;
        let shipped = world.hub.log.len();
        fs::write(data_file(&world), vec![0x5a; 100_000]).unwrap();
        recover(&mut world).await;
        assert_eq!((world.hub.log.len(), world.hub.unknown_gaps), (shipped, 1));
        assert!(world.folder.path().join("buffer.set-aside").exists(), "nobody knows what is in it");
        world.run(&Op::Append { records: 2 }).await;
        world.settle().await;
        assert_eq!(world.hub.log.len(), shipped + 2, "it goes on");
    });
}

#[test]
fn a_flipped_bit_in_a_batch_costs_that_batch_alone() {
    block_on(async {
        let mut world = crashed().await;
        let last = world.next_number - 1;
        flip_a_bit_of(&world, last);
        recover(&mut world).await;
        assert_eq!(world.hub.log.len() as u64 + world.hub.lost, world.next_number);
        assert_eq!((world.hub.gaps, world.hub.unknown_gaps), (1, 0));
        assert!(world.hub.lost <= 20 && !world.hub.log.contains(&last));
    });
}

#[test]
fn a_damaged_marker_is_no_obstacle() {
    block_on(async {
        let mut world = crashed().await;
        fs::write(world.folder.path().join("marker"), "{").unwrap();
        recover(&mut world).await;
        assert_eq!(world.hub.log.len() as u64, world.next_number);
    });
}

#[test]
fn a_crash_during_salvage_leads_back_to_it() {
    block_on(async {
        let mut world = crashed().await;
        let dir = world.folder.path().to_owned();
        fs::rename(dir.join("buffer"), dir.join("buffer.damaged")).unwrap();
        fs::create_dir(dir.join("buffer.new")).unwrap();
        fs::write(dir.join("buffer.new/data.mdb"), "half").unwrap();
        recover(&mut world).await;
        assert_eq!(world.hub.log.len() as u64 + world.hub.lost, world.next_number);
        assert_eq!(world.hub.lost, 0, "the file itself was whole");
        assert!(!dir.join("buffer.damaged").exists());
    });
}

#[test]
fn of_a_damaged_buffer_that_does_not_fit_the_newest_is_kept() {
    block_on(async {
        let mut world = World::checked_by(checker(), 64 << 20, 100_000);
        for _ in 0..200 {
            world.run(&Op::Append { records: 1 }).await;
        }
        world.crash().await;
        let dir = world.folder.path().to_owned();
        fs::rename(dir.join("buffer"), dir.join("buffer.damaged")).unwrap();
        // A buffer of this cap does not hold what is in the damaged one.
        world.cap_bytes = 4 << 20;
        recover(&mut world).await;
        let shipped = world.hub.log.len();
        assert!((30..200).contains(&shipped), "{shipped} of 200 fit");
        assert_eq!(world.hub.log.last(), Some(&199));
        assert_eq!((shipped as u64 + world.hub.lost, world.hub.unknown_gaps), (200, 1));
        world.run(&Op::Append { records: 2 }).await;
        world.settle().await;
        assert_eq!(world.hub.log.len(), shipped + 2, "it goes on");
    });
}

/// Writes the file as a machine of 32 bits would have: the headers of its pages are 4 bytes shorter.
fn rewrite_for_32_bits(path: &std::path::Path) {
    let (leaf, overflow) = (0x02, 0x04);
    let mut file = fs::read(path).unwrap();
    let u16_of = |page: &[u8], at: usize| u16::from_ne_bytes([page[at], page[at + 1]]);
    let mut at = 0;
    while at < file.len() {
        let page = &file[at..at + 4096];
        let flags = u16_of(page, 10);
        let is_overflow = flags & overflow != 0;
        let pages = if is_overflow { usize::from(u16_of(page, 12)) } else { 1 };
        let end = at + 4096 * pages;
        if flags & leaf != 0 {
            // The nodes stay where they are, the list of them moves.
            let lower = u16_of(page, 12);
            file.copy_within(at + 8..at + usize::from(lower), at + 4);
            file[at + 8..at + 10].copy_from_slice(&(lower - 4).to_ne_bytes());
        } else {
            file.copy_within(at + 8..end, at + 4);
        }
        at = end;
    }
    fs::write(path, file).unwrap();
}

#[test]
fn the_environment_of_the_other_word_size_is_drained() {
    for is_clean in [true, false] {
        block_on(async {
            let mut world = crashed().await;
            if is_clean {
                world.start().await;
                world.stop().await;
            }
            rewrite_for_32_bits(&data_file(&world));
            let damaged = inode(&world);
            recover(&mut world).await;
            assert_eq!(world.hub.log.len() as u64, world.next_number, "every record is there");
            assert_ne!(inode(&world), damaged);
            world.run(&Op::Append { records: 2 }).await;
            world.settle().await;
            assert_eq!(world.hub.log.len() as u64, world.next_number, "it goes on");
        });
    }
}

/// After a clean stop nothing is walked: what is wrong is found when it is to be shipped.
#[test]
fn damage_behind_a_clean_stop_becomes_a_gap_when_it_is_met() {
    block_on(async {
        let mut world = crashed().await;
        world.start().await;
        world.stop().await;
        let last = world.next_number - 1;
        flip_a_bit_of(&world, last);
        recover(&mut world).await;
        assert_eq!(world.hub.log.len() as u64 + world.hub.lost, world.next_number);
        assert!(world.hub.lost > 0 && !world.hub.log.contains(&last));
    });
}

#[test]
fn an_entry_that_is_missing_becomes_a_gap_wherever_it_was() {
    for missing in [0, 7, 20] {
        block_on(async {
            let mut world = World::checked_by(checker(), 64 << 20, 0);
            for _ in 0..30 {
                world.run(&Op::Append { records: 3 }).await;
            }
            world.stop().await;
            delete_entry(&world, missing);
            recover(&mut world).await;
            assert_eq!((world.hub.log.len(), world.hub.lost, world.hub.gaps), (87, 3, 1), "entry {missing}");
        });
    }
}

/// Takes an entry out of the tree behind the buffer's back.
fn delete_entry(world: &World, index: usize) {
    use heed::types::Bytes;
    let dir = world.folder.path().join("buffer");
    #[expect(unsafe_code, reason = "LMDB's open; nobody else has the file open")]
    let env = unsafe { heed::EnvOpenOptions::new().map_size(64 << 20).open(dir) }.unwrap();
    let mut txn = env.write_txn().unwrap();
    let entries: heed::Database<Bytes, Bytes> = env.create_database(&mut txn, None).unwrap();
    let key = entries.iter(&txn).unwrap().nth(1 + index).unwrap().unwrap().0.to_vec();
    assert!(entries.delete(&mut txn, &key).unwrap());
    txn.commit().unwrap();
    env.prepare_for_closing().wait();
}

#[test]
fn a_file_that_is_gone_or_empty_leaves_a_gap_of_unknown_size_unless_nothing_was_ever_in_it() {
    for is_gone in [true, false] {
        block_on(async {
            let mut world = World::checked_by(checker(), 64 << 20, 300);
            let lose = |world: &World| {
                if is_gone {
                    fs::remove_dir_all(world.folder.path().join("buffer")).unwrap();
                } else {
                    File::create(data_file(world)).unwrap();
                }
            };
            world.crash().await;
            lose(&world);
            recover(&mut world).await;
            assert_eq!(world.hub.unknown_gaps, 0, "it was new");
            world.run(&Op::Append { records: 7 }).await;
            world.settle().await;
            world.disconnect().await;
            world.run(&Op::Append { records: 5 }).await;
            world.crash().await;
            lose(&world);
            recover(&mut world).await;
            assert_eq!((world.hub.log.len(), world.hub.unknown_gaps), (7, 1));
            let counters = world.buffer().snapshot().counters;
            assert_eq!(counters.appended, counters.acknowledged + counters.dropped, "{counters:?}");
            world.run(&Op::Append { records: 2 }).await;
            world.settle().await;
            assert_eq!((world.hub.log.last(), world.hub.unknown_gaps), (Some(&13), 1));
        });
    }
}

/// A gap of unknown size would take the sequence of the batch behind them.
#[test]
fn of_two_unreadable_batches_side_by_side_one_gap_stands_for_both() {
    block_on(async {
        let mut world = crashed().await;
        // Of 19 and 20 records; the next has one.
        for number in [215, 235] {
            flip_a_bit_of(&world, number);
        }
        recover(&mut world).await;
        let lost = |number: &u64| (210..249).contains(number);
        let rest: Vec<u64> = (0..world.next_number).filter(|number| !lost(number)).collect();
        assert_eq!(world.hub.log, rest);
        assert_eq!((world.hub.gaps, world.hub.lost, world.hub.unknown_gaps), (1, 39, 0));
    });
}

/// Each start begins a stream of its own, and each stream's sequences have to be told.
#[test]
fn of_two_unreadable_batches_on_either_side_of_a_restart_each_has_its_gap() {
    for (before, behind) in [(0, true), (5, true), (0, false), (5, false)] {
        block_on(async {
            let mut world = World::checked_by(checker(), 64 << 20, 300);
            if before > 0 {
                world.run(&Op::Append { records: before }).await;
            }
            world.run(&Op::Append { records: 10 }).await;
            world.restart().await;
            world.run(&Op::Append { records: 20 }).await;
            if behind {
                world.run(&Op::Append { records: 3 }).await;
            }
            world.crash().await;
            let first = before;
            for number in [first + 5, first + 15] {
                flip_a_bit_of(&world, number);
            }
            recover(&mut world).await;
            let lost = |number: &u64| (first..first + 30).contains(number);
            let rest: Vec<u64> = (0..world.next_number).filter(|number| !lost(number)).collect();
            assert_eq!(world.hub.log, rest, "{before} before, behind: {behind}");
            assert_eq!((world.hub.gaps, world.hub.lost, world.hub.unknown_gaps), (2, 30, 0));
            assert_eq!(world.buffer().snapshot().counters.dropped, 30);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn zeroed_pages_anywhere_lose_nothing_in_silence(pages in prop::collection::vec(0usize..400, 1..4)) {
        block_on(async {
            let mut world = crashed().await;
            let file = File::options().write(true).open(data_file(&world)).unwrap();
            let count = fs::metadata(data_file(&world)).unwrap().len() as usize / 4096;
            for page in pages {
                file.write_all_at(&[0; 4096], (page % count * 4096) as u64).unwrap();
            }
            recover(&mut world).await;
            let known = world.hub.log.len() as u64 + world.hub.lost;
            let said = known == world.next_number || world.hub.unknown_gaps > 0;
            assert!(said, "{known} of {} records are accounted for", world.next_number);
        });
    }
}
