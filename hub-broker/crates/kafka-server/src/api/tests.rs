//! The shapes against kafka-protocol's decoders, for every API and version that is offered.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::control::{Control, decode};
use crate::wire::{Field, Reader, Shape};

/// Calls a generic function for every API that is decoded by kafka-protocol.
macro_rules! for_each_control {
    ($call:ident) => {
        $call::<list_offsets::ListOffsets>();
        $call::<metadata::Metadata>();
        $call::<offset_commit::OffsetCommit>();
        $call::<offset_fetch::OffsetFetch>();
        $call::<find_coordinator::FindCoordinator>();
        $call::<join_group::JoinGroup>();
        $call::<heartbeat::Heartbeat>();
        $call::<leave_group::LeaveGroup>();
        $call::<sync_group::SyncGroup>();
        $call::<describe_groups::DescribeGroups>();
        $call::<list_groups::ListGroups>();
        $call::<api_versions::ApiVersions>();
        $call::<create_topics::CreateTopics>();
        $call::<delete_topics::DeleteTopics>();
        $call::<init_producer_id::InitProducerId>();
        $call::<offset_for_leader_epoch::OffsetForLeaderEpoch>();
        $call::<describe_configs::DescribeConfigs>();
        $call::<delete_groups::DeleteGroups>();
        $call::<describe_cluster::DescribeCluster>();
    };
}

/// Writes a request of a shape: every array has two elements, every string its own content.
struct Generator {
    out: BytesMut,
    flexible: bool,
    count: u8,
}

impl Generator {
    fn fields(&mut self, fields: &[Field], version: i16) {
        for field in fields.iter().filter(|field| field.is_in(version)) {
            self.value(field.shape(), version);
        }
        if self.flexible {
            // One tagged field that nobody knows, of one byte.
            self.out.put_slice(&[1, 100, 1, 7]);
        }
    }

    fn value(&mut self, shape: &Shape, version: i16) {
        self.count = self.count % 100 + 1;
        let number = self.count;
        match shape {
            // Some are booleans, which come back as 0 or 1.
            Shape::Int8 => self.out.put_u8(1),
            Shape::Int16 => self.out.put_i16(i16::from(number)),
            Shape::Int32 => self.out.put_i32(i32::from(number)),
            Shape::Int64 => self.out.put_i64(i64::from(number)),
            Shape::Uuid => self.out.put_bytes(number, 16),
            Shape::String => {
                if self.flexible {
                    self.out.put_u8(3);
                } else {
                    self.out.put_i16(2);
                }
                self.out.put_bytes(b'a' + number % 26, 2);
            }
            Shape::Bytes => {
                self.len(2);
                self.out.put_bytes(number, 2);
            }
            Shape::Many(element) => {
                self.len(2);
                self.value(element, version);
                self.value(element, version);
            }
            Shape::Structs(fields) => {
                self.len(2);
                self.fields(fields, version);
                self.fields(fields, version);
            }
        }
    }

    fn len(&mut self, len: u8) {
        if self.flexible { self.out.put_u8(len + 1) } else { self.out.put_i32(i32::from(len)) }
    }
}

fn generate<A: Control>(version: i16) -> Bytes {
    let flexible = A::Request::header_version(version) >= 2;
    let mut generator = Generator { out: BytesMut::new(), flexible, count: 0 };
    generator.fields(A::SHAPE, version);
    generator.out.freeze()
}

fn reader<A: Control>(bytes: Bytes, version: i16) -> Reader {
    Reader::new(bytes, A::Request::header_version(version) >= 2)
}

fn shape_is_the_decoders<A: Control>() {
    for version in A::VERSIONS.min..=A::VERSIONS.max {
        let bytes = generate::<A>(version);
        let name = std::any::type_name::<A>();
        let request = decode::<A>(reader::<A>(bytes.clone(), version), version)
            .unwrap_or_else(|error| panic!("{name} version {version}: {error}"));
        let mut again = BytesMut::new();
        request.encode(&mut again, version).unwrap();
        assert_eq!(again.freeze(), bytes, "{name} version {version}");
    }
}

#[test]
fn every_shape_is_what_the_decoder_reads() {
    for_each_control!(shape_is_the_decoders);
}

fn truncation_is_refused<A: Control>() {
    for version in A::VERSIONS.min..=A::VERSIONS.max {
        let bytes = generate::<A>(version);
        for len in 0..bytes.len() {
            let cut = reader::<A>(bytes.slice(..len), version);
            assert!(decode::<A>(cut, version).is_err(), "{} cut at {len}", std::any::type_name::<A>());
        }
    }
}

#[test]
fn a_request_cut_anywhere_is_refused() {
    for_each_control!(truncation_is_refused);
}

/// Whatever comes, decoding ends, without a panic; what is decoded has no more elements than it has bytes.
fn survives_anything<A: Control>() {
    let versions = A::VERSIONS.min..=A::VERSIONS.max;
    let noise = (versions, prop::collection::vec(any::<u8>(), 0..200), any::<u64>());
    TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() })
        .run(&noise, |(version, noise, seed)| {
            let _ = decode::<A>(reader::<A>(Bytes::from(noise.clone()), version), version);
            // An honest request with a few bytes changed gets deeper.
            let mut bent = generate::<A>(version).to_vec();
            for (step, byte) in noise.iter().take(4).enumerate() {
                let at = (seed as usize).wrapping_mul(step + 1) % bent.len().max(1);
                if let Some(place) = bent.get_mut(at) {
                    *place = *byte;
                }
            }
            let _ = decode::<A>(reader::<A>(Bytes::from(bent), version), version);
            Ok(())
        })
        .unwrap();
}

#[test]
fn noise_never_panics() {
    for_each_control!(survives_anything);
}

#[test]
fn the_table_has_every_key_once_and_in_order() {
    assert!(TABLE.iter().zip(&TABLE[1..]).all(|(one, next)| one.key < next.key));
}

/// What the clients that are promised cannot do without (librdkafka 2.x, kafka-python 3.x, Java 4.1).
#[test]
fn what_clients_need_is_offered() {
    let offers = |key: i16, version| find(key).is_some_and(|entry| entry.versions.contains(version));
    // librdkafka compresses only where Produce 0 is offered or the version that brought the compression.
    assert!(offers(0, 0) && offers(0, 7));
    // Java 4.x: KIP-896 took away what is older than these.
    for (key, version) in [(0, 3), (1, 4), (2, 1), (3, 1), (8, 2), (9, 1), (10, 0), (11, 2), (12, 0), (19, 2)]
    {
        assert!(offers(key, version), "api {key} version {version}");
    }
    // zstd (KIP-110), topic ids (KIP-516).
    assert!(offers(1, 10) && offers(1, 13) && offers(3, 10));
}

#[test]
fn a_newer_clients_api_versions_is_answered_in_version_0() {
    let mut body = versions_of_newer_client();
    let answer = kafka_protocol::messages::ApiVersionsResponse::decode(&mut body, 0).unwrap();
    assert_eq!((answer.error_code, answer.api_keys.len()), (35, TABLE.len()));
    assert!(body.is_empty());
}

#[test]
fn librdkafka_s_request_for_all_topics_with_three_bytes_too_many_is_understood() {
    // Metadata version 13 as librdkafka 2.12 sends it: null topics, both flags, no tags, then what it forgot.
    let body = Bytes::from_static(&[0, 0, 0, 0, 1, 0, 0]);
    let request = decode::<metadata::Metadata>(Reader::new(body, true), 13).unwrap();
    assert_eq!(request.topics, None);
}
