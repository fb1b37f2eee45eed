//! Who may connect, and which connection counts.

use super::*;
use crate::{
    judge::{Existing, Me},
    wire::{Reason, Versions},
};

fn me(node: u32) -> Me {
    let hello = hello(node);
    Me {
        node: hello.node,
        incarnation: hello.incarnation,
        session: 1,
        shard_count: 64,
        address: hello.address,
    }
}

fn verdict(hello: &Hello) -> Result<(), Reason> {
    me(1).judge(Some(Uuid::from_u128(9)), hello).map_err(|refusal| refusal.reason)
}

#[test]
fn hubs_of_the_same_cluster_or_of_none_may_talk() {
    assert_eq!(verdict(&hello(2)), Ok(()));
    assert_eq!(verdict(&Hello { cluster: Some(Uuid::from_u128(9)), ..hello(2) }), Ok(()));
}

#[test]
fn a_hub_of_another_cluster_is_told_both_clusters() {
    let other = Hello { cluster: Some(Uuid::from_u128(8)), ..hello(2) };
    let refusal = me(1).judge(Some(Uuid::from_u128(9)), &other).expect_err("another cluster");
    assert_eq!(refusal.reason, Reason::OtherCluster);
    for cluster in [8, 9] {
        assert!(refusal.text.contains(&Uuid::from_u128(cluster).to_string()), "{}", refusal.text);
    }
}

#[test]
fn a_hub_with_this_node_id_is_refused_and_the_hub_itself_is_known() {
    assert_eq!(verdict(&hello(1)), Err(Reason::SameNode));
    assert_eq!(verdict(&Hello { session: 1, ..hello(1) }), Err(Reason::Itself));
    assert_eq!(
        verdict(&Hello { session: 2, ..hello(1) }),
        Err(Reason::SameNode),
        "a copy of the data directory"
    );
}

#[test]
fn a_hub_with_another_number_of_shards_is_refused() {
    assert_eq!(verdict(&Hello { shard_count: 32, ..hello(2) }), Err(Reason::ShardCount));
}

#[test]
fn a_hub_without_a_common_version_is_refused() {
    let refusal = me(1).judge_versions(Versions { lowest: 7, highest: 9 }, NodeId(2));
    assert_eq!(refusal.expect_err("no common version").reason, Reason::Version);
    assert!(me(1).judge_versions(Versions { lowest: 1, highest: 9 }, NodeId(2)).is_ok());
}

fn against(existing: &Hello, dialled_by: u32, new: &Hello, dialler: u32) -> Result<(), Reason> {
    let existing = Existing { hello: existing, dialler: NodeId(dialled_by) };
    me(1).judge_existing(Some(&existing), new, NodeId(dialler)).map_err(|refusal| refusal.reason)
}

#[test]
fn of_two_connections_that_of_the_lower_dialler_counts() {
    assert_eq!(against(&hello(2), 2, &hello(2), 1), Ok(()));
    assert_eq!(against(&hello(2), 1, &hello(2), 2), Err(Reason::Duplicate));
    assert_eq!(against(&hello(2), 1, &hello(2), 1), Err(Reason::Duplicate), "the first of two");
}

#[test]
fn a_restarted_hub_takes_the_place_of_its_former_connection() {
    let restarted = Hello { session: 5, ..hello(2) };
    assert_eq!(against(&hello(2), 1, &restarted, 2), Ok(()));
}

#[test]
fn another_incarnation_of_a_connected_hub_is_refused() {
    let wiped = Hello { session: 5, incarnation: Uuid::from_u128(77), ..hello(2) };
    assert_eq!(against(&hello(2), 1, &wiped, 2), Err(Reason::OtherIncarnation));
}
