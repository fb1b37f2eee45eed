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
    assert!(
        first.peers.is_connected(node(2)) && !first.peers.reaches(node(2)),
        "it is not the hub that is meant"
    );
    other.peers.send(node(1), vec![beat(1, 2)]);
    let answer = other.peers.request(node(1), 32, Bytes::new(), DEADLINE).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"no")));

    // The hub that is meant is not kept away by the other one.
    let mut second = Hub::formed(meant).await;
    second.know(&first);
    second.up().await;
    until("it takes the place", || first.peers.send(node(2), vec![beat(1, 3)])).await;
    assert!(first.peers.reaches(node(2)));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_node_id_another_has_may_ask_beside_it_and_is_not_taken_for_it() {
    let mut first = Hub::formed(config(1)).await;
    let (mut owner, mut other) = (Hub::formed(config(2)).await, Hub::formed(config(2)).await);
    first.peers.mean(BTreeMap::from([(node(2), owner.peers.incarnation())]));
    first.peers.serve(32, Arc::new(|_, _, reply| reply.ok(Bytes::from_static(b"the other's"))));
    owner.know(&first);
    assert_eq!((first.up().await, owner.up().await), (node(2), node(1)));
    other.know(&first);
    assert_eq!(other.up().await, node(1));
    let answer = other.peers.request(node(1), 32, Bytes::new(), DEADLINE).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"the other's")));
    other.peers.send(node(1), vec![beat(1, 1)]);
    other.peers.notify(None, NOTICE, Bytes::from_static(b"in its name"));
    assert_eq!(other.peers.request(node(1), 32, Bytes::new(), DEADLINE).await, answer, "and after that");
    assert_eq!(first.peers.known()[0].incarnation, owner.peers.incarnation());
    assert!(first.peers.send(node(2), vec![beat(1, 2)]));
    assert_eq!(owner.parcel().await, beat(1, 2));

    // It comes and goes, and nothing is told of it.
    other.peers.clone().shutdown().await;
    assert!(first.peers.is_connected(node(2)));
    assert!(first.changes.try_recv().is_err() && first.parcels.try_recv().is_err());
    assert!(first.notices.try_recv().is_err() && other.parcels.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_stood_beside_the_owner_takes_its_place_when_it_is_the_one_that_is_meant() {
    let mut first = Hub::formed(config(1)).await;
    let (mut former, mut heir) = (Hub::formed(config(2)).await, Hub::formed(config(2)).await);
    first.peers.mean(BTreeMap::from([(node(2), former.peers.incarnation())]));
    former.know(&first);
    assert_eq!((first.up().await, former.up().await), (node(2), node(1)));
    heir.know(&first);
    assert_eq!(heir.up().await, node(1));
    first.peers.mean(BTreeMap::from([(node(2), heir.peers.incarnation())]));
    until("the heir counts", || first.peers.send(node(2), vec![beat(1, 1)])).await;
    assert_eq!(heir.parcel().await, beat(1, 1));
    assert!(former.parcels.try_recv().is_err());
}
