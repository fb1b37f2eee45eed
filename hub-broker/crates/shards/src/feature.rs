//! Feature levels: which of the formats that an earlier release does not read may be written and sent.
//!
//! | level | from it on |
//! |---|---|
//! | 0 | what hubs wrote before there were levels |
//! | 1 | leaders are told with replica numbers ([`REPLICA_NUMBERS`]); hubs are registered with the levels that they support ([`REGISTERED_LEVELS`]) |
//!
//! A cluster has one level, which its hubs agree on in the metadata and which never falls. What came with a level is read
//! by every release that supports it, whatever the cluster's level is, and written only where that has reached it. A new
//! level is a row here, a constant that names what it allows, and [`Levels::OWN`]; a release that no longer reads what was
//! written below a level raises the least.

use std::fmt;
use std::sync::atomic::Ordering;

use crate::Shards;

/// The feature levels that a release supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    pub least: u16,
    pub most: u16,
}

/// Notices of who leads what are of version 2 (`gossip`).
pub const REPLICA_NUMBERS: u16 = 1;
/// The metadata's commands are written in version 4 and its snapshots in version 3, where they name hubs' levels.
pub const REGISTERED_LEVELS: u16 = 1;

impl Levels {
    /// What this release supports.
    pub const OWN: Self = Self { least: 0, most: 1 };
    /// What a release supports that knows of no levels.
    pub const BEFORE: Self = Self { least: 0, most: 0 };

    #[must_use]
    pub fn contains(self, level: u16) -> bool {
        (self.least..=self.most).contains(&level)
    }
}

const _: () = assert!(REPLICA_NUMBERS <= Levels::OWN.most && REGISTERED_LEVELS <= Levels::OWN.most);

impl fmt::Display for Levels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (least, most) if least == most => write!(out, "only {most}"),
            (least, most) => write!(out, "{least} to {most}"),
        }
    }
}

impl Shards {
    /// What may be sent to the other hubs from now on.
    pub fn set_feature_level(&self, level: u16) {
        self.doors.shared.feature_level.store(level, Ordering::Relaxed);
    }
}
