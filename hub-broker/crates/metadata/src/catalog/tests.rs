use proptest::prelude::*;
use schemas::{NodeId, PartitionIndex, TopicId, TopicName};
use shards::Levels;
use uuid::Uuid;

use super::*;
use crate::command::{Command, Settings};
use crate::limits::{PARTITIONS_PER_TOPIC_MAX, PRODUCER_IDS_END};
use crate::response::{Outcome, Refusal, Response};
use crate::topic::{Hub, Listener};

fn name(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

fn id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn formed() -> Catalog {
    let mut catalog = Catalog::default();
    catalog.apply(form(1)).unwrap();
    catalog
}

fn form(cluster: u128) -> Command {
    Command::FormCluster { cluster_id: Uuid::from_u128(cluster), data_shards: 8, feature_level: 0 }
}

fn create(text: &str, number: u128, partitions: i32) -> Command {
    Command::CreateTopic { name: name(text), id: id(number), partitions, settings: Settings::new() }
}

fn settings(entries: &[(&str, &str)]) -> Settings {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn load(catalog: &Catalog) -> Vec<usize> {
    let mut load = vec![0; 8];
    for topic in catalog.view().topics() {
        for (_, shard) in topic.placed() {
            load[usize::from(shard.0)] += 1;
        }
    }
    load
}

#[test]
fn a_cluster_is_formed_once() {
    let mut catalog = formed();
    let before = catalog.clone();
    catalog.apply(form(2)).unwrap();
    assert_eq!(catalog, before);
    assert_eq!(catalog.view().cluster_id, Uuid::from_u128(1).to_string());
}

#[test]
fn nothing_is_created_before_the_cluster_is_formed() {
    let mut catalog = Catalog::default();
    assert_eq!(catalog.apply(create("a", 1, 1)), Err(Refusal::NotFormed));
    assert_eq!(catalog.apply(Command::AllocateProducerIds { count: 5 }), Err(Refusal::NotFormed));
}

#[test]
fn a_topics_partitions_lie_on_different_shards_and_all_shards_fill_evenly() {
    let mut catalog = formed();
    for (number, partitions) in [(1, 3), (2, 3), (3, 7), (4, 1), (5, 16), (6, 5)] {
        catalog.apply(create(&format!("t{number}"), number, partitions)).unwrap();
        let load = load(&catalog);
        assert!(load.iter().max().unwrap() - load.iter().min().unwrap() <= 1, "{load:?}");
    }
}

#[test]
fn a_topic_is_settled_when_the_shards_know_its_present_configuration() {
    let mut catalog = formed();
    catalog.apply(create("a", 1, 2)).unwrap();
    let settle = |catalog: &mut Catalog| {
        let version = catalog.view().topic_by_id(id(1)).unwrap().changed_at;
        catalog.apply(Command::TopicSettled { id: id(1), version }).unwrap();
    };
    let is_settled = |catalog: &Catalog| catalog.view().topic_by_id(id(1)).unwrap().is_settled();
    assert!(!is_settled(&catalog));
    let opened_at = catalog.view().topic_by_id(id(1)).unwrap().changed_at;
    settle(&mut catalog);
    assert!(is_settled(&catalog));
    let changed = settings(&[("segment.bytes", "2097152")]);
    catalog.apply(Command::ConfigureTopic { id: id(1), settings: changed }).unwrap();
    assert!(!is_settled(&catalog));
    // Word of the first opening that comes late does not count for the change.
    catalog.apply(Command::TopicSettled { id: id(1), version: opened_at }).unwrap();
    assert!(!is_settled(&catalog));
    settle(&mut catalog);
    assert!(is_settled(&catalog));
}

#[test]
fn a_deleted_topic_frees_its_name_at_once_and_its_partitions_when_they_are_closed() {
    let mut catalog = formed();
    catalog.apply(create("a", 1, 2)).unwrap();
    assert_eq!(catalog.apply(create("a", 2, 2)), Err(Refusal::TopicExists));
    catalog.apply(Command::DeleteTopic { id: id(1) }).unwrap();
    assert_eq!(catalog.apply(Command::DeleteTopic { id: id(1) }), Err(Refusal::UnknownTopic));
    assert_eq!(catalog.apply(create("b", 1, 2)), Err(Refusal::TopicExists), "an id is never used again");
    catalog.apply(create("a", 2, 2)).unwrap();
    let view = catalog.view();
    assert_eq!(view.topic(&name("a")).unwrap().id, id(2));
    assert_eq!(view.closing.iter().map(|topic| topic.id).collect::<Vec<_>>(), [id(1)]);
    catalog.apply(Command::TopicClosed { id: id(1) }).unwrap();
    assert!(catalog.view().closing.is_empty());
    let before = catalog.clone();
    catalog.apply(Command::TopicClosed { id: id(1) }).unwrap();
    assert_eq!(catalog, before);
}

#[test]
fn agents_and_compaction_do_not_go_together() {
    let mut catalog = formed();
    let compact = settings(&[("cleanup.policy", "compact")]);
    catalog.apply(create("a", 1, 1)).unwrap();
    catalog.apply(Command::AdmitAgents { id: id(1) }).unwrap();
    let refused = catalog.apply(Command::ConfigureTopic { id: id(1), settings: compact.clone() });
    assert_eq!(refused, Err(Refusal::AgentsAndCompaction));
    let (name, id) = (name("b"), id(2));
    catalog.apply(Command::CreateTopic { name, id, partitions: 1, settings: compact }).unwrap();
    assert_eq!(catalog.apply(Command::AdmitAgents { id }), Err(Refusal::AgentsAndCompaction));
}

#[test]
fn producer_ids_are_never_handed_out_twice_and_end_before_the_streams() {
    let mut catalog = formed();
    let take = |catalog: &mut Catalog, count| catalog.apply(Command::AllocateProducerIds { count });
    assert_eq!(take(&mut catalog, 1_000), Ok(Outcome::ProducerIds { first: 1, count: 1_000 }));
    assert_eq!(take(&mut catalog, 5), Ok(Outcome::ProducerIds { first: 1_001, count: 5 }));
    let rest = PRODUCER_IDS_END - 1_006;
    assert_eq!(take(&mut catalog, rest + 1), Err(Refusal::NoProducerIds));
    assert_eq!(take(&mut catalog, rest), Ok(Outcome::ProducerIds { first: 1_006, count: rest }));
    assert_eq!(take(&mut catalog, 1), Err(Refusal::NoProducerIds));
    assert_eq!(take(&mut catalog, i64::MAX), Err(Refusal::NoProducerIds));
}

#[test]
fn partition_counts_have_bounds() {
    let mut catalog = formed();
    for count in [0, -1, PARTITIONS_PER_TOPIC_MAX + 1, i32::MAX] {
        assert_eq!(catalog.apply(create("a", 1, count)), Err(Refusal::PartitionCount));
    }
    for number in 0..48 {
        catalog.apply(create(&format!("t{number}"), number, PARTITIONS_PER_TOPIC_MAX)).unwrap();
    }
    assert_eq!(catalog.apply(create("x", 99, PARTITIONS_PER_TOPIC_MAX)), Err(Refusal::TooManyPartitions));
}

#[test]
fn the_feature_level_never_falls() {
    let mut catalog = formed();
    catalog.apply(Command::RaiseFeatureLevel { level: 3 }).unwrap();
    catalog.apply(Command::RaiseFeatureLevel { level: 2 }).unwrap();
    assert_eq!(catalog.view().feature_level, 3);
}

fn supporting(node: u32, least: u16, most: u16) -> Hub {
    Hub { levels: Some(Levels { least, most }), ..Hub::new(NodeId(node), Uuid::from_u128(u128::from(node))) }
}

#[test]
fn a_cluster_begins_at_its_founders_level_and_takes_nobody_in_who_does_not_support_it() {
    let mut catalog = Catalog::default();
    catalog
        .apply(Command::FormCluster { cluster_id: Uuid::from_u128(1), data_shards: 8, feature_level: 2 })
        .unwrap();
    catalog.apply(Command::RegisterHub(supporting(1, 0, 2))).unwrap();
    let before = catalog.clone();
    for unfit in [supporting(2, 0, 1), supporting(2, 3, 4), Hub::new(NodeId(2), Uuid::from_u128(2))] {
        assert_eq!(catalog.apply(Command::RegisterHub(unfit.clone())), Err(Refusal::HubTooOld));
        let claim = Command::ClaimNode { hub: unfit, held_by: None };
        assert_eq!(catalog.apply(claim), Err(Refusal::HubTooOld));
    }
    assert_eq!(catalog, before);
    catalog.apply(Command::RegisterHub(supporting(2, 1, 3))).unwrap();
}

#[test]
fn the_level_is_not_raised_beyond_what_a_registered_hub_supports() {
    let mut catalog = formed();
    catalog.apply(Command::RegisterHub(supporting(1, 0, 2))).unwrap();
    catalog.apply(Command::RegisterHub(supporting(2, 0, 3))).unwrap();
    assert_eq!(
        catalog.view().hub(NodeId(1)).unwrap().levels,
        None,
        "every hub reads what is stored at level 0"
    );
    catalog.apply(Command::RaiseFeatureLevel { level: 1 }).unwrap();
    let unsaid = catalog.apply(Command::RaiseFeatureLevel { level: 2 });
    assert_eq!(unsaid, Err(Refusal::HubTooOld), "now there is room to say it, and nobody has");
    for hub in [supporting(1, 0, 2), supporting(2, 0, 3)] {
        catalog.apply(Command::RegisterHub(hub)).unwrap();
    }
    catalog.apply(Command::RaiseFeatureLevel { level: 2 }).unwrap();
    assert_eq!(catalog.apply(Command::RaiseFeatureLevel { level: 3 }), Err(Refusal::HubTooOld));
    assert_eq!(catalog.view().feature_level, 2);
}

#[test]
fn a_command_that_changes_nothing_does_not_raise_the_version() {
    let mut catalog = formed();
    let listener = Listener { name: "kafka".to_owned(), host: "127.0.0.1".to_owned(), port: 9092 };
    let hub = Hub { listeners: vec![listener], ..Hub::new(NodeId(1), Uuid::from_u128(5)) };
    catalog.apply(Command::RegisterHub(hub.clone())).unwrap();
    let version = catalog.version();
    catalog.apply(Command::RegisterHub(hub)).unwrap();
    assert_eq!(catalog.version(), version);
}

fn claim(incarnation: u128, held_by: Option<u128>) -> Command {
    let hub = Hub::new(NodeId(7), Uuid::from_u128(incarnation));
    Command::ClaimNode { hub, held_by: held_by.map(Uuid::from_u128) }
}

fn holder(catalog: &Catalog) -> Option<u128> {
    catalog.view().hub(NodeId(7)).map(|hub| hub.incarnation.as_u128())
}

#[test]
fn of_two_hubs_that_claim_a_node_id_at_the_same_time_the_first_has_it() {
    let mut catalog = formed();
    let first = catalog.apply(claim(1, None));
    assert!(matches!(first, Ok(Outcome::Registered { .. })));
    assert_eq!(
        catalog.apply(claim(2, None)),
        Err(Refusal::NodeTaken),
        "both were judged while nobody had it"
    );
    assert_eq!(catalog.apply(claim(1, None)), first, "the answer to the first was lost");
    assert!(catalog.apply(claim(2, Some(1))).is_ok(), "the first is gone, and the second comes in its place");
    assert_eq!(catalog.apply(claim(3, Some(1))), Err(Refusal::NodeTaken));
    assert_eq!(
        catalog.apply(claim(1, Some(1))),
        Err(Refusal::NodeTaken),
        "its former self does not come back"
    );
    assert_eq!(holder(&catalog), Some(2));
}

#[test]
fn a_hub_without_which_a_group_has_no_majority_keeps_its_place_until_others_have_joined() {
    let mut catalog = formed();
    catalog.apply(claim(1, None)).unwrap();
    catalog.apply(Command::AdoptFounder { node: NodeId(7), incarnation: Uuid::from_u128(1) }).unwrap();
    let groups = 0..u32::try_from(catalog.groups.len()).unwrap();
    for other in [8, 9] {
        catalog
            .apply(Command::RegisterHub(Hub::new(NodeId(other), Uuid::from_u128(u128::from(other)))))
            .unwrap();
        for group in groups.clone() {
            catalog.apply(Command::AddReplica { group, node: NodeId(other) }).unwrap();
        }
    }
    // The metadata has all its replicas already, and so have all shards but one, which has two.
    for group in groups.clone() {
        let has_all = group + 1 < groups.end;
        for at in [1, 2].into_iter().take(if has_all { 2 } else { 1 }) {
            let number = catalog.groups[group as usize][at].number;
            catalog.apply(Command::ReplicaJoined { group, number }).unwrap();
        }
    }
    let before = catalog.clone();
    assert_eq!(catalog.apply(claim(2, Some(1))), Err(Refusal::LastReplica));
    assert_eq!(catalog, before);
    assert!(catalog.apply(claim(1, Some(1))).is_ok(), "the one that has it comes back");
    let group = groups.end - 1;
    let number = catalog.groups[group as usize][2].number;
    catalog.apply(Command::ReplicaJoined { group, number }).unwrap();
    assert!(catalog.apply(claim(2, Some(1))).is_ok());
    assert!(catalog.groups.iter().all(|records| records.iter().all(|record| record.node != NodeId(7))));
}

#[test]
fn a_hub_that_is_joining_may_vote_already_and_keeps_its_place_until_it_is_let_go() {
    let mut catalog = formed();
    let founder = Hub::new(NodeId(8), Uuid::from_u128(8));
    catalog.apply(Command::RegisterHub(founder)).unwrap();
    catalog.apply(Command::AdoptFounder { node: NodeId(8), incarnation: Uuid::from_u128(8) }).unwrap();
    catalog.apply(claim(1, None)).unwrap();
    catalog.apply(Command::AddReplica { group: 1, node: NodeId(7) }).unwrap();
    assert_eq!(catalog.apply(claim(2, Some(1))), Err(Refusal::LastReplica));
    // The group has found out that it does not vote, or that was so and is undone.
    let number = catalog.groups[1][1].number;
    catalog.apply(Command::LeaveReplica { group: 1, number }).unwrap();
    assert_eq!(catalog.apply(claim(2, Some(1))), Err(Refusal::LastReplica));
    catalog.apply(Command::RemoveReplica { group: 1, number }).unwrap();
    assert!(catalog.apply(claim(2, Some(1))).is_ok());
}

#[test]
fn a_replica_that_leaves_is_no_other_that_a_group_could_go_on_with() {
    let mut catalog = formed();
    catalog.apply(claim(1, None)).unwrap();
    catalog.apply(Command::AdoptFounder { node: NodeId(7), incarnation: Uuid::from_u128(1) }).unwrap();
    for other in [8, 9] {
        let hub = Hub::new(NodeId(other), Uuid::from_u128(u128::from(other)));
        catalog.apply(Command::RegisterHub(hub)).unwrap();
        catalog.apply(Command::AddReplica { group: 1, node: NodeId(other) }).unwrap();
        let number = catalog.groups[1].last().unwrap().number;
        catalog.apply(Command::ReplicaJoined { group: 1, number }).unwrap();
    }
    // Of the other groups this hub has the only replica.
    for group in (0..catalog.groups.len()).filter(|group| *group != 1) {
        catalog.groups_mut()[group].clear();
    }
    let number = catalog.groups[1][2].number;
    let mut leaving = catalog.clone();
    leaving.apply(Command::LeaveReplica { group: 1, number }).unwrap();
    assert_eq!(leaving.apply(claim(2, Some(1))), Err(Refusal::LastReplica));
    assert!(catalog.apply(claim(2, Some(1))).is_ok());
}

#[test]
fn a_hub_that_was_removed_is_not_registered_by_saying_where_it_is() {
    let mut catalog = formed();
    assert_eq!(catalog.apply(claim(1, Some(1))), Err(Refusal::UnknownHub));
    assert_eq!(holder(&catalog), None);
}

fn any_command() -> impl Strategy<Value = Command> {
    let topic = || 0..6_u128;
    prop_oneof![
        (0..3_u128).prop_map(form),
        (topic(), 0..6_u8, -1..20_i32).prop_map(|(number, text, partitions)| create(
            &format!("t{text}"),
            number,
            partitions
        )),
        (topic(), prop_oneof![Just("compact"), Just("delete"), Just("sideways")]).prop_map(
            |(number, policy)| Command::ConfigureTopic {
                id: id(number),
                settings: settings(&[("cleanup.policy", policy)])
            }
        ),
        topic().prop_map(|number| Command::AdmitAgents { id: id(number) }),
        topic().prop_map(|number| Command::DeleteTopic { id: id(number) }),
        topic().prop_map(|number| Command::TopicClosed { id: id(number) }),
        (topic(), 0..40_u64).prop_map(|(number, version)| Command::TopicSettled { id: id(number), version }),
        any::<i64>().prop_map(|count| Command::AllocateProducerIds { count }),
        prop_oneof![0..4_u16, any::<u16>()].prop_map(|level| Command::RaiseFeatureLevel { level }),
        (1..4_u32, 0..2_u16, 0..4_u16)
            .prop_map(|(node, least, most)| Command::RegisterHub(supporting(node, least, most))),
        (1..4_u128, proptest::option::of(1..4_u128))
            .prop_map(|(incarnation, held_by)| claim(incarnation, held_by)),
    ]
}

proptest! {
    #[test]
    fn a_snapshot_in_between_changes_nothing(
        before in proptest::collection::vec(any_command(), 0..30),
        after in proptest::collection::vec(any_command(), 0..30),
    ) {
        let mut straight = Catalog::default();
        for command in before {
            let _ = straight.apply(command);
        }
        let mut restored = Catalog::decode(&straight.encode()).unwrap();
        prop_assert_eq!(&restored, &straight);
        let answers: Vec<Response> = after.iter().cloned().map(|command| straight.apply(command)).collect();
        let again: Vec<Response> = after.into_iter().map(|command| restored.apply(command)).collect();
        prop_assert_eq!(answers, again);
        prop_assert_eq!(restored, straight);
    }

    #[test]
    fn a_node_id_changes_hands_only_for_a_claim_that_knew_who_had_it(
        claims in proptest::collection::vec((1..5_u128, proptest::option::of(1..5_u128)), 0..40),
    ) {
        let mut catalog = formed();
        for (incarnation, held_by) in claims {
            let before = holder(&catalog);
            let answer = catalog.apply(claim(incarnation, held_by));
            let is_right = before == Some(incarnation) || before == held_by;
            prop_assert_eq!(answer.is_ok(), is_right);
            prop_assert_eq!(holder(&catalog), if is_right { Some(incarnation) } else { before });
        }
    }

    #[test]
    fn names_ids_and_views_agree(commands in proptest::collection::vec(any_command(), 0..60)) {
        let mut catalog = Catalog::default();
        for command in commands {
            let before = catalog.version();
            let answer = catalog.apply(command);
            prop_assert!(catalog.version() >= before);
            prop_assert!(answer.is_ok() || catalog.version() == before, "a refusal changes nothing");
        }
        let view = catalog.view();
        for topic in view.topics() {
            prop_assert_eq!(view.topic_by_id(topic.id), Some(topic));
            prop_assert!(topic.placement(PartitionIndex(0)).is_some());
            prop_assert!(!view.closing.iter().any(|closing| closing.id == topic.id));
        }
        prop_assert_eq!(view.by_id.len(), view.topic_count());
    }

    #[test]
    fn a_cut_snapshot_is_refused(commands in proptest::collection::vec(any_command(), 1..20)) {
        let mut catalog = Catalog::default();
        for command in commands {
            let _ = catalog.apply(command);
        }
        let bytes = catalog.encode();
        for end in 0..bytes.len() {
            prop_assert!(Catalog::decode(&bytes[..end]).is_err());
        }
    }
}
