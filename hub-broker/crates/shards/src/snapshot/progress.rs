//! How far the copies are that are under way on this hub, for those who look on.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::Mutex;

/// A snapshot on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    pub received_bytes: u64,
    /// All that was not here when the copy began.
    pub total_bytes: u64,
    /// What has come each second since then.
    pub bytes_per_s: u64,
}

/// Of every group that is being copied.
#[derive(Debug, Default)]
pub(super) struct Copies(Mutex<BTreeMap<u32, Copying>>);

#[derive(Debug)]
struct Copying {
    received_bytes: u64,
    total_bytes: u64,
    since: Instant,
}

impl Copies {
    /// So much is to come.
    pub(super) fn expect(&self, group: u32, total_bytes: u64, now: Instant) {
        self.0.lock().insert(group, Copying { received_bytes: 0, total_bytes, since: now });
    }

    /// So much of it is here.
    pub(super) fn receive(&self, group: u32, bytes: u64) {
        if let Some(copying) = self.0.lock().get_mut(&group) {
            copying.received_bytes += bytes;
        }
    }

    /// Whatever became of the copy.
    pub(super) fn end(&self, group: u32) {
        self.0.lock().remove(&group);
    }

    pub(super) fn look(&self, now: Instant) -> BTreeMap<u32, CopyProgress> {
        self.0.lock().iter().map(|(group, copying)| (*group, copying.at(now))).collect()
    }
}

impl Copying {
    fn at(&self, now: Instant) -> CopyProgress {
        let Self { received_bytes, total_bytes, since } = *self;
        let took_ms = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        let bytes_per_s = received_bytes.saturating_mul(1_000) / took_ms.max(1);
        CopyProgress { received_bytes, total_bytes, bytes_per_s }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_copy_is_seen_from_its_beginning_to_its_end() {
        let (copies, begun) = (Copies::default(), Instant::now());
        copies.receive(3, 7);
        assert!(copies.look(begun).is_empty(), "how much there is to copy is not known yet");
        copies.expect(3, 1_000, begun);
        for _ in 0..2 {
            copies.receive(3, 300);
        }
        let seen = CopyProgress { received_bytes: 600, total_bytes: 1_000, bytes_per_s: 200 };
        assert_eq!(copies.look(begun + Duration::from_secs(3)), BTreeMap::from([(3, seen)]));
        copies.end(3);
        assert!(copies.look(begun).is_empty());
    }
}
