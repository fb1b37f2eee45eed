//! The hubs as clients see them: node ids and where to connect.

use metadata::View;
use metadata::limits::METADATA_GROUP;
use schemas::NodeId;

use crate::session::Session;

/// One hub's listener of the same name as the one that the question came on.
pub(crate) struct Endpoint {
    pub(crate) node: i32,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) rack: Option<String>,
}

/// Every hub that is registered with a listener for these clients and can be reached: a client that is given a dead
/// one waits for it. This one is always among them, at its advertised address. A hub that sees no majority may be the
/// one that is cut off: it names all, or clients would forget those that go on.
pub(crate) fn list(session: &Session, view: &View) -> Vec<Endpoint> {
    let this = session.context.config.node;
    let peers = session.context.metadata.shards().peers();
    let is_cut_off = session.context.metadata.no_majority(METADATA_GROUP).is_some();
    let is_named = |hub: &&metadata::Hub| hub.node != this && (is_cut_off || peers.reaches(hub.node));
    let others = view.hubs().filter(is_named).filter_map(|hub| {
        let listener = hub.listener(&session.context.config.listener)?;
        Some(Endpoint {
            node: wire_id(hub.node),
            host: listener.host.clone(),
            port: i32::from(listener.port),
            rack: hub.rack.clone(),
        })
    });
    std::iter::once(this_hub(session, view)).chain(others).collect()
}

pub(crate) fn find(session: &Session, view: &View, node: NodeId) -> Option<Endpoint> {
    list(session, view).into_iter().find(|hub| hub.node == wire_id(node))
}

fn this_hub(session: &Session, view: &View) -> Endpoint {
    let context = &session.context;
    Endpoint {
        node: wire_id(context.config.node),
        host: context.advertised.host.clone(),
        port: i32::from(context.advertised.port),
        rack: view.hub(context.config.node).and_then(|hub| hub.rack.clone()),
    }
}

/// The hub to send administration to: the one that leads the metadata, where that can be reached. Any takes it, so it is
/// this one otherwise.
pub(crate) fn controller(session: &Session, view: &View) -> NodeId {
    let shards = session.context.metadata.shards();
    let leader = shards.metadata_leader().map(|leader| leader.node);
    controller_of(leader, session.context.config.node, |node| {
        view.hub(node).is_some() && shards.peers().reaches(node)
    })
}

fn controller_of(leader: Option<NodeId>, own: NodeId, is_there: impl Fn(NodeId) -> bool) -> NodeId {
    leader.filter(|node| is_there(*node)).unwrap_or(own)
}

/// Kafka's node ids are signed; ours stay far below the difference.
pub(crate) fn wire_id(node: NodeId) -> i32 {
    i32::try_from(node.0).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_is_gone_is_no_controller() {
        let [own, leader] = [1, 2].map(NodeId);
        assert_eq!(controller_of(Some(leader), own, |_| true), leader);
        assert_eq!(controller_of(Some(leader), own, |node| node != leader), own);
        assert_eq!(controller_of(None, own, |_| true), own);
    }
}
