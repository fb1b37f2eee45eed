use super::*;

#[test]
fn a_partitions_key_names_it() {
    let id = PartitionId { topic: TopicId(Uuid::from_u128(77)), index: PartitionIndex(5) };
    assert_eq!(key_partition(&partition_key(id)), Some(id));
    assert_eq!(key_partition(&metadata_key()), None);
}
