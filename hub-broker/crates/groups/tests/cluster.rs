//! Groups on several hubs: one coordinates, another takes over with everything that was acknowledged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../../fetch/tests/common/cluster.rs"]
mod cluster;
mod common;

use std::collections::BTreeMap;

use cluster::{Cluster, anyone, eventually, name, shard_of};
use common::{Hub, brisk, join, member, offset, outsider};
use groups::{Config, CoordinatorError, GroupState, Groups, MemberError};
use schemas::{NodeId, ShardId};

/// Groups on three hubs, all in one partition of the offsets topic.
struct World {
    cluster: Cluster,
    hubs: BTreeMap<NodeId, Hub>,
    shard: ShardId,
}

impl World {
    async fn new() -> Self {
        let cluster = Cluster::of(3).await;
        let config = Config { offsets_partitions: 1, ..brisk() };
        let start = |hub: &cluster::Hub| {
            let groups = Groups::start(hub.metadata.clone(), config.clone()).unwrap();
            (hub.node, Hub { metadata: hub.metadata.clone(), groups })
        };
        let hubs: BTreeMap<_, _> = cluster.hubs().map(start).collect();
        let offsets = name("__consumer_offsets");
        eventually("all hubs know the offsets topic", async || {
            cluster.hubs().all(|hub| hub.metadata.topic(&offsets).is_some_and(|topic| topic.is_settled()))
        })
        .await;
        let topic = cluster.hubs().next().unwrap().metadata.topic(&offsets).unwrap();
        cluster.topic("a", 2).await;
        let world = Self { shard: shard_of(&topic, 0), cluster, hubs };
        world.coordinator().await;
        world
    }

    /// The hub that coordinates, once it is ready.
    async fn coordinator(&self) -> NodeId {
        let mut ready = None;
        eventually("some hub coordinates", async || {
            for (node, hub) in &self.hubs {
                if hub.groups.committed(&anyone(), "readers", None).await.is_ok() {
                    ready = Some(*node);
                }
            }
            ready.is_some()
        })
        .await;
        ready.unwrap()
    }

    fn hub(&self, node: NodeId) -> &Hub {
        &self.hubs[&node]
    }

    async fn stop(self) {
        self.hubs.values().for_each(|hub| hub.groups.stop());
        drop(self.hubs);
        self.cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hub_coordinates_a_group_and_all_others_name_it() {
    let world = World::new().await;
    eventually("the others say that it is another", async || {
        let coordinator = world.coordinator().await;
        let mut refusals = 0;
        for hub in world.hubs.iter().filter(|(node, _)| **node != coordinator).map(|(_, hub)| hub) {
            let elsewhere = CoordinatorError::NotCoordinator;
            let groups = &hub.groups;
            let is_elsewhere = groups.coordinator(&anyone(), "readers") == Ok(coordinator)
                && groups.join(&anyone(), join("readers")).await == Err(elsewhere.clone().into())
                && groups.committed(&anyone(), "readers", None).await == Err(elsewhere.clone())
                && groups.describe(&anyone(), "readers").await == Err(elsewhere)
                && groups.list(&anyone()).await == Ok(Vec::new());
            refusals += usize::from(is_elsewhere);
        }
        // The lead may move at any time by itself.
        refusals == 2
    })
    .await;
    eventually("the one lists it", async || {
        let groups = &world.hub(world.coordinator().await).groups;
        let _ = groups.commit(&anyone(), outsider("readers"), vec![offset("a", 0, 1)]).await;
        groups.list(&anyone()).await.is_ok_and(|listed| listed.len() == 1)
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_moves_with_its_shard_and_whoever_waits_is_told_so() {
    let world = World::new().await;
    let old = world.coordinator().await;
    let joined = world.hub(old).lead("readers").await;
    world.hub(old).commit(member("readers", &joined), vec![offset("a", 0, 5), offset("a", 1, 7)]).await;
    let groups = world.hub(old).groups.clone();
    let waiting = tokio::spawn(async move { groups.join(&anyone(), join("readers")).await });
    eventually("the second waits", async || {
        let described = world.hub(old).groups.describe(&anyone(), "readers").await;
        described.is_ok_and(|described| described.state == GroupState::PreparingRebalance)
    })
    .await;

    world.cluster.move_lead(world.shard).await;
    assert_eq!(waiting.await.unwrap(), Err(CoordinatorError::NotCoordinator.into()));
    let commit = world.hub(old).groups.commit(&anyone(), outsider("readers"), vec![offset("a", 0, 1)]).await;
    assert!(matches!(commit, Err(MemberError::Coordinator(_))), "{commit:?}");

    let new = world.hub(world.coordinator().await);
    assert_eq!(new.committed("readers").await, [("a".to_owned(), 0, 5), ("a".to_owned(), 1, 7)]);
    new.groups.heartbeat(&anyone(), member("readers", &joined)).await.unwrap();
    new.commit(member("readers", &joined), vec![offset("a", 0, 6)]).await;
    assert_eq!(new.committed("readers").await, [("a".to_owned(), 0, 6), ("a".to_owned(), 1, 7)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_cut_off_tells_nothing_and_takes_nothing() {
    let world = World::new().await;
    let old = world.coordinator().await;
    world.hub(old).commit(outsider("readers"), vec![offset("a", 0, 5)]).await;
    world.cluster.cut_off(old).await;
    let alone = &world.hub(old).groups;
    let told = alone.committed(&anyone(), "readers", None).await;
    assert!(told.is_err(), "{told:?}");
    let taken = alone.commit(&anyone(), outsider("readers"), vec![offset("a", 0, 9)]).await;
    assert!(matches!(taken, Err(MemberError::Coordinator(_))), "{taken:?}");
    let new = world.hub(world.coordinator().await);
    assert_eq!(new.committed("readers").await, [("a".to_owned(), 0, 5)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_was_acknowledged_is_never_taken_back_however_often_the_group_moves() {
    let world = World::new().await;
    let mut acknowledged = 0;
    for round in 1..=4 {
        for _ in 0..10 {
            let next = acknowledged + 1;
            eventually("the next offset is taken", async || {
                let hub = world.hub(world.coordinator().await);
                let results =
                    hub.groups.commit(&anyone(), outsider("readers"), vec![offset("a", 0, next)]).await;
                results.is_ok_and(|results| results.iter().all(|result| result.result.is_ok()))
            })
            .await;
            acknowledged = next;
            for hub in world.hubs.values() {
                // Whoever answers at all answers with it.
                if let Ok(told) = hub.groups.committed(&anyone(), "readers", None).await {
                    let told: Vec<_> =
                        told.into_iter().map(|fetched| fetched.committed.unwrap().offset.0).collect();
                    assert_eq!(told, [acknowledged]);
                }
            }
        }
        world.cluster.move_lead(world.shard).await;
        println!("round {round}: moved after {acknowledged}");
    }
    world.stop().await;
}
