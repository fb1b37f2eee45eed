//! Some minutes of fresh seeds; one seed twice; and the proof that the simulation finds bugs: each of six deliberate
//! ones is found.

use std::time::{Duration, Instant};

use sim::{Faults, Options, Report, run};

/// Time for fresh seeds in a test run; `cargo run --release -p sim` goes on for hours.
const FRESH_FOR: Duration = Duration::from_secs(120);
/// A deliberate bug shows within so many seeds.
const SEEDS_TO_FIND: u64 = 60;

fn show(report: &Report) -> String {
    let (violation, tail) = report.violation.as_ref().expect("a report of a violation");
    format!("{tail}\nseed {}: {violation}\nagain: cargo run --release -p sim -- --seed {0}", report.seed)
}

#[test]
fn fresh_seeds_break_no_invariant() {
    let given = std::env::var("HEADWATER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let start = Instant::now();
    let mut next = given;
    loop {
        let seed = next.take().unwrap_or_else(rand::random);
        let report = run(Options::new(seed));
        println!("seed {seed}: {} acknowledged, {} things went wrong", report.acknowledged, report.mischief);
        assert!(report.violation.is_none(), "{}", show(&report));
        if given.is_some() || start.elapsed() > FRESH_FOR {
            return;
        }
    }
}

#[test]
fn one_seed_gives_one_history() {
    for seed in 1..=2 {
        let (first, second) = (run(Options::new(seed)), run(Options::new(seed)));
        assert!(first.acknowledged > 100, "a cluster that does something: {first:?}");
        assert_eq!(first, second);
    }
}

fn is_found(bug: &str, faults: Faults) {
    for seed in 1..=SEEDS_TO_FIND {
        let report = run(Options { faults, ..Options::new(seed) });
        if let Some((violation, _)) = report.violation {
            println!("{bug}: found with seed {seed}: {violation}");
            return;
        }
    }
    panic!("{bug} was not found in {SEEDS_TO_FIND} seeds");
}

#[test]
fn an_acknowledgement_before_its_fsync_is_found() {
    is_found("ack before fsync", Faults { ack_before_fsync: true, ..Faults::default() });
}

#[test]
fn a_skipped_truncate_frame_is_found() {
    is_found("skipped truncate frame", Faults { skip_truncate_frame: true, ..Faults::default() });
}

#[test]
fn an_apply_before_the_commit_is_found() {
    is_found("apply before commit", Faults { apply_before_commit: true, ..Faults::default() });
}

#[test]
fn a_wiped_replica_that_votes_with_its_old_id_is_found() {
    is_found("wiped replica keeps its id", Faults { wiped_replica_keeps_id: true, ..Faults::default() });
}

#[test]
fn a_leader_that_serves_before_its_own_term_is_found() {
    is_found("serving before the own term", Faults { serve_before_own_term: true, ..Faults::default() });
}

#[test]
fn an_expiry_by_a_local_clock_is_found() {
    is_found("expiry by local clock", Faults { expire_by_local_clock: true, ..Faults::default() });
}
