//! Every limit of the shards, and how they relate.

use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// Data shards of a new cluster.
pub const SHARD_COUNT_DEFAULT: u16 = 64;
/// Data shards that a cluster can have.
pub const SHARD_COUNT_MAX: u16 = 1024;
/// Executor threads beyond this bring nothing: the WAL's one writer is the limit.
pub const EXECUTOR_THREADS_MAX: usize = 4;
/// An entry is closed when it holds this much; one larger batch may exceed it.
pub const ENTRY_BYTES_TARGET: usize = 1024 * 1024;
/// Entries of one shard that may be on their way at a time.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// Largest batch that an append may carry.
pub const BATCH_BYTES_MAX: usize = schemas::limits::MESSAGE_BYTES_MAX;
/// Largest command for the metadata machine.
pub const METADATA_COMMAND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Commands in one entry.
pub const ENTRY_COMMANDS_MAX: usize = 65_536;
/// Bytes of one WAL file.
pub const WAL_FILE_BYTES_DEFAULT: u64 = 64 * MIB;
/// WAL bytes between two checkpoints.
pub const CHECKPOINT_BYTES_DEFAULT: u64 = 128 * MIB;
/// What the reserve holds beside one WAL file: room for entries in flight and for a checkpoint.
pub const RESERVE_MARGIN_BYTES: u64 = 16 * MIB;
/// Unanswered bytes that a hub holds.
pub const QUEUED_BYTES_MAX_DEFAULT: u64 = 128 * MIB;
/// What one queued request costs besides its batch.
pub const REQUEST_OVERHEAD_BYTES: u64 = 256;
/// Segment and index files that are kept open for readers, over all partitions.
pub const READ_FILES_MAX: usize = 512;
/// But no more than this part of what the process may open: most is for connections and for what is written.
pub const READ_FILES_SHARE: usize = 16;
/// A write to the WAL, or a look for room, that takes longer than this ends the process.
pub const WAL_STALL_MAX: Duration = Duration::from_secs(30);
/// So does an executor that does not go on for so long: a slow disk may take a while for all that it has to apply at once.
pub const EXECUTOR_STALL_MAX: Duration = Duration::from_secs(120);
/// How often it is looked whether the disk answers.
pub const STALL_LOOK: Duration = Duration::from_secs(1);
/// A hub that stops hands over what it leads for this long at most.
pub const HAND_OVER_MAX: Duration = Duration::from_secs(3);
/// What is forwarded waits this long for a leader, and for its answer.
pub const FORWARD_MAX: Duration = Duration::from_secs(5);
/// Once another hub is known to lead, the answer of the one that was asked is waited for no longer than this.
pub const SUPERSEDED_MAX: Duration = Duration::from_millis(250);
/// Batches that are forwarded together: a request is closed when it holds this much.
pub const FORWARD_BYTES_TARGET: usize = 1024 * 1024;
/// Batches in one forwarded request.
pub const FORWARD_COUNT_MAX: usize = 4096;
/// Bytes of messages from other replicas that wait for an executor; more are dropped, and raft sends them again.
pub const PARCEL_BYTES_MAX: u64 = 128 * MIB;
/// Bytes of the log that a hub keeps in memory, over all groups, for followers that copy a snapshot.
pub const TAILS_SHARED_BYTES_MAX: usize = 256 * MIB as usize;
/// Bytes of applied entries that a replica keeps in memory for others of its group: so much, sixteen times as much while
/// one of them copies a snapshot, and a sixteenth while nobody is known to want them.
pub const TAIL_BYTES_MAX: usize = 4 * MIB as usize;
/// Bytes of the write-ahead log that a hub keeps only for replicas that are behind.
pub const WAL_KEEP_BYTES_DEFAULT: u64 = 1024 * MIB;
/// Bytes of it that are read back at once for a replica that is behind.
pub const LOG_READ_BYTES: u64 = 256 * 1024;
/// A replica that is behind by no more than this is sent entries; by more, a snapshot where that is less than half of it.
pub const LOG_READ_WORTH_MIN: u64 = 16 * MIB;
/// Ticks between two looks at what replicas that are behind need of the log.
pub const KEEP_LOG_TICKS: u64 = 10;
/// Bytes that a group takes on from its leader while it cannot apply them.
pub const UNAPPLIED_BYTES_MAX: usize = 64 * MIB as usize;
/// Leaders tell everyone what they lead at least this often.
pub const GOSSIP_INTERVAL: Duration = Duration::from_secs(1);
/// A raft tick, unless told.
pub const TICK_DEFAULT: Duration = Duration::from_millis(50);
/// Ticks of an election timeout; a follower stands for election after one to two of these.
pub const ELECTION_TICKS: u32 = 10;
/// Ticks between two heartbeats.
pub const HEARTBEAT_TICKS: u32 = 2;
/// Ticks between two looks at which replicas keep up.
pub const IN_SYNC_TICKS: u64 = 4;
/// A replica that was not heard of at so many of these looks one after another is out of sync.
pub const QUIET_LOOKS_MAX: u32 = 3;
/// A hub that stops waits for so many ticks for what is in flight: it may be that no majority is there to commit it.
pub const DRAIN_TICKS_MAX: u32 = 60;
/// Bytes of a snapshot that one request reads.
pub const SNAPSHOT_READ_BYTES_MAX: u32 = 1024 * 1024;
/// And as many as are asked for: what the disk gets at once is all that a sync of the write-ahead log waits behind.
pub const SNAPSHOT_ASK_BYTES: u32 = 256 * 1024;
/// Bytes of the states of one snapshot, without its segments.
pub const SNAPSHOT_STATE_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Copies of snapshots that a hub serves at once.
pub const SNAPSHOT_SESSIONS_MAX: usize = 64;
/// Snapshots that a hub copies at once.
pub const SNAPSHOT_FETCHES_MAX: usize = 2;
/// A snapshot that nobody reads any more is kept this long.
pub const SNAPSHOT_IDLE_MAX: Duration = Duration::from_secs(60);
/// Whoever copies one asks for something at least this often, though it be nothing.
pub const SNAPSHOT_QUIET_MAX: Duration = Duration::from_secs(15);
/// A copy is given up when the other hub has not answered for so long.
pub const SNAPSHOT_SILENCE_MAX: Duration = Duration::from_secs(45);
/// An answer about a snapshot is waited for this long: the checksum of a whole segment takes a while.
pub const SNAPSHOT_ANSWER_MAX: Duration = Duration::from_secs(20);
/// Pause before a request about a snapshot is sent again.
pub const SNAPSHOT_RETRY: Duration = Duration::from_millis(300);
/// What replicas lack is copied at least so fast, in bytes per second, whatever the write-ahead log says.
pub const CATCH_UP_RATE_BYTES_MIN: u64 = 4 * MIB;
/// At most so fast, unless told.
pub const CATCH_UP_RATE_BYTES_DEFAULT: u64 = 64 * MIB;
/// No more can be told.
pub const CATCH_UP_RATE_BYTES_MAX: u64 = 16 * 1024 * MIB;
/// Ticks between two questions to replicas that have not said what they have.
pub const COMPARE_TICKS: u64 = 20;
/// Partitions of a shard that are compared: more than these, by id, are not.
pub const COMPARED_PARTITIONS_MAX: usize = 262_144;
/// What one of them takes in a question.
pub const COMPARED_BYTES: usize = 16 + 4 + 8 + 4;
/// Questions that wait to be asked.
pub const QUESTIONS_MAX: usize = 4096;
/// Another replica's verdict is waited for this long.
pub const COMPARE_ANSWER_MAX: Duration = Duration::from_secs(2);
/// Ticks before a leader that waits for room, or is damaged, tries again to leave the lead to another hub.
pub const MAKE_WAY_TICKS: u32 = 100;
/// One that is damaged waits twice as long after each attempt, up to so many times: the others may be damaged too.
pub const MAKE_WAY_DOUBLINGS_MAX: u32 = 9;
/// A hub that has refused appends for so many ticks for want of room leaves its leads to others.
pub const SHORT_TICKS: u32 = 20;
/// It takes them again once there is this much of the room below which it refuses.
pub const AMPLE_ROOM_PERCENT: u64 = 150;
/// Bytes that are verified at once while everything is read through.
pub const SCRUB_STEP_BYTES: usize = 1024 * 1024;
/// Bytes per second that are verified so, unless told.
pub const SCRUB_RATE_BYTES_DEFAULT: u64 = 4 * MIB;
/// Slower than this, the bytes of one step are all there is for too long.
pub const SCRUB_RATE_BYTES_MIN: u64 = 64 * 1024;
/// No disk is read faster.
pub const SCRUB_RATE_BYTES_MAX: u64 = 1024 * MIB;
/// Bytes of batches in one answer to a hub that makes a segment again; one larger batch may exceed it.
pub const RANGE_BYTES_MAX: u32 = 1024 * 1024;
/// Another replica's batches are waited for this long.
pub const RANGE_ANSWER_MAX: Duration = Duration::from_secs(5);
/// Bytes per second of segments that are made again.
pub const MEND_RATE_BYTES: u64 = 32 * MIB;
/// Attempts to make a segment again before a replica is given up that its group can spare.
pub const MEND_TRIES_MAX: u32 = 6;
/// Attempts before readers are told that nobody has a segment, where some who may have it were never there to answer: for
/// about four minutes they may be starting.
pub const MEND_TRIES_AWAITED_MAX: u32 = 9;
/// Ticks before the second attempt; twice as many before each further one.
pub const MEND_PAUSE_TICKS: u32 = 20;
/// Attempts after which that grows no more.
pub const MEND_PAUSE_DOUBLINGS_MAX: u32 = 9;
/// Ticks between two pleas of a damaged replica to be let go.
pub const LEAVE_TICKS: u32 = 20;
/// Ticks from its first plea until it can be: then whoever counts as there has been heard of since.
pub const LEAVE_WAIT_TICKS: u64 = 30;
/// Those who stay must have what was committed so many ticks before leave is given: less would never be found under load.
pub const LEAVE_BEHIND_TICKS: usize = 5;
/// One that has not asked for so many ticks begins to wait anew when it does. Leave that was not given for so many is news.
pub const LEAVE_FORGOTTEN_TICKS: u64 = 200;
/// A replica that is still heard of after so many ticks has not made use of its leave, and will not.
pub const LEAVE_VOID_TICKS: u32 = 100;
/// Everything is read through at most this often.
pub const SCRUB_PASS_MIN: Duration = Duration::from_secs(6 * 3600);
/// Where there is nothing to be read through, it is looked again after this time.
pub const SCRUB_LOOK: Duration = Duration::from_secs(10);
/// A tombstone of a compacted partition stays this long, so that every reader of the whole log meets it.
pub const TOMBSTONE_RETENTION_MS: i64 = 24 * 3_600_000;
/// Further than this the wall clock may not run from what the uptime accounts for.
pub const CLOCK_JUMP_MS_MAX: i64 = 3_600_000;
/// Clocks of hubs that are no further apart than this agree.
pub const CLOCK_AGREEMENT_MS: i64 = 60_000;

const _: () = assert!(ELECTION_TICKS > 2 * HEARTBEAT_TICKS);
const _: () = assert!(QUEUED_BYTES_MAX_DEFAULT > 2 * BATCH_BYTES_MAX as u64);
const _: () = assert!(ENTRY_BYTES_TARGET <= BATCH_BYTES_MAX);
const _: () = assert!(METADATA_COMMAND_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX + FORWARD_BYTES_TARGET < peers::REQUEST_BYTES_MAX);
const _: () = assert!(PARCEL_BYTES_MAX > 2 * peers::MESSAGE_BYTES_MAX as u64);
const _: () = assert!(SNAPSHOT_ANSWER_MAX.as_secs() < SNAPSHOT_SILENCE_MAX.as_secs());
// One that is lost may be followed by another.
const _: () = assert!(3 * SNAPSHOT_QUIET_MAX.as_secs() < SNAPSHOT_IDLE_MAX.as_secs());
const _: () = assert!(SNAPSHOT_SILENCE_MAX.as_secs() < SNAPSHOT_IDLE_MAX.as_secs());
const _: () = assert!(SNAPSHOT_ASK_BYTES <= SNAPSHOT_READ_BYTES_MAX);
const _: () = assert!(CATCH_UP_RATE_BYTES_MIN >= SNAPSHOT_READ_BYTES_MAX as u64);
const _: () =
    assert!(RANGE_BYTES_MAX as usize <= BATCH_BYTES_MAX && BATCH_BYTES_MAX < peers::REQUEST_BYTES_MAX);
const _: () = assert!(
    SCRUB_RATE_BYTES_MIN < SCRUB_RATE_BYTES_DEFAULT && SCRUB_RATE_BYTES_DEFAULT < SCRUB_RATE_BYTES_MAX
);
const _: () = assert!(WAL_STALL_MAX.as_secs() > 10 * STALL_LOOK.as_secs());
const _: () = assert!(EXECUTOR_STALL_MAX.as_secs() > WAL_STALL_MAX.as_secs());
const _: () = assert!(2 * CLOCK_AGREEMENT_MS < CLOCK_JUMP_MS_MAX);

/// Of the default's length.
const fn ticks(time: Duration) -> u64 {
    time.as_millis().div_ceil(TICK_DEFAULT.as_millis()) as u64
}

// A follower that is there is heard of within every election timeout, so three looks span at least one whole one.
const _: () =
    assert!(LEAVE_WAIT_TICKS >= ELECTION_TICKS as u64 + (QUIET_LOOKS_MAX as u64 + 1) * IN_SYNC_TICKS);
const _: () = assert!(QUIET_LOOKS_MAX as u64 * IN_SYNC_TICKS > ELECTION_TICKS as u64);
// One that goes seems to be there until it is missed, and may hear of its leave as late as the answer may come.
const _: () = assert!(
    LEAVE_VOID_TICKS as u64
        > ticks(COMPARE_ANSWER_MAX) + ELECTION_TICKS as u64 + (QUIET_LOOKS_MAX as u64 + 1) * IN_SYNC_TICKS
);
const _: () = assert!(MEND_TRIES_MAX < MEND_TRIES_AWAITED_MAX);
const _: () = assert!(AMPLE_ROOM_PERCENT > 100);
const _: () = assert!(LEAVE_BEHIND_TICKS as u64 <= LEAVE_WAIT_TICKS);
const _: () = assert!(2 * LEAVE_TICKS as u64 <= LEAVE_FORGOTTEN_TICKS);
