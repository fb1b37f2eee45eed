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

/// The hub to send administration to: the one that leads the metadata. Any takes it, so it is this one while nobody
/// is known to lead.
pub(crate) fn controller(session: &Session, view: &View) -> NodeId {
    let leader = session.context.metadata.shards().metadata_leader().map(|leader| leader.node);
    leader.filter(|node| view.hub(*node).is_some()).unwrap_or(session.context.config.node)
}

/// Kafka's node ids are signed; ours stay far below the difference.
pub(crate) fn wire_id(node: NodeId) -> i32 {
    i32::try_from(node.0).unwrap_or(i32::MAX)
}
