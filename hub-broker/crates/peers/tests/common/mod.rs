//! Hubs on the loopback, and waiting for what they say.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use peers::{Change, Config, Limits, Parcel, ParcelBody, Peers};
use schemas::NodeId;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};
use uuid::Uuid;

/// Time after which a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn node(number: u32) -> NodeId {
    NodeId(number)
}

pub fn cluster() -> Uuid {
    Uuid::from_u128(0xc1)
}

pub fn config(number: u32) -> Config {
    static INCARNATIONS: AtomicU64 = AtomicU64::new(1);
    let incarnation = INCARNATIONS.fetch_add(1, Ordering::Relaxed);
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertise: None,
        node: node(number),
        incarnation: Uuid::from_u128(u128::from(number) << 64 | u128::from(incarnation)),
        seeds: Vec::new(),
        shard_count: 64,
        limits: Limits::default(),
    }
}

/// An address of this host that nobody uses now.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("is bound")
}

/// A hub with everything that it was told.
pub struct Hub {
    pub peers: Peers,
    pub changes: UnboundedReceiver<Change>,
    pub parcels: UnboundedReceiver<(NodeId, Parcel)>,
    pub notices: UnboundedReceiver<(NodeId, Bytes)>,
}

/// The notice that hubs listen to.
pub const NOTICE: u8 = 1;

impl Hub {
    pub async fn start(config: Config) -> Self {
        let peers = Peers::bind(config).await.expect("binds");
        let (change, changes) = unbounded_channel();
        peers.on_change(Arc::new(move |what| {
            let _ = change.send(what);
        }));
        let (parcel, parcels) = unbounded_channel();
        peers.on_parcels(Arc::new(move |from, batch| {
            batch.into_iter().for_each(|one| {
                let _ = parcel.send((from, one));
            });
        }));
        let (notice, notices) = unbounded_channel();
        peers.on_notice(
            NOTICE,
            Arc::new(move |from, body| {
                let _ = notice.send((from, body));
            }),
        );
        Self { peers, changes, parcels, notices }
    }

    /// One of the test's cluster.
    pub async fn formed(config: Config) -> Self {
        let hub = Self::start(config).await;
        hub.peers.set_cluster(cluster());
        hub
    }

    pub fn address(&self) -> String {
        self.peers.address().expect("listens")
    }

    pub fn know(&self, other: &Hub) {
        self.peers.know(other.peers.node(), &other.address());
    }

    pub async fn change(&mut self) -> Change {
        timeout(DEADLINE, self.changes.recv()).await.expect("a change in time").expect("is open")
    }

    pub async fn up(&mut self) -> NodeId {
        match self.change().await {
            Change::Up(info) => info.node,
            other => panic!("not up, but {other:?}"),
        }
    }

    pub async fn down(&mut self) -> (NodeId, bool) {
        match self.change().await {
            Change::Down { node, gone } => (node, gone),
            other => panic!("not down, but {other:?}"),
        }
    }

    pub async fn joined(&mut self) -> NodeId {
        match self.change().await {
            Change::Joined(info) => info.node,
            other => panic!("not joined, but {other:?}"),
        }
    }

    pub async fn parcel(&mut self) -> Parcel {
        timeout(DEADLINE, self.parcels.recv()).await.expect("a parcel in time").expect("is open").1
    }

    pub async fn notice(&mut self) -> (NodeId, Bytes) {
        timeout(DEADLINE, self.notices.recv()).await.expect("a notice in time").expect("is open")
    }
}

/// Two hubs of one cluster, connected.
pub async fn pair() -> (Hub, Hub) {
    let (mut first, mut second) = (Hub::formed(config(1)).await, Hub::formed(config(2)).await);
    first.know(&second);
    assert_eq!((first.up().await, second.up().await), (node(2), node(1)));
    (first, second)
}

/// Asks again and again until `holds`.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

pub fn beat(group: u32, term: u64) -> Parcel {
    let body = ParcelBody::Beat { response: false, term, commit: 1, context: Bytes::new() };
    Parcel { group, from: 1, to: 2, body }
}

pub fn message(group: u32, bytes: usize, with: u8) -> Parcel {
    Parcel { group, from: 1, to: 2, body: ParcelBody::Message(Bytes::from(vec![with; bytes])) }
}
