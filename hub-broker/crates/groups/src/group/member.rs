use bytes::Bytes;

use super::Token;
use crate::api::{Join, Protocol};

/// One member of a group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) group_instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: u64,
    pub(super) session_timeout_ms: u64,
    /// In order of preference.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// It has not been told its id yet, so it cannot send heartbeats.
    pub(super) is_new: bool,
    /// Its JoinGroup, while that waits.
    pub(super) join: Option<Token>,
    /// Its SyncGroup, while that waits.
    pub(super) sync: Option<Token>,
    /// When its session ends, unless something is heard of it. `None` while it waits for the group.
    pub(super) session_ends_ms: Option<u64>,
}

impl Member {
    pub(super) fn new(id: String, request: &Join) -> Self {
        Self {
            id,
            group_instance_id: request.group_instance_id.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            rebalance_timeout_ms: millis(request.rebalance_timeout_ms),
            session_timeout_ms: millis(request.session_timeout_ms),
            protocols: request.protocols.clone(),
            assignment: Bytes::new(),
            is_new: true,
            join: None,
            sync: None,
            session_ends_ms: None,
        }
    }

    /// What a member that joins again may change.
    pub(super) fn update(&mut self, request: &Join) {
        self.protocols.clone_from(&request.protocols);
        self.rebalance_timeout_ms = millis(request.rebalance_timeout_ms);
        self.session_timeout_ms = millis(request.session_timeout_ms);
    }

    pub(super) fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|own| own.name == protocol)
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let own = self.protocols.iter().find(|own| own.name == protocol);
        own.map(|own| own.metadata.clone()).unwrap_or_default()
    }

    /// Waiting members count as alive: their request is parked with us, they cannot send another. New ones do not
    /// count for ever, since a client that is gone cannot be told from one that waits.
    pub(super) fn is_alive_by_waiting(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }

    pub(super) fn hear(&mut self, now_ms: u64) {
        self.session_ends_ms = Some(now_ms + self.session_timeout_ms);
    }
}

pub(super) fn protocol_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum()
}

pub(super) fn millis(wire: i32) -> u64 {
    u64::try_from(wire).unwrap_or_default()
}
