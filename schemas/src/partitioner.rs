//! Which partition a key belongs to: Kafka's default partitioner, so that producers of any language agree.

use crate::ids::PartitionIndex;
use crate::names::DeviceId;

/// Kafka's 32-bit murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`).
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka hashes Java arrays, whose length is an i32; keys are far shorter.
    let mut hash = SEED ^ (data.len() as u32);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (position, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * position);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key: `(murmur2 & 0x7fffffff) mod count`. `partition_count` is at least 1.
pub fn key_partition(key: &[u8], partition_count: i32) -> PartitionIndex {
    let positive = i32::try_from(murmur2(key) & 0x7fff_ffff).expect("31 bits fit an i32");
    PartitionIndex(positive % partition_count.max(1))
}

/// The partition of a device's records, whose key it is.
pub fn device_partition(device: &DeviceId, partition_count: i32) -> PartitionIndex {
    key_partition(device.as_str().as_bytes(), partition_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own UtilsTest.testMurmur2.
    #[test]
    fn the_hash_equals_kafkas() {
        let cases: [(&[u8], i32); 8] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
            (b"a", -1_563_381_124),
        ];
        for (key, expected) in cases {
            assert_eq!(murmur2(key) as i32, expected, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn a_device_always_falls_on_one_of_the_partitions() {
        for n in 0..1000 {
            let device = DeviceId::try_from(format!("device-{n}")).unwrap();
            let partition = device_partition(&device, 7);
            assert!((0..7).contains(&partition.0));
            assert_eq!(partition, device_partition(&device, 7));
        }
    }
}
