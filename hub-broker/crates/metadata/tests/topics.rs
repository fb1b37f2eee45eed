//! Topics on real shards, through crashes.

mod common;

use std::collections::{BTreeMap, HashSet};

use common::{agree_and_crash, append, batch, brisk, create, eventually, life, name};
use metadata::{
    AdmitAgentsError, Command, Config, ConfigureTopicError, CreateTopic, CreateTopicError, DeleteTopicError,
    EnsureTopicError, Hub, Listener, Principal,
};
use schemas::{NodeId, Offset, PartitionIndex, TopicId};
use uuid::Uuid;

fn anyone() -> Principal {
    Principal::anonymous()
}

#[test]
fn a_created_topic_takes_records_and_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (cluster, topic) = life(dir.path(), Config::default(), |metadata| async move {
        let topic = metadata.create_topic(&anyone(), create("a", 10, &[])).await.unwrap();
        assert!(topic.is_settled());
        for partition in 0..10 {
            assert_eq!(append(&metadata, "a", partition, batch("k", b"v")).await.base_offset, Offset(0));
        }
        (metadata.view().cluster_id.clone(), topic)
    });
    life(dir.path(), Config::default(), |metadata| async move {
        assert_eq!(metadata.view().cluster_id, cluster);
        assert_eq!(metadata.topic(&topic.name), Some(topic));
        for partition in 0..10 {
            let (_, reader) = metadata.partition(&name("a"), PartitionIndex(partition)).unwrap();
            assert_eq!(reader.high_watermark(), Offset(1));
        }
        assert!(metadata.partition(&name("a"), PartitionIndex(10)).is_none());
        assert!(metadata.partition(&name("a"), PartitionIndex(-1)).is_none());
    });
}

#[test]
fn a_name_that_is_used_again_is_another_topic() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), Config::default(), |metadata| async move {
        let first = metadata.create_topic(&anyone(), create("a", 2, &[])).await.unwrap();
        append(&metadata, "a", 0, batch("k", b"v")).await;
        metadata.delete_topic(&anyone(), &name("a")).await.unwrap();
        assert_eq!(metadata.topic(&name("a")), None);
        let second = metadata.create_topic(&anyone(), create("a", 2, &[])).await.unwrap();
        assert_ne!(first.id, second.id);
        let (_, reader) = metadata.partition(&name("a"), PartitionIndex(0)).unwrap();
        assert_eq!(reader.high_watermark(), Offset(0));
        let old = first.partition_id(PartitionIndex(0));
        eventually("the old partitions are closed", || metadata.shards().partition(old).is_none()).await;
    });
}

#[test]
fn a_crash_in_the_middle_of_a_create_or_a_delete_is_made_good_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let id = TopicId(Uuid::from_u128(9));
    let settings = BTreeMap::new();
    let old = life(dir.path(), Config::default(), |metadata| async move {
        metadata.create_topic(&anyone(), create("old", 3, &[])).await.unwrap()
    });
    let create = Command::CreateTopic { name: name("new"), id, partitions: 5, settings };
    agree_and_crash(dir.path(), vec![create, Command::DeleteTopic { id: old.id }]);
    life(dir.path(), Config::default(), |metadata| async move {
        let topic = metadata.ensure_topic(&anyone(), &name("new")).await.unwrap();
        assert_eq!((topic.id, topic.partitions.len()), (id, 5));
        append(&metadata, "new", 4, batch("k", b"v")).await;
        let is_open = |(partition, _)| metadata.shards().partition(partition).is_some();
        eventually("the deleted topic's partitions are closed", || !old.placed().any(is_open)).await;
        assert_eq!(metadata.topic(&name("old")), None);
    });
}

#[test]
fn many_who_name_a_topic_at_once_get_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), Config::default(), |metadata| async move {
        let asked = (0..20).map(|_| {
            let metadata = metadata.clone();
            tokio::spawn(async move { metadata.ensure_topic(&anyone(), &name("a")).await.unwrap().id })
        });
        let mut ids = HashSet::new();
        for asked in asked.collect::<Vec<_>>() {
            ids.insert(asked.await.unwrap());
        }
        assert_eq!(ids.len(), 1);
        assert_eq!(metadata.topic(&name("a")).unwrap().partition_count(), 4);
    });
}

#[test]
fn topics_are_created_by_name_only_where_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), Config { auto_create: false, ..Config::default() }, |metadata| async move {
        let refused = metadata.ensure_topic(&anyone(), &name("a")).await;
        assert_eq!(refused, Err(EnsureTopicError::Unknown(name("a"))));
        metadata.create_topic(&anyone(), create("a", 1, &[])).await.unwrap();
        assert_eq!(metadata.ensure_topic(&anyone(), &name("a")).await.unwrap().partition_count(), 1);
    });
}

#[test]
fn internal_topics_are_the_hubs_own() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), Config::default(), |metadata| async move {
        let own = name("__own");
        let refused = metadata.create_topic(&anyone(), CreateTopic::new(own.clone())).await;
        assert_eq!(refused, Err(CreateTopicError::Internal(own.clone())));
        let refused = metadata.ensure_topic(&anyone(), &own).await;
        assert_eq!(refused, Err(CreateTopicError::Internal(own.clone()).into()));
        metadata.create_topic(&Principal::internal(), CreateTopic::new(own.clone())).await.unwrap();
        let refused = metadata.delete_topic(&anyone(), &own).await;
        assert_eq!(refused, Err(DeleteTopicError::Internal(own.clone())));
        let refused = metadata.configure_topic(&anyone(), &own, &BTreeMap::new()).await;
        assert_eq!(refused, Err(ConfigureTopicError::Internal(own)));
    });
}

#[test]
fn what_is_wrong_with_a_create_is_said_and_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), Config::default(), |metadata| async move {
        for given in [0, -1, 1_025] {
            let refused = metadata.create_topic(&anyone(), create("a", given, &[])).await;
            assert_eq!(refused, Err(CreateTopicError::InvalidPartitions { given, max: 1_024 }));
        }
        for given in [0, -2, 2, 3] {
            let request = CreateTopic { replication_factor: given, ..create("a", 1, &[]) };
            let refused = metadata.create_topic(&anyone(), request).await;
            assert_eq!(refused, Err(CreateTopicError::InvalidReplicationFactor { given, hubs: 1 }));
        }
        for (key, value) in [("min.insync.replicas", "2"), ("retention.ms", "x"), ("nonsense", "1")] {
            let refused = metadata.create_topic(&anyone(), create("a", 1, &[(key, value)])).await;
            let Err(CreateTopicError::InvalidConfig(error)) = refused else { panic!("{refused:?}") };
            assert_eq!(error.key, key);
        }
        let checked = CreateTopic { validate_only: true, ..create("a", 3, &[("retention.ms", "5")]) };
        let planned = metadata.create_topic(&anyone(), checked).await.unwrap();
        assert_eq!((planned.partition_count(), planned.config.retention_ms), (3, Some(5)));
        assert_eq!(metadata.view().topic_count(), 0);
        let request = CreateTopic { replication_factor: 1, ..create("a", 1, &[]) };
        metadata.create_topic(&anyone(), request).await.unwrap();
        let twice = metadata.create_topic(&anyone(), create("a", 1, &[])).await;
        assert_eq!(twice, Err(CreateTopicError::Exists(name("a"))));
    });
}

#[test]
fn a_topic_that_agents_feed_cannot_be_compacted_nor_a_compacted_one_be_fed() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), Config::default(), |metadata| async move {
        let fed = metadata.admit_agents(&anyone(), &name("telemetry")).await.unwrap();
        assert!(fed.agent_fed);
        assert_eq!(metadata.admit_agents(&anyone(), &name("telemetry")).await.unwrap(), fed);
        let compact = BTreeMap::from([("cleanup.policy".to_owned(), Some("compact".to_owned()))]);
        let refused = metadata.configure_topic(&anyone(), &name("telemetry"), &compact).await;
        let Err(ConfigureTopicError::InvalidConfig(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.key, "cleanup.policy");
        metadata.create_topic(&anyone(), create("table", 1, &[("cleanup.policy", "compact")])).await.unwrap();
        let refused = metadata.admit_agents(&anyone(), &name("table")).await;
        assert_eq!(refused, Err(AdmitAgentsError::Compacted(name("table"))));
    });
}

#[test]
fn a_changed_configuration_is_known_to_the_shards_and_survives() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), Config::default(), |metadata| async move {
        metadata.create_topic(&anyone(), create("a", 1, &[("retention.ms", "5000")])).await.unwrap();
        let changes = BTreeMap::from([
            ("segment.bytes".to_owned(), Some("1048576".to_owned())),
            ("retention.ms".to_owned(), None),
        ]);
        let changed = metadata.configure_topic(&anyone(), &name("a"), &changes).await.unwrap();
        assert!(changed.is_settled());
    });
    life(dir.path(), Config::default(), |metadata| async move {
        let config = &metadata.topic(&name("a")).unwrap().config;
        assert_eq!((config.segment_bytes, config.retention_ms), (1_048_576, Some(604_800_000)));
    });
}

#[test]
fn producer_ids_are_never_given_twice_not_even_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let ids = life(dir.path(), Config::default(), |metadata| async move {
            let taken = (0..8).map(|_| {
                let metadata = metadata.clone();
                tokio::spawn(async move {
                    let mut ids = Vec::new();
                    for _ in 0..300 {
                        ids.push(metadata.next_producer_id().await.unwrap());
                    }
                    ids
                })
            });
            let mut ids = Vec::new();
            for taken in taken.collect::<Vec<_>>() {
                ids.extend(taken.await.unwrap());
            }
            ids
        });
        for id in ids {
            assert!(!schemas::is_stream_id(id));
            assert!(seen.insert(id), "{id} was given twice");
        }
    }
}

#[test]
fn a_hub_says_once_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), Config::default(), |metadata| async move {
        let listener = Listener { name: "kafka".to_owned(), host: "127.0.0.1".to_owned(), port: 9092 };
        let this = metadata.view().hub(NodeId(1)).unwrap().clone();
        let hub = Hub { listeners: vec![listener], ..this };
        metadata.register_hub(hub.clone()).await.unwrap();
        let version = metadata.view().version;
        metadata.register_hub(hub.clone()).await.unwrap();
        assert_eq!(metadata.view().version, version);
        assert_eq!(metadata.view().hub(NodeId(1)), Some(&hub));
        assert_eq!(metadata.view().controller(), NodeId(1));
        let long = Hub { rack: Some("r".repeat(300)), ..hub };
        assert!(metadata.register_hub(long).await.is_err());
    });
}

#[test]
fn records_go_by_size() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), brisk(), |metadata| async move {
        let config = [("segment.bytes", "1048576"), ("retention.bytes", "1048576"), ("retention.ms", "-1")];
        metadata.create_topic(&anyone(), create("a", 1, &config)).await.unwrap();
        for _ in 0..40 {
            append(&metadata, "a", 0, batch("k", &[7; 100_000])).await;
        }
        let (_, reader) = metadata.partition(&name("a"), PartitionIndex(0)).unwrap();
        eventually("the oldest segments are gone", || reader.log_start() > Offset(15)).await;
        assert!(reader.size_bytes() >= 1_048_576, "no more goes than has to");
        assert_eq!(reader.high_watermark(), Offset(40));
    });
}

#[test]
fn records_go_by_the_time_of_their_append_and_not_by_their_own() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), brisk(), |metadata| async move {
        // The batches' own time is years ago: by it they would go at once.
        metadata.create_topic(&anyone(), create("long", 1, &[("retention.ms", "600000")])).await.unwrap();
        metadata.create_topic(&anyone(), create("short", 1, &[("retention.ms", "300")])).await.unwrap();
        for topic in ["long", "short"] {
            append(&metadata, topic, 0, batch("k", b"v")).await;
        }
        let (_, short) = metadata.partition(&name("short"), PartitionIndex(0)).unwrap();
        eventually("the short topic is empty", || short.log_start() == Offset(1)).await;
        let (_, long) = metadata.partition(&name("long"), PartitionIndex(0)).unwrap();
        assert_eq!(long.log_start(), Offset(0));
    });
}

#[test]
fn a_compacted_topic_shrinks_to_the_last_of_each_key() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), brisk(), |metadata| async move {
        let config = [("cleanup.policy", "compact")];
        metadata.create_topic(&anyone(), create("a", 1, &config)).await.unwrap();
        for round in 0..100 {
            append(&metadata, "a", 0, batch(&format!("k{}", round % 3), &[7; 60_000])).await;
        }
        let (_, reader) = metadata.partition(&name("a"), PartitionIndex(0)).unwrap();
        eventually("it has shrunk", || reader.size_bytes() < 4_000_000).await;
        assert_eq!(reader.high_watermark(), Offset(100));
    });
}
