//! Every limit of the MQTT front, and how they relate.

use std::time::Duration;

/// Connections of a listener unless the configuration says otherwise.
pub const CONNECTIONS_MAX_DEFAULT: usize = 10_000;
/// Time from the accepted socket to its whole CONNECT.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new connection waits for the one that it takes over from to let go of the session.
pub const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(10);
/// A client id that is taken over twice within this time seems to be two devices'.
pub const CONTESTED_WITHIN: Duration = Duration::from_secs(180);
/// Client ids that were taken over lately, as many as are remembered.
pub const CONTESTED_IDS_MAX: usize = 1024;
/// A client that takes none of what is written to it for this long is disconnected.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(60);
/// How long a stopping hub waits for the publishes of a connection that are on their way.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept, which means that the process has run out of something.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Largest packet, its fixed header included: one agent batch and the packet around it.
pub const PACKET_BYTES_MAX: usize = 1024 * 1024;
/// Largest CONNECT: nobody is known yet who could be held to account.
pub const CONNECT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one read: grows from the first to the second while reads fill it.
pub const READ_BYTES_MIN: usize = 4 * 1024;
pub const READ_BYTES_MAX: usize = 128 * 1024;
/// Bytes waiting to be written above which neither publishes nor deliveries are taken.
pub const WRITE_PENDING_BYTES_MAX: usize = 256 * 1024;

/// Publishes of one client that wait for their acknowledgement (Receive Maximum for 5).
pub const RECEIVE_MAXIMUM: u16 = 1024;
/// Bytes of publishes that are on their way into the log, of one connection and of all. A connection whose share is
/// used up is not read: clients wait long before anybody has to be refused.
pub const IN_FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
pub const IN_FLIGHT_BYTES_TOTAL: usize = 32 * 1024 * 1024;
/// Messages and bytes of one call into the log.
pub const CALL_MESSAGES_MAX: usize = 4096;
pub const CALL_BYTES_MAX: usize = 128 * 1024;
/// Topic aliases that a client may set on a connection.
pub const TOPIC_ALIASES_MAX: u16 = 32;

/// Bytes of a topic or filter.
pub const TOPIC_BYTES_MAX: usize = 4096;
/// Levels of a topic or filter.
pub const TOPIC_LEVELS_MAX: usize = 128;
/// Bytes of a client id.
pub const CLIENT_ID_BYTES_MAX: usize = 256;
/// User properties of one packet.
pub const USER_PROPERTIES_MAX: usize = 2 * schemas::mqtt::LOG_TOPICS_MAX;

/// Lines about refused publishes that may be logged in a while.
pub const REFUSAL_LINES_MAX: u32 = 20;
pub const REFUSAL_LINES_PER: Duration = Duration::from_secs(10);

/// Filters of one SUBSCRIBE or UNSUBSCRIBE.
pub const FILTERS_PER_PACKET_MAX: usize = 256;
/// Subscriptions of one client.
pub const SUBSCRIPTIONS_PER_CLIENT_MAX: usize = 1024;
/// Subscriptions of all clients.
pub const SUBSCRIPTIONS_MAX: usize = 1_000_000;
/// Messages that wait for one client, and their bytes.
pub const OUTBOX_MESSAGES_MAX: usize = 131_072;
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a message costs in an outbox beside its own bytes.
pub const DELIVERY_OVERHEAD_BYTES: usize = 128;
/// QoS 1 and 2 messages sent to one client and not acknowledged.
pub const DELIVERY_WINDOW_MAX: usize = 1024;

/// Retained messages, and their bytes.
pub const RETAINED_MESSAGES_MAX: usize = 65_536;
pub const RETAINED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Commands that are kept for a device that is away; older ones give way.
pub const COMMANDS_PER_DEVICE_MAX: usize = 8;
/// A command that does not say so itself is not delivered after this long.
pub const COMMAND_EXPIRY_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// Sessions kept for clients that are away.
pub const STORED_SESSIONS_MAX: usize = 10_000;
/// The longest that a session is kept for a client that is away, seconds.
pub const SESSION_EXPIRY_SECONDS_MAX: u32 = 24 * 60 * 60;

/// How long a SUBSCRIBE waits until what was committed before it has been handed on.
pub const BARRIER_TIMEOUT: Duration = Duration::from_secs(5);
/// Commands that wait for the fan-out thread.
pub const FANOUT_COMMANDS_MAX: usize = 1024;

const _: () = {
    assert!(schemas::limits::AGENT_BATCH_BYTES_MAX + TOPIC_BYTES_MAX / 2 <= PACKET_BYTES_MAX);
    assert!(CONNECT_BYTES_MAX <= PACKET_BYTES_MAX);
    assert!(READ_BYTES_MIN <= READ_BYTES_MAX);
    assert!(PACKET_BYTES_MAX <= IN_FLIGHT_BYTES_MAX && IN_FLIGHT_BYTES_MAX <= IN_FLIGHT_BYTES_TOTAL);
    // Everything may go into one partition.
    assert!(IN_FLIGHT_BYTES_TOTAL < ingest::limits::PLAIN_PENDING_BYTES_MAX);
    assert!(CALL_BYTES_MAX + ingest::limits::PLAIN_RECORD_OVERHEAD_BYTES <= IN_FLIGHT_BYTES_MAX);
    // A subscription to everything is given every retained message before it has taken one.
    assert!(RETAINED_MESSAGES_MAX < OUTBOX_MESSAGES_MAX);
    assert!(RETAINED_BYTES_MAX + RETAINED_MESSAGES_MAX * DELIVERY_OVERHEAD_BYTES < OUTBOX_BYTES_MAX);
    assert!(DELIVERY_WINDOW_MAX < u16::MAX as usize);
    assert!(FILTERS_PER_PACKET_MAX <= SUBSCRIPTIONS_PER_CLIENT_MAX);
};
