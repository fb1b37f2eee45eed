//! PUBACK, PUBREC, PUBREL, PUBCOMP and DISCONNECT: a packet id or a reason code, rarely more. They are most of
//! the packets next to PUBLISH, and rumqttd's v5 DISCONNECT neither reads nor writes a bare reason code.

use super::frame::{put_varint, varint_bytes};
use super::properties::USER;
use super::{Version, WireError};

pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;

const DISCONNECT: u8 = 0xe0;
const REASON_STRING: u8 = 31;

/// An acknowledgement from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    pub packet_id: u16,
    /// 0 where none is given.
    pub reason: u8,
}

impl Ack {
    pub fn read(version: Version, body: &[u8]) -> Result<Self, WireError> {
        let (id, rest) =
            body.split_first_chunk().ok_or(WireError::Malformed("an acknowledgement without a packet id"))?;
        let packet_id = u16::from_be_bytes(*id);
        match (version, rest) {
            _ if packet_id == 0 => Err(WireError::Protocol("packet id 0")),
            (_, []) => Ok(Self { packet_id, reason: 0 }),
            (Version::V5, [reason, ..]) => Ok(Self { packet_id, reason: *reason }),
            (Version::V311, _) => Err(WireError::Malformed("an acknowledgement with more than a packet id")),
        }
    }
}

/// Writes an acknowledgement without properties. The reason is left out where it is 0, and in 3.1.1.
pub fn write(out: &mut Vec<u8>, version: Version, kind: u8, packet_id: u16, reason: u8) {
    let first = kind << 4 | if kind == PUBREL { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    if version == Version::V311 || reason == 0 {
        out.extend_from_slice(&[first, 2, high, low]);
    } else {
        out.extend_from_slice(&[first, 3, high, low, reason]);
    }
}

/// Writes an acknowledgement of 5 with a reason string and user properties.
pub fn write_with(
    out: &mut Vec<u8>,
    kind: u8,
    packet_id: u16,
    reason: u8,
    reason_string: &str,
    user: &[(&str, &str)],
) {
    let mut properties = Vec::new();
    put_reason_string(&mut properties, reason_string);
    for (name, value) in user {
        properties.push(USER);
        put_string(&mut properties, name);
        put_string(&mut properties, value);
    }
    out.push(kind << 4);
    put_varint(out, 3 + varint_bytes(properties.len()) + properties.len());
    out.extend_from_slice(&packet_id.to_be_bytes());
    out.push(reason);
    put_varint(out, properties.len());
    out.extend_from_slice(&properties);
}

/// A client's DISCONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect {
    pub reason: u8,
    /// A new session expiry interval, seconds.
    pub session_expiry: Option<u32>,
}

/// Reads a DISCONNECT of 5. Of its properties only the session expiry matters here.
pub fn read_disconnect(version: Version, body: &[u8]) -> Result<Disconnect, WireError> {
    match (version, body) {
        (_, []) => Ok(Disconnect { reason: 0, session_expiry: None }),
        (Version::V311, _) => Err(WireError::Malformed("a DISCONNECT with a body")),
        (Version::V5, [reason]) => Ok(Disconnect { reason: *reason, session_expiry: None }),
        (Version::V5, [reason, rest @ ..]) => {
            let session_expiry = super::properties::disconnect_expiry(rest)?;
            Ok(Disconnect { reason: *reason, session_expiry })
        }
    }
}

/// Writes the DISCONNECT of 5 that says why the hub closes.
pub fn write_disconnect(out: &mut Vec<u8>, reason: u8, reason_string: &str) {
    let mut properties = Vec::new();
    put_reason_string(&mut properties, reason_string);
    out.push(DISCONNECT);
    put_varint(out, 1 + varint_bytes(properties.len()) + properties.len());
    out.push(reason);
    put_varint(out, properties.len());
    out.extend_from_slice(&properties);
}

fn put_reason_string(out: &mut Vec<u8>, text: &str) {
    if !text.is_empty() {
        out.push(REASON_STRING);
        put_string(out, text);
    }
}

/// Two bytes of length and the text, which is cut at 64 KiB.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    put_binary(out, text.as_bytes());
}

/// Two bytes of length and the bytes, which are cut at 64 KiB.
pub fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}
