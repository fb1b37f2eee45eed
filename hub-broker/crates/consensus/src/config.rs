//! How a replica runs.

use crate::{ReplicaId, TailBudget};

/// How a replica runs. Times are in ticks.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    pub id: ReplicaId,
    /// Everything random about the replica follows from this.
    pub seed: u64,
    /// A follower that hears nothing stands for election after one to two of these.
    pub election_ticks: usize,
    pub heartbeat_ticks: usize,
    /// Proposals are refused while this much is proposed and not committed; one entry is always let through.
    pub uncommitted_bytes_max: u64,
    /// Committed bytes handed out in one [`Action::Apply`](crate::Action::Apply); at least one entry.
    pub apply_bytes_max: u64,
    /// Bytes of entries in one message; at least one entry.
    pub message_bytes_max: u64,
    /// Messages with entries on their way to one follower.
    pub messages_in_flight_max: usize,
    /// Bytes of applied entries kept in memory while a follower may want them. A group of one keeps none.
    pub tail_bytes_max: usize,
    /// The same while a follower copies a snapshot and until it has come up: the copying may take long, and what is
    /// written meanwhile would otherwise be gone when it is done, so that it had to begin again.
    pub tail_bytes_catching_up_max: usize,
    /// What is kept so beyond `tail_bytes_max` comes from here.
    pub tail_budget: TailBudget,
    /// Bytes of applied entries kept when nobody is known to want them.
    pub tail_bytes_idle_max: usize,
    /// Nothing is kept in memory for a follower that has not been heard of for so long.
    pub follower_patience_ticks: u64,
    /// And nothing is to be kept elsewhere for one that has not been heard of for so long.
    pub log_patience_ticks: u64,
    /// Bytes of entries in one [`Action::ReadEntries`](crate::Action::ReadEntries); 0: what is not in memory is never
    /// asked for. A follower is sent two of these before it has answered the first.
    pub read_bytes_max: u64,
    /// How often a follower that does not come back with its snapshot is offered it again, and how often a
    /// checkpoint that does not come is asked for again.
    pub snapshot_repeat_ticks: u64,
}

impl ReplicaConfig {
    /// The defaults for replica `id`, made for ticks of 50 ms.
    pub fn new(id: ReplicaId, seed: u64) -> Self {
        const KIB: usize = 1024;
        const MIB: u64 = 1024 * 1024;
        Self {
            id,
            seed,
            election_ticks: 10,
            heartbeat_ticks: 2,
            uncommitted_bytes_max: 64 * MIB,
            apply_bytes_max: 16 * MIB,
            message_bytes_max: MIB,
            messages_in_flight_max: 8,
            tail_bytes_max: 4 * MIB as usize,
            tail_bytes_catching_up_max: 64 * MIB as usize,
            tail_budget: TailBudget::new(64 * MIB as usize),
            tail_bytes_idle_max: 256 * KIB,
            follower_patience_ticks: 200,
            log_patience_ticks: 72_000,
            read_bytes_max: MIB / 4,
            snapshot_repeat_ticks: 200,
        }
    }

    pub(crate) fn to_raft(&self, applied: u64) -> raft::Config {
        raft::Config {
            election_tick: self.election_ticks,
            heartbeat_tick: self.heartbeat_ticks,
            applied,
            max_size_per_msg: self.message_bytes_max,
            max_inflight_msgs: self.messages_in_flight_max,
            check_quorum: true,
            pre_vote: true,
            read_only_option: raft::ReadOnlyOption::Safe,
            max_uncommitted_size: self.uncommitted_bytes_max,
            max_committed_size_per_ready: self.apply_bytes_max,
            ..raft::Config::new(self.id.0)
        }
    }
}
