//! Whole clusters in one thread, from a seed: loss, crashes, slow disks, partitions, and members that come and go.
//!
//! `CONSENSUS_SEEDS=2000` runs so many seeds of the longest test.

mod elections;
mod laggards;
mod members;
mod snapshots;
mod world;

use world::{Chaos, World};

fn run(size: u32, seed: u64, steps: usize, chaos: Chaos) -> World {
    let mut world = World::new(size, seed);
    world.tail_bytes_max = if seed.is_multiple_of(2) { 2_000 } else { 100 };
    world.network.loss = 0.03;
    world.network.duplication = 0.03;
    world.network.reordering = 0.05;
    for _ in 0..steps {
        world.random_step(chaos);
    }
    world
}

/// A seed that fails is named, so that it can be run alone.
fn with_seeds(seeds: std::ops::Range<u64>, check: impl Fn(u64)) {
    for seed in seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(seed)));
        if let Err(panic) = outcome {
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn what_is_acknowledged_survives_loss_and_crashes() {
    with_seeds(0..40, |seed| {
        let mut world = run(3, seed, 8_000, Chaos { crashes: true, ..Chaos::default() });
        world.settle();
        world.check_acknowledged();
        assert!(!world.acknowledged.is_empty(), "nothing was ever committed");
    });
}

#[test]
fn what_is_acknowledged_survives_partitions() {
    with_seeds(100..120, |seed| {
        let mut world = run(5, seed, 15_000, Chaos { crashes: true, partitions: true, changes: false });
        world.settle();
        world.check_acknowledged();
        assert!(!world.acknowledged.is_empty(), "nothing was ever committed");
    });
}

#[test]
fn what_is_acknowledged_survives_changes_of_the_membership() {
    let seeds = std::env::var("CONSENSUS_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(60);
    with_seeds(200..200 + seeds, |seed| {
        let size = 1 + (seed % 5) as u32;
        let mut world = run(size, seed, 20_000, Chaos::ALL);
        world.settle();
        world.check_acknowledged();
        assert!(!world.acknowledged.is_empty(), "nothing was ever committed");
    });
}

/// The proof that the checks can find something.
#[test]
fn disks_that_forget_what_they_acknowledged_are_found_out() {
    let found = |seed| {
        let run = std::panic::AssertUnwindSafe(|| {
            let mut world = run(3, seed, 2_000, Chaos::default());
            for _ in 0..10 {
                world.let_disks_lie();
                (0..800).for_each(|_| world.random_step(Chaos { crashes: true, ..Chaos::default() }));
            }
            world.settle();
            world.check_acknowledged();
        });
        std::panic::catch_unwind(run).is_err()
    };
    assert!((0..20).any(found));
}

#[test]
fn chaos_is_what_it_says() {
    let (mut installed, mut entries_read) = (0, 0);
    let (mut changes, mut reads) = (0, 0);
    for seed in 200..210 {
        let world = run(3, seed, 20_000, Chaos::ALL);
        installed += world.snapshots_installed;
        entries_read += world.entries_read;
        reads += world.reads_answered;
        changes += world.history.values().filter(|applied| applied.membership.is_some()).count();
        assert!(world.leaders.len() > 2, "leaders change");
    }
    let seen = format!("{installed} snapshots, {entries_read} read back, {changes} changes, {reads} reads");
    eprintln!("{seen}");
    assert!(installed > 10 && entries_read > 20 && changes > 20 && reads > 20, "{seen}");
}

#[test]
fn a_run_repeats_from_its_seed() {
    let run = |seed| {
        let mut world = run(5, seed, 20_000, Chaos::ALL);
        world.settle();
        (world.leaders, world.history, world.acknowledged, world.refused)
    };
    let (first, second) = (run(7), run(7));
    assert!(!first.0.is_empty());
    assert_eq!(first, second);
}
