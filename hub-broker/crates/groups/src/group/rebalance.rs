//! From one generation to the next.

use std::collections::BTreeMap;

use super::{Action, Group, JoinTimer, Now};
use crate::error::MemberError;
use crate::state::GroupState;

impl Group {
    /// Members changed: begin a rebalance, or see whether the one that is under way can end.
    pub(super) fn rebalance_or_complete_join(&mut self, now: Now, reason: &'static str) {
        match self.state {
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => {
                self.prepare_rebalance(now, reason);
            }
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(now),
            GroupState::Dead => {}
        }
    }

    pub(super) fn prepare_rebalance(&mut self, now: Now, reason: &'static str) {
        tracing::info!(group = %self.id, generation = self.generation, reason, "the group rebalances");
        if self.state == GroupState::CompletingRebalance {
            self.propagate_refusal(now, &MemberError::RebalanceInProgress);
        }
        self.pending_sync.clear();
        self.sync_deadline_ms = None;
        // What is being stored belongs to a generation that ends here.
        self.storing = None;
        let is_initial = self.state == GroupState::Empty;
        self.enter(GroupState::PreparingRebalance, now);
        if is_initial {
            let delay_ms = self.settings.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            let at_ms = now.ms + delay_ms;
            self.new_member_added = false;
            self.join_timer = Some(JoinTimer::Initial { at_ms, delay_ms, remaining_ms });
        } else if self.all_have_joined() {
            self.complete_join(now);
        } else {
            let at_ms = now.ms + self.rebalance_timeout_ms();
            self.join_timer = Some(JoinTimer::Rebalance { at_ms });
        }
    }

    /// An initial rebalance ends by its delay alone.
    pub(super) fn complete_join_if_all_joined(&mut self, now: Now) {
        let is_due = self.state == GroupState::PreparingRebalance && !self.is_initial_rebalance();
        if is_due && self.all_have_joined() {
            self.complete_join(now);
        }
    }

    pub(super) fn is_initial_rebalance(&self) -> bool {
        matches!(self.join_timer, Some(JoinTimer::Initial { .. }))
    }

    pub(super) fn all_have_joined(&self) -> bool {
        self.pending_join.is_empty() && self.members.values().all(|member| member.join.is_some())
    }

    fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or_default()
    }

    /// The join phase ends: with those who have joined, and static members who may yet come back.
    pub(super) fn complete_join(&mut self, now: Now) {
        self.join_timer = None;
        let late = self.members.values().filter(|member| member.join.is_none() && !member.is_static());
        let late: Vec<String> = late.map(|member| member.id.clone()).collect();
        for member_id in &late {
            tracing::info!(group = %self.id, member = member_id, "the member did not rejoin in time");
            self.remove(member_id);
        }
        if !self.elect_leader() && !self.members.is_empty() {
            // Only absent static members are left: wait until one is back or their sessions end.
            let at_ms = now.ms + self.rebalance_timeout_ms();
            self.join_timer = Some(JoinTimer::Rebalance { at_ms });
            return;
        }
        self.begin_generation(now);
    }

    /// The leader must be one that has joined.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &String| self.members.get(id).is_some_and(|member| member.join.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.values().find(|member| member.join.is_some());
        let Some(id) = joined.map(|member| member.id.clone()) else { return false };
        self.leader = Some(id);
        true
    }

    fn begin_generation(&mut self, now: Now) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.pending_sync.clear();
        self.storing = None;
        self.protocol_name = self.select_protocol();
        if self.members.is_empty() {
            self.leader = None;
            self.enter(GroupState::Empty, now);
            let ticket = self.next_ticket();
            let metadata = self.to_metadata(None, now);
            return self.actions.push(Action::Store { ticket, metadata });
        }
        self.enter(GroupState::CompletingRebalance, now);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in &ids {
            let joined = self.joined(id);
            self.answer_join(id, Ok(joined));
        }
        for member in self.members.values_mut() {
            member.is_new = false;
            member.hear(now.ms);
        }
        self.pending_sync.extend(ids);
        self.sync_deadline_ms = Some(now.ms + self.rebalance_timeout_ms());
    }

    /// Of the protocols that all members support, the one that most prefer.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let common = |name: &str| self.members.values().all(|other| other.supports(name));
            if let Some(choice) = member.protocols.iter().find(|own| common(&own.name)) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        // Of equals, the first by name.
        let most = votes.values().max()?;
        votes.iter().find(|(_, count)| *count == most).map(|(name, _)| (*name).to_owned())
    }
}
