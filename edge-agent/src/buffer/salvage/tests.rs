use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use schemas::{BatchBuilder, BuilderOptions, ProducerEpoch};

use super::*;
use crate::buffer::entry::encode_batch;
use crate::buffer::environment::Durability;
use crate::buffer::scan::Pages;
use crate::destination::Destination;

const CAP: u64 = 64 << 20;
const PAGE: u64 = 4096;
/// Three streams in two lanes.
const LANES: [(u8, &[i64]); 2] = [(1, &[1, 2]), (2, &[3])];

fn stream(id: i64) -> ProducerId {
    ProducerId((1 << 62) + id)
}

fn entry(id: i64, base: i32, filler: usize) -> Vec<u8> {
    let producer = Some((stream(id), ProducerEpoch(0), Sequence(base)));
    let mut builder = BatchBuilder::new(BuilderOptions { producer, ..BuilderOptions::default() });
    let value: Vec<u8> = (0..filler).map(|at| (base as usize * 31 + at * at * 7 + at / 3) as u8).collect();
    builder.push(1_700_000_000_000, Some(b"d"), Some(&value), &[]).unwrap();
    encode_batch(1_700_000_000_000 + i64::from(base), None, &builder.finish().unwrap())
}

/// An environment of which nobody has the file open any more.
struct Damaged {
    folder: tempfile::TempDir,
    state: State,
    streams: Vec<LaneStreams>,
}

impl Damaged {
    /// So many entries in each stream, each of one record; small ones are copied from page to page as they come.
    fn holding(per_stream: i32, filler: impl Fn(i32) -> usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::open(&folder.path().join("old"), CAP, Durability::Off).unwrap();
        let destination: Destination = TopicName::try_from("t").unwrap().into();
        let mut state = State::default();
        state.lanes.extend(LANES.map(|(id, _)| Lane::new(id, &destination)));
        let streams =
            LANES.map(|(lane, ids)| LaneStreams { lane, ids: ids.iter().map(|id| stream(*id)).collect() });
        let emptied = state.clone();
        for (lane, ids) in LANES {
            for (id, base) in ids.iter().flat_map(|id| (0..per_stream).map(move |base| (*id, base))) {
                let mut work = Work::begin(&environment, state, 0).unwrap();
                put(&mut work, lane, &entry(id, base, filler(base)), 1).unwrap();
                state = work.commit().unwrap();
            }
        }
        environment.close();
        Self { folder, state: emptied, streams: streams.to_vec() }
    }

    fn file(&self) -> Option<File> {
        let path = self.folder.path().join("old/data.mdb");
        Some(File::options().read(true).write(true).open(path).unwrap())
    }

    fn length(&self) -> u64 {
        self.file().unwrap().metadata().unwrap().len()
    }

    fn fresh_dir(&self) -> PathBuf {
        self.folder.path().join("new")
    }

    fn fresh(&self) -> Environment {
        Environment::open(&self.fresh_dir(), CAP, Durability::Off).unwrap()
    }

    /// Salvages what these pages have, into a new environment.
    fn salvaged_of(&self, pages: &dyn Pages, per_pass: usize) -> (Salvaged, Vec<(u8, i64, i32, bool)>) {
        let _ = fs::remove_dir_all(self.fresh_dir());
        let fresh = self.fresh();
        let scan = Scan::of(pages, self.length());
        let salvage = Salvage { per_pass, ..Salvage::of(scan, &fresh, 0, None) };
        let salvaged = salvage.run(self.state.clone(), &self.streams, None);
        let found = heads(&fresh);
        fresh.close();
        (salvaged, found)
    }
}

/// Lane, stream and base of each entry, and whether it is a gap.
fn heads(environment: &Environment) -> Vec<(u8, i64, i32, bool)> {
    let txn = environment.read().unwrap();
    let entries = environment.walk(&txn).unwrap().map(|entry| {
        let (key, value) = entry.unwrap();
        let head = Head::parse(value).unwrap();
        (key.lane, head.stream.0 - (1 << 62), head.base.0, head.is_gap())
    });
    entries.collect()
}

fn batches(found: &[(u8, i64, i32, bool)]) -> Vec<(i64, i32)> {
    found.iter().filter(|(_, _, _, is_gap)| !is_gap).map(|(_, id, base, _)| (*id, *base)).collect()
}

fn all(per_stream: i32) -> Vec<(i64, i32)> {
    (1..4).flat_map(|id| (0..per_stream).map(move |base| (id, base))).collect()
}

/// A disk with sectors that cannot be read.
struct Worn {
    file: File,
    bad: BTreeSet<u64>,
}

impl Pages for Worn {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let end = position + into.len() as u64;
        if self.bad.range(position / PAGE..end.div_ceil(PAGE)).next().is_some() {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        std::os::unix::fs::FileExt::read_at(&self.file, into, position)
    }
}

#[test]
fn a_page_that_cannot_be_read_costs_what_is_in_it_and_no_more() {
    // Of five, one has pages of its own.
    let damaged = Damaged::holding(20, |base| if base % 5 == 0 { 6000 } else { 100 });
    let mut worst = 60;
    for page in 0..damaged.length() / PAGE {
        let worn = Worn { file: damaged.file().unwrap(), bad: [page].into() };
        let (salvaged, found) = damaged.salvaged_of(&worn, 1000);
        assert_eq!((salvaged.unreadable_pages, salvaged.ended_by.is_none()), (1, true), "page {page}");
        let kept = batches(&found);
        assert!(kept.is_sorted() && kept.len() as u64 == salvaged.records, "page {page}: {kept:?}");
        worst = worst.min(kept.len());
        // What is missing in between is said.
        let lost: u64 = salvaged.state.counters.dropped;
        let last = |id| kept.iter().filter(|(of, _)| *of == id).map(|(_, base)| base + 1).max().unwrap_or(0);
        let known: i32 = (1..4).map(last).sum();
        assert_eq!(kept.len() as u64 + lost, known as u64, "page {page}: {found:?}");
    }
    assert!((30..60).contains(&worst), "a page of leaves holds some: {worst}");
}

#[test]
fn a_disk_that_reads_nothing_is_an_error() {
    let damaged = Damaged::holding(3, |_| 100);
    let pages = damaged.length() / PAGE;
    let worn = Worn { file: damaged.file().unwrap(), bad: (0..pages).collect() };
    let (salvaged, found) = damaged.salvaged_of(&worn, 1000);
    assert!(salvaged.ended_by.is_some() && found.is_empty());
    assert_eq!((salvaged.records, salvaged.unreadable_pages), (0, pages));
}

#[test]
fn what_is_more_than_is_remembered_comes_in_the_same_order() {
    let damaged = Damaged::holding(50, |base| if base % 7 == 0 { 5000 } else { 30 });
    let (_, at_once) = damaged.salvaged_of(&damaged.file(), 1000);
    assert_eq!(batches(&at_once), all(50));
    assert_eq!(at_once.len(), 150, "each once, no gap");
    for per_pass in [1, 7, 49, 50, 150, 151] {
        let (salvaged, found) = damaged.salvaged_of(&damaged.file(), per_pass);
        assert_eq!(found, at_once, "{per_pass} at a time");
        assert_eq!(salvaged.records, 150);
    }
}

#[test]
fn what_one_pass_remembers_is_bounded() {
    let damaged = Damaged::holding(100, |_| 20);
    let (fresh, file) = (damaged.fresh(), damaged.file());
    let salvage = Salvage { per_pass: 10, ..Salvage::of(Scan::of(&file, damaged.length()), &fresh, 0, None) };
    let order = Order::of(&damaged.state, &damaged.streams);
    let mut copy =
        Copy { source: salvage, order, state: State::default(), unreadable: Unreadable::default() };
    let found = copy.pass(0);
    assert_eq!((found.len(), found.capacity()), (10, 20), "of 300, and more copies of them");
}

/// The disk that a copied part took is free again, and a salvage that ends there goes on behind it.
#[test]
fn a_salvage_that_was_interrupted_goes_on_with_what_is_left() {
    let damaged = Damaged::holding(60, |base| if base % 2 == 0 { 90_000 } else { 30 });
    let (fresh, file) = (damaged.fresh(), damaged.file());
    let blocks = || file.as_ref().unwrap().metadata().unwrap().blocks() * 512;
    let before = blocks();
    let salvage = || Salvage::of(Scan::of(&file, damaged.length()), &fresh, 0, file.as_ref());
    let order = Order::of(&damaged.state, &damaged.streams);
    let state = emptied(damaged.state.clone());
    let mut copy = Copy { source: salvage(), order, state, unreadable: Unreadable::default() };
    let found = copy.pass(0);
    let mut at = At { stream: usize::MAX, next: Sequence::ZERO };
    let copied = copy.chunk(&found, &mut at, COMMIT_BYTES_MAX).unwrap();
    copy.free(&found[..copied]).unwrap();
    assert!(copied < found.len() && blocks() < before, "a part of it");
    assert!(copy.pass(0).len() < 180, "what was copied is gone from the file");

    let resumed = crate::buffer::opening::all_ends(&fresh).unwrap();
    let salvaged = salvage().run(damaged.state.clone(), &damaged.streams, resumed);
    assert!(salvaged.ended_by.is_none());
    let found = heads(&fresh);
    assert_eq!((batches(&found), found.len()), (all(60), 180));
    assert_eq!((salvaged.records, salvaged.state.counters.appended), (180, 180));
    assert!(blocks() < before / 4, "{} of {before}", blocks());
}
