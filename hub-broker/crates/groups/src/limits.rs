//! Limits of the groups, and how they relate.

/// A group id, a member id, an instance id, a client id or host, a protocol's name.
pub const NAME_BYTES_MAX: usize = 249;
/// An offset's metadata (Kafka: `offset.metadata.max.bytes`).
pub const OFFSET_METADATA_BYTES_MAX: usize = 4_096;
