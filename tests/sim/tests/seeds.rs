//! Fresh seeds for a while (`SIM_SECONDS`); one seed twice; and the proof that the simulation finds bugs: each of eight
//! deliberate ones is found.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use shards::simulation::Faults;
use sim::invariants::Violation;
use sim::{Bug, Options, Report, run};

/// Seconds of fresh seeds where `SIM_SECONDS` does not say; `cargo run --release -p sim` goes on for hours.
const FRESH_SECONDS: u64 = 75;
/// A deliberate bug shows within so many seeds.
const SEEDS_TO_FIND: u64 = 60;

fn show(report: &Report) -> String {
    report.failure().unwrap_or_default()
}

#[test]
fn fresh_seeds_break_no_invariant() {
    let given = std::env::var("HEADWATER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seconds = std::env::var("SIM_SECONDS").map_or(FRESH_SECONDS, |text| text.parse().expect("seconds"));
    let (start, time) = (Instant::now(), Duration::from_secs(seconds));
    let mut next = given;
    loop {
        let seed = next.take().unwrap_or_else(rand::random);
        // At once and past the harness: a process that ends here has said with which seed.
        writeln!(std::io::stderr(), "simulates seed {seed}").expect("said");
        let report = run(Options::new(seed));
        println!("seed {seed}: {} acknowledged, {} things went wrong", report.acknowledged, report.mischief);
        assert!(report.violation.is_none(), "{}", show(&report));
        if given.is_some() || start.elapsed() > time {
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

fn is_found(bug: Bug) {
    for seed in 1..=SEEDS_TO_FIND {
        if let Some((violation, _)) = run(bug.options(seed)).violation
            // A hub that noticed by itself, before anybody was told anything wrong, proves nothing.
            && !matches!(violation, Violation::Refused(_) | Violation::NoRest(_))
        {
            println!("{bug:?}: found with seed {seed}: {violation}");
            return;
        }
    }
    panic!("{bug:?} was not found in {SEEDS_TO_FIND} seeds");
}

#[test]
fn an_acknowledgement_before_its_fsync_is_found() {
    is_found(Bug::AckBeforeFsync);
}

#[test]
fn a_write_ahead_log_that_is_not_synced_is_found() {
    is_found(Bug::SkipWalSync);
}

#[test]
fn damage_that_is_taken_for_the_end_of_the_log_is_found() {
    is_found(Bug::CutDamage);
}

#[test]
fn a_skipped_truncate_frame_is_found() {
    is_found(Bug::SkipTruncateFrame);
}

#[test]
fn an_apply_before_the_commit_is_found() {
    is_found(Bug::ApplyBeforeCommit);
}

#[test]
fn a_wiped_replica_that_votes_with_its_old_id_is_found() {
    is_found(Bug::WipedReplicaKeepsId);
}

#[test]
fn a_leader_that_serves_before_its_own_term_is_found() {
    is_found(Bug::ServeBeforeOwnTerm);
}

#[test]
fn an_expiry_by_a_local_clock_is_found() {
    is_found(Bug::ExpireByLocalClock);
}

/// What brings a bug out must break nothing where there is none.
#[test]
fn the_same_mischief_without_a_bug_breaks_nothing() {
    for bug in [Bug::SkipTruncateFrame, Bug::WipedReplicaKeepsId, Bug::CutDamage] {
        let report = run(Options { bug: None, faults: Faults::default(), ..bug.options(1) });
        assert!(report.violation.is_none(), "{bug:?}: {}", show(&report));
    }
}

#[test]
fn what_a_failure_says_is_enough_to_see_it_again() {
    let found = (1..=SEEDS_TO_FIND).map(|seed| run(Bug::AckBeforeFsync.options(seed)));
    let report = found.into_iter().find(|report| report.violation.is_some()).expect("it is found");
    let (violation, _) = report.violation.clone().expect("found above");
    let said = show(&report);
    let line = said.lines().find_map(|line| line.strip_prefix("again: cargo run --release -p sim -- "));
    let arguments = line.expect("a command line").split(' ');
    let again = Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("it runs");
    assert!(!again.status.success());
    let printed = String::from_utf8(again.stdout).expect("text");
    assert!(printed.contains(&format!("seed {}: {violation}", report.seed)), "{printed}");
}
