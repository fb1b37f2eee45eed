//! Looks, where the metadata is led, at how replicas get on that are joining.

use std::collections::BTreeSet;

use schemas::NodeId;
use shards::Shards;
use tokio::time::Instant;

use crate::limits::{JOIN_LOOK_INTERVAL, JOIN_REST};
use crate::planner::{Patience, Sights};
use crate::report;
use crate::view::View;

pub(crate) struct Joins {
    patience: Patience,
    begun: Instant,
    looked_at: Option<Instant>,
}

impl Joins {
    pub(crate) fn begin() -> Self {
        Self { patience: Patience::default(), begun: Instant::now(), looked_at: None }
    }

    /// Groups and hubs that do not get on with each other; says in the log when one is new.
    pub(crate) async fn look(&mut self, shards: &Shards, view: &View) -> BTreeSet<(u32, NodeId)> {
        if self.looked_at.is_none_or(|at| at.elapsed() >= JOIN_LOOK_INTERVAL) {
            let seen = if Patience::has_work(view) {
                report::sights(view, &report::gather(shards, view).await)
            } else {
                Sights::new()
            };
            for (node, groups) in self.patience.look(view, &seen, self.begun.elapsed()) {
                tell(node, &groups);
            }
            self.looked_at = Some(Instant::now());
        }
        self.patience.stuck()
    }
}

fn tell(node: NodeId, groups: &[u32]) {
    let shards: Vec<_> = groups.iter().map(|group| group.saturating_sub(1).to_string()).collect();
    tracing::warn!(
        shards = shards.join(" "),
        "hub {node} does not get on with taking in replicas: they are given up and tried again in {} minutes; look \
         at its log, its disk and its network",
        JOIN_REST.as_secs() / 60
    );
}
