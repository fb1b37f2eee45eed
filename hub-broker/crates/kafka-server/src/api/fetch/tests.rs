use bytes::{Buf, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition as WirePartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest as WireRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;
use schemas::{LeaderEpoch, NodeId};
use uuid::Uuid;

use super::*;
use crate::leadership::Leadership;
use crate::topics::TopicRef;

const ID: Uuid = Uuid::from_u128(7);

fn name(version: i16) -> TopicRef {
    if version >= 13 { TopicRef::Id(ID) } else { TopicRef::Name("telemetry".to_owned()) }
}

fn encoded(version: i16) -> Bytes {
    let mut partition =
        WirePartition::default().with_partition(3).with_fetch_offset(17).with_partition_max_bytes(4096);
    if version >= 9 {
        partition = partition.with_current_leader_epoch(2);
    }
    let wire_name = TopicName(StrBytes::from_static_str("telemetry"));
    let topic = FetchTopic::default().with_partitions(vec![partition]);
    let forgotten = ForgottenTopic::default().with_partitions(vec![1, 2]);
    let (topic, forgotten) = if version >= 13 {
        (topic.with_topic_id(ID), forgotten.with_topic_id(ID))
    } else {
        (topic.with_topic(wire_name.clone()), forgotten.with_topic(wire_name))
    };
    let mut request = WireRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    if version >= 7 {
        request =
            request.with_session_id(9).with_session_epoch(4).with_forgotten_topics_data(vec![forgotten]);
    }
    if version >= 11 {
        request = request.with_rack_id(StrBytes::from_static_str("here"));
    }
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

#[test]
fn requests_of_every_version_are_parsed() {
    for version in 4..=16 {
        let mut body = Reader::new(encoded(version), version >= 12);
        let request = request::parse(&mut body, version).unwrap();
        body.finish().unwrap();
        assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (500, 1, 1 << 20));
        let session = if version >= 7 { (9, 4) } else { (0, -1) };
        assert_eq!((request.session_id, request.session_epoch), session);
        let [topic] = request.topics.as_slice() else { panic!("one topic") };
        assert_eq!(topic.name, name(version));
        let [partition] = topic.partitions.as_slice() else { panic!("one partition") };
        assert_eq!((partition.index, partition.offset, partition.max_bytes), (3, 17, 4096));
        assert_eq!(partition.current_leader_epoch, if version >= 9 { 2 } else { -1 });
    }
}

#[test]
fn responses_of_every_version_are_read_by_a_client_and_share_the_logs_bytes() {
    for version in 4..=16 {
        let head = Head {
            api: "Fetch",
            version,
            correlation_id: 1,
            client_id: String::new(),
            flexible_response: version >= 12,
        };
        let records = vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg")];
        let log = records[0].as_ptr();
        let fetched = Fetched { high_watermark: Offset(20), log_start: Offset(2), records };
        let leader = Some(Leadership { node: NodeId(2), epoch: LeaderEpoch(9) });
        let partitions = vec![
            PartitionAnswer { preferred: Some(NodeId(3)), ..PartitionAnswer::new(3, Ok(fetched)) },
            PartitionAnswer { leader, ..PartitionAnswer::new(4, Err(6)) },
        ];
        let topics = vec![TopicAnswer { name: name(version), partitions }];
        let hub = Endpoint { node: 2, host: "hub-2".to_owned(), port: 9092, rack: Some("b".to_owned()) };
        let chunks = response::encode(topics, &[hub], 0, &head);
        assert!(chunks.iter().any(|chunk| chunk.as_ptr() == log), "records are not copied");
        let mut body = BytesMut::new();
        chunks.iter().for_each(|chunk| body.extend_from_slice(chunk));
        let answer = FetchResponse::decode(&mut body, version).unwrap();
        assert!(!body.has_remaining(), "version {version}");
        let partitions = &answer.responses[0].partitions;
        assert_eq!((answer.session_id, partitions[0].high_watermark), (0, 20));
        assert_eq!(partitions[0].records.as_deref(), Some(&b"abcdefg"[..]));
        assert_eq!(partitions[0].preferred_read_replica.0, if version >= 11 { 3 } else { -1 });
        assert_eq!((partitions[1].partition_index, partitions[1].error_code), (4, 6));
        let told = &partitions[1].current_leader;
        assert_eq!((told.leader_id.0, told.leader_epoch), if version >= 16 { (2, 9) } else { (-1, -1) });
        let hubs: Vec<_> = answer.node_endpoints.iter().map(|hub| (hub.node_id.0, hub.port)).collect();
        assert_eq!(hubs, if version >= 16 { vec![(2, 9092)] } else { vec![] });
    }
}

proptest! {
    #[test]
    fn noise_never_panics(version in 4i16..=16, noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = request::parse(&mut Reader::new(Bytes::from(noise), version >= 12), version);
    }

    #[test]
    fn a_request_with_changed_bytes_never_panics(version in 4i16..=16, at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encoded(version).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = request::parse(&mut Reader::new(Bytes::from(bytes), version >= 12), version);
    }
}
