//! All connections of this hub: who is there, and which connection counts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use schemas::NodeId;
use tokio::{net::TcpStream, runtime::Handle, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    Change, ChangeHandler, Limits, PeerInfo, SeedState, SeedStatus, Stats,
    asides::Asides,
    complaints::Complaints,
    handlers::{Handlers, guarded},
    judge::{self, Existing, Me, Side},
    link::{End, Link},
    observe::{Figures, Totals},
    peer::{Peer, State},
    retained::Retained,
    seeds::{Seed, Seeds},
    wire::{Greeting, Hello, Reason, Refusal, Versions},
};

pub(crate) struct Network {
    pub me: Me,
    pub limits: Limits,
    pub handlers: Handlers,
    pub complaints: Complaints,
    pub seeds: Mutex<Seeds>,
    /// Addresses of hubs that the cluster knows, each with what ends its dialling.
    pub targets: Mutex<BTreeMap<NodeId, (String, CancellationToken)>>,
    /// Ends everything.
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    /// The listener's task.
    pub listening: TaskTracker,
    /// Where the tasks run, whichever thread begins them.
    pub runtime: Handle,
    totals: Arc<Totals>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    retained: Mutex<Retained>,
    last_link: AtomicU64,
    /// Only changed by who holds `changing`.
    cluster: RwLock<Option<Uuid>>,
    /// The incarnations that the cluster means by its node ids; none before that is known. Only changed by who holds
    /// `changing`.
    meant: RwLock<Option<BTreeMap<NodeId, Uuid>>>,
    /// Held over every change of a connection or of the cluster, and while the change is told.
    changing: Mutex<Changing>,
    /// Ticks after every change.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Changing {
    handlers: Vec<ChangeHandler>,
    asides: Asides,
}

impl Changing {
    fn tell(&self, change: &Change) {
        self.handlers.iter().for_each(|handler| guarded(|| handler(change.clone())));
    }

    /// `peer` has a new connection; it was as `before`. One that takes the place of another between the same two
    /// processes, or of one that just ended, is no news.
    fn tell_connected(&self, before: &State, peer: &Peer) {
        let info = peer.info();
        let is_same = before.hello.session == peer.state().hello.session;
        if before.is_up && is_same {
            return;
        }
        if before.is_up {
            tracing::info!("hub {} was restarted", info.node);
            self.tell(&Change::Down { node: info.node, gone: true });
        }
        tracing::info!(address = info.address, "hub {} is connected", info.node);
        self.tell(&Change::Up(info));
    }
}

/// A connection that is not wanted, with the socket to say so.
pub(crate) struct Refused {
    pub refusal: Refusal,
    pub stream: TcpStream,
}

/// A connection that counts, with the socket that its task owns.
pub(crate) struct Connection {
    pub peer: Arc<Peer>,
    pub link: Arc<Link>,
    pub stream: Arc<TcpStream>,
}

impl Network {
    /// Needs a runtime.
    pub fn new(me: Me, limits: Limits, seeds: &[String]) -> Self {
        Self {
            me,
            limits,
            handlers: Handlers::default(),
            complaints: Complaints::default(),
            seeds: Mutex::new(Seeds::new(seeds)),
            targets: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            listening: TaskTracker::new(),
            runtime: Handle::current(),
            totals: Arc::default(),
            peers: RwLock::default(),
            retained: Mutex::default(),
            last_link: AtomicU64::new(0),
            cluster: RwLock::default(),
            meant: RwLock::default(),
            changing: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    pub fn cluster(&self) -> Option<Uuid> {
        *self.cluster.read()
    }

    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().get(&node).cloned()
    }

    pub fn link(&self, node: NodeId) -> Option<Arc<Link>> {
        self.peer(node)?.link()
    }

    fn peers(&self) -> Vec<(NodeId, Arc<Peer>)> {
        self.peers.read().iter().map(|(node, peer)| (*node, Arc::clone(peer))).collect()
    }

    pub fn links(&self) -> Vec<Arc<Link>> {
        self.peers().iter().filter_map(|(_, peer)| peer.link()).collect()
    }

    pub fn known(&self) -> Vec<PeerInfo> {
        self.peers().iter().map(|(_, peer)| peer.info()).collect()
    }

    pub fn stats(&self) -> Stats {
        self.totals.stats(self.links().len())
    }

    /// What this hub says at the beginning of a connection that it dials.
    pub fn hello(&self) -> Hello {
        self.me.hello(self.cluster())
    }

    /// Takes a connection with who said `hello`, or says why not. The winner between two is the same at both ends.
    pub fn register(&self, hello: Hello, side: &Side, stream: TcpStream) -> Result<Connection, Refused> {
        let mut changing = self.changing.lock();
        let dialler = if *side == Side::Accepted { hello.node } else { self.me.node };
        let cluster = self.cluster();
        let (peer, is_aside) = match self.admit(cluster, &hello, dialler) {
            Ok(()) => (self.peer_or_new(&hello), false),
            Err(refusal) if self.may_ask(&refusal, &hello) && changing.asides.have_room() => {
                self.complain(&hello.address, &format!("{}; it may only ask why", refusal.text));
                (self.new_peer(&hello), true)
            }
            Err(refusal) => return Err(Refused { refusal, stream }),
        };
        let before = peer.state();
        let is_joined = cluster.is_some() && cluster == hello.cluster;
        let stream = Arc::new(stream);
        let link = self.new_link(&peer, hello, side, dialler, &stream);
        peer.attach(&link);
        if is_joined {
            self.join(&link);
        }
        if is_aside {
            changing.asides.add(Arc::clone(&link));
            return Ok(Connection { peer, link, stream });
        }
        peer.figures.up();
        changing.tell_connected(&before, &peer);
        if let Some(old) = before.link {
            old.close(End::Unwanted("another connection takes its place"));
        }
        self.changed.send_replace(());
        Ok(Connection { peer, link, stream })
    }

    fn admit(&self, cluster: Option<Uuid>, hello: &Hello, dialler: NodeId) -> Result<(), Refusal> {
        if self.stop.is_cancelled() {
            return Err(self.me.refusal(Reason::Stopping, format!("hub {} is stopping", self.me.node)));
        }
        self.me.judge(cluster, hello)?;
        let link = self.link(hello.node);
        // Who is not meant does not keep the hub away that is.
        let stays = |link: &&Arc<Link>| self.means(&link.hello) || !self.means(hello);
        let existing =
            link.as_ref().filter(stays).map(|link| Existing { hello: &link.hello, dialler: link.dialler });
        self.me.judge_existing(existing.as_ref(), hello, dialler)
    }

    /// Whether a hub that is refused is known not to be the one with its node id: it is to find that out.
    fn may_ask(&self, refusal: &Refusal, hello: &Hello) -> bool {
        refusal.reason == Reason::OtherIncarnation && !self.means(hello)
    }

    fn new_peer(&self, hello: &Hello) -> Arc<Peer> {
        let figures = Figures::new(hello.node, Arc::clone(&self.totals));
        Arc::new(Peer::new(hello.clone(), Arc::new(figures)))
    }

    fn new_link(
        &self,
        peer: &Peer,
        hello: Hello,
        side: &Side,
        dialler: NodeId,
        stream: &Arc<TcpStream>,
    ) -> Arc<Link> {
        let cluster = self.cluster();
        let greeting = match side {
            Side::Accepted => Greeting::Hello(Versions::OWN, self.me.hello(cluster)).encode(),
            Side::Dialled { .. } => Bytes::new(),
        };
        let id = self.last_link.fetch_add(1, Ordering::Relaxed) + 1;
        let (stream, figures) = (Arc::downgrade(stream), Arc::clone(&peer.figures));
        let link = Link::new(id, hello, dialler, stream, greeting, self.limits.clone(), figures);
        link.set_meant(self.means(&link.hello));
        if let (Side::Dialled { said: None }, Some(cluster)) = (side, cluster) {
            link.put(|lanes| lanes.cluster(cluster));
        }
        Arc::new(link)
    }

    fn peer_or_new(&self, hello: &Hello) -> Arc<Peer> {
        let mut peers = self.peers.write();
        Arc::clone(peers.entry(hello.node).or_insert_with(|| self.new_peer(hello)))
    }

    /// Parcels and notices may flow from now on.
    fn join(&self, link: &Link) {
        link.join();
        self.repeat_own_notices(link);
    }

    /// Whether `hello` is of the hub that has this node id in the cluster, as far as that is known.
    fn means(&self, hello: &Hello) -> bool {
        let meant = self.meant.read();
        meant.as_ref().is_none_or(|hubs| hubs.get(&hello.node) == Some(&hello.incarnation))
    }

    /// Parcels and notices flow with these from now on.
    pub fn mean(&self, hubs: BTreeMap<NodeId, Uuid>) {
        let changing = self.changing.lock();
        *self.meant.write() = Some(hubs);
        changing.asides.end_those(|hello| self.means(hello));
        for (_, peer) in self.peers() {
            let Some(link) = peer.link() else { continue };
            let was_joined = link.is_joined();
            link.set_meant(self.means(&link.hello));
            if link.is_joined() && !was_joined {
                self.repeat_own_notices(&link);
                peer.repeat_notices(&self.handlers);
            }
        }
    }

    fn repeat_own_notices(&self, link: &Link) {
        if !link.is_joined() {
            return;
        }
        let retained = self.retained.lock();
        let notices = retained.of(link.node());
        link.put(|lanes| notices.into_iter().for_each(|(kind, body)| lanes.notice(kind, body)));
    }

    /// Whether a hub is connected with this data directory, if only beside another that counts.
    pub fn is_there(&self, node: NodeId, incarnation: Uuid) -> bool {
        let counts = self.link(node).is_some_and(|link| link.hello.incarnation == incarnation);
        counts || self.changing.lock().asides.have(node, incarnation)
    }

    /// A connection ended. Whether it is to be found out if its process is gone: then [`Network::down`] is to be
    /// called with what was found.
    pub fn ended(&self, peer: &Peer, link: &Link, end: &End) -> bool {
        let mut changing = self.changing.lock();
        let is_aside = changing.asides.remove(link);
        let was_attached = peer.detach(link);
        // Whoever waits for an answer finds it detached.
        link.asked.end();
        if !was_attached || is_aside {
            return false;
        }
        peer.figures.down();
        let (node, is_stopping) = (link.node(), self.stop.is_cancelled());
        tracing::debug!(%node, reason = %end, "the connection to a hub ended");
        let is_open = *end == End::Closed && !is_stopping;
        if !is_open {
            if !is_stopping {
                tracing::info!("hub {node} is lost: {end}");
            }
            peer.set_down();
            changing.tell(&Change::Down { node: link.node(), gone: false });
        }
        self.changed.send_replace(());
        is_open
    }

    /// What was found out about a process that ended its connection. Means nothing any more when there is a new one.
    pub fn down(&self, peer: &Peer, link: &Link, gone: bool) {
        let changing = self.changing.lock();
        let state = peer.state();
        let is_same = state.hello.session == link.hello.session;
        if state.is_up && state.link.is_none() && is_same {
            let how = if gone { "its process has ended" } else { "the connection broke" };
            tracing::info!("hub {} is lost: {how}", link.node());
            peer.set_down();
            changing.tell(&Change::Down { node: state.hello.node, gone });
            self.changed.send_replace(());
        }
    }

    pub fn on_change(&self, handler: ChangeHandler) {
        let mut changing = self.changing.lock();
        for (_, peer) in self.peers() {
            if peer.link().is_some() {
                guarded(|| handler(Change::Up(peer.info())));
            }
        }
        changing.handlers.push(handler);
    }

    /// This hub is part of a cluster from now on. False when it is part of another one already.
    pub fn set_cluster(&self, cluster: Uuid) -> bool {
        let changing = self.changing.lock();
        if let Some(own) = self.cluster() {
            return own == cluster;
        }
        *self.cluster.write() = Some(cluster);
        for (_, peer) in self.peers() {
            let state = peer.state();
            let Some(link) = state.link else { continue };
            match state.hello.cluster {
                Some(other) if other != cluster => self.part(&link, cluster, other),
                None => link.put(|lanes| lanes.cluster(cluster)),
                Some(_) => {
                    // What the peer says as soon as it hears of this is taken already.
                    link.join();
                    link.put(|lanes| lanes.cluster(cluster));
                    self.repeat_own_notices(&link);
                    changing.tell(&Change::Joined(peer.info()));
                }
            }
        }
        self.changed.send_replace(());
        true
    }

    /// The peer is part of a cluster from now on.
    pub fn peer_joined(&self, connection: &Connection, theirs: Uuid) {
        let changing = self.changing.lock();
        let (peer, link) = (&connection.peer, &connection.link);
        if peer.state().link.is_none_or(|current| current.id != link.id) {
            return;
        }
        match self.cluster() {
            Some(own) if own != theirs => self.part(link, own, theirs),
            own => {
                peer.set_cluster(theirs);
                if own.is_some() {
                    self.join(link);
                }
                if !changing.asides.contain(link) {
                    changing.tell(&Change::Joined(peer.info()));
                    self.changed.send_replace(());
                }
            }
        }
    }

    /// The hub at the other end turns out to be of another cluster.
    fn part(&self, link: &Link, own: Uuid, theirs: Uuid) {
        let text = judge::other_cluster(self.me.node, own, link.node(), theirs);
        self.complain(&link.hello.address, &text);
        link.put(|lanes| lanes.goodbye(Reason::OtherCluster, text));
        link.close(End::Unwanted("it is of another cluster"));
    }

    /// Ends the connection with `node` and forgets what is known of it.
    pub fn forget(&self, node: NodeId) {
        let changing = self.changing.lock();
        self.retained.lock().forget(node);
        let Some(peer) = self.peers.write().remove(&node) else { return };
        let state = peer.state();
        if let Some(link) = state.link {
            peer.detach(&link);
            peer.figures.down();
            let text = format!("hub {} does not know hub {node} any more", self.me.node);
            link.put(|lanes| lanes.goodbye(Reason::Forgotten, text));
            link.close(End::Unwanted("the hub was removed"));
        }
        if state.is_up {
            peer.set_down();
            changing.tell(&Change::Down { node, gone: false });
        }
        self.changed.send_replace(());
    }

    pub fn notify(&self, to: Option<NodeId>, kind: u8, body: &Bytes) {
        // Held until it is with the links, so that no older one comes behind it.
        let mut retained = self.retained.lock();
        retained.set(to, kind, body.clone());
        let links = to.map_or_else(|| self.links(), |node| self.link(node).into_iter().collect());
        for link in links.iter().filter(|link| link.is_joined()) {
            link.put(|lanes| lanes.notice(kind, body.clone()));
        }
    }

    /// Hands over again what connected peers said last.
    pub fn repeat_notices(&self, kind: u8) {
        for (node, peer) in self.peers() {
            peer.repeat_notice(node, &self.handlers, kind);
        }
    }

    pub fn dropped(&self, parcels: usize) {
        self.totals.dropped(parcels);
    }

    pub fn seeds(&self) -> Vec<SeedStatus> {
        let state = |seed: &Seed| {
            let peer = seed.node.and_then(|node| self.peer(node));
            match peer.map(|peer| peer.info()) {
                _ if seed.is_this => SeedState::This,
                Some(info) if info.connected_since.is_some() => SeedState::Connected(info.node, info.cluster),
                _ => SeedState::Unreachable(seed.problem.clone()),
            }
        };
        let seeds = self.seeds.lock();
        seeds
            .iter()
            .map(|(address, seed)| SeedStatus { address: address.clone(), state: state(seed) })
            .collect()
    }

    /// Warns, once, about the hub at `address`.
    pub fn complain(&self, address: &str, what: &str) {
        if self.complaints.is_new(address, what) {
            tracing::warn!(address, "{what}");
        }
    }

    /// Closes all connections once what waits is sent, and lets go of the handlers.
    pub fn close(&self) {
        self.stop.cancel();
        self.handlers.clear();
        let mut changing = self.changing.lock();
        changing.handlers.clear();
        changing.asides.end_all();
        drop(changing);
        self.links().iter().for_each(|link| link.close(End::Unwanted("this hub stops")));
    }
}
