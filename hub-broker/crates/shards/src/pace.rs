//! How fast other replicas' needs are served, be it with snapshots or with old entries: as fast as allowed while the
//! write-ahead log answers as quickly as it does without them, and more slowly whenever it does not.
//!
//! The log's own speed without them depends on the disk, its load and what else the machine does. So all copying rests
//! for a moment every few seconds, and what the slowest commits take then is the measure: those are what clients
//! notice, and a disk that takes a copy's bytes in between holds up a few commits long before their mean moves.

use std::time::{Duration, Instant};

use wal::CommitTimes;

use crate::limits::CATCH_UP_RATE_BYTES_MIN;

/// How long commits are watched before the rate is changed.
const WINDOW: Duration = Duration::from_millis(250);
/// Nothing is copied for so long, and how many windows there are between two such rests.
const REST: Duration = Duration::from_millis(400);
const WINDOWS_BETWEEN_RESTS: u32 = 12;
/// What goes on for less than this many windows is over sooner than a rest.
const WINDOWS_BEFORE_FIRST_REST: u32 = 1;
/// Nothing was copied for so long: what comes is looked at afresh.
const IDLE: Duration = Duration::from_secs(1);
/// A rest is about to begin: those that want something ask again after this.
const STEP: Duration = Duration::from_millis(10);
/// Whoever comes so much later than it could have come has lost nothing.
const LATE: Duration = Duration::from_millis(20);
/// Commits beyond this share of all are the slowest.
const SLOWEST: f64 = 0.99;
/// They are slow when they take a quarter longer than in the rests, and this much besides.
const SLACK: Duration = Duration::from_micros(250);
/// What new times count beside those before them.
const SHARE_OF_NEW: u32 = 4;
/// The first rate beside the largest.
const FIRST_SHARE: u64 = 8;
/// The lowest rate is twice as high after each such time of copying: whoever lacks something is to have it some day,
/// however much is written meanwhile.
const PATIENCE: Duration = Duration::from_secs(600);
/// And it is at most this share of the largest.
const LAST_SHARE: u64 = 4;
/// Copying that has not begun again for so long is over.
const OVER: Duration = Duration::from_secs(60);

/// To be asked again after so long.
pub(crate) type AskAgain = Duration;

/// A place in the row of those who want to copy something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place(Option<Instant>);

#[derive(Debug)]
pub(crate) struct Pace {
    rate_bytes: u64,
    rate_bytes_max: u64,
    /// When what was taken so far has been paid for.
    free_at: Option<Instant>,
    latency: Latency,
    rest: Rest,
    /// Until the next rest.
    windows_left: u32,
    /// Turns that are not over.
    turns: u32,
    ended_at: Option<Instant>,
    /// When the copying that is under way began.
    begun_at: Option<Instant>,
    peer_slow: bool,
}

#[derive(Debug)]
enum Rest {
    Not,
    /// As soon as the turns that have begun before this are over.
    Due(Instant),
    /// With the times of commits up to its beginning.
    Until(Instant, CommitTimes),
}

/// Judges whether the log's commits take longer than they do while nothing is copied.
#[derive(Debug, Default)]
struct Latency {
    /// The window that is under way.
    begun: Option<(Instant, CommitTimes)>,
    quiet: Option<Duration>,
    busy: Option<Duration>,
}

impl Latency {
    /// Something is copied now. True once per window.
    fn look(&mut self, now: Instant, commits: &CommitTimes) -> bool {
        let (begun, before) = self.begun.get_or_insert_with(|| (now, commits.clone()));
        if now.saturating_duration_since(*begun) < WINDOW {
            return false;
        }
        self.busy = blended(self.busy, slowest(before, commits));
        self.begun = Some((now, commits.clone()));
        true
    }

    fn rested(&mut self, before: &CommitTimes, commits: &CommitTimes) {
        self.quiet = blended(self.quiet, slowest(before, commits));
        self.begun = None;
    }

    fn is_slow(&self) -> bool {
        match (self.quiet, self.busy) {
            (Some(quiet), Some(busy)) => busy > quiet + quiet / 4 + SLACK,
            _ => false,
        }
    }
}

/// What the slowest commits took; `None` where there was none.
fn slowest(before: &CommitTimes, now: &CommitTimes) -> Option<Duration> {
    now.since(before).quantile(SLOWEST)
}

fn blended(known: Option<Duration>, new: Option<Duration>) -> Option<Duration> {
    let (Some(known), Some(new)) = (known, new) else { return new.or(known) };
    Some((known * (SHARE_OF_NEW - 1) + new) / SHARE_OF_NEW)
}

impl Pace {
    pub(crate) fn new(rate_bytes_max: u64) -> Self {
        let rate_bytes_max = rate_bytes_max.max(CATCH_UP_RATE_BYTES_MIN);
        Self {
            rate_bytes: (rate_bytes_max / FIRST_SHARE).max(CATCH_UP_RATE_BYTES_MIN),
            rate_bytes_max,
            free_at: None,
            latency: Latency::default(),
            rest: Rest::Not,
            windows_left: WINDOWS_BEFORE_FIRST_REST,
            turns: 0,
            ended_at: None,
            begun_at: None,
            peer_slow: false,
        }
    }

    pub(crate) fn rate_bytes(&self) -> u64 {
        self.rate_bytes
    }

    /// Whether commits take longer than they do in the rests.
    pub(crate) fn is_slow(&self) -> bool {
        self.latency.is_slow()
    }

    /// The hub that is copied from says how its own log does.
    pub(crate) fn hear(&mut self, is_slow: bool) {
        self.peer_slow |= is_slow;
    }

    /// Somebody wants to copy `bytes`, and keeps `place` until it is their turn: whoever asks first is first. `end` MUST
    /// be called when the turn is over.
    pub(crate) fn ask(
        &mut self,
        bytes: u64,
        place: &mut Place,
        now: Instant,
        commits: &CommitTimes,
    ) -> Result<(), AskAgain> {
        if let Some(again) = self.resting(now, commits) {
            return Err(again);
        }
        self.begin(now);
        if self.latency.look(now, commits) {
            self.change_rate(now);
            self.windows_left = self.windows_left.saturating_sub(1);
            if self.windows_left == 0 {
                self.windows_left = WINDOWS_BETWEEN_RESTS;
                self.rest = Rest::Due(now);
                return Err(self.resting(now, commits).unwrap_or(STEP));
            }
        }
        let from = *place.0.get_or_insert_with(|| self.reserve(bytes, now));
        if from > now {
            return Err(from - now);
        }
        *place = Place::default();
        self.turns += 1;
        Ok(())
    }

    fn reserve(&mut self, bytes: u64, now: Instant) -> Instant {
        if bytes == 0 {
            return now;
        }
        let free_at = self.free_at.filter(|free_at| now.saturating_duration_since(*free_at) < LATE);
        let from = free_at.unwrap_or(now);
        let micros = bytes.saturating_mul(1_000_000) / self.rate_bytes.max(1);
        self.free_at = Some(from + Duration::from_micros(micros));
        from
    }

    /// A turn is over.
    pub(crate) fn end(&mut self, now: Instant, commits: &CommitTimes) {
        self.turns = self.turns.saturating_sub(1);
        self.ended_at = Some(now);
        self.resting(now, commits);
    }

    /// How long nothing is to be copied, if that is so.
    fn resting(&mut self, now: Instant, commits: &CommitTimes) -> Option<Duration> {
        match &self.rest {
            Rest::Not => None,
            Rest::Due(_) if self.turns == 0 => {
                self.rest = Rest::Until(now + REST, commits.clone());
                Some(REST)
            }
            // One that waits for a hub that does not answer holds nobody up.
            Rest::Due(since) if now.saturating_duration_since(*since) >= REST => {
                self.rest = Rest::Not;
                None
            }
            Rest::Due(_) => Some(STEP),
            Rest::Until(until, _) if now < *until => Some(*until - now),
            Rest::Until(_, before) => {
                self.latency.rested(before, commits);
                self.rest = Rest::Not;
                None
            }
        }
    }

    /// What comes after a while is looked at afresh.
    fn begin(&mut self, now: Instant) {
        let idle = match self.ended_at {
            Some(ended) if self.turns == 0 => now.saturating_duration_since(ended),
            Some(_) => Duration::ZERO,
            None => Duration::MAX,
        };
        if idle >= IDLE {
            self.windows_left = WINDOWS_BEFORE_FIRST_REST;
            (self.latency.begun, self.latency.busy) = (None, None);
        }
        if idle >= OVER {
            self.begun_at = Some(now);
        }
    }

    fn rate_bytes_min(&self, now: Instant) -> u64 {
        let copying = self.begun_at.map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun));
        let times = u32::try_from(copying.as_secs() / PATIENCE.as_secs()).unwrap_or(u32::MAX);
        let grown = CATCH_UP_RATE_BYTES_MIN.saturating_mul(1_u64.checked_shl(times).unwrap_or(u64::MAX));
        grown.min((self.rate_bytes_max / LAST_SHARE).max(CATCH_UP_RATE_BYTES_MIN))
    }

    fn change_rate(&mut self, now: Instant) {
        let slow = self.latency.is_slow() || std::mem::take(&mut self.peer_slow);
        self.rate_bytes = match slow {
            true => self.rate_bytes / 4 * 3,
            false => self.rate_bytes + self.rate_bytes / 8,
        };
        self.rate_bytes = self.rate_bytes.max(self.rate_bytes_min(now)).min(self.rate_bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MS: Duration = Duration::from_millis(1);
    const MOST: u64 = 64 * MIB;

    /// Threads that copy pieces of 1 MiB, each in 10 ms, beside a commit every millisecond.
    struct Run {
        pace: Pace,
        now: Instant,
        commits: CommitTimes,
        threads: Vec<(Doing, Place)>,
    }

    #[derive(Clone, Copy)]
    enum Doing {
        /// Asks then.
        Idle(Instant),
        /// Copies until then.
        Copying(Instant),
    }

    impl Run {
        fn new(threads: usize) -> Self {
            let now = Instant::now();
            let threads = vec![(Doing::Idle(now), Place::default()); threads];
            Self { pace: Pace::new(MOST), now, commits: CommitTimes::default(), threads }
        }

        /// For so long, with commits that take `busy` while something is copied and `quiet` otherwise. Returns the
        /// bytes that were copied.
        fn go(&mut self, time: Duration, quiet: Duration, busy: Duration) -> u64 {
            let (end, mut copied) = (self.now + time, 0);
            while self.now < end {
                for thread in 0..self.threads.len() {
                    copied += self.step(thread);
                }
                let is_busy = self.threads.iter().any(|(doing, _)| matches!(doing, Doing::Copying(_)));
                let latency = if is_busy { busy } else { quiet };
                self.commits.add(latency);
                self.now += MS;
            }
            copied
        }

        fn step(&mut self, thread: usize) -> u64 {
            let (doing, place) = &mut self.threads[thread];
            match *doing {
                Doing::Copying(to) if self.now >= to => {
                    self.pace.end(self.now, &self.commits);
                    *doing = Doing::Idle(self.now);
                    MIB
                }
                Doing::Idle(at) if self.now >= at => {
                    *doing = match self.pace.ask(MIB, place, self.now, &self.commits) {
                        Err(after) => Doing::Idle(self.now + after),
                        Ok(()) => Doing::Copying(self.now + 10 * MS),
                    };
                    0
                }
                _ => 0,
            }
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_rate_is_kept_and_rises_to_the_largest_while_commits_are_as_quick_as_in_the_rests() {
        for threads in [1, 2, 5] {
            let mut run = Run::new(threads);
            run.go(15 * SECOND, MS, MS);
            assert_eq!(run.pace.rate_bytes(), MOST, "{threads}");
            let copied = run.go(10 * SECOND, MS, MS) / MIB;
            assert!((450..=640).contains(&copied), "{copied} MiB in 10 s, {threads} threads");
        }
    }

    #[test]
    fn it_falls_while_commits_are_slower_than_in_the_rests_and_comes_back() {
        for threads in [1, 2, 5] {
            let mut run = Run::new(threads);
            run.go(15 * SECOND, MS, MS);
            run.go(15 * SECOND, MS, 30 * MS);
            assert!(
                run.pace.rate_bytes() <= 2 * CATCH_UP_RATE_BYTES_MIN,
                "{threads}: {}",
                run.pace.rate_bytes()
            );
            assert!(run.pace.is_slow());
            run.go(30 * SECOND, MS, MS);
            assert_eq!(run.pace.rate_bytes(), MOST, "{threads}");
        }
    }

    #[test]
    fn what_goes_on_for_long_is_not_slowed_down_for_ever() {
        let mut run = Run::new(1);
        run.go(60 * SECOND, MS, 30 * MS);
        assert_eq!(run.pace.rate_bytes(), CATCH_UP_RATE_BYTES_MIN);
        run.go(PATIENCE, MS, 30 * MS);
        assert_eq!(run.pace.rate_bytes(), 2 * CATCH_UP_RATE_BYTES_MIN);
        run.go(4 * PATIENCE, MS, 30 * MS);
        assert_eq!(run.pace.rate_bytes(), MOST / LAST_SHARE);
        while run.pace.turns > 0 {
            run.go(MS, MS, 30 * MS);
        }
        run.now += OVER;
        run.go(60 * SECOND, MS, 30 * MS);
        assert_eq!(run.pace.rate_bytes(), CATCH_UP_RATE_BYTES_MIN);
    }

    #[test]
    fn a_log_that_is_slow_in_the_rests_too_holds_nothing_up() {
        for threads in [1, 2, 5] {
            let mut run = Run::new(threads);
            run.go(15 * SECOND, MS, MS);
            run.go(60 * SECOND, 3 * MS, 3 * MS);
            assert_eq!(run.pace.rate_bytes(), MOST, "{threads}");
        }
    }

    #[test]
    fn a_few_slow_commits_among_many_quick_ones_are_seen() {
        let mut run = Run::new(1);
        run.go(15 * SECOND, MS, MS);
        for _ in 0..300 {
            run.go(25 * MS, MS, MS);
            // Half of a millisecond more on average.
            (0..u32::from(matches!(run.pace.rest, Rest::Not))).for_each(|_| run.commits.add(12 * MS));
        }
        assert!(run.pace.rate_bytes() <= MOST / 4, "{}", run.pace.rate_bytes());
    }

    #[test]
    fn a_peer_that_is_slow_counts_too() {
        let mut run = Run::new(1);
        run.go(15 * SECOND, MS, MS);
        run.pace.hear(true);
        run.go(SECOND / 2, MS, MS);
        assert!(run.pace.rate_bytes() < MOST);
    }

    #[test]
    fn what_is_short_does_not_wait_for_a_rest() {
        let mut run = Run::new(1);
        for _ in 0..20 {
            assert_eq!(run.pace.ask(1000, &mut Place::default(), run.now, &run.commits), Ok(()));
            run.now += 5 * MS;
            run.pace.end(run.now, &run.commits);
            run.now += 2 * SECOND;
        }
    }

    #[test]
    fn whoever_asks_first_is_first_however_late_it_looks() {
        let (mut pace, now, commits) = (Pace::new(MOST), Instant::now(), CommitTimes::default());
        let mut places = [Place::default(); 3];
        let mut ask = |place: usize, at| pace.ask(MIB, &mut places[place], at, &commits);
        assert_eq!(ask(0, now), Ok(()));
        let second = ask(1, now).unwrap_err();
        let third = ask(2, now).unwrap_err();
        assert!(second < third);
        // The second is not awake yet, and the third has to wait for its own time all the same.
        assert!(ask(2, now + second).is_err());
        assert_eq!(ask(1, now + second + MS), Ok(()));
    }

    #[test]
    fn a_turn_that_does_not_end_holds_up_no_other_for_long() {
        let mut run = Run::new(2);
        assert_eq!(run.pace.ask(MIB, &mut Place::default(), run.now, &run.commits), Ok(()));
        let copied = run.go(20 * SECOND, MS, MS) / MIB;
        assert!(copied > 300, "{copied}");
    }
}
