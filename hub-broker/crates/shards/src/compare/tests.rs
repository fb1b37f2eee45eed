use schemas::{PartitionIndex, TopicId};
use uuid::Uuid;

use super::*;

fn partition(index: i32) -> PartitionId {
    PartitionId { topic: TopicId(Uuid::from_u128(7)), index: PartitionIndex(index) }
}

fn mark(hashes: &[(i32, i64, u32)]) -> Mark {
    let hash = |(index, end, hash): &(i32, i64, u32)| PartitionHash {
        partition: partition(*index),
        end: Offset(*end),
        hash: *hash,
    };
    Mark { index: 9, hashes: hashes.iter().map(hash).collect() }
}

#[test]
fn equal_hashes_do_not_differ() {
    let own = mark(&[(1, 10, 5), (2, 20, 6)]);
    assert_eq!(own.difference(&own.clone()), None);
    assert_eq!(mark(&[]).difference(&mark(&[])), None);
}

#[test]
fn the_first_partition_that_differs_is_named_with_what_both_have() {
    let own = mark(&[(1, 10, 5), (2, 20, 6), (3, 30, 7)]);
    let found = own.difference(&mark(&[(1, 10, 5), (2, 21, 6), (3, 31, 7)]));
    let (own_has, other_has) = (Some((Offset(20), 6)), Some((Offset(21), 6)));
    assert_eq!(found, Some(Difference { partition: partition(2), own: own_has, other: other_has }));
}

#[test]
fn a_partition_that_only_one_has_differs() {
    let (few, many) = (mark(&[(1, 10, 5), (3, 30, 7)]), mark(&[(1, 10, 5), (2, 20, 6), (3, 30, 7)]));
    let has = Some((Offset(20), 6));
    assert_eq!(few.difference(&many), Some(Difference { partition: partition(2), own: None, other: has }));
    assert_eq!(many.difference(&few), Some(Difference { partition: partition(2), own: has, other: None }));
    let last = mark(&[(1, 10, 5)]).difference(&few);
    let other = Some((Offset(30), 7));
    assert_eq!(last, Some(Difference { partition: partition(3), own: None, other }));
}
