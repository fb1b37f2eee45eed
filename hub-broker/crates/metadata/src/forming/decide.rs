//! What a hub without a cluster does, from what it sees of the others.

use peers::{PeerInfo, SeedState, SeedStatus};
use schemas::NodeId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// This hub belongs to a cluster: join it.
    Join(NodeId),
    /// Everyone seems empty, and this hub's node id is the lowest. The others are still to be asked.
    Found {
        others: Vec<NodeId>,
    },
    Wait(String),
}

pub(super) fn decide(own: NodeId, seeds: &[SeedStatus], known: &[PeerInfo]) -> Decision {
    let formed = known.iter().filter(|peer| peer.cluster.is_some() && peer.connected_since.is_some());
    if let Some(peer) = formed.min_by_key(|peer| peer.node) {
        return Decision::Join(peer.node);
    }
    // One of these names was meant for another hub, which may have a cluster.
    let own_seeds = seeds.iter().filter(|seed| matches!(seed.state, SeedState::This));
    let own_seeds: Vec<_> = own_seeds.map(|seed| seed.address.as_str()).collect();
    if own_seeds.len() > 1 {
        let all = own_seeds.join(" and ");
        return Decision::Wait(format!(
            "the seeds {all} are all this hub itself; each --seed is to name another hub"
        ));
    }
    let mut others = Vec::new();
    for seed in seeds {
        match &seed.state {
            SeedState::This => {}
            SeedState::Connected(node, _) => others.push(*node),
            SeedState::Unreachable(why) => {
                return Decision::Wait(format!("seed {} cannot be reached: {why}", seed.address));
            }
        }
    }
    // Whoever connected without being a seed may be the one to found: it is asked too.
    let connected = known.iter().filter(|peer| peer.connected_since.is_some()).map(|peer| peer.node);
    others.extend(connected);
    others.sort_unstable();
    others.dedup();
    match others.first() {
        Some(lowest) if *lowest < own => Decision::Wait(format!("hub {lowest} is to found it")),
        _ => Decision::Found { others },
    }
}
