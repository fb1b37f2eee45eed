//! Framing: a request is a 4-byte length, big-endian, and that many bytes.
//!
//! ```text
//!   length i32 │ api key i16 │ version i16 │ correlation id i32 │ client id, body …
//! ```
//!
//! The length is checked against what its API may send, and memory is taken only as the bytes arrive: the buffer
//! begins small and doubles when it is full.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::Semaphore;
use tokio::time::{Instant, error::Elapsed, timeout};

use crate::limits::{
    CONTROL_REQUEST_BYTES_MAX, FRAME_HEAD_BYTES, IN_FLIGHT_BYTES_MAX, RECORDS_REQUEST_BYTES_MAX,
    REQUEST_BYTES_PER_SECOND_MIN, SMALL_REQUEST_BYTES,
};
use crate::memory::{Memory, RequestMemory};

/// Why no further request can be read from a connection.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error("the client closed it in the middle of a request")]
    Cut,
    #[error("idle")]
    Idle,
    #[error("no progress, or too little, in the middle of a request")]
    Stalled,
    #[error("a request of {len} bytes, where 8 to {max} are allowed")]
    Length { len: i32, max: usize },
    #[error("the hub is stopping")]
    Stopping,
}

impl From<Elapsed> for FrameError {
    fn from(_: Elapsed) -> Self {
        Self::Stalled
    }
}

const PRODUCE: i16 = 0;
const PREFIX_BYTES: usize = 4;

/// A request as it came, without its length prefix, and the memory that it holds until it is answered.
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) memory: Memory,
}

pub(crate) struct FrameReader<R> {
    socket: BufReader<R>,
    /// One permit a byte that this connection may have in flight.
    in_flight: Arc<Semaphore>,
    shared: RequestMemory,
    idle_timeout: Duration,
    stall_timeout: Duration,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(socket: R, shared: RequestMemory, idle: Duration, stall: Duration) -> Self {
        Self {
            socket: BufReader::with_capacity(8 << 10, socket),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX)),
            shared,
            idle_timeout: idle,
            stall_timeout: stall,
        }
    }

    /// `None` when the client has closed the connection between two requests.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if !self.wait_for_data().await? {
            return Ok(None);
        }
        let mut prefix = [0; PREFIX_BYTES + FRAME_HEAD_BYTES];
        timeout(self.stall_timeout, self.socket.read_exact(&mut prefix)).await??;
        let [l0, l1, l2, l3, k0, k1, ..] = prefix;
        let len = check_length(i32::from_be_bytes([l0, l1, l2, l3]), i16::from_be_bytes([k0, k1]))?;
        let mut memory = self.begin(len).await?;
        let bytes = self.read_body(&prefix[PREFIX_BYTES..], len, &mut memory).await?;
        Ok(Some(Frame { bytes: bytes.freeze(), memory }))
    }

    /// Reads the rest of a request of `len` bytes that begins with `head`. The time that the client may take does not
    /// run while it is we who make it wait.
    async fn read_body(
        &mut self,
        head: &[u8],
        len: usize,
        memory: &mut Memory,
    ) -> Result<BytesMut, FrameError> {
        let mut left = self.stall_timeout + time_for(len);
        let mut bytes = BytesMut::with_capacity(len.min(SMALL_REQUEST_BYTES));
        let mut room = len.min(SMALL_REQUEST_BYTES);
        bytes.put_slice(head);
        while bytes.len() < len {
            if bytes.len() == room {
                let more = room.min(len - room);
                self.shared.grow(memory, permits(more)).await;
                room += more;
                bytes = moved(&bytes, room);
            }
            let begun = Instant::now();
            let missing = room - bytes.len();
            let mut rest = (&mut bytes).limit(missing);
            if timeout(left.min(self.stall_timeout), self.socket.read_buf(&mut rest)).await?? == 0 {
                return Err(FrameError::Cut);
            }
            left = left.saturating_sub(begun.elapsed());
        }
        Ok(bytes)
    }

    /// Who waits for an answer of ours is not idle.
    async fn wait_for_data(&mut self) -> Result<bool, FrameError> {
        loop {
            match timeout(self.idle_timeout, self.socket.fill_buf()).await {
                Ok(data) => return Ok(!data?.is_empty()),
                Err(_) if self.in_flight.available_permits() == IN_FLIGHT_BYTES_MAX => {
                    return Err(FrameError::Idle);
                }
                Err(_) => {}
            }
        }
    }

    async fn begin(&self, len: usize) -> Result<Memory, FrameError> {
        let own = permits(len.min(IN_FLIGHT_BYTES_MAX));
        let connection = Arc::clone(&self.in_flight).acquire_many_owned(own).await;
        Ok(Memory::new(connection.map_err(|_| FrameError::Stopping)?))
    }
}

/// Not left to `reserve`, which may take twice of what it is asked for.
fn moved(bytes: &[u8], room: usize) -> BytesMut {
    let mut moved = BytesMut::with_capacity(room);
    moved.put_slice(bytes);
    moved
}

/// What a request of this length may take beyond a single stall.
fn time_for(len: usize) -> Duration {
    Duration::from_secs(len as u64 / REQUEST_BYTES_PER_SECOND_MIN)
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn check_length(len: i32, api_key: i16) -> Result<usize, FrameError> {
    let max = if api_key == PRODUCE { RECORDS_REQUEST_BYTES_MAX } else { CONTROL_REQUEST_BYTES_MAX };
    match usize::try_from(len) {
        Ok(bytes) if (FRAME_HEAD_BYTES..=max).contains(&bytes) => Ok(bytes),
        _ => Err(FrameError::Length { len, max }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn shared() -> RequestMemory {
        RequestMemory::new(LARGEST * 2)
    }

    fn reader<R: AsyncRead + Unpin>(socket: R) -> FrameReader<R> {
        FrameReader::new(socket, shared(), MINUTE, MINUTE)
    }

    #[tokio::test]
    async fn a_length_beyond_its_apis_limit_is_refused_before_the_body_is_read() {
        for (len, api_key) in [(-1, 3), (0, 3), (7, 3), (i32::MAX, 0), (8 << 20, 3)] {
            let mut frame = i32::to_be_bytes(len).to_vec();
            frame.extend_from_slice(&i16::to_be_bytes(api_key));
            frame.extend_from_slice(&[0; 6]);
            let refused = reader(frame.as_slice()).next().await;
            assert!(matches!(refused, Err(FrameError::Length { .. })), "{len} for api {api_key}");
        }
    }

    #[tokio::test]
    async fn a_request_that_is_cut_off_is_an_error_and_a_close_between_requests_is_none() {
        let frame = [0, 0, 0, 10, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2];
        assert_eq!(reader(&frame[..]).next().await.unwrap().unwrap().bytes, &frame[4..]);
        assert!(matches!(reader(&frame[..13]).next().await, Err(FrameError::Cut)));
        assert!(reader(&frame[..0]).next().await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_but_not_while_an_answer_is_owed() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut frames = reader(server);
        client.write_all(&[0, 0, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let owed = frames.next().await.unwrap().unwrap();
        assert!(timeout(MINUTE * 10, frames.next()).await.is_err(), "closed although an answer was owed");
        drop(owed);
        assert!(matches!(frames.next().await, Err(FrameError::Idle)));
    }

    const LARGEST: usize = RECORDS_REQUEST_BYTES_MAX;

    /// The first bytes of a produce request.
    fn head(len: usize) -> Vec<u8> {
        let mut head = u32::try_from(len).unwrap().to_be_bytes().to_vec();
        head.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        head
    }

    #[tokio::test(start_paused = true)]
    async fn who_announces_much_and_sends_little_holds_up_nobody_and_not_for_long() {
        let shared = shared();
        let slow = (0..4).map(|_| {
            let (mut client, server) = tokio::io::duplex(64);
            let mut frames = FrameReader::new(server, shared.clone(), MINUTE, MINUTE);
            tokio::spawn(async move {
                client.write_all(&head(LARGEST)).await.unwrap();
                while client.write_all(&[0]).await.is_ok() {
                    tokio::time::sleep(MINUTE / 6).await;
                }
            });
            tokio::spawn(async move { frames.next().await })
        });
        let slow: Vec<_> = slow.collect();
        tokio::time::sleep(MINUTE * 3).await;
        let request = [head(1 << 20), vec![7; (1 << 20) - FRAME_HEAD_BYTES]].concat();
        let mut honest = FrameReader::new(request.as_slice(), shared.clone(), MINUTE, MINUTE);
        let frame = timeout(MINUTE, honest.next()).await.expect("there is memory for it");
        assert_eq!(frame.unwrap().unwrap().bytes, request[PREFIX_BYTES..]);
        for ended in slow {
            let ended = timeout(MINUTE * 60, ended).await.expect("it ends").unwrap();
            assert!(matches!(ended, Err(FrameError::Stalled)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_have_not_room_together_are_read_one_after_the_other() {
        let shared = shared();
        let clients = (0..3).map(|_| {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let mut frames = FrameReader::new(server, shared.clone(), MINUTE, MINUTE);
            tokio::spawn(async move {
                client.write_all(&head(LARGEST)).await.unwrap();
                client.write_all(&vec![0; LARGEST - FRAME_HEAD_BYTES]).await.unwrap();
            });
            tokio::spawn(async move {
                let frame = frames.next().await.unwrap().unwrap();
                // It takes longer to be answered than a client may stall.
                tokio::time::sleep(MINUTE * 100).await;
                frame.bytes.len()
            })
        });
        for read in clients.collect::<Vec<_>>() {
            assert_eq!(timeout(MINUTE * 1000, read).await.expect("it is read").unwrap(), LARGEST);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_stalls_ends_its_connection() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(&[0, 0, 0, 20, 0, 3, 0, 0, 0, 0, 0, 0, 1]).await.unwrap();
        assert!(matches!(reader(server).next().await, Err(FrameError::Stalled)));
    }
}
