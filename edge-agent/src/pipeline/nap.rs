//! Rows that come one by one, and that nobody waits for, are taken some at a time: to be woken for each of them costs a
//! small device more than all that is done with it.

use std::time::Duration;

use tokio::time::Instant;

/// A row may be in the queue for so long before it is in a batch, which lingers from its first row on.
const NAP: Duration = Duration::from_millis(100);
/// Where as many have come together, more are to be expected at once.
const ROWS_MAX: usize = 32;

/// Until when no row needs to be taken, after so many were; `due` is when the batch that they are in has lingered.
pub(super) fn until(taken: usize, due: Option<Instant>, now: Instant) -> Option<Instant> {
    let due = due.filter(|due| *due > now && (1..ROWS_MAX).contains(&taken))?;
    Some(due.min(now + NAP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_few_rows_of_a_batch_that_lingers_are_followed_by_a_nap() {
        let now = Instant::now();
        let after = |taken, due_ms: u64| {
            until(taken, Some(now + Duration::from_millis(due_ms)), now).map(|until| until - now)
        };
        assert_eq!(after(1, 1000), Some(NAP));
        assert_eq!(after(31, 20), Some(Duration::from_millis(20)), "no longer than the batch lingers");
        assert_eq!(after(1, 0), None);
        assert_eq!(after(0, 1000), None, "the next row is awaited");
        assert_eq!(after(32, 1000), None, "more come at once");
        assert_eq!(until(1, None, now), None, "everything is in the buffer");
    }
}
