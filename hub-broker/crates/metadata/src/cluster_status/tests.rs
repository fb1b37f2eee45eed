use uuid::Uuid;

use super::*;
use crate::catalog::Catalog;
use crate::command::Command;
use crate::report::{GroupReport, MemberReport};

fn node(number: u32) -> NodeId {
    NodeId(number)
}

/// Two hubs and one data shard; hub 2 has joined the metadata and is joining the shard.
fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let incarnation = Uuid::from_u128(1);
    for command in [
        Command::FormCluster { cluster_id: Uuid::from_u128(9), data_shards: 1, feature_level: 0 },
        Command::RegisterHub(Hub::new(node(1), incarnation)),
        Command::AdoptFounder { node: node(1), incarnation },
        Command::RegisterHub(Hub { rack: Some("b".to_owned()), ..Hub::new(node(2), Uuid::from_u128(2)) }),
        Command::AddReplica { group: 0, node: node(2) },
        Command::ReplicaJoined { group: 0, number: 2 },
        Command::AddReplica { group: 1, node: node(2) },
    ] {
        catalog.apply(command).unwrap();
    }
    catalog
}

fn view() -> View {
    catalog().view()
}

fn member(on: u32, number: u32, is_learner: bool, matched: u64) -> MemberReport {
    MemberReport { node: node(on), number, is_learner, in_sync: matched == 100, matched }
}

fn report(group: u32, number: u32, bytes: u64, members: Option<Vec<MemberReport>>) -> GroupReport {
    let (is_damaged, copy) = (Some(bytes == 300), None);
    GroupReport {
        group,
        number,
        term: 3,
        commit: 100,
        stored_bytes: bytes,
        members,
        is_damaged,
        is_read_through: true,
        copy,
    }
}

const COPY: CopyProgress = CopyProgress { received_bytes: 70, total_bytes: 700, bytes_per_s: 35 };

fn reports() -> Reports {
    let of_metadata = vec![member(1, 1, false, 100), member(2, 2, false, 100)];
    let of_shard = vec![member(1, 1, false, 100), member(2, 3, true, 40)];
    Reports::from([
        (node(1), vec![report(0, 1, 0, None), report(1, 1, 1_000, Some(of_shard))]),
        (
            node(2),
            vec![
                report(0, 2, 0, Some(of_metadata)),
                GroupReport { copy: Some(COPY), ..report(1, 3, 300, None) },
            ],
        ),
    ])
}

/// Hub 2 has a clock that it does not believe; hub 1 does not say.
fn clocks() -> Clocks {
    let clock = ClockState { wall_ms: 90, known_ms: Some(7), held: Some(ClockHeld::Outvoted) };
    Clocks::from([(node(2), clock)])
}

#[test]
fn the_whole_cluster_is_put_together_from_what_each_hub_says() {
    let status = ClusterStatus::of(&view(), node(1), &BTreeSet::from([node(2)]), &reports(), &clocks());
    assert_eq!((status.answered_by, status.data_shards), (node(1), 1));
    assert_eq!(status.leaderless, [0_u32; 0]);
    assert_eq!(status.under_replicated, [1]);
    let leaders: Vec<_> = status.groups.iter().map(|group| group.leader).collect();
    assert_eq!(leaders, [Some(node(2)), Some(node(1))]);
    let [one, two] = &status.hubs[..] else { panic!("{status:?}") };
    assert!(one.connected && two.connected);
    assert_eq!((one.leaders, one.replicas, one.lag_bytes, one.lag_entries), (1, 2, 0, 0));
    assert_eq!((two.leaders, two.replicas, two.lag_bytes, two.lag_entries), (1, 2, 700, 60));
    let held = ClockStatus { wall_ms: 90, known_ms: Some(7), held: Some("outvoted".to_owned()) };
    assert_eq!((&one.clock, &two.clock), (&None, &Some(held)));
    let joining = &status.groups[1].replicas[1];
    assert_eq!(
        (joining.role.as_str(), joining.state.as_str(), joining.in_sync),
        ("learner", "joining", false)
    );
    assert_eq!(joining.copy, Some(CopyStatus { received_bytes: 70, total_bytes: 700, bytes_per_s: 35 }));
    let replicas = status.groups.iter().flat_map(|group| &group.replicas);
    assert!(replicas.map(|it| it.damaged).eq([false, false, false, true]), "as its own hub says");
}

#[test]
fn a_group_that_is_still_to_get_a_replica_has_too_few() {
    let mut catalog = catalog();
    catalog.apply(Command::RegisterHub(Hub::new(node(3), Uuid::from_u128(3)))).unwrap();
    catalog.apply(Command::ReplicaJoined { group: 1, number: 3 }).unwrap();
    let whole = vec![member(1, 1, false, 100), member(2, 3, false, 100)];
    let mut reports = reports();
    reports.get_mut(&node(1)).unwrap()[1].members = Some(whole);
    let status = ClusterStatus::of(&catalog.view(), node(1), &BTreeSet::new(), &reports, &clocks());
    assert_eq!(status.under_replicated, [0, 1], "a third hub is there, for the metadata and the shard");
}

#[test]
fn a_hub_that_says_nothing_leaves_its_groups_without_a_leader() {
    let mut reports = reports();
    reports.remove(&node(2));
    let status = ClusterStatus::of(&view(), node(1), &BTreeSet::new(), &reports, &clocks());
    assert_eq!(status.leaderless, [0]);
    assert_eq!(status.under_replicated, [0, 1]);
    assert!(!status.hubs[1].connected);
    assert_eq!(status.groups[0].replicas[0].role, "absent");
}

#[test]
fn of_two_that_think_they_lead_the_newer_term_counts() {
    let mut reports = reports();
    let stale = GroupReport { term: 2, ..report(0, 1, 0, Some(Vec::new())) };
    reports.get_mut(&node(1)).unwrap()[0] = stale;
    let status = ClusterStatus::of(&view(), node(1), &BTreeSet::new(), &reports, &clocks());
    assert_eq!((status.groups[0].leader, status.groups[0].term), (Some(node(2)), 3));
}

#[test]
fn a_status_is_the_same_after_a_journey_as_json() {
    let status = ClusterStatus::of(&view(), node(1), &BTreeSet::new(), &reports(), &clocks());
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<ClusterStatus>(&json).unwrap(), status);
}

#[test]
fn the_level_is_told_with_what_each_hub_supports() {
    let mut status = ClusterStatus::of(&view(), node(1), &BTreeSet::new(), &reports(), &clocks());
    let supported = Supported::from([(node(1), Some(Levels { least: 0, most: 2 })), (node(2), None)]);
    status.tell_levels(&supported);
    assert_eq!((status.feature_level, status.feature_level_attainable), (0, None));
    let told: Vec<_> = status.hubs.iter().map(|hub| hub.feature_levels).collect();
    assert_eq!(told, [Some(LevelsStatus { least: 0, most: 2 }), None]);
    status.tell_levels(&Supported::from([(node(1), Some(Levels::OWN)), (node(2), Some(Levels::OWN))]));
    assert_eq!(status.feature_level_attainable, Some(Levels::OWN.most));
}
