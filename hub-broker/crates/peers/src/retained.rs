//! The notices that a peer is told when it connects.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemas::NodeId;

/// The newest of each kind: for everyone, and for single peers, which takes the place of the former for them.
#[derive(Default)]
pub(crate) struct Retained {
    all: BTreeMap<u8, Bytes>,
    single: BTreeMap<(NodeId, u8), Bytes>,
}

impl Retained {
    pub fn set(&mut self, to: Option<NodeId>, kind: u8, body: Bytes) {
        match to {
            Some(node) => {
                self.single.insert((node, kind), body);
            }
            None => {
                self.single.retain(|(_, other), _| *other != kind);
                self.all.insert(kind, body);
            }
        }
    }

    pub fn of(&self, node: NodeId) -> BTreeMap<u8, Bytes> {
        let mut notices = self.all.clone();
        let own = self.single.range((node, 0)..=(node, u8::MAX));
        notices.extend(own.map(|((_, kind), body)| (*kind, body.clone())));
        notices
    }

    pub fn forget(&mut self, node: NodeId) {
        self.single.retain(|(other, _), _| *other != node);
    }
}
