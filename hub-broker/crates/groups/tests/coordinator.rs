//! Groups on real shards, through crashes.

mod common;

use std::time::Duration;

use common::{Hub, anyone, brisk, eventually, join, life, member, name, offset, outsider, start};
use groups::{
    CommitPartitionError, Config, CoordinatorError, DeleteGroupError, GroupState, Leaving, MemberError, Sync,
};
use schemas::{Offset, PartitionIndex};

#[test]
fn what_is_committed_is_there_after_a_crash_and_so_is_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let joined = life(dir.path(), brisk(), |hub| async move {
        hub.topic("a").await;
        let joined = hub.lead("readers").await;
        hub.commit(member("readers", &joined), vec![offset("a", 0, 5), offset("a", 1, 7)]).await;
        hub.commit(member("readers", &joined), vec![offset("a", 0, 6)]).await;
        joined
    });
    life(dir.path(), brisk(), |hub| async move {
        assert_eq!(hub.committed("readers").await, [("a".to_owned(), 0, 6), ("a".to_owned(), 1, 7)]);
        let again = member("readers", &joined);
        hub.groups.heartbeat(&anyone(), again.clone()).await.unwrap();
        let sync =
            Sync { member: again.clone(), protocol_type: None, protocol_name: None, assignments: Vec::new() };
        assert_eq!(hub.groups.sync(&anyone(), sync).await.unwrap().assignment, "all");
        hub.commit(again, vec![offset("a", 0, 8)]).await;
        let described = hub.groups.describe(&anyone(), "readers").await.unwrap();
        assert_eq!((described.state, described.members.len()), (GroupState::Stable, 1));
        assert_eq!(described.members[0].metadata, "topics");
    });
}

#[test]
fn members_share_a_group_and_it_rebalances_when_one_leaves() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), brisk(), |hub| async move {
        let first = hub.lead("readers").await;
        let groups = hub.groups.clone();
        let second = tokio::spawn(async move { groups.join(&anyone(), join("readers")).await });
        let first_again = groups::Join { member_id: first.member_id.clone(), ..join("readers") };
        eventually("the second has asked to join", async || {
            hub.groups.heartbeat(&anyone(), member("readers", &first)).await
                == Err(MemberError::RebalanceInProgress)
        })
        .await;
        let first = hub.groups.join(&anyone(), first_again).await.unwrap();
        let second = second.await.unwrap().unwrap();
        assert_eq!((first.members.len(), first.generation), (2, second.generation));
        let parts = [(&first, "one"), (&second, "two")];
        let assignments: Vec<_> =
            parts.iter().map(|(joined, part)| (joined.member_id.clone(), (*part).into())).collect();
        let sync = |joined, assignments| {
            let member = member("readers", joined);
            let request = Sync { member, protocol_type: None, protocol_name: None, assignments };
            let groups = hub.groups.clone();
            async move { groups.sync(&anyone(), request).await.unwrap().assignment }
        };
        let (one, two) = tokio::join!(sync(&first, assignments), sync(&second, Vec::new()));
        assert_eq!((&one[..], &two[..]), (&b"one"[..], &b"two"[..]));
        let leaving = Leaving { member_id: second.member_id.clone(), group_instance_id: None };
        let left = hub.groups.leave(&anyone(), "readers", vec![leaving]).await.unwrap();
        assert_eq!(left, [Ok(())]);
        let told = hub.groups.heartbeat(&anyone(), member("readers", &first)).await;
        assert_eq!(told, Err(MemberError::RebalanceInProgress));
    });
}

#[test]
fn nothing_is_answered_before_it_has_been_read() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // In one thread nothing has been read before somebody waits.
        let Hub { metadata: _metadata, groups } = start(dir.path(), brisk()).await;
        let loading = CoordinatorError::LoadInProgress;
        assert_eq!(groups.committed(&anyone(), "readers", None).await, Err(loading.clone()));
        assert_eq!(groups.join(&anyone(), join("readers")).await, Err(loading.clone().into()));
        let commit = groups.commit(&anyone(), outsider("readers"), Vec::new()).await;
        assert_eq!(commit, Err(loading.clone().into()));
        assert_eq!(groups.list(&anyone()).await, Err(loading));
        eventually("it is read", async || groups.list(&anyone()).await == Ok(Vec::new())).await;
    });
}

#[test]
fn one_who_is_in_no_group_commits_and_the_group_is_known_by_that() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), brisk(), |hub| async move {
        hub.topic("a").await;
        hub.commit(outsider("alone"), vec![offset("a", 1, 9)]).await;
    });
    life(dir.path(), brisk(), |hub| async move {
        let asked = vec![(name("a"), PartitionIndex(0)), (name("a"), PartitionIndex(1))];
        let fetched = hub.groups.committed(&anyone(), "alone", Some(asked)).await.unwrap();
        assert_eq!(fetched[0].committed, None);
        let committed = fetched[1].committed.as_ref().unwrap();
        assert_eq!((committed.offset, committed.leader_epoch), (Offset(9), 3));
        assert_eq!(committed.metadata, "here");
        let listed = hub.groups.list(&anyone()).await.unwrap();
        assert_eq!((listed[0].group_id.as_str(), listed[0].state), ("alone", GroupState::Empty));
        assert_eq!(listed[0].protocol_type, "");
    });
}

#[test]
fn each_partition_of_a_commit_is_judged_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), brisk(), |hub| async move {
        hub.topic("a").await;
        let long = groups::OffsetToCommit { metadata: "x".repeat(4_097), ..offset("a", 1, 1) };
        let offsets = vec![offset("a", 0, 1), offset("a", 2, 1), offset("nowhere", 0, 1), long];
        let results = hub.groups.commit(&anyone(), outsider("g"), offsets).await.unwrap();
        let results: Vec<_> = results.into_iter().map(|result| result.result).collect();
        let unknown = Err(CommitPartitionError::UnknownPartition);
        let too_large = Err(CommitPartitionError::MetadataTooLarge { max: 4_096 });
        assert_eq!(results, [Ok(()), unknown, unknown, too_large]);
        assert_eq!(hub.committed("g").await, [("a".to_owned(), 0, 1)]);
    });
}

#[test]
fn a_commit_of_thousands_of_partitions_is_stored_whole() {
    let dir = tempfile::tempdir().unwrap();
    let expected: Vec<_> = (0..1_024).map(|partition| ("wide".to_owned(), partition, 3)).collect();
    life(dir.path(), brisk(), |hub| async move {
        let request =
            metadata::CreateTopic { partitions: Some(1_024), ..metadata::CreateTopic::new(name("wide")) };
        hub.metadata.create_topic(&anyone(), request).await.unwrap();
        let heavy = |partition| groups::OffsetToCommit {
            metadata: "m".repeat(1_000),
            ..offset("wide", partition, 3)
        };
        hub.commit(outsider("g"), (0..1_024).map(heavy).collect()).await;
    });
    life(dir.path(), brisk(), |hub| async move { assert_eq!(hub.committed("g").await, expected) });
}

#[test]
fn a_deleted_group_is_gone_for_good() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), brisk(), |hub| async move {
        hub.topic("a").await;
        let joined = hub.lead("readers").await;
        hub.commit(member("readers", &joined), vec![offset("a", 0, 5)]).await;
        let refused = hub.groups.delete(&anyone(), "readers").await;
        assert_eq!(refused, Err(DeleteGroupError::NotEmpty));
        let leaving = Leaving { member_id: joined.member_id, group_instance_id: None };
        hub.groups.leave(&anyone(), "readers", vec![leaving]).await.unwrap();
        hub.groups.delete(&anyone(), "readers").await.unwrap();
        eventually("the group is gone", async || {
            hub.groups.delete(&anyone(), "readers").await == Err(DeleteGroupError::UnknownGroup)
        })
        .await;
        assert_eq!(hub.groups.describe(&anyone(), "readers").await.unwrap().state, GroupState::Dead);
        assert_eq!(hub.committed("readers").await, []);
    });
    life(dir.path(), brisk(), |hub| async move {
        assert_eq!(hub.groups.list(&anyone()).await, Ok(Vec::new()));
    });
}

#[test]
fn offsets_expire_when_nobody_has_used_them_for_long_enough() {
    let dir = tempfile::tempdir().unwrap();
    let quick = Config {
        offsets_retention: Duration::from_millis(300),
        expiry_interval: Duration::from_millis(50),
        ..brisk()
    };
    life(dir.path(), quick, |hub| async move {
        hub.topic("a").await;
        hub.commit(outsider("alone"), vec![offset("a", 0, 5)]).await;
        let joined = hub.lead("busy").await;
        hub.commit(member("busy", &joined), vec![offset("a", 0, 5)]).await;
        // While a group ends, whoever asks may be told to ask again.
        eventually("the unused offset has expired", async || {
            hub.groups.committed(&anyone(), "alone", None).await == Ok(Vec::new())
        })
        .await;
        assert_eq!(hub.committed("busy").await.len(), 1, "a group with members keeps what it has");
    });
    life(dir.path(), brisk(), |hub| async move {
        let groups = hub.groups.list(&anyone()).await.unwrap();
        assert_eq!(groups.iter().map(|group| group.group_id.as_str()).collect::<Vec<_>>(), ["busy"]);
    });
}

#[test]
fn an_offset_does_not_outlive_its_topic_into_another_of_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), brisk(), |hub| async move {
        hub.topic("a").await;
        hub.topic("b").await;
        hub.commit(outsider("alone"), vec![offset("a", 0, 5), offset("b", 0, 6)]).await;
        hub.metadata.delete_topic(&anyone(), &name("a")).await.unwrap();
        hub.topic("a").await;
        assert_eq!(hub.committed("alone").await, [("b".to_owned(), 0, 6)]);
        hub.commit(outsider("alone"), vec![offset("a", 1, 1)]).await;
        assert_eq!(hub.committed("alone").await, [("a".to_owned(), 1, 1), ("b".to_owned(), 0, 6)]);
    });
}

#[test]
fn an_offset_goes_with_its_topic_at_once_even_if_that_is_the_first_change() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), brisk(), |hub| async move {
        hub.topic("a").await;
        hub.commit(outsider("alone"), vec![offset("a", 0, 5)]).await;
    });
    life(dir.path(), brisk(), |hub| async move {
        assert_eq!(hub.committed("alone").await, [("a".to_owned(), 0, 5)]);
        hub.metadata.delete_topic(&anyone(), &name("a")).await.unwrap();
        eventually("the group, which has nothing left, is gone", async || {
            hub.groups.list(&anyone()).await == Ok(Vec::new())
        })
        .await;
    });
}

#[test]
fn an_offset_whose_topic_was_replaced_unseen_does_not_come_back_for_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), brisk(), |hub| async move {
        hub.topic("a").await;
        hub.topic("b").await;
        hub.commit(outsider("alone"), vec![offset("a", 0, 5), offset("b", 0, 6)]).await;
        // From here on nothing is swept.
        hub.groups.stop();
        hub.metadata.delete_topic(&anyone(), &name("a")).await.unwrap();
        hub.topic("a").await;
    });
    life(dir.path(), brisk(), |hub| async move {
        assert_eq!(hub.committed("alone").await, [("b".to_owned(), 0, 6)]);
    });
}

#[test]
fn what_is_not_known_is_said_as_kafka_says_it() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), Config { groups_max: 1, ..brisk() }, |hub| async move {
        let groups = &hub.groups;
        let stranger = groups::Join { member_id: "m".to_owned(), ..join("g") };
        assert_eq!(groups.join(&anyone(), stranger).await, Err(MemberError::UnknownMember));
        let member = groups::Membership { generation: 1, member_id: "m".to_owned(), ..outsider("g") };
        assert_eq!(groups.heartbeat(&anyone(), member.clone()).await, Err(MemberError::UnknownMember));
        let commit = groups.commit(&anyone(), member, Vec::new()).await;
        assert_eq!(commit, Err(MemberError::IllegalGeneration));
        let invalid = CoordinatorError::InvalidGroupId { max: 255 };
        assert_eq!(groups.join(&anyone(), join("")).await, Err(invalid.clone().into()));
        assert_eq!(groups.coordinator(&anyone(), &"g".repeat(256)), Err(invalid));
        hub.lead("first").await;
        let second = groups.join(&anyone(), join("second")).await;
        assert_eq!(second, Err(CoordinatorError::TooManyGroups.into()));
    });
}

#[test]
fn whoever_waits_when_the_hub_stops_is_told_to_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Config { initial_rebalance_delay: Duration::from_secs(600), ..brisk() };
    life(dir.path(), slow, |hub| async move {
        let groups = hub.groups.clone();
        let waiting = tokio::spawn(async move { groups.join(&anyone(), join("readers")).await });
        eventually("it waits", async || {
            hub.groups.list(&anyone()).await.unwrap().iter().any(|group| group.state != GroupState::Empty)
        })
        .await;
        hub.groups.stop();
        assert_eq!(waiting.await.unwrap(), Err(CoordinatorError::NotAvailable.into()));
    });
}
