use bytes::{Buf, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;
use schemas::{LeaderEpoch, NodeId, Offset};
use uuid::Uuid;

use super::*;
use crate::leadership::Leadership;
use crate::topics::TopicRef;

const ID: Uuid = Uuid::from_u128(7);

fn head(version: i16) -> Head {
    Head {
        api: "Produce",
        version,
        correlation_id: 1,
        client_id: String::new(),
        flexible_response: version >= 9,
    }
}

fn encoded(version: i16) -> Bytes {
    let partition = |index, records| {
        PartitionProduceData::default().with_index(index).with_records(Some(Bytes::from_static(records)))
    };
    let mut topic = TopicProduceData::default()
        .with_partition_data(vec![partition(2, b"first"), partition(0, b"second")]);
    topic = if version >= 13 {
        topic.with_topic_id(ID)
    } else {
        topic.with_name(TopicName(StrBytes::from_static_str("telemetry")))
    };
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1500).with_topic_data(vec![topic]);
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

#[test]
fn requests_of_every_version_are_parsed_without_copying_records() {
    for version in 3..=13 {
        let bytes = encoded(version);
        let mut body = Reader::new(bytes.clone(), version >= 9);
        let request = request::parse(&mut body, version).unwrap();
        body.finish().unwrap();
        assert_eq!((request.acks, request.timeout_ms, request.transactional), (Acks::Durable, 1500, false));
        let [topic] = request.topics.as_slice() else { panic!("one topic") };
        let named = if version >= 13 { TopicRef::Id(ID) } else { TopicRef::Name("telemetry".to_owned()) };
        assert_eq!(topic.name, named);
        let records: Vec<_> =
            topic.partitions.iter().map(|one| (one.index, one.records.clone().unwrap())).collect();
        assert_eq!(records[0], (2, Bytes::from_static(b"first")));
        assert_eq!(records[1], (0, Bytes::from_static(b"second")));
        let frame = bytes.as_ptr_range();
        assert!(frame.contains(&records[0].1.as_ptr()), "records are a slice of the frame");
    }
}

#[test]
fn a_request_of_version_0_has_no_transactional_id() {
    let bytes = encoded(3).slice(2..);
    let mut body = Reader::new(bytes, false);
    assert_eq!(request::parse(&mut body, 0).unwrap().topics.len(), 1);
    body.finish().unwrap();
}

#[test]
fn responses_of_every_version_are_read_by_a_client() {
    let appended = Appended {
        base_offset: Offset(41),
        last_offset: Offset(42),
        log_start: Offset(3),
        append_time_ms: 99,
        duplicate: false,
    };
    for version in 3..=13 {
        let name = if version >= 13 { TopicRef::Id(ID) } else { TopicRef::Name("telemetry".to_owned()) };
        let refusal = ProduceError::UnknownPartition;
        let leader = Some(Leadership { node: NodeId(2), epoch: LeaderEpoch(9) });
        let mut elsewhere = PartitionAnswer::refused(6, 6, None);
        elsewhere.leader = leader;
        let partitions = vec![
            PartitionAnswer::stored(2, &appended, true),
            PartitionAnswer::refused(5, 3, Some(&refusal)),
            elsewhere,
        ];
        let hub = Endpoint { node: 2, host: "hub-2".to_owned(), port: 9092, rack: None };
        let chunks = response::encode(&[TopicAnswer { name, partitions }], &[hub], &head(version));
        let mut body = BytesMut::new();
        chunks.iter().for_each(|chunk| body.extend_from_slice(chunk));
        let answer = ProduceResponse::decode(&mut body, version).unwrap();
        assert!(!body.has_remaining(), "version {version}");
        let partitions = &answer.responses[0].partition_responses;
        assert_eq!((partitions[0].error_code, partitions[0].base_offset), (0, 41));
        assert_eq!(partitions[0].log_append_time_ms, 99);
        assert_eq!(partitions[0].log_start_offset, if version >= 5 { 3 } else { -1 });
        assert_eq!((partitions[1].error_code, partitions[1].base_offset), (3, -1));
        let told = partitions[1].error_message.as_ref().map(ToString::to_string);
        assert_eq!(told, (version >= 8).then(|| refusal.to_string()));
        let told = &partitions[2].current_leader;
        assert_eq!((told.leader_id.0, told.leader_epoch), if version >= 10 { (2, 9) } else { (-1, -1) });
        let hubs: Vec<_> = answer.node_endpoints.iter().map(|hub| (hub.node_id.0, hub.port)).collect();
        assert_eq!(hubs, if version >= 10 { vec![(2, 9092)] } else { vec![] });
    }
}

#[test]
fn an_expired_producer_is_told_where_the_log_starts() {
    let error = SequenceError::ProducerExpired { log_start: Offset(7) };
    let refusal = ProduceError::Append(AppendError::Sequence(error));
    let head = head(9);
    let refused = PartitionAnswer::refused(0, errors::code(&head, &refusal), Some(&refusal));
    let name = TopicRef::Name("telemetry".to_owned());
    let mut body = BytesMut::new();
    for chunk in response::encode(&[TopicAnswer { name, partitions: vec![refused] }], &[], &head) {
        body.extend_from_slice(&chunk);
    }
    let answer = ProduceResponse::decode(&mut body, 9).unwrap();
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!((partition.error_code, partition.log_start_offset), (59, 7));
}

proptest! {
    #[test]
    fn noise_never_panics(version in 0i16..=13, noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = request::parse(&mut Reader::new(Bytes::from(noise), version >= 9), version);
    }

    #[test]
    fn a_request_with_changed_bytes_never_panics(version in 3i16..=13, at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encoded(version).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = request::parse(&mut Reader::new(Bytes::from(bytes), version >= 9), version);
    }
}
