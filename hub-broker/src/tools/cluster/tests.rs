//! What `cluster status` says of a cluster.

use metadata::{GroupStatus, HubStatus, LevelsStatus, ReplicaStatus};

use super::*;

fn replica(node: u32, in_sync: bool) -> ReplicaStatus {
    ReplicaStatus {
        node: NodeId(node),
        number: node,
        role: "voter".to_owned(),
        state: "joined".to_owned(),
        in_sync,
        lag_entries: Some(if in_sync { 0 } else { 12 }),
        copy: None,
        damaged: false,
    }
}

pub fn status(replicas: Vec<ReplicaStatus>) -> ClusterStatus {
    ClusterStatus {
        cluster_id: "c".to_owned(),
        answered_by: NodeId(1),
        data_shards: 1,
        hubs: Vec::new(),
        groups: vec![GroupStatus { group: 1, leader: Some(NodeId(1)), term: 4, replicas }],
        under_replicated: Vec::new(),
        leaderless: Vec::new(),
        no_majority: None,
        feature_level: 1,
        feature_level_attainable: Some(1),
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
fn data_shards_and_the_metadata_are_counted_apart() {
    let mut status = status(vec![replica(1, true), replica(2, true)]);
    let metadata = GroupStatus { group: 0, leader: Some(NodeId(2)), ..status.groups[0].clone() };
    status.groups.insert(0, metadata);
    let row = |node| {
        let hub = HubStatus { node: NodeId(node), state: "active".to_owned(), leaders: 1, ..draining() };
        status::hub_row(&status, &hub)[4..7].to_vec()
    };
    assert_eq!(row(1), ["1", "1", "replica"], "what it holds, leads, and has of the metadata");
    assert_eq!(row(2), ["1", "0", "leads"]);
    assert_eq!(row(3), ["0", "0", "-"]);
}

#[test]
fn a_drain_says_what_becomes_of_the_replicas_where_few_hubs_remain() {
    let hub = |node, state: &str| HubStatus { node: NodeId(node), state: state.to_owned(), ..draining() };
    let of = |hubs: &[HubStatus], node| {
        let status = ClusterStatus { hubs: hubs.to_vec(), ..status(Vec::new()) };
        drain::consequence(&status, NodeId(node))
    };
    let four = [1, 2, 3, 4].map(|node| hub(node, "active"));
    assert_eq!(of(&four, 4), None);
    let said = of(&four[..3], 3).unwrap();
    assert!(said.contains("2 hubs left, 1 and 2") && said.contains("2 replicas instead of 3"), "{said}");
    let said = of(&[hub(1, "active"), hub(2, "draining"), hub(3, "active")], 3).unwrap();
    assert!(said.contains("only hub 1 remains") && said.contains("1 replica instead of 3"), "{said}");
    assert_eq!(of(&four[..1], 1), None, "the order is refused: nobody could take over");
}

#[test]
fn the_level_is_told_with_what_can_be_done_and_with_who_is_in_the_way() {
    let hub = |node, most: Option<u16>| HubStatus {
        node: NodeId(node),
        feature_levels: most.map(|most| LevelsStatus { least: 0, most }),
        ..draining()
    };
    let said = |attainable, hubs: &[HubStatus]| {
        let status = status(Vec::new());
        let of = ClusterStatus { feature_level_attainable: attainable, hubs: hubs.to_vec(), ..status };
        level::summary(&of)
    };
    assert_eq!(said(Some(1), &[hub(1, Some(1)), hub(2, Some(1))]), "feature level 1");
    let possible = "feature level 1; all hubs support 2: hub-broker cluster upgrade";
    assert_eq!(said(Some(2), &[hub(1, Some(3)), hub(2, Some(2))]), possible);
    let held =
        "feature level 1; what the hubs' releases support: hub 1: 0 to 2, hub 2: 0 to 1, hub 3: not known";
    assert_eq!(said(None, &[hub(1, Some(2)), hub(2, Some(1)), hub(3, None)]), held);
    assert_eq!(said(None, &[hub(1, Some(1)), hub(2, None)]), "feature level 1", "nothing could be gained");
    assert_eq!(level::told(1, 2), "feature level 1 -> 2");
    assert_eq!(level::told(2, 2), "feature level 2, as before: no hub supports a higher one");
}

#[test]
fn a_hub_of_a_release_without_levels_is_not_asked_to_raise_them() {
    let hub = |levels| HubStatus { node: NodeId(1), feature_levels: levels, ..draining() };
    let of = |hub| ClusterStatus { hubs: vec![hub], ..status(Vec::new()) };
    assert!(!level::knows_levels(&of(hub(None))));
    assert!(level::knows_levels(&of(hub(Some(LevelsStatus { least: 0, most: 1 })))));
}

#[test]
fn whoever_names_a_hub_that_there_is_not_is_told_which_there_are() {
    let hub = |node| HubStatus { node: NodeId(node), ..draining() };
    let status = ClusterStatus { hubs: vec![hub(1), hub(5)], ..status(Vec::new()) };
    assert!(check_known(&status, NodeId(5)).is_ok());
    let said = check_known(&status, NodeId(9)).unwrap_err().message().to_owned();
    assert_eq!(said, "the cluster has no hub 9; it has 1, 5");
}

pub fn draining() -> HubStatus {
    HubStatus {
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
        clock: None,
        feature_levels: None,
    }
}

#[test]
fn a_drain_that_does_not_move_says_which_hubs_are_not_connected() {
    let hub = HubStatus { to_move: 3, leaders: 1, ..draining() };
    let away = |node| HubStatus { node: NodeId(node), connected: false, ..draining() };
    let of = |others: &[HubStatus]| ClusterStatus { hubs: others.to_vec(), ..status(Vec::new()) };
    let mut progress = drain::Progress::default();
    let mut look =
        |others: &[HubStatus], hub: &HubStatus, at| progress.look(&of(others), hub, Duration::from_secs(at));
    let left = "hub 2: 3 replicas to move, 1 shards to hand over";
    assert_eq!(look(&[], &hub, 1).as_deref(), Some(left));
    assert_eq!(look(&[away(3)], &hub, 30), None, "it may go on");
    let stuck = |why| Some(format!("{left}, as for the last 30s; {why}"));
    assert_eq!(look(&[hub.clone(), away(3)], &hub, 31), stuck("hub 3 is not connected"));
    assert_eq!(look(&[away(3)], &hub, 60), None, "it is said already");
    assert_eq!(look(&[away(3), away(4)], &hub, 61), stuck("hubs 3, 4 are not connected"));
    let connected = stuck("every hub is connected: cluster status shows what waits");
    assert_eq!(look(std::slice::from_ref(&hub), &hub, 91), connected);
    let moved = HubStatus { to_move: 2, ..hub.clone() };
    assert!(look(&[away(3)], &moved, 92).is_some_and(|news| news.ends_with("1 shards to hand over")));
    assert_eq!(look(&[away(3)], &moved, 121), None);
}

#[test]
fn a_hub_is_drained_when_it_has_nothing_left_but_its_copy_of_the_metadata() {
    let hub = draining();
    assert!(is_drained(&hub));
    assert!(!is_drained(&HubStatus { to_move: 3, ..hub.clone() }));
    assert!(!is_drained(&HubStatus { leaders: 1, ..hub.clone() }));
    assert!(!is_drained(&HubStatus { state: "active".to_owned(), ..hub }), "the order has not arrived");
}
