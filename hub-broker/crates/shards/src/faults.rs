//! Bugs that can be switched on, one by one, in a simulation: the proof that it would find them.

/// All off, always, outside a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// What is written counts as durable before it is.
    pub ack_before_fsync: bool,
    /// Entries that gave way to another leader's come back with a restart.
    pub skip_truncate_frame: bool,
    /// The write-ahead log's files count as synced, and are not.
    pub skip_wal_sync: bool,
    /// Where the write-ahead log is damaged, a restart takes that for its end.
    pub cut_damage: bool,
    /// A leader applies what it has proposed, whether or not a majority has it.
    pub apply_before_commit: bool,
    /// A hub that has lost everything goes on as the voter that it was.
    pub wiped_replica_keeps_id: bool,
    /// A new leader answers before it knows everything that was acknowledged.
    pub serve_before_own_term: bool,
    /// Producers expire by this hub's clock and not by the entry's stamp.
    pub expire_by_local_clock: bool,
    /// No bug, but a full disk: no entry can be applied as a whole.
    pub no_room: bool,
}
