//! Several hubs: what is acknowledged by one is on all, whoever leads, goes and comes back.

mod behind;
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod hubs;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::*;
use consensus::ReplicaId;
use hubs::*;
use schemas::{NodeId, Offset, Term};
use shards::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_alone_becomes_three_and_all_have_what_was_there() {
    let mut cluster = Cluster::found().await;
    let mut producer = Producer::new(5);
    open(cluster.shards(1), 0).await;
    for _ in 0..50 {
        append_surely(cluster.shards(1), 0, producer.batch(2, 2_000)).await;
    }
    cluster.join(2).await;
    cluster.join(3).await;
    for node in [1, 2, 3, 2, 1] {
        append_surely(cluster.shards(node), 0, producer.batch(1, 100)).await;
    }
    let before = cluster.agreed(0, 55).await;
    assert_eq!(before.last().map(|(base, _)| *base), Some(104));
    let view = cluster.shards(2).replicas(1);
    assert_eq!(view.voters, [NodeId(1), NodeId(2), NodeId(3)]);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_hub_leads_is_carried_out_there() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader_of(2).await;
    let other = cluster.other_than_leader(2).await;
    let shards = cluster.shards(other);
    open(shards, 2).await;

    let local = shards.append_future(shard(2), append(2, batch(None, 1, 10))).await;
    assert_eq!(local, Err(AppendError::NotLeader { leader: Some(NodeId(leader)) }));
    let stored = append_from(shards, 2, batch(None, 3, 10)).await.expect("stored at the leader");
    assert_eq!((stored.base_offset, stored.last_offset), (Offset(0), Offset(2)));

    let unknown = append_from(shards, 6, batch(None, 1, 10)).await;
    assert_eq!(unknown, Err(AppendError::UnknownPartition));
    let gap = append_from(shards, 2, batch(Some((9, 8)), 1, 5)).await;
    assert!(matches!(gap, Err(AppendError::Sequence(_))), "{gap:?}");

    let mut producer = Producer::new(4);
    for _ in 0..30 {
        append_surely(shards, 2, producer.batch(1, 10_000)).await;
    }
    let keep = Retention { ms: None, bytes: Some(100_000) };
    let moved = shards.enforce_retention(shard(2), partition(2), keep).await.expect("carried out");
    assert!(moved.is_some_and(|start| start > Offset(0)), "{moved:?}");
    assert_eq!(shards.enforce_retention(shard(2), partition(2), keep).await, Ok(None));

    for (at, node) in [1, 2, 3].into_iter().enumerate() {
        let count = cluster.shards(node).propose_metadata(Bytes::from_static(b"note")).await;
        assert_eq!(count, Ok(Bytes::from((at + 1).to_string())));
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_handed_in_together_keep_their_order_wherever_they_are_stored() {
    let cluster = Cluster::of_three().await;
    for n in 0..4 {
        open(cluster.shards(1), n).await;
    }
    let mut producers: Vec<_> = (0..4).map(Producer::new).collect();
    let mut answers = Vec::new();
    let shards = cluster.shards(3);
    for _ in 0..50 {
        let mut requests = Vec::new();
        for (n, producer) in (0..).zip(&mut producers) {
            for _ in 0..4 {
                let (tell, told) = tokio::sync::oneshot::channel();
                let done: AppendDone = Box::new(move |result| drop(tell.send(result)));
                requests.push((shard(n), append(n, producer.batch(1, 300)), done));
                answers.push(told);
            }
        }
        shards.append_anywhere_all(requests);
    }
    for answer in answers {
        answer.await.expect("answered").expect("in order");
    }
    for n in 0..4 {
        let stored = cluster.agreed(n, 200).await;
        assert!(stored.iter().map(|(base, _)| *base).eq(0..200));
    }
    assert_eq!(shards.stats().queued_bytes, 0);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_and_nothing_is_missing() {
    let mut cluster = Cluster::of_three().await;
    open(cluster.shards(1), 1).await;
    let mut producer = Producer::new(5);
    for _ in 0..20 {
        append_surely(cluster.shards(2), 1, producer.batch(1, 100)).await;
    }
    let leader = cluster.leader_of(1).await;
    let other = cluster.other_than_leader(1).await;
    cluster.stop(leader).await;
    for _ in 0..20 {
        append_surely(cluster.shards(other), 1, producer.batch(1, 100)).await;
    }
    cluster.agreed(1, 40).await;
    assert_ne!(cluster.leader_of(1).await, leader);
    cluster.start(leader).await;
    let stored = cluster.agreed(1, 40).await;
    assert!(stored.iter().map(|(base, _)| *base).eq(0..40));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_is_followed_by_another_that_has_everything_acknowledged() {
    let mut cluster = Cluster::of_three().await;
    open(cluster.shards(1), 3).await;
    let mut producer = Producer::new(5);
    for round in 1..=3 {
        for _ in 0..10 {
            let node = *cluster.nodes().last().expect("a hub");
            append_surely(cluster.shards(node), 3, producer.batch(1, 100)).await;
        }
        let leader = cluster.leader_of(3).await;
        let died = Instant::now();
        cluster.kill(leader).await;
        let next = cluster.other_than_leader(3).await;
        append_surely(cluster.shards(next), 3, producer.batch(1, 100)).await;
        println!("served again {:?} after a leader died", died.elapsed());
        cluster.start(leader).await;
        let stored = cluster.agreed(3, round * 11).await;
        assert!(stored.iter().map(|(base, _)| *base).eq(0..i64::try_from(round).expect("small") * 11));
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_who_waits_is_answered_when_the_leader_dies_and_nothing_acknowledged_is_missing() {
    let mut cluster = Cluster::of_three().await;
    open(cluster.shards(1), 1).await;
    // An agent's stream: its batches are known however long ago they were stored.
    let mut producer = Producer::new((1 << 62) + 5);
    let batches: Vec<_> = (0..400).map(|_| agent_append(1, "pump-7", producer.batch(1, 20_000))).collect();
    let leader = cluster.leader_of(1).await;
    let other = cluster.other_than_leader(1).await;
    let shards = cluster.shards(other);
    let answers: Vec<_> = batches.iter().map(|append| hand_in(shards, 1, append.clone())).collect();
    cluster.kill(leader).await;
    let mut acknowledged = 0;
    for (at, answer) in (0..).zip(answers) {
        match answer.await.expect("answered") {
            Ok(stored) => {
                assert_eq!(stored.base_offset, Offset(at));
                acknowledged += 1;
            }
            Err(AppendError::NotLeader { .. } | AppendError::Sequence(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    println!("{acknowledged} of {} acknowledged", batches.len());
    // Whoever is in doubt hands everything in again: what is stored stays where it is, once.
    for append in batches {
        surely(cluster.shards(other), 1, append).await;
    }
    let stored = cluster.agreed(1, 400).await;
    assert!(stored.iter().map(|(base, _)| *base).eq(0..400));
    assert_eq!(cluster.shards(other).stats().queued_bytes, 0);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_for_another_term_is_refused_and_not_stored() {
    let mut cluster = Cluster::of_three().await;
    open(cluster.shards(1), 0).await;
    let leader = cluster.leader_of(0).await;
    let term = cluster.shards(leader).is_serving(shard(0)).expect("it serves");
    let in_term = |term| Append { expected_term: Some(term), ..append(0, batch(None, 1, 10)) };
    let shards = cluster.shards(leader);
    shards.append_future(shard(0), in_term(term)).await.expect("stored in its term");
    for other in [Term(term.0 - 1), Term(term.0 + 1)] {
        let refused = shards.append_future(shard(0), in_term(other)).await;
        assert!(matches!(refused, Err(AppendError::NotLeader { .. })), "{refused:?}");
    }
    cluster.stop(leader).await;
    let next = cluster.leader_of(0).await;
    let refused = cluster.shards(next).append_future(shard(0), in_term(term)).await;
    assert!(matches!(refused, Err(AppendError::NotLeader { .. })), "{refused:?}");
    cluster.agreed(0, 1).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_leader_that_a_majority_follows_says_that_it_leads() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader_of(0).await;
    let term = cluster.shards(leader).is_serving(shard(0));
    assert_eq!(cluster.shards(leader).read_index(shard(0)).await.ok(), term);
    let other = cluster.other_than_leader(0).await;
    let refused = cluster.shards(other).read_index(shard(0)).await;
    assert!(matches!(refused, Err(ReadIndexError::NotLeader { .. })), "{refused:?}");
    for node in cluster.nodes() {
        if node != leader {
            cluster.kill(node).await;
        }
    }
    let alone = cluster.shards(leader).read_index(shard(0)).await;
    assert!(alone.is_err(), "{alone:?}");
    eventually("it serves no more", || async { cluster.shards(leader).is_serving(shard(0)).is_none() }).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_where_it_is_asked_to() {
    let cluster = Cluster::of_three().await;
    open(cluster.shards(1), 0).await;
    let leader = cluster.leader_of(0).await;
    let status = cluster.shards(leader).status().await;
    let group = &status[1];
    assert_eq!((group.group, group.leader), (1, group.own));
    let to = *group.membership.voters.iter().find(|id| id.node() != leader).expect("another voter");
    cluster.shards(leader).transfer_leadership(1, to).await.expect("asked");
    eventually("the other leads", || async { cluster.shards(to.node()).is_serving(shard(0)).is_some() })
        .await;
    eventually("everyone knows", || async {
        cluster.nodes().iter().all(|node| {
            let leader = cluster.shards(*node).leader(shard(0));
            leader.is_some_and(|leader| leader.node == NodeId(to.node()) && leader.serving)
        })
    })
    .await;
    let nobody = cluster.shards(to.node()).transfer_leadership(1, ReplicaId::new(9, 99)).await;
    assert_eq!(nobody, Err(ChangeError::NoVoter));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_was_away_for_long_is_caught_up_from_a_copy() {
    let mut cluster = Cluster::of_three().await;
    open(cluster.shards(1), 0).await;
    let away = cluster.other_than_leader(0).await;
    cluster.stop(away).await;
    let here = cluster.leader_of(0).await;
    let mut producer = Producer::new(5);
    for _ in 0..60 {
        // More than a leader keeps in memory for one that is away.
        append_surely(cluster.shards(here), 0, producer.batch(4, 25_000)).await;
    }
    cluster.start(away).await;
    let stored = cluster.agreed(0, 60).await;
    assert_eq!(stored.last().map(|(base, _)| *base), Some(236));
    append_surely(cluster.shards(away), 0, producer.batch(1, 10)).await;
    cluster.agreed(0, 61).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_an_append_is_refused_in_the_end_and_the_hub_can_be_stopped() {
    let mut cluster = Cluster::of_three().await;
    open(cluster.shards(1), 0).await;
    let left = cluster.leader_of(0).await;
    for node in cluster.nodes() {
        if node != left {
            cluster.kill(node).await;
        }
    }
    let began = Instant::now();
    let refused = append_from(cluster.shards(left), 0, batch(None, 1, 10)).await;
    assert!(matches!(refused, Err(AppendError::NotLeader { .. })), "{refused:?}");
    let command = PartitionCommand::Roll { partition: partition(0) };
    let refused = cluster.shards(left).command(shard(0), command).await;
    assert!(matches!(refused, Err(CommandError::NotLeader { .. })), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(30));
    cluster.stop(left).await;
}
