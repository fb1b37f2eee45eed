//! One other hub.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use schemas::NodeId;
use uuid::Uuid;

use crate::{
    Parcel, PeerInfo,
    handlers::{Handlers, guarded},
    link::Link,
    observe::Figures,
    wire::Hello,
};

pub(crate) struct Peer {
    pub figures: Arc<Figures>,
    state: Mutex<State>,
    /// Held while something is handed over, so that nothing of an older connection comes behind something of a newer.
    delivery: Mutex<Delivery>,
}

/// What is known of it. Only changed under the lock of all changes.
#[derive(Clone)]
pub(crate) struct State {
    /// What it said last.
    pub hello: Hello,
    pub link: Option<Arc<Link>>,
    /// It was said to be up, and not yet to be down.
    pub is_up: bool,
}

#[derive(Default)]
struct Delivery {
    /// The connection from which things are taken.
    link_id: Option<u64>,
    /// What it said last, by kind.
    notices: BTreeMap<u8, Bytes>,
}

impl Peer {
    pub fn new(hello: Hello, figures: Arc<Figures>) -> Self {
        let state = State { hello, link: None, is_up: false };
        Self { figures, state: Mutex::new(state), delivery: Mutex::default() }
    }

    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    pub fn link(&self) -> Option<Arc<Link>> {
        self.state.lock().link.clone()
    }

    pub fn info(&self) -> PeerInfo {
        let state = self.state.lock();
        PeerInfo {
            node: state.hello.node,
            incarnation: state.hello.incarnation,
            address: state.hello.address.clone(),
            cluster: state.hello.cluster,
            connected_since: state.link.as_ref().map(|link| link.since),
        }
    }

    /// From now on `link` is its connection.
    pub fn attach(&self, link: &Arc<Link>) {
        {
            let mut state = self.state.lock();
            state.hello = link.hello.clone();
            state.link = Some(Arc::clone(link));
            state.is_up = true;
        }
        *self.delivery.lock() = Delivery { link_id: Some(link.id), notices: BTreeMap::new() };
    }

    /// `link` ended. False when it was not its connection any more.
    pub fn detach(&self, link: &Link) -> bool {
        {
            let mut state = self.state.lock();
            if state.link.as_ref().is_none_or(|current| current.id != link.id) {
                return false;
            }
            state.link = None;
        }
        *self.delivery.lock() = Delivery::default();
        true
    }

    pub fn set_down(&self) {
        self.state.lock().is_up = false;
    }

    pub fn set_cluster(&self, cluster: Uuid) {
        self.state.lock().hello.cluster = Some(cluster);
    }

    pub fn deliver_parcels(&self, link: &Link, handlers: &Handlers, parcels: Vec<Parcel>) {
        let delivery = self.delivery.lock();
        if delivery.link_id == Some(link.id)
            && link.is_joined()
            && let Some(handler) = handlers.parcels()
        {
            guarded(|| handler(link.node(), parcels));
        }
    }

    pub fn deliver_notice(&self, link: &Link, handlers: &Handlers, kind: u8, body: Bytes) {
        let mut delivery = self.delivery.lock();
        if delivery.link_id != Some(link.id) || !link.is_kin() {
            return;
        }
        delivery.notices.insert(kind, body.clone());
        if link.is_joined()
            && let Some(handler) = handlers.notice(kind)
        {
            guarded(|| handler(link.node(), body));
        }
    }

    /// Hands over what was said while nothing might flow yet.
    pub fn repeat_notices(&self, handlers: &Handlers) {
        let kinds: Vec<u8> = self.delivery.lock().notices.keys().copied().collect();
        let node = self.state.lock().hello.node;
        kinds.into_iter().for_each(|kind| self.repeat_notice(node, handlers, kind));
    }

    /// Hands over again the last notice of `kind`, if there is one.
    pub fn repeat_notice(&self, node: NodeId, handlers: &Handlers, kind: u8) {
        let is_joined = self.link().is_some_and(|link| link.is_joined());
        let delivery = self.delivery.lock();
        if is_joined
            && let Some(body) = delivery.notices.get(&kind)
            && let Some(handler) = handlers.notice(kind)
        {
            guarded(|| handler(node, body.clone()));
        }
    }
}
