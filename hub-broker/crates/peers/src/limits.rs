//! Every limit of the transport, and how they hang together.

use std::time::Duration;

/// The largest message of a [`crate::Parcel`]: the largest payload of the write-ahead log, and what consensus wraps
/// around it.
pub const MESSAGE_BYTES_MAX: usize = 20 * 1024 * 1024 + 64 * 1024;
/// The largest body of a request and of its answer.
pub const REQUEST_BYTES_MAX: usize = 20 * 1024 * 1024;
/// The largest body of a notice. It travels in one frame.
pub const NOTICE_BYTES_MAX: usize = 60 * 1024;
/// Notices have kinds below this; what a peer said last of each is kept.
pub const NOTICE_KINDS_MAX: u8 = 16;
/// The kind of requests that only ask whether somebody is there: nobody serves it.
pub const LOOK_KIND: u8 = 255;
/// The largest context of a beat.
pub const BEAT_CONTEXT_BYTES_MAX: usize = 255;

/// The largest payload of one frame. Larger bodies travel in chunks, so that nothing urgent waits for a whole one.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Messages up to this size travel with the beats, ahead of larger ones.
pub const SMALL_BYTES_MAX: usize = 4 * 1024;
/// Payloads up to this size are copied beside their header: cheaper than a slice of their own in the gathered write.
pub const INLINE_BYTES_MAX: usize = 2 * 1024;
/// Chunks are added to one write up to this size: what has just become urgent waits for no more.
pub const BATCH_BYTES: usize = 128 * 1024;
/// Slices in one `writev`.
pub const SLICES_MAX: usize = 64;
/// Bodies of requests and answers that are under way in chunks at one time; each may take [`REQUEST_BYTES_MAX`] at the
/// receiver.
pub const OPEN_TRANSFERS_MAX: usize = 4;
/// What waits up to this size is written by the thread that brings it, when nobody else is writing.
pub const DIRECT_BYTES_MAX: usize = 16 * 1024;
/// Room in the kernel for what is sent: large enough for a fast network, and small, because what lies there cannot
/// be overtaken any more. The kernel doubles it for its own needs.
pub const SEND_BUFFER_BYTES: u32 = 128 * 1024;
/// Free room that is offered to each read.
pub const READ_BYTES: usize = 128 * 1024;

/// The largest body of a hello or a refusal.
pub const HELLO_BODY_BYTES_MAX: usize = 1024;
/// Connections with hubs that have another hub's node id.
pub const ASIDES_MAX: usize = 8;
/// The longest advertised address.
pub const ADDRESS_BYTES_MAX: usize = 300;
/// The longest text of a refusal.
pub const REASON_BYTES_MAX: usize = 500;
/// Connections that are accepted and have not said hello yet.
pub const HANDSHAKES_MAX: usize = 64;
/// Time for a handshake.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(3);
/// Time for a connection to be made.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Pause before the second attempt to reach a hub; each further one is twice as long, up to the next limit.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(50);
pub const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// How long it is looked whether a process that ended a connection is gone.
pub const SEEK_TIME_MAX: Duration = Duration::from_millis(250);
/// Pause between two looks.
pub const SEEK_PAUSE: Duration = Duration::from_millis(5);
/// Pause after a failed accept (no free descriptor).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time to send at a graceful stop what waits.
pub const DRAIN_TIME_MAX: Duration = Duration::from_millis(200);
/// Whose complaints are remembered, and how many about each, so that each is logged once.
pub const COMPLAINTS_MAX: usize = 256;
pub const COMPLAINTS_EACH_MAX: usize = 8;

/// Defaults of [`crate::Limits`].
pub const URGENT_QUEUE_BYTES: usize = 8 * 1024 * 1024;
pub const MESSAGE_QUEUE_BYTES: usize = 64 * 1024 * 1024;
pub const BULK_QUEUE_BYTES: usize = 64 * 1024 * 1024;
pub const REQUESTS_MAX: usize = 1024;
pub const PING_INTERVAL: Duration = Duration::from_millis(500);
pub const SILENCE_MAX: Duration = Duration::from_secs(3);
pub const STALL_MAX: Duration = Duration::from_secs(10);

const _: () = {
    assert!(SMALL_BYTES_MAX + 64 <= FRAME_PAYLOAD_BYTES_MAX);
    assert!(NOTICE_BYTES_MAX < FRAME_PAYLOAD_BYTES_MAX);
    assert!(REASON_BYTES_MAX + 64 <= HELLO_BODY_BYTES_MAX && ADDRESS_BYTES_MAX + 64 <= HELLO_BODY_BYTES_MAX);
    assert!(MESSAGE_QUEUE_BYTES > MESSAGE_BYTES_MAX && BULK_QUEUE_BYTES > REQUEST_BYTES_MAX);
    assert!(DIRECT_BYTES_MAX < BATCH_BYTES && FRAME_PAYLOAD_BYTES_MAX <= BATCH_BYTES);
    assert!(MESSAGE_BYTES_MAX < u32::MAX as usize && REQUEST_BYTES_MAX <= MESSAGE_BYTES_MAX);
    assert!(SILENCE_MAX.as_millis() > 3 * PING_INTERVAL.as_millis());
    assert!(READ_BYTES > FRAME_PAYLOAD_BYTES_MAX);
};
