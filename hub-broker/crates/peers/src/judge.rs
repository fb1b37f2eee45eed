//! Who may connect with this hub, and which of two connections counts. Knows no socket.

use schemas::NodeId;
use uuid::Uuid;

use crate::wire::{Hello, Reason, Refusal, Versions};

/// This hub.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    pub node: NodeId,
    pub incarnation: Uuid,
    pub session: u64,
    pub shard_count: u16,
    pub address: String,
}

/// How a connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Accepted,
    /// `said`: the cluster that this hub named in its hello.
    Dialled {
        said: Option<Uuid>,
    },
}

/// The connection that counts so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Existing<'a> {
    pub hello: &'a Hello,
    pub dialler: NodeId,
}

impl Me {
    pub fn hello(&self, cluster: Option<Uuid>) -> Hello {
        Hello {
            node: self.node,
            incarnation: self.incarnation,
            session: self.session,
            shard_count: self.shard_count,
            cluster,
            address: self.address.clone(),
        }
    }

    pub fn refusal(&self, reason: Reason, text: String) -> Refusal {
        Refusal { reason, node: self.node, text }
    }

    pub fn judge_versions(&self, theirs: Versions, node: NodeId) -> Result<(), Refusal> {
        let own = Versions::OWN;
        if own.common(theirs).is_some() {
            return Ok(());
        }
        let text = format!("hub {} speaks the hubs' protocol in {own}, hub {node} in {theirs}", self.node);
        Err(self.refusal(Reason::Version, text))
    }

    /// Whether hubs like these may talk at all.
    pub fn judge(&self, cluster: Option<Uuid>, hello: &Hello) -> Result<(), Refusal> {
        let (node, theirs) = (self.node, hello.node);
        if hello.session == self.session && hello.incarnation == self.incarnation {
            return Err(self.refusal(Reason::Itself, "this is the hub itself".to_owned()));
        }
        if let (Some(own), Some(other)) = (cluster, hello.cluster)
            && own != other
        {
            let text = other_cluster(node, own, theirs, other);
            return Err(self.refusal(Reason::OtherCluster, text));
        }
        if theirs == node {
            let text = format!("both hubs have the node id {node}; each needs its own --node-id");
            return Err(self.refusal(Reason::SameNode, text));
        }
        if hello.shard_count != self.shard_count {
            let (own, other) = (self.shard_count, hello.shard_count);
            let text = format!("hub {node} has {own} shards, hub {theirs} has {other}");
            return Err(self.refusal(Reason::ShardCount, text));
        }
        Ok(())
    }

    /// Whether a connection dialled by `dialler` may take the place of `existing`. Between two of the same pair of
    /// processes, the one counts that was dialled by the hub with the lower id.
    pub fn judge_existing(
        &self,
        existing: Option<&Existing<'_>>,
        hello: &Hello,
        dialler: NodeId,
    ) -> Result<(), Refusal> {
        let Some(existing) = existing else { return Ok(()) };
        let theirs = hello.node;
        if existing.hello.incarnation != hello.incarnation {
            let (old, new) = (existing.hello.incarnation, hello.incarnation);
            let node = self.node;
            let text = format!(
                "hub {theirs} with the data directory {new}: hub {node} is connected with {old} of that id"
            );
            return Err(self.refusal(Reason::OtherIncarnation, text));
        }
        let is_restarted = existing.hello.session != hello.session;
        if is_restarted || dialler < existing.dialler {
            return Ok(());
        }
        Err(self.refusal(Reason::Duplicate, format!("hub {theirs} is connected already")))
    }
}

pub(crate) fn other_cluster(node: NodeId, own: Uuid, other: NodeId, theirs: Uuid) -> String {
    format!(
        "hub {other} is of another cluster: hub {node} belongs to the cluster {own}, hub {other} to the cluster \
         {theirs}; are --seed and the data directories right?"
    )
}
