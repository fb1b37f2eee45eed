use super::*;

fn state() -> GroupState {
    let voters = vec![ReplicaId(1), ReplicaId(7)];
    let membership = Membership { voters, learners: vec![ReplicaId(9)], ..Membership::default() };
    let origin = StateOrigin { replica_number: 1, generation: 0, void_entries_through: Lsn(0) };
    GroupState { origin, membership, last_stamp_ms: 1_700_000_000_000 }
}

#[test]
fn a_groups_state_is_read_as_it_was_written() {
    let golden = include_bytes!("../../tests/golden/group-state-v1.bin");
    assert_eq!(state().encode(), &golden[..]);
    assert_eq!(GroupState::decode(golden), Some(state()));
    for length in 0..golden.len() {
        assert_eq!(GroupState::decode(&golden[..length]), None);
    }
    let mut other = golden.to_vec();
    other[0] = 2;
    assert_eq!(GroupState::decode(&other), None);
}

#[test]
fn a_partitions_key_names_it() {
    let id = PartitionId { topic: TopicId(Uuid::from_u128(77)), index: PartitionIndex(5) };
    assert_eq!(key_partition(&partition_key(id)), Some(id));
    assert_eq!(key_partition(&metadata_key()), None);
}
