//! Every number that bounds something in this crate.

/// Offsets within a segment file are stored in 32 bits, so a file may not outgrow them.
pub const SEGMENT_BYTES_MAX: u32 = 1 << 30;

/// The segment size where nothing else is configured.
pub const SEGMENT_BYTES_DEFAULT: u32 = 256 << 20;

/// Batches written by one vectored write. Each takes two slices (its placement and the rest).
pub const STAGED_BATCHES_MAX: usize = 512;

/// Bytes held back for one vectored write before they are written on the spot.
pub const STAGED_BYTES_MAX: usize = 1 << 20;

/// Index entries of the active segment that are held in memory before they go to its index file.
pub const INDEX_TAIL_ENTRIES_MAX: usize = 128;

/// Index entries read at once while walking an index.
pub const INDEX_BLOCK_ENTRIES: u32 = 128;

/// Batches of a Kafka producer that are remembered (Kafka: `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const PRODUCER_BATCHES: usize = 5;

/// Batches of an agent's stream that are remembered with their checksum.
pub const STREAM_BATCHES: usize = 4;

/// Streams remembered for one device in one partition.
pub const DEVICE_STREAMS_MAX: usize = 64;

/// Files that one cache keeps open for reading.
pub const OPEN_FILES_DEFAULT: usize = 512;

/// Bytes of keys that one compaction holds in memory; what lies beyond waits for the next one.
pub const COMPACTION_KEY_BYTES_MAX: usize = 64 << 20;

/// Bytes of a segment that are copied or summed up at once.
pub const COPY_STEP_BYTES: usize = 1 << 20;

/// Bytes of a copied segment that wait for a sync at most.
pub const COPY_SYNC_BYTES: u32 = 8 << 20;

/// The kernel's bound on the slices of one vectored write (Linux `UIO_MAXIOV`).
const IOV_MAX: usize = 1024;

const _: () = assert!(2 * STAGED_BATCHES_MAX <= IOV_MAX);
// The last batch of a segment may begin just below the limit, and has to fit into 32 bits all the same.
const _: () =
    assert!(SEGMENT_BYTES_MAX as u64 + schemas::limits::MESSAGE_BYTES_MAX as u64 <= u32::MAX as u64);
