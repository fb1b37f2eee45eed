//! What `cluster status` says of a cluster.

use metadata::{GroupStatus, HubStatus, ReplicaStatus};

use super::*;

fn replica(node: u32, in_sync: bool) -> ReplicaStatus {
    ReplicaStatus {
        node: NodeId(node),
        number: node,
        role: "voter".to_owned(),
        state: "joined".to_owned(),
        in_sync,
        lag_entries: Some(if in_sync { 0 } else { 12 }),
    }
}

fn status(replicas: Vec<ReplicaStatus>) -> ClusterStatus {
    ClusterStatus {
        cluster_id: "c".to_owned(),
        answered_by: NodeId(1),
        data_shards: 1,
        hubs: Vec::new(),
        groups: vec![GroupStatus { group: 1, leader: Some(NodeId(1)), term: 4, replicas }],
        under_replicated: Vec::new(),
        leaderless: Vec::new(),
    }
}

#[test]
fn a_cluster_is_settled_when_all_replicas_have_everything() {
    assert!(status::is_settled(&status(vec![replica(1, true), replica(2, true)])));
    assert!(!status::is_settled(&status(vec![replica(1, true), replica(2, false)])));
    let joining = ReplicaStatus { state: "joining".to_owned(), ..replica(2, true) };
    assert!(!status::is_settled(&status(vec![replica(1, true), joining])));
    let few = ClusterStatus { under_replicated: vec![1], ..status(vec![replica(1, true)]) };
    assert!(!status::is_settled(&few));
}

#[test]
fn a_shard_that_is_not_well_says_what_it_lacks() {
    let status =
        ClusterStatus { under_replicated: vec![1], ..status(vec![replica(1, true), replica(2, false)]) };
    let row = status::group_row(&status, &status.groups[0]);
    assert_eq!(row, ["0", "1", "4", "1 2", "too few replicas; hub 2 not in sync, 12 entries behind"]);
}

#[test]
fn a_hub_is_drained_when_it_has_nothing_left_but_its_copy_of_the_metadata() {
    let hub = HubStatus {
        node: NodeId(2),
        state: "draining".to_owned(),
        connected: true,
        rack: None,
        address: None,
        leaders: 0,
        replicas: 1,
        to_move: 0,
        lag_bytes: 0,
        lag_entries: 0,
    };
    assert!(is_drained(&hub));
    assert!(!is_drained(&HubStatus { to_move: 3, ..hub.clone() }));
    assert!(!is_drained(&HubStatus { leaders: 1, ..hub.clone() }));
    assert!(!is_drained(&HubStatus { state: "active".to_owned(), ..hub }), "the order has not arrived");
}
