//! Many environments, each damaged in its own way: the agent starts every time, ships every batch that can be read,
//! and a gap stands for the rest.
//!
//! `DAMAGED_ENVIRONMENTS` says how many there are.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use common::world::{Op, World, block_on};
use common::{items, numbers};
use edge_agent::buffer::{Amendment, BootOffset, Content};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use schemas::RawBatch;

const ENVIRONMENTS: usize = 40;
const PAGE: usize = 4096;
/// Producer id, epoch and base sequence of a batch: no two have the same.
const NAME: Range<usize> = 43..57;

fn checker() -> Option<PathBuf> {
    Some(env!("CARGO_BIN_EXE_edge-agent").into())
}

/// What stands in the buffer: each batch's bytes and records by its name.
type Batches = HashMap<Vec<u8>, (Vec<u8>, Vec<u64>)>;

/// The numbers of each start's records: one stream.
type Streams = [Range<u64>; 2];

/// A buffer of small and large batches of two starts, of which the hub has a part; then a crash.
async fn crashed(random: &mut StdRng) -> (World, Batches, Streams) {
    let mut second = 0;
    let mut world = World::checked_by(checker(), 64 << 20, 300);
    for part in 0..2 {
        for _ in 0..random.gen_range(10..40) {
            let records = if random.gen_bool(0.3) { 20 } else { random.gen_range(1..4) };
            world.run(&Op::Append { records }).await;
        }
        if part == 0 {
            world.run(&Op::Connect { receive_maximum: 8 }).await;
            for _ in 0..random.gen_range(0..6) {
                world.run(&Op::Deliver { busy: false }).await;
                world.run(&Op::Answer).await;
            }
            second = world.next_number;
            world.restart().await;
        }
    }
    let streams = [0..second, second..world.next_number];
    let mut batches = Batches::new();
    for item in items(world.buffer(), 1) {
        if let Content::Batch(bytes) = item.content {
            let records = numbers(&RawBatch::parse(bytes.clone()).unwrap());
            batches.insert(bytes[NAME].to_vec(), (bytes.to_vec(), records));
        }
    }
    world.crash().await;
    (world, batches, streams)
}

/// How many of the streams' records are not in the log though one that came after them is: the sequences tell.
fn missing_between(log: &[u64], streams: &Streams) -> u64 {
    let missing = |numbers: &Range<u64>| {
        let own = log.iter().filter(|number| numbers.contains(number));
        own.clone().next_back().map_or(0, |last| last + 1 - numbers.start - own.count() as u64)
    };
    streams.iter().map(missing).sum()
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Truncated,
    Zeroed,
    Garbage,
    /// A page was written to another one's place.
    Misplaced,
}

fn damage(file: &mut Vec<u8>, kind: Damage, random: &mut StdRng) {
    let pages = file.len() / PAGE;
    let page = random.gen_range(0..pages) * PAGE;
    match kind {
        Damage::Truncated => file.truncate(random.gen_range(0..file.len())),
        Damage::Zeroed => file[page..page + PAGE].fill(0),
        Damage::Garbage => random.fill_bytes(&mut file[page..page + PAGE]),
        Damage::Misplaced => {
            let from = random.gen_range(0..pages) * PAGE;
            file.copy_within(from..from + PAGE, page);
        }
    }
}

/// The records of the batches that are whole somewhere in the file, in a page that has them.
fn readable(file: &[u8], batches: &Batches) -> Vec<u64> {
    let mut found: Vec<u64> = Vec::new();
    for (at, name) in file.windows(NAME.len()).enumerate() {
        let (Some((bytes, records)), Some(begin)) = (batches.get(name), at.checked_sub(NAME.start)) else {
            continue;
        };
        if file.get(begin..begin + bytes.len()) == Some(bytes.as_slice()) && is_listed(file, begin) {
            found.extend(records);
        }
    }
    found
}

/// Whether the page says that a batch begins there: what was in it before may still lie in its free room.
fn is_listed(file: &[u8], begin: usize) -> bool {
    let (leaf, overflow, entry_header, node_header, key) = (0x02, 0x04, 10, 8, 9);
    let page = begin / PAGE * PAGE;
    let u16_at =
        |at: usize| file.get(at..at + 2).map_or(0, |two| usize::from(u16::from_ne_bytes([two[0], two[1]])));
    let (flags, lower) = (u16_at(page + 10), u16_at(page + 12));
    if flags & overflow != 0 {
        return begin == page + 16 + entry_header;
    }
    let node = (begin - page).checked_sub(entry_header + key + node_header);
    flags & leaf != 0 && (16..lower.min(PAGE)).step_by(2).any(|pointer| Some(u16_at(page + pointer)) == node)
}

/// Any commit takes the last trim along; false where the buffer cannot be written any more.
async fn commit(world: &World) -> bool {
    let amendment = Amendment::StampBoot(BootOffset {
        boot: uuid::Uuid::from_u128(1),
        offset_ms: 0,
        is_provisional: false,
    });
    world.buffer().amend(amendment).await.is_ok()
}

async fn round(seed: u64, kind: Damage) {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut world, batches, streams) = crashed(&mut random).await;
    let path = world.folder.path().join("buffer/data.mdb");
    let mut file = fs::read(&path).unwrap();
    damage(&mut file, kind, &mut random);
    fs::write(&path, &file).unwrap();
    let inode = || fs::metadata(&path).unwrap().ino();
    let damaged = inode();
    world.start().await;
    // A free list from elsewhere shows only when what it frees was written over; until then nothing was.
    let is_salvaged = inode() != damaged;
    world.settle().await;
    if !commit(&world).await {
        // What no walk finds ends the process when it is met; the next start knows of it.
        world.restart().await;
        world.settle().await;
        assert!(commit(&world).await, "{kind:?} {seed}: it does not come up");
    }
    let hub = &world.hub;
    assert!(hub.log.is_sorted_by(|one, other| one < other), "{kind:?} {seed}: {:?}", hub.log);
    let known = hub.log.len() as u64 + hub.lost;
    let appended = world.next_number;
    // A gap of unknown size is at the end of a stream, where the file alone does not tell what came there.
    let is_said = known == appended || known < appended && hub.unknown_gaps > 0;
    assert!(is_said, "{kind:?} {seed}: {known} of {appended} records are accounted for");
    let missing = missing_between(&hub.log, &streams);
    assert!(hub.lost >= missing, "{kind:?} {seed}: gaps count {} of {missing} records in between", hub.lost);
    if is_salvaged {
        for number in readable(&file, &batches) {
            assert!(hub.log.binary_search(&number).is_ok(), "{kind:?} {seed}: {number} could be read");
        }
    }
    let counters = world.buffer().snapshot().counters;
    // Old entries that a misplaced page brings back are acknowledged twice.
    let counted = counters.acknowledged + counters.dropped;
    assert!(counted >= counters.appended, "{kind:?} {seed}: {counters:?}");
    // It is no loop: the next start finds nothing to repair.
    world.run(&Op::Append { records: 2 }).await;
    world.restart().await;
    world.settle().await;
    assert!(world.hub.log.ends_with(&[world.next_number - 2, world.next_number - 1]), "{kind:?} {seed}");
}

#[test]
fn the_agent_starts_and_ships_what_can_be_read() {
    let count = std::env::var("DAMAGED_ENVIRONMENTS").map_or(ENVIRONMENTS, |text| text.parse().unwrap());
    let kinds = [Damage::Truncated, Damage::Zeroed, Damage::Garbage, Damage::Misplaced];
    for (index, kind) in kinds.into_iter().cycle().take(count).enumerate() {
        block_on(round(index as u64, kind));
    }
}

/// Its pages and its tree can be read and written; LMDB dies when it writes the list.
#[test]
fn garbage_in_the_free_list_that_only_a_commit_meets_ends_no_agent() {
    block_on(round(562, Damage::Garbage));
}
