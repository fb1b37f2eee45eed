//! Deliberate bugs.

use clap::ValueEnum;
use shards::simulation::Faults;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bug {
    /// What is written counts as durable before it is.
    AckBeforeFsync,
    /// The write-ahead log does not sync what it writes.
    SkipWalSync,
    /// Where the write-ahead log is damaged, a restart takes that for its end.
    CutDamage,
    /// Entries that gave way to another leader's come back with a restart.
    SkipTruncateFrame,
    /// A leader applies what no majority has.
    ApplyBeforeCommit,
    /// A hub that has lost everything votes as if it had not.
    WipedReplicaKeepsId,
    /// A new leader answers before it knows everything that was acknowledged.
    ServeBeforeOwnTerm,
    /// Producers expire by each hub's own clock.
    ExpireByLocalClock,
}

impl Bug {
    pub fn faults(self) -> Faults {
        let none = Faults::default();
        match self {
            Self::AckBeforeFsync => Faults { ack_before_fsync: true, ..none },
            Self::SkipWalSync => Faults { skip_wal_sync: true, ..none },
            Self::CutDamage => Faults { cut_damage: true, ..none },
            Self::SkipTruncateFrame => Faults { skip_truncate_frame: true, ..none },
            Self::ApplyBeforeCommit => Faults { apply_before_commit: true, ..none },
            Self::WipedReplicaKeepsId => Faults { wiped_replica_keeps_id: true, ..none },
            Self::ServeBeforeOwnTerm => Faults { serve_before_own_term: true, ..none },
            Self::ExpireByLocalClock => Faults { expire_by_local_clock: true, ..none },
        }
    }
}
