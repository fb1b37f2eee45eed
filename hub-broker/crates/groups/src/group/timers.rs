//! What happens when nothing is heard.

use super::{Group, JoinTimer, Now};
use crate::state::GroupState;

impl Group {
    /// When [`Group::timers`] has something to do next.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        let sessions = self.members.values().filter_map(|member| member.session_ends_ms);
        let join = self.join_timer.map(|timer| match timer {
            JoinTimer::Initial { at_ms, .. } | JoinTimer::Rebalance { at_ms } => at_ms,
        });
        sessions.chain(self.pending_join.values().copied()).chain(join).chain(self.sync_deadline_ms).min()
    }

    pub(crate) fn timers(&mut self, now: Now) {
        self.expire_pending_joins(now);
        self.expire_sessions(now);
        self.expire_sync(now);
        self.expire_join(now);
    }

    fn expire_pending_joins(&mut self, now: Now) {
        let before = self.pending_join.len();
        self.pending_join.retain(|_, until| *until > now.ms);
        if self.pending_join.len() < before {
            self.complete_join_if_all_joined(now);
        }
    }

    fn expire_sessions(&mut self, now: Now) {
        let over =
            self.members.values().filter(|member| member.session_ends_ms.is_some_and(|at| at <= now.ms));
        let over: Vec<String> = over.map(|member| member.id.clone()).collect();
        for member_id in &over {
            let Some(member) = self.members.get_mut(member_id) else { continue };
            if member.is_alive_by_waiting() {
                // It is heard again when it is answered.
                member.session_ends_ms = None;
                continue;
            }
            tracing::info!(group = %self.id, member = member_id, "nothing was heard of the member: it is removed");
            self.dismiss(member_id);
            self.rebalance_or_complete_join(now, "a member's session ended");
        }
    }

    /// Members that do not sync within the rebalance timeout hold up the group no longer.
    fn expire_sync(&mut self, now: Now) {
        if self.sync_deadline_ms.is_none_or(|at| at > now.ms) {
            return;
        }
        self.sync_deadline_ms = None;
        let has_begun = matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable);
        if !has_begun || self.pending_sync.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut self.pending_sync) {
            tracing::info!(group = %self.id, member = member_id, "the member did not sync in time");
            self.dismiss(&member_id);
        }
        self.prepare_rebalance(now, "members did not sync in time");
    }

    fn expire_join(&mut self, now: Now) {
        match self.join_timer {
            Some(JoinTimer::Initial { at_ms, delay_ms, remaining_ms }) if at_ms <= now.ms => {
                if self.new_member_added && remaining_ms > 0 {
                    self.new_member_added = false;
                    let next_ms = self.settings.initial_rebalance_delay_ms.min(remaining_ms);
                    self.join_timer = Some(JoinTimer::Initial {
                        at_ms: now.ms + next_ms,
                        delay_ms: next_ms,
                        remaining_ms: remaining_ms.saturating_sub(delay_ms),
                    });
                } else {
                    self.complete_join(now);
                }
            }
            Some(JoinTimer::Rebalance { at_ms }) if at_ms <= now.ms => self.complete_join(now),
            _ => {}
        }
    }
}
