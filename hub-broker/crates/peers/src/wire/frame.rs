//! The header of a frame.

use crate::limits::FRAME_PAYLOAD_BYTES_MAX;

pub(crate) const FRAME_HEADER_BYTES: usize = 12;

/// The frame holds the beginning of its body.
pub(crate) const FIRST: u8 = 1;
/// The frame holds the end of its body.
pub(crate) const LAST: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Beats = 1,
    Messages = 2,
    Message = 3,
    Request = 4,
    Answer = 5,
    Notice = 6,
    Ping = 7,
    Cluster = 8,
    Goodbye = 9,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Beats,
            2 => Self::Messages,
            3 => Self::Message,
            4 => Self::Request,
            5 => Self::Answer,
            6 => Self::Notice,
            7 => Self::Ping,
            8 => Self::Cluster,
            9 => Self::Goodbye,
            _ => return None,
        })
    }
}

/// The peer does not keep to the protocol, or the bytes were damaged: the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("a frame of {length} bytes")]
    TooLong { length: u32 },
    #[error("a frame with a wrong checksum")]
    Checksum,
    #[error("a frame of the unknown kind {kind}")]
    UnknownKind { kind: u8 },
    #[error("a {kind:?} frame that cannot be read")]
    Unreadable { kind: Kind },
    #[error("a body of {length} bytes in {kind:?} frames")]
    BodyTooLong { kind: Kind, length: u64 },
    #[error("a {kind:?} frame out of its order")]
    Order { kind: Kind },
    #[error("too many bodies at one time")]
    TooManyOpen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub kind: Kind,
    pub flags: u8,
    /// The kind of the request, answer or notice; else 0.
    pub channel: u8,
    /// Length of the payload.
    pub length: usize,
}

impl FrameHeader {
    /// The header of a frame whose payload is `parts`, one behind the other.
    pub fn encode(self, parts: [&[u8]; 2]) -> [u8; FRAME_HEADER_BYTES] {
        debug_assert!(self.length <= FRAME_PAYLOAD_BYTES_MAX);
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[4..8].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[8] = self.kind as u8;
        bytes[9] = self.flags;
        bytes[10] = self.channel;
        let crc =
            parts.iter().fold(crc32c::crc32c(&bytes[4..]), |crc, part| crc32c::crc32c_append(crc, part));
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes` when the whole frame is there. The checksum is right then.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let [c0, c1, c2, c3, l0, l1, l2, l3, kind, flags, channel, _] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let payload_bytes = length as usize;
        if payload_bytes > FRAME_PAYLOAD_BYTES_MAX {
            return Err(ProtocolError::TooLong { length });
        }
        let Some(guarded) = bytes.get(4..FRAME_HEADER_BYTES + payload_bytes) else { return Ok(None) };
        if crc32c::crc32c(guarded) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(ProtocolError::Checksum);
        }
        let kind = Kind::of(kind).ok_or(ProtocolError::UnknownKind { kind })?;
        Ok(Some(Self { kind, flags, channel, length: payload_bytes }))
    }

    pub fn is_first(self) -> bool {
        self.flags & FIRST != 0
    }

    pub fn is_last(self) -> bool {
        self.flags & LAST != 0
    }
}
