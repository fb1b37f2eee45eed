//! Every limit of the transport, and how they hang together.

use std::time::Duration;

/// The largest message of a [`crate::Parcel`]: above the largest frame of the write-ahead log (20 MiB would just hold
/// it) with what consensus wraps around it.
pub const MESSAGE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// The largest body of a request and of its answer.
pub const REQUEST_BYTES_MAX: usize = 20 * 1024 * 1024;
/// The largest body of a notice. It travels in one frame.
pub const NOTICE_BYTES_MAX: usize = 48 * 1024;
