//! Every limit of this crate.

use std::time::Duration;

/// Largest request of an API that carries records (Produce), length prefix excluded.
pub const RECORDS_REQUEST_BYTES_MAX: usize = 64 << 20;

/// Largest request of any other API. The largest honest one is the group leader's SyncGroup.
pub const CONTROL_REQUEST_BYTES_MAX: usize = 4 << 20;

/// Elements of all arrays, and tagged fields, of one request together: they become structs of up to some
/// hundred bytes each when decoded, so their number bounds what a request costs in memory.
pub const REQUEST_ELEMENTS_MAX: usize = 100_000;

/// Requests of one connection that were read and are not answered yet.
pub const IN_FLIGHT_REQUESTS_MAX: usize = 128;

/// Bytes of such requests. One request may exceed it, but then it is alone.
pub const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;

/// Requests up to this size, and the first so many bytes of larger ones, do not count against the memory that all
/// connections share.
pub const SMALL_REQUEST_BYTES: usize = 64 << 10;

/// A request must arrive at this rate on average, one stall apart. Clients themselves give
/// up on a request after 30 to 60 s.
pub const REQUEST_BYTES_PER_SECOND_MIN: u64 = 64 << 10;

/// The bytes from the length prefix that are looked at before memory for the rest is taken: api key (2) and
/// version (2), correlation id (4).
pub const FRAME_HEAD_BYTES: usize = 8;

/// Longest client id that is kept; a longer one is cut.
pub const CLIENT_ID_CHARS_MAX: usize = 255;

const _: () = assert!(SMALL_REQUEST_BYTES < CONTROL_REQUEST_BYTES_MAX);
const _: () = assert!(CONTROL_REQUEST_BYTES_MAX < RECORDS_REQUEST_BYTES_MAX);
const _: () = assert!(schemas::limits::MESSAGE_BYTES_MAX < RECORDS_REQUEST_BYTES_MAX);
const _: () = assert!(RECORDS_REQUEST_BYTES_MAX < u32::MAX as usize, "semaphores count permits in u32");

/// A question of the tools about the cluster: a name and a node id.
pub const CLUSTER_QUESTION_BYTES_MAX: usize = 4096;

/// How long Metadata waits for the other hubs to show that they are there. Clients ask in the moment in which their
/// leader dies, as early as the hubs themselves learn of it, and believe for a second what they are told then.
pub const LOOK_ROUND_MAX: Duration = Duration::from_millis(20);

/// A hub that has seen no majority for so long sends clients to the others, and to another one after so long again. An
/// election is over before; and librdkafka stays with a hub that does not lead where it is told of two changes of the
/// leader within a moment (2.12 to 2.14; <https://github.com/confluentinc/librdkafka/pull/5593>).
pub const CUT_OFF_AFTER: Duration = Duration::from_secs(2);

/// What lies between two questions so far apart is not known to have been without a majority. Who finds no leader asks
/// every second or more often.
pub const CUT_OFF_FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// For so long a batch that comes before the one in front of it is refused as if only a replica were missing: clients
/// send it again after a second at most, behind the other.
pub const HOLE_CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// What is missing is another thing when nobody has met the hole for so long.
pub const HOLE_FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// Holes that are known at a time.
pub const HOLES_MAX: usize = 4096;

/// Topics that one Metadata request may bring into being.
pub const AUTO_CREATED_TOPICS_MAX: usize = 100;

/// What a produce's own timeout is cut to. Below the minimum not even an idle disk's fsync would end in time.
pub const PRODUCE_TIMEOUT_MIN: Duration = Duration::from_millis(500);
pub const PRODUCE_TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// The longest wait of a fetch, whatever it asks for: a connection's end is noticed at the latest then.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(60);
