//! What the kernel's clock was against boot time while this agent runs, between the times at which it was set.

use std::collections::VecDeque;

/// Those before are forgotten.
const KEPT_MAX: usize = 8;
/// That the clock was set is seen later than it was, and a daemon moves it a little all the time.
const SLACK_MS: i64 = 60_000;

/// An offset, and since when in ms since the boot.
#[derive(Clone, Copy, Debug)]
struct Since {
    boot_ms: i64,
    offset_ms: i64,
}

#[derive(Clone, Debug, Default)]
pub struct KernelOffsets(VecDeque<Since>);

impl KernelOffsets {
    pub(super) fn note(&mut self, offset_ms: i64, boot_ms: i64, is_set: bool) {
        match self.0.back_mut() {
            Some(last) if !is_set => last.offset_ms = offset_ms,
            _ => {
                self.0.push_back(Since { boot_ms, offset_ms });
                let surplus = self.0.len().saturating_sub(KEPT_MAX);
                self.0.drain(..surplus);
            }
        }
    }

    /// How long ago at least, at `boot_ms`, the kernel's clock said this while the agent ran; `None` where it did not.
    pub fn since_ms(&self, kernel_ms: i64, boot_ms: i64) -> Option<i64> {
        let untils = self.0.iter().skip(1).map(|next| next.boot_ms).chain([boot_ms]);
        let said_at = self.0.iter().zip(untils).filter_map(|(since, until_ms)| {
            let at_ms = kernel_ms.saturating_sub(since.offset_ms);
            (since.boot_ms - SLACK_MS..=until_ms + SLACK_MS).contains(&at_ms).then_some(at_ms)
        });
        said_at.max().map(|at_ms| (boot_ms - at_ms).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3600 * 1000;

    #[test]
    fn what_the_clock_said_before_it_was_set_is_as_long_ago_as_it_is() {
        let mut offsets = KernelOffsets::default();
        offsets.note(1_000, 0, false);
        offsets.note(1_010, 3_600_000, false);
        offsets.note(90 * DAY_MS, 7_200_000, true);
        let at = |kernel_ms| offsets.since_ms(kernel_ms, 7_300_000);
        assert_eq!(at(1_010 + 7_000_000), Some(300_000));
        assert_eq!(at(90 * DAY_MS + 7_250_000), Some(50_000));
        assert_eq!(at(1_010 + 9_000_000), None, "it never said so");
        assert_eq!(at(-DAY_MS), None);
    }

    #[test]
    fn a_clock_that_is_set_all_the_time_is_remembered_in_no_more_memory() {
        let mut offsets = KernelOffsets::default();
        (0..1000).for_each(|n| offsets.note(n * DAY_MS, n, true));
        assert_eq!(offsets.0.len(), KEPT_MAX);
        assert_eq!(offsets.since_ms(999 * DAY_MS + 999, 1000), Some(1));
    }
}
