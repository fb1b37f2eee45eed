//! What handlers know: the hub behind the listener, and the connection that a request came on.

use std::net::SocketAddr;
use std::sync::Arc;

use fetch::Fetch;
use groups::Groups;
use ingest::Ingest;
use metadata::{Metadata, Principal};

use crate::config::{Advertised, Config};
use crate::cut_off::CutOff;
use crate::holes::Holes;
use crate::memory::RequestMemory;

/// Shared by all connections of a listener.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) advertised: Advertised,
    pub(crate) ingest: Ingest,
    pub(crate) fetch: Fetch,
    pub(crate) groups: Groups,
    pub(crate) metadata: Metadata,
    pub(crate) request_memory: RequestMemory,
    pub(crate) cut_off: CutOff,
    pub(crate) holes: Holes,
}

impl Context {
    pub(crate) fn new(
        config: Config,
        advertised: Advertised,
        ingest: Ingest,
        fetch: Fetch,
        groups: Groups,
        metadata: Metadata,
    ) -> Self {
        let request_memory = RequestMemory::new(config.request_bytes_held_max);
        Self {
            config,
            advertised,
            ingest,
            fetch,
            groups,
            metadata,
            request_memory,
            cut_off: CutOff::default(),
            holes: Holes::default(),
        }
    }
}

/// One connection.
pub(crate) struct Session {
    pub(crate) context: Arc<Context>,
    pub(crate) peer: SocketAddr,
    pub(crate) principal: Principal,
}

impl Session {
    pub(crate) fn new(context: Arc<Context>, peer: SocketAddr) -> Self {
        Self { context, peer, principal: Principal::anonymous() }
    }
}
