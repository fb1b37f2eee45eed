//! What commands about replicas do to the catalog.
//!
//! Each may come twice, after its answer was lost: the second time it finds nothing to do.

use std::sync::Arc;

use schemas::NodeId;

use super::Catalog;
use crate::replica::ReplicaRecord;
use crate::response::{Refusal, Response};

impl Catalog {
    pub(super) fn groups_mut(&mut self) -> &mut Vec<Vec<ReplicaRecord>> {
        Arc::make_mut(&mut self.groups)
    }

    fn records_mut(&mut self, group: u32) -> Result<&mut Vec<ReplicaRecord>, Refusal> {
        let index = usize::try_from(group).map_err(|_| Refusal::UnknownGroup)?;
        self.groups_mut().get_mut(index).ok_or(Refusal::UnknownGroup)
    }

    pub(super) fn add_replica(&mut self, group: u32, node: NodeId) -> Response {
        if !self.hubs.contains_key(&node) {
            return Err(Refusal::UnknownHub);
        }
        let number = self.next_replica;
        let next = number.checked_add(1).ok_or(Refusal::NoReplicaNumbers)?;
        let records = self.records_mut(group)?;
        if records.iter().any(|record| record.node == node) {
            return self.unchanged();
        }
        records.push(ReplicaRecord::new(node, number));
        self.next_replica = next;
        self.changed()
    }

    pub(super) fn replica_joined(&mut self, group: u32, number: u32) -> Response {
        let records = self.records_mut(group)?;
        match records.iter_mut().find(|record| record.number == number) {
            Some(record) if !record.joined => record.joined = true,
            _ => return self.unchanged(),
        }
        self.changed()
    }

    /// It goes when the group has let it go. One that has not joined yet has nothing that anybody needs.
    pub(super) fn leave_replica(&mut self, group: u32, number: u32) -> Response {
        let records = self.records_mut(group)?;
        let is_other = |record: &ReplicaRecord| record.number != number && record.joined && !record.leaving;
        let has_others = records.iter().any(is_other);
        match records.iter_mut().find(|record| record.number == number) {
            Some(record) if !record.leaving => {
                if !has_others {
                    return Err(Refusal::LastReplica);
                }
                record.leaving = true;
            }
            _ => return self.unchanged(),
        }
        self.changed()
    }

    /// The replica is gone for good, wherever its number came from.
    pub(super) fn remove_replica(&mut self, group: u32, number: u32) -> Response {
        let records = self.records_mut(group)?;
        if !records.iter().any(|record| record.number == number) {
            return self.unchanged();
        }
        if !records.iter().any(|record| record.number != number && record.joined) {
            return Err(Refusal::LastReplica);
        }
        records.retain(|record| record.number != number);
        self.changed()
    }

    pub(super) fn prefer_leader(&mut self, group: u32, number: u32) -> Response {
        let records = self.records_mut(group)?;
        match records.iter().position(|record| record.number == number) {
            Some(at) if at > 0 => {
                let record = records.remove(at);
                records.insert(0, record);
            }
            _ => return self.unchanged(),
        }
        self.changed()
    }
}
