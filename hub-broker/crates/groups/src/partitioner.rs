//! Which partition of the offsets topic keeps a group: `abs(hash) mod count`, Java's hash of the id's UTF-16, as
//! Kafka does it (`GroupMetadataManager.partitionFor`).

use schemas::PartitionIndex;

pub(crate) fn group_partition(group_id: &str, partitions: i32) -> PartitionIndex {
    let hash =
        group_id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's `Utils.abs`: the smallest integer, which has no positive, becomes 0.
    let positive = hash.checked_abs().unwrap_or(0);
    PartitionIndex(positive % partitions.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_javas() {
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE, a string known for it.
        assert_eq!(group_partition("polygenelubricants", 50), PartitionIndex(0));
        assert_eq!(group_partition("a", 50), PartitionIndex(97 % 50));
        assert_eq!(group_partition("ab", 50), PartitionIndex((97 * 31 + 98) % 50));
        assert_eq!(group_partition("größer", 1), PartitionIndex(0));
    }
}
