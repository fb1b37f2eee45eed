//! Hubs that have a node id which the cluster gave to another.

mod common;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use common::{DEADLINE, Hub, NOTICE, beat, config, node, pair, until};

#[tokio::test(flavor = "multi_thread")]
async fn another_incarnation_of_a_node_gets_requests_and_nothing_else() {
    let mut first = Hub::formed(config(1)).await;
    let (meant, mut other) = (config(2), Hub::formed(config(2)).await);
    first.peers.mean(BTreeMap::from([(node(2), meant.incarnation)]));
    first.peers.notify(None, NOTICE, Bytes::from_static(b"state"));
    first.peers.serve(32, Arc::new(|_, _, reply| reply.ok(Bytes::from_static(b"no"))));
    other.know(&first);
    assert_eq!((first.up().await, other.up().await), (node(2), node(1)));
    assert!(!first.peers.send(node(2), vec![beat(1, 1)]));
    other.peers.send(node(1), vec![beat(1, 2)]);
    let answer = other.peers.request(node(1), 32, Bytes::new(), DEADLINE).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"no")));

    // The hub that is meant is not kept away by the other one.
    let mut second = Hub::formed(meant).await;
    second.know(&first);
    second.up().await;
    until("it takes the place", || first.peers.send(node(2), vec![beat(1, 3)])).await;
    assert_eq!(second.parcel().await, beat(1, 3));
    assert_eq!(second.notice().await.1, Bytes::from_static(b"state"));
    assert!(second.peers.send(node(1), vec![beat(1, 4)]));
    assert_eq!(first.parcel().await, beat(1, 4), "nothing came from the other one");
    assert!(other.parcels.try_recv().is_err() && other.notices.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_before_a_hub_is_meant_is_heard_when_it_is() {
    let (first, mut second) = pair().await;
    second.peers.mean(BTreeMap::new());
    assert!(!second.peers.send(node(1), vec![beat(1, 1)]));
    first.peers.notify(None, NOTICE, Bytes::from_static(b"early"));
    // An answer comes behind the notice.
    second.peers.serve(32, Arc::new(|_, _, reply| reply.ok(Bytes::new())));
    assert_eq!(first.peers.request(node(2), 32, Bytes::new(), DEADLINE).await, Ok(Bytes::new()));
    assert!(second.notices.try_recv().is_err());
    second.peers.mean(BTreeMap::from([(node(1), first.peers.incarnation())]));
    assert_eq!(second.notice().await, (node(1), Bytes::from_static(b"early")));
    assert!(second.peers.send(node(1), vec![beat(1, 2)]));
}
