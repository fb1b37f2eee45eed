//! Why nothing is agreed on: the hubs that a group needs for its majority and that are not there, as seen from here.
//!
//! A hub counts only with the data directory that votes: one that came back with another has nothing of what its
//! former self acknowledged. That is so too when it has been taken in again and its former self's replica still votes.

use std::collections::BTreeMap;
use std::fmt;

use consensus::ReplicaId;
use schemas::NodeId;
use shards::Shards;
use uuid::Uuid;

use crate::view::View;

/// Too few of the hubs that vote in a group are there for it to agree on anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMajority {
    voters: usize,
    away: Vec<Missing>,
    /// Connected, with a data directory that does not vote.
    replaced: Vec<Missing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    node: NodeId,
    /// `host:port` of its cluster listener.
    address: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Here,
    Away,
    Replaced,
}

/// The hubs as this one sees them at one moment.
pub struct Sight<'a> {
    shards: &'a Shards,
    view: &'a View,
    connected: BTreeMap<NodeId, Uuid>,
}

impl<'a> Sight<'a> {
    #[must_use]
    pub fn now(shards: &'a Shards, view: &'a View) -> Self {
        let known = shards.peers().known().into_iter().filter(|peer| peer.connected_since.is_some());
        Self { shards, view, connected: known.map(|peer| (peer.node, peer.incarnation)).collect() }
    }

    /// Whether that hub is there, with the data directory that the cluster knows.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.of_hub(node) == Presence::Here
    }

    /// What a group lacks for its majority. Group 0 is the metadata's, shard n is group n + 1.
    #[must_use]
    pub fn no_majority(&self, group: u32) -> Option<NoMajority> {
        let mut voters = self.shards.replicas(group).voting;
        if voters.is_empty() {
            // Nobody has said so yet: the plan is the next best.
            let joined = self.view.replicas(group).iter().filter(|record| record.joined);
            voters = joined.map(|record| record.id()).collect();
        }
        NoMajority::of(voters.into_iter().map(|voter| {
            let node = NodeId(voter.node());
            let address = self.view.hub(node).and_then(|hub| hub.cluster_address.clone());
            (Missing { node, address }, presence(voter, self.of_hub(node), self.view))
        }))
    }

    fn of_hub(&self, node: NodeId) -> Presence {
        if node == self.shards.peers().node() {
            return Presence::Here;
        }
        match (self.connected.get(&node), self.view.hub(node)) {
            (None, _) => Presence::Away,
            (Some(own), Some(hub)) if hub.incarnation != *own => Presence::Replaced,
            (Some(_), _) => Presence::Here,
        }
    }
}

/// Of a voter, given that of its hub. The number 0 is one that is not known.
fn presence(voter: ReplicaId, hub: Presence, view: &View) -> Presence {
    let floor = view.replica_floors.get(&NodeId(voter.node())).copied().unwrap_or(0);
    let is_former = (1..=floor).contains(&voter.number());
    if hub == Presence::Here && is_former { Presence::Replaced } else { hub }
}

impl NoMajority {
    fn of(voters: impl Iterator<Item = (Missing, Presence)>) -> Option<Self> {
        let mut found = Self { voters: 0, away: Vec::new(), replaced: Vec::new() };
        for (voter, presence) in voters {
            found.voters += 1;
            match presence {
                Presence::Here => {}
                Presence::Away => found.away.push(voter),
                Presence::Replaced => found.replaced.push(voter),
            }
        }
        let there = found.voters - found.away.len() - found.replaced.len();
        (found.voters > 0 && there * 2 <= found.voters).then_some(found)
    }

    /// How many of the former data directories have to come back, where the hubs that are away are not enough.
    #[must_use]
    pub fn directories_needed(&self) -> usize {
        let majority = self.voters / 2 + 1;
        majority.saturating_sub(self.voters - self.replaced.len())
    }
}

impl fmt::Display for NoMajority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |missing: &[Missing], one: &str, more: &str| {
            let verb = if missing.len() == 1 { one } else { more };
            let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
            format!("{} of {} hubs {verb}: {}", missing.len(), self.voters, names.join(", "))
        };
        let away = || count(&self.away, "is not reachable", "are not reachable");
        let replaced = || count(&self.replaced, "has another data directory", "have other data directories");
        match (self.away.is_empty(), self.replaced.is_empty()) {
            (_, true) => write!(out, "{}", away())?,
            (true, false) => write!(out, "{}", replaced())?,
            (false, false) => write!(out, "{}; {}", away(), replaced())?,
        }
        match self.directories_needed() {
            0 => write!(out, "; a majority is needed"),
            1 => write!(
                out,
                "; a majority is needed, so one of these hubs has to be started with its former data directory"
            ),
            count => write!(
                out,
                "; a majority is needed, so {count} of these hubs have to be started with their former data directories"
            ),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(out, "{} ({address})", self.node),
            None => write!(out, "{}", self.node),
        }
    }
}

#[cfg(test)]
mod tests {
    use shards::ProposeError;

    use super::*;
    use crate::error::Unavailable;

    fn of(voters: &[(u32, Presence)]) -> Option<String> {
        let missing = |node| Missing { node: NodeId(node), address: Some(format!("hub-{node}:9191")) };
        NoMajority::of(voters.iter().map(|(node, presence)| (missing(*node), *presence)))
            .map(|cause| cause.to_string())
    }

    use Presence::{Away, Here, Replaced};

    #[test]
    fn a_command_that_may_still_be_agreed_on_is_not_said_to_be_refused() {
        let missing = Missing { node: NodeId(2), address: None };
        let cause = NoMajority::of(std::iter::once((missing, Away))).unwrap();
        for in_doubt in [Unavailable::NoMajority(Box::new(cause)), Unavailable::NoLeader] {
            let said = in_doubt.to_string();
            assert!(
                said.contains("may not have taken") && said.contains("before you give it again"),
                "{said}"
            );
        }
        let refused = Unavailable::Propose(ProposeError::NoSpace).to_string();
        assert!(refused.contains("did not take"), "{refused}");
    }

    #[test]
    fn half_of_the_hubs_is_no_majority() {
        assert_eq!(of(&[(1, Here), (2, Here), (3, Away)]), None);
        assert_eq!(of(&[(1, Here)]), None);
        assert_eq!(of(&[]), None);
        let said = "1 of 2 hubs is not reachable: 2 (hub-2:9191); a majority is needed";
        assert_eq!(of(&[(1, Here), (2, Away)]).as_deref(), Some(said));
        let said = "2 of 3 hubs are not reachable: 2 (hub-2:9191), 3 (hub-3:9191); a majority is needed";
        assert_eq!(of(&[(1, Here), (2, Away), (3, Away)]).as_deref(), Some(said));
    }

    #[test]
    fn a_hub_with_another_data_directory_does_not_count_and_that_is_said() {
        let said = of(&[(1, Here), (2, Replaced), (3, Replaced)]).unwrap();
        assert_eq!(
            said,
            "2 of 3 hubs have other data directories: 2 (hub-2:9191), 3 (hub-3:9191); a majority is needed, so one of these hubs has to be started with its former data directory"
        );
        let said = of(&[(1, Here), (2, Away), (3, Replaced)]).unwrap();
        assert_eq!(
            said,
            "1 of 3 hubs is not reachable: 2 (hub-2:9191); 1 of 3 hubs has another data directory: 3 (hub-3:9191); a majority is needed",
            "hub 2 is enough when it comes back"
        );
        let all = [(1, Here), (2, Replaced), (3, Replaced), (4, Replaced), (5, Replaced)];
        assert!(of(&all).unwrap().contains("so 2 of these hubs have to be started"));
    }

    #[test]
    fn a_hub_that_was_taken_in_again_is_not_the_voter_that_its_former_self_was() {
        let hubs = |nodes: &[(u32, u32)]| nodes.iter().map(|(node, floor)| (NodeId(*node), *floor)).collect();
        let view = View { replica_floors: hubs(&[(1, 0), (2, 1), (3, 9)]), ..View::default() };
        let of = |node, number, hub| presence(ReplicaId::new(node, number), hub, &view);
        assert_eq!(of(3, 7, Here), Replaced);
        assert_eq!(of(3, 10, Here), Here, "its own");
        assert_eq!(of(3, 7, Away), Away, "which of both comes back nobody knows");
        assert_eq!(of(3, 0, Here), Here, "nobody told the number");
        assert_eq!(of(1, 1, Here), Here, "the founder's first");
        assert_eq!(of(4, 3, Here), Here, "the catalog here is behind");
    }

    #[test]
    fn a_hub_of_which_no_address_is_known_is_named_all_the_same() {
        assert_eq!(Missing { node: NodeId(7), address: None }.to_string(), "7");
    }
}
