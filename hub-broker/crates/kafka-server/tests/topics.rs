//! Topics through the Kafka front: made, described, found by name and id, deleted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{Client, Hub};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

async fn describe(client: &mut Client, topic: &str, create: bool) -> MetadataResponse {
    let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(create);
    client.call(&request, 12).await
}

/// The error code, and the id of what was made.
async fn create(client: &mut Client, topic: CreatableTopic) -> (i16, Uuid) {
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = client.call(&request, 7).await;
    (answer.topics[0].error_code, answer.topics[0].topic_id)
}

fn new_topic(topic: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_names_this_hub_in_every_version() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    assert_eq!(create(&mut client, new_topic("telemetry", 3)).await.0, 0);
    for version in 0..=13 {
        // Null is all topics; version 0 says so with an empty list.
        let request = MetadataRequest::default().with_topics((version == 0).then(Vec::new));
        let answer = client.call(&request, version).await;
        let broker = &answer.brokers[0];
        assert_eq!((broker.node_id.0, broker.port), (1, i32::from(hub.address.port())));
        let topic = answer.topics.iter().find(|topic| topic.name == Some(name("telemetry"))).unwrap();
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 3));
        for partition in &topic.partitions {
            assert_eq!(partition.leader_id.0, 1);
            assert_eq!(partition.leader_epoch >= 1, version >= 7, "the epoch is the term");
            assert_eq!((partition.replica_nodes[..].len(), partition.replica_nodes[0].0), (1, 1));
            assert_eq!(partition.isr_nodes, partition.replica_nodes);
            assert!(partition.offline_replicas.is_empty());
        }
        assert_eq!(answer.controller_id.0, if version >= 1 { 1 } else { -1 });
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_made_by_being_named_only_where_the_client_wants_it() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    assert_eq!(describe(&mut client, "sensors", false).await.topics[0].error_code, 3);
    let made = describe(&mut client, "sensors", true).await;
    assert_eq!((made.topics[0].error_code, made.topics[0].partitions.len()), (0, 4));
    assert_eq!(describe(&mut client, "no good", true).await.topics[0].error_code, 17);
    assert_eq!(describe(&mut client, "__hidden", false).await.topics[0].error_code, 3);
    assert_eq!(describe(&mut client, "__hidden", true).await.topics[0].error_code, 17, "it never will be");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_made_described_and_deleted_by_name_and_by_id() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let (code, id) = create(&mut client, new_topic("first", 2)).await;
    assert_eq!(code, 0);
    assert_eq!(create(&mut client, new_topic("first", 2)).await.0, 36);
    assert_eq!(create(&mut client, new_topic("none", 0)).await.0, 37);
    assert_eq!(create(&mut client, new_topic("many", 1).with_replication_factor(3)).await.0, 38);
    let setting = CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str("no.such.key"))
        .with_value(Some(StrBytes::from_static_str("1")));
    assert_eq!(create(&mut client, new_topic("odd", 1).with_configs(vec![setting])).await.0, 40);

    let by_id = MetadataRequestTopic::default().with_topic_id(id).with_name(None);
    let answer = client.call(&MetadataRequest::default().with_topics(Some(vec![by_id])), 12).await;
    assert_eq!(answer.topics[0].name, Some(name("first")));

    let gone = DeleteTopicState::default().with_name(None).with_topic_id(id);
    let request = DeleteTopicsRequest::default().with_topics(vec![gone]).with_timeout_ms(10_000);
    assert_eq!(client.call(&request, 6).await.responses[0].error_code, 0);
    assert_eq!(client.call(&request, 6).await.responses[0].error_code, 100);
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name("first")]);
    assert_eq!(client.call(&request, 5).await.responses[0].error_code, 3);
    assert_eq!(create(&mut client, new_topic("second", 1)).await.0, 0);
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name("second")]);
    assert_eq!(client.call(&request, 4).await.responses[0].error_code, 0);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_tools_find_settings_cluster_and_coordinator() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    create(&mut client, new_topic("telemetry", 1)).await;
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("telemetry"))
        .with_configuration_keys(Some(vec![StrBytes::from_static_str("retention.ms")]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    for version in 1..=4 {
        let answer = client.call(&request, version).await;
        assert_eq!((answer.results[0].error_code, answer.results[0].configs.len()), (0, 1));
    }
    // Null is every setting, also where all of them are defaults.
    let every = request.resources[0].clone().with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![every]);
    for version in 1..=4 {
        let answer = client.call(&request, version).await;
        let setting = |name: &str| {
            let configs = answer.results[0].configs.iter();
            configs.filter(|config| config.name.as_str() == name).map(|config| config.value.clone()).collect()
        };
        let found: Vec<_> = setting("max.message.bytes");
        assert_eq!(found, [Some(StrBytes::from_static_str("1048588"))], "version {version}");
        assert_eq!(setting("retention.ms").len(), 1, "version {version}");
    }
    let cluster = client.call(&DescribeClusterRequest::default(), 1).await;
    assert_eq!((cluster.error_code, cluster.brokers.len(), cluster.controller_id.0), (0, 1, 1));

    let one = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("group"));
    assert_eq!(client.call(&one, 3).await.node_id.0, 1);
    let keys = vec![StrBytes::from_static_str("a"), StrBytes::from_static_str("b")];
    let many = FindCoordinatorRequest::default().with_coordinator_keys(keys.clone());
    let found = client.call(&many, 4).await.coordinators;
    assert_eq!(found.iter().map(|one| (one.error_code, one.node_id.0)).collect::<Vec<_>>(), [(0, 1), (0, 1)]);
    let transactions = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(keys);
    assert_eq!(client.call(&transactions, 4).await.coordinators[0].error_code, 53);
    hub.stop().await;
}
