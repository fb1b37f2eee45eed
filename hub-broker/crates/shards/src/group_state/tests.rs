use super::*;

const V1: &[u8] = include_bytes!("../../tests/golden/group-state-v1.bin");
const V2: &[u8] = include_bytes!("../../tests/golden/group-state-v2.bin");

fn state() -> GroupState {
    GroupState {
        origin: StateOrigin { replica_number: 0x0102, generation: 3, void_entries_through: Lsn(0x0405) },
        membership: Membership {
            voters: vec![ReplicaId::new(1, 1), ReplicaId::new(2, 7)],
            learners: vec![ReplicaId::new(3, 9)],
            outgoing: vec![ReplicaId::new(1, 1), ReplicaId::new(4, 5)],
            learners_next: vec![ReplicaId::new(4, 5)],
            auto_leave: true,
        },
        last_stamp_ms: 1_700_000_000_000,
        is_installed: true,
    }
}

#[test]
fn a_groups_state_is_read_as_it_was_written() {
    assert_eq!(state().encode(), V2);
    assert_eq!(GroupState::decode(V2), Some(state()));
}

#[test]
fn version_1_is_still_read() {
    let membership = Membership {
        voters: vec![ReplicaId(1), ReplicaId(7)],
        learners: vec![ReplicaId(9)],
        ..Membership::default()
    };
    let (origin, last_stamp_ms) = (StateOrigin::first(1), 1_700_000_000_000);
    let expected = GroupState { origin, membership, last_stamp_ms, is_installed: false };
    assert_eq!(GroupState::decode(V1), Some(expected));
}

#[test]
fn what_is_cut_or_of_another_version_is_no_state() {
    for golden in [V1, V2] {
        for length in 0..golden.len() {
            assert_eq!(GroupState::decode(&golden[..length]), None, "{length}");
        }
        assert_eq!(GroupState::decode(&[golden, &[0]].concat()), None);
        let mut other = golden.to_vec();
        other[0] = 3;
        assert_eq!(GroupState::decode(&other), None);
    }
}
