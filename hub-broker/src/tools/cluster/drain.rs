//! How far a drain is, in words.

use std::time::Duration;

use metadata::limits::REPLICATION_FACTOR;
use metadata::{ClusterStatus, HubStatus};
use schemas::NodeId;

/// A drain that has not moved for so long is told to be stuck, and once more after each further such time.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What a drain costs where fewer hubs remain than a shard has replicas.
pub fn consequence(status: &ClusterStatus, node: NodeId) -> Option<String> {
    let remaining: Vec<_> =
        status.hubs.iter().filter(|hub| hub.state == "active" && hub.node != node).collect();
    if remaining.is_empty() || remaining.len() >= REPLICATION_FACTOR {
        return None;
    }
    let names: Vec<_> = remaining.iter().map(|hub| hub.node.to_string()).collect();
    let what = match &names[..] {
        [only] => format!(
            "without hub {node} only hub {only} remains, and every shard keeps 1 replica instead of {REPLICATION_FACTOR}: while that hub is away nothing works, and what it stores is lost with its disk"
        ),
        _ => format!(
            "without hub {node} there are {} hubs left, {}, and every shard keeps {} replicas instead of {REPLICATION_FACTOR}: while one of these hubs is away nothing can be written",
            names.len(),
            names.join(" and "),
            names.len()
        ),
    };
    Some(format!(
        "{what}. A further hub that joins gets the missing replicas; cluster drain {node} --cancel takes the drain back"
    ))
}

/// What was last said of a drain.
#[derive(Default)]
pub struct Progress {
    /// Replicas to move and shards to hand over.
    left: Option<(usize, usize)>,
    /// When it moved, or was last said to be stuck.
    told_at: Duration,
}

impl Progress {
    /// What there is to say of `hub` at `now`, which counts from any beginning.
    pub fn look(&mut self, status: &ClusterStatus, hub: &HubStatus, now: Duration) -> Option<String> {
        let left = (hub.to_move, hub.leaders);
        let is_moved = self.left != Some(left);
        if !is_moved && now.saturating_sub(self.told_at) < STUCK_AFTER {
            return None;
        }
        self.told_at = now;
        self.left = Some(left);
        let (replicas, shards) = left;
        let told = format!("hub {}: {replicas} replicas to move, {shards} shards to hand over", hub.node);
        Some(if is_moved {
            told
        } else {
            format!("{told}, as for the last {STUCK_AFTER:?}; {}", cause(status))
        })
    }
}

/// A replica only moves when the others of its shard can agree to it, and its new place can take it.
fn cause(status: &ClusterStatus) -> String {
    let away: Vec<_> =
        status.hubs.iter().filter(|hub| !hub.connected).map(|hub| hub.node.to_string()).collect();
    match away.len() {
        0 => "every hub is connected: cluster status shows what waits".to_owned(),
        1 => format!("hub {} is not connected", away.concat()),
        _ => format!("hubs {} are not connected", away.join(", ")),
    }
}
