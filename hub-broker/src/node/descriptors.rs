//! File descriptors: how many the hub may have, and how many of them connections may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// What is kept from connections: two files for each partition that is written to, those kept open for readers,
/// checkpoints, and HTTP.
const RESERVE: u64 = 4096;

/// Raises the limit as far as it goes without privileges, and returns it.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (before, limit) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    if before >= limit {
        return before;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            info!(before, limit, "raised the limit of open files");
            limit
        }
        Err(error) => {
            warn!(limit = before, %error, "the limit of open files cannot be raised");
            before
        }
    }
}

/// How many connections each of the listeners may have: what it wants, or its share of what is left beside the
/// reserve; half of few descriptors is for the log.
pub fn connections_max<const N: usize>(limit: u64, wanted: [usize; N]) -> [usize; N] {
    let left = limit - RESERVE.min(limit / 2);
    let total = wanted.iter().map(|&wanted| wanted as u64).sum::<u64>().max(1);
    if total <= left {
        return wanted;
    }
    wanted.map(|wanted| {
        let share = u128::from(left) * wanted as u128 / u128::from(total);
        usize::try_from(share).unwrap_or(wanted).max(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_log_its_descriptors() {
        assert_eq!(connections_max(u64::MAX, [10_000, 4096]), [10_000, 4096]);
        assert_eq!(connections_max(20_000, [10_000, 4096]), [10_000, 4096]);
        assert_eq!(connections_max(8192, [3000, 1000]), [3000, 1000]);
        assert_eq!(connections_max(8192, [6000, 6000]), [2048, 2048]);
        assert_eq!(connections_max(256, [12_000, 4000]), [96, 32]);
        assert_eq!(connections_max(2, [10_000, 10]), [1, 1], "no listener is shut");
    }
}
