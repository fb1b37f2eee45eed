use peers::{PeerInfo, SeedState, SeedStatus};
use proptest::prelude::*;
use schemas::NodeId;
use shards::Levels;
use uuid::Uuid;

use super::decide::{Decision, decide};
use super::messages::{JoinAnswer, JoinRefusal, decode_empty, decode_join, encode_join};
use crate::topic::{Hub, Listener};

fn seed(state: SeedState) -> SeedStatus {
    SeedStatus { address: "hub.example:9192".to_owned(), state }
}

fn connected(node: u32) -> SeedStatus {
    seed(SeedState::Connected(NodeId(node), None))
}

fn this() -> SeedStatus {
    seed(SeedState::This)
}

fn peer(node: u32, cluster: Option<u128>) -> PeerInfo {
    PeerInfo {
        node: NodeId(node),
        incarnation: Uuid::from_u128(u128::from(node)),
        address: String::new(),
        cluster: cluster.map(Uuid::from_u128),
        connected_since: Some(std::time::Instant::now()),
    }
}

#[test]
fn the_lowest_of_empty_hubs_founds_and_the_others_wait_for_it() {
    let others = vec![NodeId(2), NodeId(3)];
    let known = [peer(2, None), peer(3, None)];
    assert_eq!(decide(NodeId(1), &[this(), connected(2), connected(3)], &known), Decision::Found { others });
    let known = [peer(1, None), peer(3, None)];
    let waits = decide(NodeId(2), &[connected(1), this(), connected(3)], &known);
    assert!(matches!(waits, Decision::Wait(_)));
}

#[test]
fn nothing_is_founded_while_a_seed_cannot_be_reached() {
    let silent = seed(SeedState::Unreachable("connection refused".to_owned()));
    let waits = decide(NodeId(1), &[this(), connected(2), silent], &[peer(2, None)]);
    let Decision::Wait(why) = waits else { panic!("{waits:?}") };
    assert!(why.contains("hub.example:9192") && why.contains("connection refused"));
}

#[test]
fn one_hub_with_a_cluster_is_enough_to_join_it() {
    let silent = seed(SeedState::Unreachable("no route".to_owned()));
    let known = [peer(2, None), peer(3, Some(7))];
    assert_eq!(decide(NodeId(1), &[this(), connected(2), silent], &known), Decision::Join(NodeId(3)));
}

#[test]
fn a_hub_that_is_gone_is_not_asked_to_take_one_in() {
    let gone = PeerInfo { connected_since: None, ..peer(2, Some(7)) };
    let silent = seed(SeedState::Unreachable("gone".to_owned()));
    assert!(matches!(decide(NodeId(1), &[this(), silent], &[gone]), Decision::Wait(_)));
}

#[test]
fn nothing_is_founded_while_two_seeds_are_the_hub_itself() {
    let again = SeedStatus { address: "other.example:9192".to_owned(), state: SeedState::This };
    let waits = decide(NodeId(1), &[this(), again.clone(), connected(2)], &[peer(2, None)]);
    let Decision::Wait(why) = waits else { panic!("{waits:?}") };
    assert!(why.contains("hub.example:9192") && why.contains("other.example:9192"));
    let joins = decide(NodeId(1), &[this(), again], &[peer(2, Some(7))]);
    assert_eq!(joins, Decision::Join(NodeId(2)), "there is one already");
}

#[test]
fn whoever_connects_without_being_a_seed_counts_too() {
    assert!(matches!(decide(NodeId(2), &[this()], &[peer(1, None)]), Decision::Wait(_)));
    let others = vec![NodeId(3)];
    assert_eq!(decide(NodeId(2), &[this()], &[peer(3, None)]), Decision::Found { others });
}

#[test]
fn a_request_to_join_is_read_again() {
    let hub = Hub {
        rack: Some("cellar".to_owned()),
        listeners: vec![Listener { name: "kafka".to_owned(), host: "h".to_owned(), port: 9092 }],
        cluster_address: Some("h:9192".to_owned()),
        ..Hub::new(NodeId(4), Uuid::from_u128(9))
    };
    for (version, levels) in [(1, None), (2, Some(Levels { least: 1, most: 3 }))] {
        let hub = Hub { levels, ..hub.clone() };
        let bytes = encode_join(&hub);
        assert_eq!((bytes[0], decode_join(&bytes)), (version, Ok(hub)));
        for end in 0..bytes.len() {
            assert!(decode_join(&bytes[..end]).is_err());
        }
    }
}

#[test]
fn answers_are_read_again() {
    let answer = JoinAnswer { cluster: Uuid::from_u128(5), replica_floor: 77 };
    assert_eq!(JoinAnswer::decode(&answer.encode()), Ok(answer));
    for reason in [
        JoinRefusal::Unavailable,
        JoinRefusal::OtherIncarnation,
        JoinRefusal::TooManyHubs,
        JoinRefusal::Malformed,
        JoinRefusal::UnknownHub,
        JoinRefusal::NoMajority,
        JoinRefusal::NodeTaken,
        JoinRefusal::OnlyReplica,
        JoinRefusal::Unfit,
    ] {
        assert_eq!(JoinRefusal::decode(&reason.encode()), Ok(reason));
    }
    assert_eq!(decode_empty(&[1, 1]), Ok(true));
    assert_eq!(decode_empty(&[1, 0]), Ok(false));
    assert!(decode_empty(&[1, 2]).is_err() && decode_empty(&[2, 1]).is_err());
}

#[test]
fn the_messages_are_what_is_documented() {
    let answer = JoinAnswer { cluster: Uuid::from_u128(0xAB), replica_floor: 0x0102 };
    let bytes = [&[1][..], &[0; 15], &[0xAB, 0, 0, 1, 2]].concat();
    assert_eq!(answer.encode(), bytes);
    assert_eq!(JoinRefusal::TooManyHubs.encode(), [1, 3]);
    let hub = Hub::new(NodeId(4), Uuid::from_u128(9));
    let bytes = [&[1, 0, 0, 0, 4][..], &[0; 15], &[9, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(encode_join(&hub), bytes);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode_join(&bytes);
        let _ = JoinAnswer::decode(&bytes);
        let _ = JoinRefusal::decode(&bytes);
        let _ = decode_empty(&bytes);
    }
}
