//! A snapshot on its way into a group: wanted, fetched, offered to the protocol, and switched in behind a barrier.

use consensus::{HardState, LogEntry, PeerMessage, SnapshotMark};
use wal::Lsn;

use crate::snapshot::{Arrived, Wanted};

#[derive(Default)]
pub(crate) enum Incoming {
    #[default]
    Nothing,
    Fetching {
        wanted: Wanted,
        message: PeerMessage,
    },
    /// Its files are here; the protocol decides whether it still has use for it.
    Offered(Box<Arrived>),
    /// The old state stands until the switch is durable. `None` once its barrier is written: others have hold of what arrived.
    Switching {
        after: After,
        arrived: Option<Box<Arrived>>,
    },
}

/// What follows once a snapshot is in place.
pub(crate) struct After {
    pub ready: u64,
    pub mark: SnapshotMark,
    /// Entries after the snapshot.
    pub entries: Vec<LogEntry>,
    /// Later writes, which must not be durable before the snapshot is.
    pub held: Vec<Held>,
}

pub(crate) struct Held {
    pub ready: u64,
    pub hard_state: Option<HardState>,
    pub truncate_from: Option<u64>,
    pub entries: Vec<LogEntry>,
}

/// What is to be switched in.
pub(crate) struct Switch {
    pub group: u32,
    pub replica_number: u32,
    pub mark: SnapshotMark,
    pub void_entries_through: Lsn,
    pub arrived: Arrived,
}

impl Incoming {
    pub(crate) fn is_switching(&self) -> bool {
        matches!(self, Self::Switching { .. })
    }

    pub(crate) fn awaits_barrier(&self) -> bool {
        matches!(self, Self::Switching { arrived: Some(_), .. })
    }

    /// Whether the same snapshot, from the same leader, is being copied already.
    pub(crate) fn is_fetching(&self, wanted: &Wanted) -> bool {
        matches!(self, Self::Fetching { wanted: fetching, .. } if fetching == wanted)
    }

    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}
