//! Who takes what peers say.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::RwLock;
use schemas::NodeId;

use crate::{Change, Parcel, Reply};

/// Called with what a peer's replicas say. Like every handler it runs on the runtime's threads, MUST NOT block, and
/// MUST NOT add handlers.
pub type ParcelHandler = Arc<dyn Fn(NodeId, Vec<Parcel>) + Send + Sync>;
/// Called with what a peer says is new.
pub type NoticeHandler = Arc<dyn Fn(NodeId, Bytes) + Send + Sync>;
/// Called with a peer's request; answers now or later through [`Reply`]. Requests of one kind come in the order in
/// which they were asked.
pub type RequestHandler = Arc<dyn Fn(NodeId, Bytes, Reply) + Send + Sync>;
/// Called with every change of a connection, one after the other.
pub type ChangeHandler = Arc<dyn Fn(Change) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Handlers {
    parcels: RwLock<Option<ParcelHandler>>,
    notices: RwLock<BTreeMap<u8, NoticeHandler>>,
    requests: RwLock<BTreeMap<u8, RequestHandler>>,
}

impl Handlers {
    pub fn set_parcels(&self, handler: ParcelHandler) {
        *self.parcels.write() = Some(handler);
    }

    pub fn set_notice(&self, kind: u8, handler: NoticeHandler) {
        self.notices.write().insert(kind, handler);
    }

    pub fn set_request(&self, kind: u8, handler: RequestHandler) {
        self.requests.write().insert(kind, handler);
    }

    pub fn parcels(&self) -> Option<ParcelHandler> {
        self.parcels.read().clone()
    }

    pub fn notice(&self, kind: u8) -> Option<NoticeHandler> {
        self.notices.read().get(&kind).cloned()
    }

    pub fn request(&self, kind: u8) -> Option<RequestHandler> {
        self.requests.read().get(&kind).cloned()
    }

    /// Lets go of all of them, and of what they hold.
    pub fn clear(&self) {
        *self.parcels.write() = None;
        self.notices.write().clear();
        self.requests.write().clear();
    }
}

/// Calls a handler. One that panics must not take a connection along: it would look alive and be dead.
pub(crate) fn guarded(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("a handler of what another hub said panicked");
    }
}
