//! Every bound of the agent, with the relations between them asserted at compile time.

use std::time::Duration;

use schemas::limits::{AGENT_BATCH_BYTES_MAX, AGENT_BATCH_BYTES_TARGET, RECORD_BYTES_MAX};

/// The buffer's cap where nothing else is configured.
pub const BUFFER_BYTES_DEFAULT: u64 = if cfg!(target_pointer_width = "32") { 256 << 20 } else { 1 << 30 };
/// Below this a buffer has no room for its largest batch and the gaps beside it.
pub const BUFFER_BYTES_MIN: u64 = 4 << 20;
/// LMDB needs pages to delete: the cap is at most three quarters of the map.
pub const MAP_BYTES_PER_CAP: (u64, u64) = (4, 3);
/// What the map has beyond that for the tree itself and for pages that a commit has freed but not yet reused.
pub const MAP_BYTES_EXTRA: u64 = 8 << 20;

/// A process of 32 bits has no more room for a map beside everything else.
pub const MAP_BYTES_MAX: u64 = if cfg!(target_pointer_width = "32") { 512 << 20 } else { 1 << 40 };
/// The largest cap whose map is within that.
pub const BUFFER_BYTES_MAX: u64 =
    (MAP_BYTES_MAX - MAP_BYTES_EXTRA) / MAP_BYTES_PER_CAP.0 * MAP_BYTES_PER_CAP.1;

/// Commands that wait for the writer; senders wait beyond that.
pub const WRITER_INBOX: usize = 64;
/// What appends leave free on the disk, so that a full one does not keep acknowledged batches from being trimmed.
pub const DISK_RESERVE_BYTES: u64 = 512 << 10;
/// A buffer with less than this in it gives nothing up for new records when the disk is full: it would not help.
pub const DROP_FOR_DISK_BYTES_MIN: u64 = 2 * DISK_RESERVE_BYTES;
/// Batches of one priority that were handed over and are not answered, in bytes: whoever has more waits.
pub const APPENDS_BYTES_MAX: usize = 2 << 20;
/// Batches that one transaction gives up for their age.
pub const GIVEN_UP_PER_COMMIT: usize = 256;
/// How often it is looked whether batches have become too old, at most and at least.
pub const AGE_LOOK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));
/// With `durability = relaxed`, a commit is on the disk after so long, or after so many bytes.
pub const RELAXED_SYNC: Duration = Duration::from_secs(5);
pub const RELAXED_BYTES_MAX: u64 = 4 << 20;
/// What one transaction writes at most, so that its dirty pages stay a small share of the memory.
pub const COMMIT_BYTES_MAX: usize = 4 << 20;
/// Entries of a damaged buffer that one reading of it finds, each remembered in 32 bytes: what has more is read again.
pub const SALVAGE_ENTRIES_PER_PASS: usize = 1 << 17;
/// Lanes of one destination that wait beside the one that is appended to.
pub const BACKLOG_LANES_MAX: usize = 4;
/// Acknowledged batches are trimmed alone when no append has come along for this long.
pub const TRIM_AFTER: Duration = Duration::from_secs(1);
/// Gaps that wait for room on the disk at a time: one of each lane there can be.
pub const OWED_GAPS_MAX: usize = 255;
/// While records are lost that a full disk cannot take, a gap for them is tried again after this.
pub const OWED_MAX: Duration = Duration::from_secs(60);

/// The uplink never sends an entry this far past the first that stands in the buffer: so what may have been
/// sent is known after a restart without being written down.
pub const SHIP_SPAN_ENTRIES: u64 = 1024;
/// Acknowledged entries that make a trim worth its commit at once.
pub const TRIM_ENTRIES: u64 = SHIP_SPAN_ENTRIES / 4;
/// Publishes in flight, whatever the hub's Receive Maximum allows.
pub const WINDOW_PUBLISHES_MAX: u16 = 32;
/// Bytes in flight; one publish may always fly.
pub const WINDOW_BYTES_MAX: usize = 4 << 20;
/// What neighbouring small batches are joined up to in one publish.
pub const PUBLISH_BYTES_TARGET: usize = 128 << 10;
/// Bytes of MQTT around a publish's payload: fixed header, topic, packet id, properties' length.
pub const PUBLISH_OVERHEAD_BYTES: usize = 1024;
/// Of a backlog that live records overtake, so much is on its way at a time: they wait for no more.
pub const BACKLOG_BYTES_IN_FLIGHT: usize = 2 * PUBLISH_BYTES_TARGET;

/// What is counted of a month's bytes beside a packet's own: the headers of MQTT, TLS, TCP and IP, and what
/// acknowledges it.
pub const PACKET_OVERHEAD_BYTES: u64 = 150;
/// A ping and its answer, in the same way.
pub const PING_BYTES: u64 = 250;
/// Connecting, without TLS and with two certificates.
pub const CONNECT_BYTES: u64 = 1_000;
pub const CONNECT_TLS_BYTES: u64 = 8_000;

/// Packets from the hub that wait for whoever is to have them.
pub const INBOUND_MAX: usize = 16;
/// A packet from the hub.
pub const INBOUND_BYTES_MAX: u32 = 256 << 10;
/// Answers of the device that the hub does not have yet.
pub const LETTERS_MAX: usize = 64;

/// Settings from a hub, as they travel.
pub const DESIRED_BYTES_MAX: usize = 64 << 10;
/// The longest time for which a batch is filled: what lingers is lost with the power.
pub const LINGER_MS_MAX: u64 = 3_600_000;
/// The longest time for which a row lingers that somebody waits for: a request, a publish.
pub const WAITED_FOR_LINGER_MAX: Duration = Duration::from_secs(1);
/// The longest time between two status records.
pub const STATUS_INTERVAL_S_MAX: u64 = 86_400;
/// How long settings may be on trial, in s: less may be too little to connect, more leaves a device to itself.
pub const TRIAL_S: std::ops::RangeInclusive<u64> = 5..=86_400;

/// Nothing received for this long while a publish or a ping is unanswered: the connection is dropped.
pub const STALL_AFTER: Duration = Duration::from_secs(20);
/// The same where there are other hubs to go to: a hub that is up but cut off costs less than this.
pub const STALL_AFTER_AMONG_SEVERAL: Duration = Duration::from_secs(8);
/// A hub that stores nothing of what it is sent for so long, though it answers, is left for another one: it may be
/// cut off from the rest of its cluster.
pub const UNSERVED_AFTER: Duration = Duration::from_secs(10);
/// As much of the words that a hub gives with a refusal is shown.
pub const REASON_CHARS_MAX: usize = 200;
/// Where there are more log topics than a connection names, one stays for so long at least, or for the profile's longest
/// wait between connections; and, while there is still something to send on it, for so many times that at most.
pub const TOPICS_TURN: Duration = Duration::from_secs(5);
pub const TOPICS_TURNS_AT_WORK: u64 = 4;
/// What systemd is asked to wait for the buffer to be opened after a power cut: for its size, a walk, another one, and a
/// salvage that reads and writes all of it, on a card that does 2 MB/s.
pub const OPENING_TIME: Duration = Duration::from_secs(120);
pub const OPENING_BYTES_PER_SECOND: u64 = 500_000;
/// From TCP's first packet to CONNACK.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same where another hub can be tried.
pub const CONNECT_TIMEOUT_AMONG_SEVERAL: Duration = Duration::from_secs(3);
/// What is unstamped after so long a connection, or after several short ones that together lasted as long, is shipped
/// with the arrival time.
pub const UNTIMED_AFTER: Duration = Duration::from_secs(60);
/// The clocks are looked at this often where nothing else does.
pub const CLOCK_LOOK: Duration = Duration::from_secs(10);
/// The last known time is written down this often while nothing about it changes, which costs the flash next to nothing.
pub const CLOCK_WRITE: Duration = Duration::from_secs(6 * 3600);
/// How long an agent that was asked to stop goes on shipping.
pub const DRAIN_TIME: Duration = Duration::from_secs(3);

/// One request on the agent's socket: a header line, then at most one batch.
pub const CONTROL_LINE_BYTES_MAX: usize = 64 << 10;
/// Appends that one client may have outstanding.
pub const CONTROL_PIPELINE: usize = 32;
/// What an agent needs no disk for is answered by then, or it is not answered.
pub const STATUS_WITHIN: Duration = Duration::from_secs(5);
/// A batch is taken and durable by then, also on a slow disk with others before it.
pub const STORED_WITHIN: Duration = Duration::from_secs(30);
/// Rows that wait between an input and the batcher.
pub const ROW_INBOX: usize = 256;
/// The same of all destinations in bytes, with those that batchers have in hand; of each one row may always wait.
pub const ROWS_WAITING_BYTES_MAX: usize = 1 << 20;
/// Sections `[[inputs]]`.
pub const INPUTS_MAX: usize = 64;
const _: () =
    assert!(INPUTS_MAX + 2 <= schemas::mqtt::LOG_TOPICS_MAX, "each has a topic, as status and ingest have");
/// Registers and bits that one Modbus request asks for (Modbus Application Protocol, 6.1 to 6.4).
pub const MODBUS_REGISTERS_MAX: u16 = 125;
pub const MODBUS_BITS_MAX: u16 = 2000;
/// What one Modbus input reads, children counted.
pub const MODBUS_READINGS_MAX: usize = 1024;
/// Threads for what blocks: files, standard input. They end when they have nothing to do.
pub const BLOCKING_THREADS_MAX: usize = INPUTS_MAX + 4;
/// Sensors whose last value an input's filters remember; what comes beyond is not thinned out.
pub const FILTERED_SENSORS_MAX: usize = 4096;
/// Batches of one destination that wait to be durable; its inputs wait beyond that.
pub const APPENDS_WAITING_MAX: usize = 16;
/// Finished files of one input that are looked at, and that can be known to be read; others come when these are put away.
pub const FILES_WATCHED_MAX: usize = 1024;
/// What of a growing file is read at once.
pub const READ_BYTES: usize = 64 << 10;
/// Clients of a Unix socket; others wait.
pub const SOCKET_CLIENTS_MAX: usize = 32;
/// A packet of a sensor that publishes by MQTT.
pub const MQTT_PACKET_BYTES_MAX: usize = 256 << 10;
/// Messages of one such client that are not acknowledged yet; it waits beyond that.
pub const MQTT_UNACKNOWLEDGED_MAX: usize = 64;
/// A line of JSON, CSV or line protocol.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Bad rows that `ingest` prints one by one.
pub const BAD_ROWS_SHOWN: u64 = 20;
/// Batches that were refused as malformed are kept up to this many bytes.
pub const QUARANTINE_BYTES_MAX: u64 = 16 << 20;

const _: () = {
    // It is told to clients as their Receive Maximum.
    assert!(MQTT_UNACKNOWLEDGED_MAX <= u16::MAX as usize);
    assert!(AGENT_BATCH_BYTES_TARGET <= AGENT_BATCH_BYTES_MAX);
    assert!(STALL_AFTER_AMONG_SEVERAL.as_secs() < STALL_AFTER.as_secs());
    assert!(CONNECT_TIMEOUT_AMONG_SEVERAL.as_secs() < CONNECT_TIMEOUT.as_secs());
    assert!(BUFFER_BYTES_MIN as usize >= 4 * AGENT_BATCH_BYTES_MAX);
    assert!(BUFFER_BYTES_DEFAULT <= BUFFER_BYTES_MAX);
    assert!(COMMIT_BYTES_MAX >= AGENT_BATCH_BYTES_MAX);
    assert!(ROWS_WAITING_BYTES_MAX > RECORD_BYTES_MAX);
    // Small rows, which count as 1 KiB each, are bounded by their number alone where there is one destination.
    assert!(ROWS_WAITING_BYTES_MAX >= 2 * ROW_INBOX * 1024);
    assert!(APPENDS_BYTES_MAX >= AGENT_BATCH_BYTES_MAX);
    // What waits for a sync keeps its pages: the map has room for that beyond the cap.
    assert!(RELAXED_BYTES_MAX + COMMIT_BYTES_MAX as u64 <= MAP_BYTES_EXTRA);
    assert!(DESIRED_BYTES_MAX < INBOUND_BYTES_MAX as usize);
    assert!(WINDOW_BYTES_MAX >= AGENT_BATCH_BYTES_MAX);
    assert!(PUBLISH_BYTES_TARGET >= AGENT_BATCH_BYTES_TARGET);
    assert!((WINDOW_PUBLISHES_MAX as u64) < SHIP_SPAN_ENTRIES);
    assert!(TRIM_ENTRIES * 2 <= SHIP_SPAN_ENTRIES);
    assert!(MAP_BYTES_PER_CAP.0 > MAP_BYTES_PER_CAP.1);
};
