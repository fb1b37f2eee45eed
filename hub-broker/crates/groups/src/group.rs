//! One consumer group, as a state machine without I/O: events and the time go in, actions come out.
//!
//! ```text
//!                       join (initial delay)                 every member joined, or the timeout
//!             Empty ─────────────────────> PreparingRebalance ──────────────────> CompletingRebalance
//!               ^                             ^   │ nobody left                      │ the leader's assignment
//!               └─────────────────────────────┼───┘                                  v is stored
//!                                             └──────────── join, leave, expiry ─ Stable
//! ```
//!
//! The rules are those of Kafka's classic groups (`GroupMetadataManager.classicGroup*`, KIP-62, KIP-134, KIP-345,
//! KIP-394, KIP-814), from which the names are taken too.

mod commit;
mod join;
mod leave;
mod member;
mod rebalance;
mod restore;
mod sync;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use crate::api::{DescribedGroup, DescribedMember, Joined, Synced};
use crate::error::{CoordinatorError, MemberError};
use crate::records::GroupMetadata;
use crate::state::GroupState;
use member::Member;

/// The time of an event: what timers run on, and what is written down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Never goes backwards; counted from any moment.
    pub(crate) ms: u64,
    /// Since 1970.
    pub(crate) wall_ms: i64,
}

/// Names a request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) u64);

/// Names a write of the group's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// What is to be done for the group.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    Joined {
        to: Token,
        result: Result<Joined, MemberError>,
    },
    Synced {
        to: Token,
        result: Result<Synced, MemberError>,
    },
    /// Write this down, then call [`Group::stored`].
    Store {
        ticket: Ticket,
        metadata: GroupMetadata,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) initial_rebalance_delay_ms: u64,
    pub(crate) session_timeout_min_ms: i32,
    pub(crate) session_timeout_max_ms: i32,
    pub(crate) members_max: usize,
    /// Of all members' protocols together.
    pub(crate) metadata_bytes_max: usize,
}

/// When the join phase ends at the latest.
#[derive(Clone, Copy, Debug)]
enum JoinTimer {
    /// The first rebalance of an empty group: extended while members arrive, for `remaining_ms` at most.
    Initial {
        at_ms: u64,
        delay_ms: u64,
        remaining_ms: u64,
    },
    Rebalance {
        at_ms: u64,
    },
}

/// What is being written down, and who waits for it.
#[derive(Debug)]
enum Storing {
    Assignment {
        ticket: Ticket,
        generation: i32,
        assignment: HashMap<String, Bytes>,
    },
    /// A static member's new id; `told_leader` is whom an old client is told to be the leader, so that it does not
    /// take itself for it.
    StaticMember {
        ticket: Ticket,
        member_id: String,
        told_leader: Option<String>,
        skip_assignment: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Group {
    id: String,
    settings: Settings,
    state: GroupState,
    /// When the group came into its state, ms since 1970.
    state_since_ms: i64,
    generation: i32,
    protocol_type: Option<String>,
    protocol_name: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Member ids by instance id.
    static_members: HashMap<String, String>,
    /// Ids handed out under KIP-394 that have not come back yet, with the time until which they may.
    pending_join: BTreeMap<String, u64>,
    /// Members of this generation that have not synced yet.
    pending_sync: BTreeSet<String>,
    sync_deadline_ms: Option<u64>,
    join_timer: Option<JoinTimer>,
    /// A member has arrived since the initial delay was last extended.
    new_member_added: bool,
    storing: Option<Storing>,
    last_ticket: u64,
    actions: Vec<Action>,
}

impl Group {
    pub(crate) fn new(id: &str, settings: Settings, now: Now) -> Self {
        Self {
            id: id.to_owned(),
            settings,
            state: GroupState::Empty,
            state_since_ms: now.wall_ms,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending_join: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            sync_deadline_ms: None,
            join_timer: None,
            new_member_added: false,
            storing: None,
            last_ticket: 0,
            actions: Vec::new(),
        }
    }

    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(crate) fn state(&self) -> GroupState {
        self.state
    }

    pub(crate) fn state_since_ms(&self) -> i64 {
        self.state_since_ms
    }

    pub(crate) fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// Nobody is in it, nor on the way.
    pub(crate) fn is_deserted(&self) -> bool {
        self.state == GroupState::Empty && self.pending_join.is_empty()
    }

    /// The group is gone: whoever waits is sent to look for its coordinator again.
    pub(crate) fn bury(&mut self, now: Now) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in &ids {
            self.answer_join(id, Err(CoordinatorError::NotAvailable.into()));
            self.answer_sync(id, Err(CoordinatorError::NotAvailable.into()));
            self.remove(id);
        }
        self.pending_join.clear();
        self.join_timer = None;
        self.sync_deadline_ms = None;
        self.storing = None;
        self.enter(GroupState::Dead, now);
    }

    pub(crate) fn describe(&self) -> DescribedGroup {
        let is_stable = self.state == GroupState::Stable;
        DescribedGroup {
            group_id: self.id.clone(),
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name: self.protocol_name.clone().filter(|_| is_stable).unwrap_or_default(),
            members: self.members.values().map(|member| self.describe_member(member, is_stable)).collect(),
        }
    }

    fn describe_member(&self, member: &Member, is_stable: bool) -> DescribedMember {
        let shown = |bytes: Bytes| if is_stable { bytes } else { Bytes::new() };
        DescribedMember {
            member_id: member.id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: shown(self.chosen_metadata(member)),
            assignment: shown(member.assignment.clone()),
        }
    }

    fn enter(&mut self, state: GroupState, now: Now) {
        tracing::debug!(group = %self.id, from = self.state.name(), to = state.name(), generation = self.generation, "group state");
        self.state = state;
        self.state_since_ms = now.wall_ms;
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    fn chosen_metadata(&self, member: &Member) -> Bytes {
        self.protocol_name.as_deref().map(|name| member.metadata(name)).unwrap_or_default()
    }

    /// Whether `member_id` is a member, and still the one behind its instance id.
    fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), MemberError> {
        if let Some(instance) = instance_id {
            match self.static_members.get(instance) {
                None => return Err(MemberError::UnknownMember),
                Some(id) if id != member_id => return Err(MemberError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(MemberError::UnknownMember) }
    }

    fn answer_join(&mut self, member_id: &str, result: Result<Joined, MemberError>) {
        if let Some(to) = self.members.get_mut(member_id).and_then(|member| member.join.take()) {
            self.actions.push(Action::Joined { to, result });
        }
    }

    /// Whether the member was waiting.
    fn answer_sync(&mut self, member_id: &str, result: Result<Synced, MemberError>) -> bool {
        let waiting = self.members.get_mut(member_id).and_then(|member| member.sync.take());
        if let Some(to) = waiting {
            self.actions.push(Action::Synced { to, result });
        }
        waiting.is_some()
    }

    fn refuse_join(&mut self, to: Token, error: impl Into<MemberError>) {
        self.actions.push(Action::Joined { to, result: Err(error.into()) });
    }

    fn refuse_sync(&mut self, to: Token, error: impl Into<MemberError>) {
        self.actions.push(Action::Synced { to, result: Err(error.into()) });
    }

    /// Takes a member out, whoever it is to the group. Whoever waits for it has been answered before.
    fn remove(&mut self, member_id: &str) {
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
        let Some(member) = self.members.remove(member_id) else { return };
        if let Some(instance) = &member.group_instance_id {
            self.static_members.remove(instance);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }
}
