//! The transport as the rest of the hub sees it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use schemas::NodeId;
use uuid::Uuid;

use crate::{
    BindError, ChangeHandler, Config, NoticeHandler, Parcel, ParcelHandler, PeerInfo, RequestError,
    RequestHandler, SeedStatus, Stats, accept, dial,
    judge::Me,
    limits::{ADDRESS_BYTES_MAX, NOTICE_BYTES_MAX, NOTICE_KINDS_MAX, REQUEST_BYTES_MAX},
    network::Network,
};

/// The other hubs. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    node: NodeId,
    incarnation: Uuid,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Alone { cluster: Arc<Mutex<Option<Uuid>>> },
    Among(Arc<Network>),
}

impl Peers {
    /// A hub without others: no socket, no task, and whatever is sent goes nowhere.
    pub fn alone(node: NodeId, incarnation: Uuid) -> Self {
        Self { node, incarnation, place: Place::Alone { cluster: Arc::default() } }
    }

    /// Listens, and dials the seeds and every address that it is told of, again and again. Needs a tokio runtime.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let Config { listen, advertise, node, incarnation, seeds, shard_count, limits } = config;
        if let Some(seed) = seeds.iter().find(|seed| !is_host_and_port(seed)) {
            return Err(BindError::Seed { seed: seed.clone() });
        }
        let failed = |source| BindError::Listen { address: listen, source };
        let listener = accept::listen(listen).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let address =
            advertised(bound, advertise).ok_or(BindError::NoAdvertisedAddress { address: listen })?;
        let me = Me { node, incarnation, session: rand::random(), shard_count, address };
        let network = Arc::new(Network::new(me, limits, &seeds));
        network.listening.spawn(accept::run(Arc::clone(&network), listener));
        let seeds: Vec<String> = network.seeds.lock().iter().map(|(address, _)| address.clone()).collect();
        for seed in seeds {
            let stop = network.stop.child_token();
            network.tasks.spawn(dial::keep(Arc::clone(&network), seed, None, stop));
        }
        Ok(Self { node, incarnation, place: Place::Among(network) })
    }

    fn network(&self) -> Option<&Arc<Network>> {
        match &self.place {
            Place::Alone { .. } => None,
            Place::Among(network) => Some(network),
        }
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    pub fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    pub fn is_alone(&self) -> bool {
        self.network().is_none()
    }

    /// `host:port` by which the others reach this hub; none for a hub that is alone.
    pub fn address(&self) -> Option<String> {
        self.network().map(|network| network.me.address.clone())
    }

    /// Says which cluster this hub belongs to, once and for all. Connected peers are told; those of another cluster are
    /// refused. MUST NOT be called by a handler of parcels, notices or changes.
    pub fn set_cluster(&self, cluster: Uuid) {
        let is_set = match &self.place {
            Place::Alone { cluster: own } => *own.lock().get_or_insert(cluster) == cluster,
            Place::Among(network) => network.set_cluster(cluster),
        };
        if !is_set {
            tracing::error!(%cluster, "the hub belongs to another cluster already; this one is not taken");
        }
    }

    pub fn cluster(&self) -> Option<Uuid> {
        match &self.place {
            Place::Alone { cluster } => *cluster.lock(),
            Place::Among(network) => network.cluster(),
        }
    }

    /// Dials `node` at `address` (`host:port`) from now on; a new address replaces the old one.
    pub fn know(&self, node: NodeId, address: &str) {
        let Some(network) = self.network().filter(|_| node != self.node) else { return };
        if !is_host_and_port(address) {
            return network.complain(address, "is no HOST:PORT of a hub");
        }
        let mut targets = network.targets.lock();
        if targets.get(&node).is_some_and(|(known, _)| known == address) || network.stop.is_cancelled() {
            return;
        }
        let stop = network.stop.child_token();
        let keep = dial::keep(Arc::clone(network), address.to_owned(), Some(node), stop.clone());
        if let Some((_, old)) = targets.insert(node, (address.to_owned(), stop)) {
            old.cancel();
        }
        network.tasks.spawn_on(keep, &network.runtime);
    }

    /// Says which hub, by its incarnation, the cluster means by each node id. With any other, known or not, only
    /// requests are exchanged from now on. Before this was said, whoever is of the cluster is taken for the hub that it
    /// says it is. MUST NOT be called by a handler of parcels, notices or changes.
    pub fn mean(&self, hubs: BTreeMap<NodeId, Uuid>) {
        if let Some(network) = self.network() {
            network.mean(hubs);
        }
    }

    /// Does not dial `node` any more, unless it is a seed, and ends its connection. MUST NOT be called by a handler of
    /// parcels, notices or changes.
    pub fn forget(&self, node: NodeId) {
        let Some(network) = self.network() else { return };
        if let Some((_, stop)) = network.targets.lock().remove(&node) {
            stop.cancel();
        }
        network.forget(node);
    }

    /// Every hub that was ever connected and is not forgotten, by node id.
    pub fn known(&self) -> Vec<PeerInfo> {
        self.network().map(|network| network.known()).unwrap_or_default()
    }

    pub fn is_connected(&self, node: NodeId) -> bool {
        self.network().is_some_and(|network| network.link(node).is_some())
    }

    /// Whether a hub with this node id and incarnation is connected, also where another one with the node id counts.
    /// MUST NOT be called by a handler of parcels, notices or changes.
    pub fn is_there(&self, node: NodeId, incarnation: Uuid) -> bool {
        self.network().is_some_and(|network| network.is_there(node, incarnation))
    }

    /// Whether the hub that the cluster means by this node id can be spoken to from here: it is this one, or it is
    /// connected. Another one with its node id, or one that has no cluster yet, is not it.
    pub fn reaches(&self, node: NodeId) -> bool {
        let is_joined = || self.network()?.link(node).map(|link| link.is_joined());
        node == self.node() || is_joined().unwrap_or(false)
    }

    /// Waits until every hub that is connected has said something after this call, or its connection has ended, but no
    /// longer than `within`: what [`Self::reaches`] says then is no older than the call.
    pub async fn look_round(&self, within: Duration) {
        let Some(network) = self.network() else { return };
        let links = network.links();
        let looks = links.iter().map(|link| {
            let (number, begins) = link.looks.want();
            if begins {
                network.tasks.spawn_on(Arc::clone(link).look(), &network.runtime);
            }
            link.looks.ended(number)
        });
        // Who does not answer in time is taken for what it was.
        let _ = tokio::time::timeout(within, join_all(looks)).await;
    }

    /// The seeds in the order of the configuration.
    pub fn seeds(&self) -> Vec<SeedStatus> {
        self.network().map(|network| network.seeds()).unwrap_or_default()
    }

    /// Sends what replicas say to those of `to`. Those of one group arrive in their order, save that beats go ahead of
    /// everything. Never blocks; false when something was dropped: `to` is not connected, is not known to be of this
    /// hub's cluster, or its queue is full.
    pub fn send(&self, to: NodeId, parcels: Vec<Parcel>) -> bool {
        if parcels.is_empty() {
            return true;
        }
        let Some(network) = self.network() else { return false };
        match network.link(to).filter(|link| link.is_joined()) {
            Some(link) => link.send(parcels) == 0,
            None => {
                network.dropped(parcels.len());
                false
            }
        }
    }

    /// Tells `to`, or everyone, the newest state of `kind` (below 16): an older one that still waits is replaced, and a
    /// peer that connects is told again. Only hubs of the same cluster are told. At most [`crate::NOTICE_BYTES_MAX`];
    /// more is logged and not sent.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a body is given away, as with everything that is sent"
    )]
    pub fn notify(&self, to: Option<NodeId>, kind: u8, body: Bytes) {
        let Some(network) = self.network() else { return };
        if body.len() > NOTICE_BYTES_MAX || kind >= NOTICE_KINDS_MAX {
            return tracing::error!(kind, bytes = body.len(), "a notice to the other hubs is too large");
        }
        network.notify(to, kind, &body);
    }

    /// Asks `to`. Dropping the future gives the answer up.
    pub async fn request(
        &self,
        to: NodeId,
        kind: u8,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        if body.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::TooLarge);
        }
        let link = self.network().and_then(|network| network.link(to)).ok_or(RequestError::NotConnected)?;
        link.request(kind, body, timeout).await
    }

    /// Answers requests of `kind` from now on.
    pub fn serve(&self, kind: u8, handler: RequestHandler) {
        if let Some(network) = self.network() {
            network.handlers.set_request(kind, handler);
        }
    }

    /// Takes parcels from now on; earlier ones are dropped.
    pub fn on_parcels(&self, handler: ParcelHandler) {
        if let Some(network) = self.network() {
            network.handlers.set_parcels(handler);
        }
    }

    /// Takes notices of `kind`. What connected peers said last is handed over at once; it may come twice.
    pub fn on_notice(&self, kind: u8, handler: NoticeHandler) {
        if let Some(network) = self.network() {
            network.handlers.set_notice(kind, handler);
            network.repeat_notices(kind);
        }
    }

    /// Hears of every change from now on; there may be several such handlers. For each peer that is connected already,
    /// the handler is called at once.
    pub fn on_change(&self, handler: ChangeHandler) {
        if let Some(network) = self.network() {
            network.on_change(handler);
        }
    }

    /// Sends for a moment what waits, ends all connections and tasks, and lets go of the handlers. Requests that wait
    /// are answered as lost.
    pub async fn shutdown(self) {
        if let Place::Among(network) = &self.place {
            // Whoever loses a connection asks at once whether somebody listens here: nobody does by then.
            network.stop.cancel();
            network.listening.close();
            network.listening.wait().await;
            network.close();
            network.tasks.close();
            network.tasks.wait().await;
        }
    }

    pub fn stats(&self) -> Stats {
        self.network().map(|network| network.stats()).unwrap_or_default()
    }
}

fn is_host_and_port(address: &str) -> bool {
    address.len() <= ADDRESS_BYTES_MAX
        && address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// None where others could not use the address that the listener is bound to.
fn advertised(bound: SocketAddr, advertise: Option<(String, u16)>) -> Option<String> {
    match advertise {
        Some((host, port)) if host.contains(':') && !host.starts_with('[') => {
            Some(format!("[{host}]:{port}"))
        }
        Some((host, port)) => Some(format!("{host}:{port}")),
        None => (!bound.ip().is_unspecified()).then(|| bound.to_string()),
    }
    .filter(|address| address.len() <= ADDRESS_BYTES_MAX)
}
