//! A term has one leader.

use std::collections::BTreeMap;

use schemas::Term;
use shards::GroupStatus;
use shards::simulation::{ReplicaId, Role};

use super::Violation;

#[derive(Default)]
pub(super) struct Leaders(BTreeMap<(u32, Term), ReplicaId>);

impl Leaders {
    pub fn look(&mut self, statuses: &[GroupStatus]) -> Result<(), Violation> {
        for status in statuses.iter().filter(|status| status.role == Role::Leader) {
            let Some(own) = status.own else { continue };
            let known = *self.0.entry((status.group, status.term)).or_insert(own);
            if known != own {
                return Err(Violation::TwoLeaders(format!(
                    "group {}, term {}: {known} and {own}",
                    status.group, status.term
                )));
            }
        }
        Ok(())
    }
}
