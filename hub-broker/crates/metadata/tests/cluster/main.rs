//! Hubs found a cluster, join it, are drained and come back, over real shards and a real transport.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../common/mod.rs"]
mod common;
mod hubs;
mod identity;

use common::{batch, create, eventually, name};
use hubs::{Cluster, SHARDS, is_settled};
use metadata::{DrainError, HubState, Metadata, Ousted, Principal, RemoveHubError, Unavailable};
use schemas::{NodeId, Offset, PartitionIndex};
use shards::{Append, Appended, Origin};

fn anyone() -> Principal {
    Principal::anonymous()
}

async fn append(metadata: &Metadata, topic: &str, partition: i32) -> Appended {
    let topic = metadata.topic(&name(topic)).unwrap();
    let index = PartitionIndex(partition);
    let shard = topic.placement(index).unwrap().shard();
    let partition = topic.partition_id(index);
    let request = Append { partition, origin: Origin::Hub, batch: batch("k", b"v"), expected_term: None };
    let (tell, told) = tokio::sync::oneshot::channel();
    metadata.shards().append_anywhere(shard, request, Box::new(|result| drop(tell.send(result))));
    told.await.unwrap().unwrap()
}

async fn stored_everywhere(cluster: &Cluster, nodes: &[u32], topic: &str, partition: i32, end: i64) {
    for node in nodes {
        let has_all = || {
            let found = cluster.metadata(*node).partition(&name(topic), PartitionIndex(partition));
            found.is_some_and(|(_, reader)| reader.high_watermark() == Offset(end))
        };
        eventually("the records are on every hub", has_all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_empty_hubs_found_one_cluster_and_share_its_work() {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    cluster.start(&[3, 2, 1]).await;
    let settled = |status: &_| is_settled(status, 3);
    let status = cluster.becomes(2, "three replicas of everything", settled).await;
    let ids: Vec<_> = [1, 2, 3].map(|node| cluster.metadata(node).view().cluster_id.clone()).into();
    assert!(ids.iter().all(|id| *id == status.cluster_id));
    let groups = usize::from(SHARDS) + 1;
    assert!(status.hubs.iter().all(|hub| hub.replicas == groups && hub.connected));
    let spread = |status: &metadata::ClusterStatus| {
        status.hubs.iter().all(|hub| (groups / 3..=groups / 3 + 1).contains(&hub.leaders))
    };
    cluster.becomes(1, "leaders are spread", spread).await;

    let topic = cluster.metadata(3).create_topic(&anyone(), create("a", 6, &[])).await.unwrap();
    assert!(topic.is_settled());
    for node in [1, 2, 3] {
        for partition in 0..6 {
            append(cluster.metadata(node), "a", partition).await;
        }
    }
    for partition in 0..6 {
        stored_everywhere(&cluster, &[1, 2, 3], "a", partition, 3).await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_stops_leads_again_when_it_is_back() {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    cluster.start(&[1, 2, 3]).await;
    let even = |status: &metadata::ClusterStatus| {
        is_settled(status, 3) && status.hubs.iter().all(|hub| hub.leaders >= 2)
    };
    cluster.becomes(1, "even", even).await;
    cluster.metadata(1).create_topic(&anyone(), create("a", 3, &[])).await.unwrap();
    cluster.stop(2).await;
    let status = cluster.becomes(1, "led by the others", |status| status.leaderless.is_empty()).await;
    assert!(!status.hubs[1].connected && status.hubs[1].leaders == 0);
    for partition in 0..3 {
        append(cluster.metadata(1), "a", partition).await;
    }
    cluster.start(&[2]).await;
    for partition in 0..3 {
        stored_everywhere(&cluster, &[2], "a", partition, 1).await;
    }
    cluster.becomes(3, "handed back", even).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_hub_joins_and_another_is_drained_and_removed() {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    cluster.start(&[1, 2, 3]).await;
    cluster.becomes(1, "settled", |status| is_settled(status, 3)).await;
    cluster.metadata(1).create_topic(&anyone(), create("a", 6, &[])).await.unwrap();
    for partition in 0..6 {
        append(cluster.metadata(2), "a", partition).await;
    }
    cluster.place(4);
    cluster.start(&[4]).await;
    let shares = |status: &metadata::ClusterStatus| {
        let load: Vec<_> = status.hubs.iter().map(|hub| hub.replicas).collect();
        is_settled(status, 3)
            && load.len() == 4
            && load.iter().max().unwrap() - load.iter().min().unwrap() <= 1
    };
    cluster.becomes(4, "the fourth hub has its share", shares).await;

    let running = cluster.metadata(1).remove(NodeId(2)).await;
    assert_eq!(running, Err(RemoveHubError::Connected(NodeId(2))));
    cluster.metadata(4).drain(NodeId(2), true).await.unwrap();
    let drained = |status: &metadata::ClusterStatus| {
        let hub = status.hubs.iter().find(|hub| hub.node == NodeId(2));
        is_settled(status, 3) && hub.is_some_and(|hub| hub.to_move == 0 && hub.leaders == 0)
    };
    cluster.becomes(1, "hub 2 is empty", drained).await;
    cluster.stop(2).await;
    let remove = async {
        // Its connection may take a moment to end.
        while cluster.metadata(1).remove(NodeId(2)).await == Err(RemoveHubError::Connected(NodeId(2))) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), remove).await.unwrap();
    assert_eq!(cluster.metadata(1).view().hub_state(NodeId(2)), None);
    cluster.becomes(3, "settled without hub 2", |status| is_settled(status, 3)).await;
    let mut holders = 0;
    for node in [1, 3, 4] {
        holders += usize::from(cluster.metadata(node).partition(&name("a"), PartitionIndex(0)).is_some());
    }
    assert_eq!(holders, 3);
    for partition in 0..6 {
        append(cluster.metadata(4), "a", partition).await;
    }

    cluster.start(&[2]).await;
    let ousted = cluster.metadata(2).ousted();
    let why = tokio::time::timeout(std::time::Duration::from_secs(20), ousted).await;
    assert_eq!(why, Ok(Ousted::Removed { node: NodeId(2) }), "it does not come back with what it was");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_hub_is_another_and_gets_everything_again() {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    cluster.start(&[1, 2, 3]).await;
    cluster.becomes(1, "settled", |status| is_settled(status, 3)).await;
    cluster.metadata(1).create_topic(&anyone(), create("a", 3, &[])).await.unwrap();
    for partition in 0..3 {
        append(cluster.metadata(2), "a", partition).await;
    }
    let numbers = |cluster: &Cluster| {
        let view = cluster.metadata(1).view();
        let of_hub_3 =
            |group| view.replicas(group).iter().find(|it| it.node == NodeId(3)).map(|it| it.number);
        (0..=u32::from(SHARDS)).map(of_hub_3).collect::<Vec<_>>()
    };
    let before = numbers(&cluster);
    cluster.stop(3).await;
    std::fs::remove_dir_all(cluster.directory(3)).unwrap();
    cluster.start(&[3]).await;
    let status = cluster.becomes(1, "settled again", |status| is_settled(status, 3)).await;
    let after = numbers(&cluster);
    assert!(before.iter().zip(&after).all(|(before, after)| after > before), "{before:?}, {after:?}");
    for partition in 0..3 {
        stored_everywhere(&cluster, &[3], "a", partition, 1).await;
    }
    assert_eq!(cluster.metadata(3).view().cluster_id, status.cluster_id);
    assert_eq!(cluster.metadata(3).view().hub_state(NodeId(3)), Some(HubState::Active));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_node_id_was_given_to_another_ends_and_says_nothing_in_its_name() {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    cluster.start(&[1, 2, 3]).await;
    cluster.becomes(1, "settled", |status| is_settled(status, 3)).await;
    let place = cluster.directory(3);
    let (former, heir) = (place.with_file_name("former"), place.with_file_name("heir"));
    cluster.stop(3).await;
    std::fs::rename(&place, &former).unwrap();
    cluster.start(&[3]).await;
    cluster.becomes(1, "settled again", |status| is_settled(status, 3)).await;
    let incarnation = |cluster: &Cluster| cluster.metadata(1).view().hub(NodeId(3)).unwrap().incarnation;
    let owner = incarnation(&cluster);
    cluster.stop(3).await;
    std::fs::rename(&place, &heir).unwrap();
    let replicas = |cluster: &Cluster| {
        let view = cluster.metadata(1).view();
        let numbers = |group| view.replicas(group).iter().map(|it| it.number).max();
        (0..=u32::from(SHARDS)).map(numbers).collect::<Vec<_>>()
    };
    let before = replicas(&cluster);

    std::fs::rename(&former, &place).unwrap();
    cluster.start(&[3]).await;
    let ousted = cluster.metadata(3).ousted();
    let why = tokio::time::timeout(std::time::Duration::from_secs(20), ousted).await;
    assert_eq!(why, Ok(Ousted::Displaced { node: NodeId(3), by: owner }));
    cluster.stop(3).await;
    assert_eq!((incarnation(&cluster), replicas(&cluster)), (owner, before));

    std::fs::remove_dir_all(&place).unwrap();
    std::fs::rename(&heir, &place).unwrap();
    cluster.start(&[3]).await;
    cluster.becomes(1, "the heir is back", |status| is_settled(status, 3)).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_hub_becomes_three_without_a_new_directory() {
    let mut cluster = Cluster::of(&[1]);
    cluster.start(&[1]).await;
    let refused = cluster.metadata(1).drain(NodeId(1), true).await;
    assert_eq!(refused, Err(DrainError::LastHub(NodeId(1))));
    cluster.metadata(1).create_topic(&anyone(), create("a", 6, &[])).await.unwrap();
    for partition in 0..6 {
        append(cluster.metadata(1), "a", partition).await;
    }
    cluster.place(2);
    cluster.place(3);
    cluster.start(&[2, 3]).await;
    cluster.becomes(2, "three replicas of everything", |status| is_settled(status, 3)).await;
    for partition in 0..6 {
        append(cluster.metadata(3), "a", partition).await;
        stored_everywhere(&cluster, &[1, 2, 3], "a", partition, 2).await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_comes_back_as_it_was() {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    cluster.start(&[1, 2, 3]).await;
    let status = cluster.becomes(1, "settled", |status| is_settled(status, 3)).await;
    cluster.metadata(2).create_topic(&anyone(), create("a", 3, &[])).await.unwrap();
    for partition in 0..3 {
        append(cluster.metadata(3), "a", partition).await;
    }
    let next = cluster.metadata(1).view().replicas(1).to_vec();
    cluster.stop_all().await;
    cluster.start(&[3, 1, 2]).await;
    let again = cluster.becomes(2, "settled again", |status| is_settled(status, 3)).await;
    assert_eq!(again.cluster_id, status.cluster_id);
    let mut replicas = cluster.metadata(1).view().replicas(1).to_vec();
    replicas.sort_by_key(|replica| replica.number);
    assert_eq!(replicas.len(), next.len());
    assert!(replicas.iter().all(|replica| next.contains(replica)), "{replicas:?}");
    for partition in 0..3 {
        append(cluster.metadata(1), "a", partition).await;
        stored_everywhere(&cluster, &[1, 2, 3], "a", partition, 2).await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_destroyed_is_replaced_by_one_with_a_new_number() {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    cluster.start(&[1, 2, 3]).await;
    cluster.becomes(1, "settled", |status| is_settled(status, 3)).await;
    cluster.metadata(1).create_topic(&anyone(), create("a", 6, &[])).await.unwrap();
    for partition in 0..6 {
        append(cluster.metadata(1), "a", partition).await;
    }
    let number = |cluster: &Cluster, group| {
        let view = cluster.metadata(1).view();
        view.replicas(group).iter().find(|it| it.node == NodeId(3)).map(|it| it.number)
    };
    for group in [0, 2] {
        let before = number(&cluster, group).unwrap();
        cluster.metadata(3).shards().destroy_replica(group, before).await.unwrap();
        let is_replaced = |status: &metadata::ClusterStatus| {
            is_settled(status, 3) && number(&cluster, group).is_some_and(|now| now > before)
        };
        cluster.becomes(1, "it has another one", is_replaced).await;
    }
    for partition in 0..6 {
        append(cluster.metadata(3), "a", partition).await;
        stored_everywhere(&cluster, &[1, 2, 3], "a", partition, 2).await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hub_has_set_aside_goes_when_the_group_is_whole_on_other_hubs() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4]);
    cluster.start(&[1, 2, 3, 4]).await;
    let status = cluster.becomes(1, "settled", |status| is_settled(status, 3)).await;
    let is_without =
        |group: &&metadata::GroupStatus, node| group.replicas.iter().all(|it| it.node != NodeId(node));
    let groups = || status.groups.iter().filter(|group| group.group > 0);
    let on_others = groups().find(|group| is_without(group, 4)).unwrap().group;
    // As if this hub's replica of the group had been given up at a start, and then replaced on another hub.
    let aside = cluster.directory(4).join("given-up");
    std::fs::create_dir_all(aside.join(on_others.to_string()).join("checkpoint")).unwrap();
    eventually("it is deleted", || !aside.exists()).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_nobody_can_agree_on_is_refused_soon_with_the_hubs_that_are_missing() {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    cluster.start(&[1, 2, 3]).await;
    cluster.becomes(1, "settled", |status| is_settled(status, 3)).await;
    cluster.stop(2).await;
    cluster.stop(3).await;
    cluster.becomes(1, "without a majority", |status| status.no_majority.is_some()).await;
    let asked = std::time::Instant::now();
    let refused = cluster.metadata(1).drain(NodeId(2), true).await;
    let took = asked.elapsed();
    assert!(took.as_secs() < 6, "{took:?}");
    let Err(DrainError::Unavailable(why @ Unavailable::NoMajority(_))) = refused else {
        panic!("{refused:?}")
    };
    let said = why.to_string();
    assert!(said.contains("2 of 3 hubs are not reachable: 2 (") && said.contains("start the hubs"), "{said}");
    cluster.start(&[2]).await;
    cluster.metadata(1).drain(NodeId(3), true).await.unwrap();
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_given_while_the_leader_changes_take_effect_once() {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    cluster.start(&[1, 2, 3]).await;
    cluster.becomes(1, "settled", |status| is_settled(status, 3)).await;
    let leader = cluster.metadata(1).shards().metadata_leader().unwrap().node.0;
    let other = if leader == 1 { 2 } else { 1 };
    let metadata = cluster.metadata(other).clone();
    let creating = tokio::spawn(async move {
        let mut ids = Vec::new();
        for number in 0..20 {
            let topic = create(&format!("t{number}"), 2, &[]);
            ids.push(metadata.create_topic(&anyone(), topic).await.unwrap().id);
        }
        ids
    });
    cluster.stop(leader).await;
    let ids = creating.await.unwrap();
    let view = cluster.metadata(other).view();
    let known: Vec<_> = ids.iter().filter_map(|id| view.topic_by_id(*id)).collect();
    assert_eq!((known.len(), view.topic_count()), (20, 20));
    cluster.stop_all().await;
}
