//! How hubs find each other, lose each other, and refuse each other.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use common::{Hub, cluster, config, free_address, node, pair, until};
use peers::{BindError, Change, Config, Peers, RequestError, SeedState};
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_that_dial_each_other_keep_one_connection() {
    for _ in 0..20 {
        let (mut first, mut second) = (Hub::formed(config(1)).await, Hub::formed(config(2)).await);
        first.know(&second);
        second.know(&first);
        assert_eq!((first.up().await, second.up().await), (node(2), node(1)));
        for hub in [&first, &second] {
            hub.peers.serve(1, Arc::new(|_, body, reply| reply.ok(body)));
        }
        // A connection that gives way to the other takes its requests along.
        let ask = async |from: &Hub, to| {
            let answer = loop {
                let answer = from.peers.request(to, 1, Bytes::from_static(b"there?"), SECOND).await;
                if !matches!(answer, Err(RequestError::Lost | RequestError::NotConnected)) {
                    break answer;
                }
            };
            assert_eq!(answer, Ok(Bytes::from_static(b"there?")));
        };
        ask(&first, node(2)).await;
        ask(&second, node(1)).await;
        assert!(first.peers.stats().connections <= 2 && second.peers.stats().connections <= 2);
        assert!(first.changes.try_recv().is_err() && second.changes.try_recv().is_err(), "no one went down");
        first.peers.shutdown().await;
        second.peers.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hubs_meet_through_their_seeds() {
    let addresses = [free_address(), free_address(), free_address()];
    let seeds: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut hubs = Vec::new();
    for (number, listen) in (1..).zip(addresses) {
        hubs.push(Hub::start(Config { listen, seeds: seeds.clone(), ..config(number) }).await);
    }
    for (own, hub) in hubs.iter().enumerate() {
        until("all seeds are reached", || {
            hub.peers.seeds().iter().enumerate().all(|(index, seed)| {
                let connected = SeedState::Connected(node(index as u32 + 1), None);
                seed.state == if index == own { SeedState::This } else { connected }
            })
        })
        .await;
        let known: Vec<_> = hub.peers.known().iter().map(|info| info.node.0 as usize - 1).collect();
        assert_eq!(known, (0..3).filter(|other| *other != own).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_nobody_listens_at_is_unreachable_until_somebody_does() {
    let listen = free_address();
    let mut hub = Hub::start(Config { seeds: vec![listen.to_string()], ..config(1) }).await;
    let state = |hub: &Hub| hub.peers.seeds()[0].state.clone();
    let nobody = SeedState::Unreachable("nobody listens there".to_owned());
    until("it was tried", || state(&hub) == nobody).await;
    let _second = Hub::start(Config { listen, ..config(2) }).await;
    assert_eq!(hub.up().await, node(2));
    until("it is reached", || state(&hub) == SeedState::Connected(node(2), None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_stops_is_gone_at_once() {
    let (mut first, second) = pair().await;
    second.peers.shutdown().await;
    assert_eq!(first.down().await, (node(2), true));
    assert!(!first.peers.is_connected(node(2)));
    let known = first.peers.known();
    assert_eq!(known.len(), 1, "it is remembered");
    assert_eq!(known[0].connected_since, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_comes_back_with_its_directory_or_with_an_empty_one() {
    let (mut first, second) = pair().await;
    let mut again = Config { listen: second.address().parse().expect("an address"), ..config(2) };
    again.incarnation = second.peers.incarnation();
    second.peers.shutdown().await;
    assert_eq!(first.down().await, (node(2), true));

    let second = Hub::formed(again.clone()).await;
    assert_eq!(first.up().await, node(2));
    assert_eq!(first.peers.known()[0].incarnation, again.incarnation);
    second.peers.shutdown().await;
    assert_eq!(first.down().await, (node(2), true));

    let wiped = Config { incarnation: Uuid::from_u128(99), ..again };
    let mut second = Hub::formed(wiped).await;
    assert_eq!((first.up().await, second.up().await), (node(2), node(1)));
    assert_eq!(first.peers.known()[0].incarnation, Uuid::from_u128(99));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_incarnation_of_a_connected_hub_is_refused_and_told_why() {
    let (first, _second) = pair().await;
    let other = Hub::start(Config { seeds: vec![first.address()], ..config(2) }).await;
    refused(&other, "hub 2 with the data directory").await;
    assert!(first.peers.is_connected(node(2)));
}

async fn refused(hub: &Hub, why: &str) {
    until(why, || match &hub.peers.seeds()[0].state {
        SeedState::Unreachable(text) => text.starts_with("refused: ") && text.contains(why),
        _ => false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_of_another_cluster_is_refused_and_told_why() {
    let (first, second) = pair().await;
    let other = Hub::start(Config { seeds: vec![first.address()], ..config(3) }).await;
    other.peers.set_cluster(Uuid::from_u128(0xbad));
    refused(&other, &format!("hub 1 belongs to the cluster {}", cluster())).await;
    assert!(other.peers.known().is_empty() || !other.peers.is_connected(node(1)));
    assert!(first.peers.is_connected(node(2)) && second.peers.is_connected(node(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_with_the_same_node_id_or_other_shards_is_refused_and_told_why() {
    let first = Hub::formed(config(1)).await;
    let same = Hub::start(Config { seeds: vec![first.address()], ..config(1) }).await;
    refused(&same, "both hubs have the node id 1").await;
    let other = Hub::start(Config { seeds: vec![first.address()], shard_count: 8, ..config(2) }).await;
    refused(&other, "hub 1 has 64 shards, hub 2 has 8").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_that_turn_out_to_be_of_two_clusters_part() {
    let (mut first, mut second) = (Hub::start(config(1)).await, Hub::start(config(2)).await);
    first.know(&second);
    assert_eq!((first.up().await, second.up().await), (node(2), node(1)));
    first.peers.set_cluster(Uuid::from_u128(1));
    assert_eq!(second.joined().await, node(1));
    second.peers.set_cluster(Uuid::from_u128(2));
    assert_eq!(second.down().await, (node(1), false));
    assert_eq!(first.down().await.0, node(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_hub_is_not_dialled_any_more() {
    let (mut first, mut second) = pair().await;
    first.peers.forget(node(2));
    assert_eq!(first.down().await, (node(2), false));
    assert_eq!(second.down().await.0, node(1));
    assert!(first.peers.known().is_empty());
    first.know(&second);
    assert_eq!((first.up().await, second.up().await), (node(2), node(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_thread_may_name_a_hub() {
    let (mut first, second) = (Hub::formed(config(1)).await, Hub::formed(config(2)).await);
    std::thread::scope(|scope| {
        scope.spawn(|| first.know(&second));
    });
    assert_eq!(first.up().await, node(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_moved_is_found_at_its_new_address() {
    let (mut first, second) = pair().await;
    let incarnation = second.peers.incarnation();
    second.peers.shutdown().await;
    assert_eq!(first.down().await, (node(2), true));
    let second = Hub::formed(Config { incarnation, ..config(2) }).await;
    first.know(&second);
    assert_eq!(first.up().await, node(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_late_hears_who_is_connected() {
    let (first, _second) = pair().await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    first.peers.on_change(Arc::new(move |change| hearing.lock().expect("not poisoned").push(change)));
    let heard = heard.lock().expect("not poisoned");
    assert!(matches!(&heard[..], [Change::Up(info)] if info.node == node(2)));
}

#[tokio::test]
async fn a_listener_that_others_cannot_reach_is_refused() {
    let everywhere = Config { listen: "0.0.0.0:0".parse().expect("an address"), ..config(1) };
    let refused = Peers::bind(everywhere.clone()).await.err();
    assert!(matches!(refused, Some(BindError::NoAdvertisedAddress { .. })));
    let advertised = Config { advertise: Some(("hub-1".to_owned(), 7000)), ..everywhere };
    let peers = Peers::bind(advertised).await.expect("binds");
    assert_eq!(peers.address().as_deref(), Some("hub-1:7000"));
    peers.shutdown().await;
}

#[tokio::test]
async fn a_taken_address_and_a_seed_without_a_port_are_errors() {
    let first = Hub::start(config(1)).await;
    let taken = Config { listen: first.address().parse().expect("an address"), ..config(2) };
    assert!(matches!(Peers::bind(taken).await.err(), Some(BindError::Listen { .. })));
    let seedless = Config { seeds: vec!["hub-2".to_owned()], ..config(2) };
    assert!(matches!(Peers::bind(seedless).await.err(), Some(BindError::Seed { seed }) if seed == "hub-2"));
}

#[test]
fn a_hub_that_is_alone_needs_no_runtime() {
    let peers = Peers::alone(node(1), Uuid::from_u128(1));
    peers.set_cluster(cluster());
    assert_eq!(peers.cluster(), Some(cluster()));
    assert!(peers.is_alone() && peers.known().is_empty() && peers.seeds().is_empty());
    assert!(!peers.send(node(2), vec![common::beat(1, 1)]));
    peers.notify(None, 1, Bytes::new());
    peers.know(node(2), "hub-2:7000");
}
