//! Cutting the stream of bytes into packets.
//!
//! ```text
//! type u4 | flags u4 | remaining length, 1 to 4 bytes of 7 bits, low first | remaining bytes   (MQTT 5, 2.1)
//! ```

use super::WireError;

/// Where the first packet of the input lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The first byte: type and flags.
    pub first: u8,
    pub header_bytes: usize,
    pub body_bytes: usize,
}

impl Frame {
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.header_bytes + self.body_bytes
    }

    #[must_use]
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    #[must_use]
    pub fn flags(&self) -> u8 {
        self.first & 0x0f
    }
}

/// The first packet of `input`, or `None` while it is not all there. A packet above `bytes_max` is refused as
/// soon as its length is known.
pub fn next(input: &[u8], bytes_max: usize) -> Result<Option<Frame>, WireError> {
    let Some((&first, rest)) = input.split_first() else { return Ok(None) };
    let Some((body_bytes, length_bytes)) = varint(rest)? else { return Ok(None) };
    let frame = Frame { first, header_bytes: 1 + length_bytes, body_bytes };
    if frame.bytes() > bytes_max {
        return Err(WireError::TooLarge { bytes: frame.bytes(), max: bytes_max });
    }
    Ok((input.len() >= frame.bytes()).then_some(frame))
}

/// A variable byte integer and how many bytes it took; `None` where the input ends within it.
pub fn varint(input: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
    let mut value = 0;
    for (at, &byte) in input.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if input.len() >= 4 { Err(WireError::Malformed("a length of more than four bytes")) } else { Ok(None) }
}

/// Writes a variable byte integer below 2²⁸.
pub fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    debug_assert!(value < 1 << 28);
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put_varint`] writes.
#[must_use]
pub fn varint_bytes(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_packet_is_seen_when_its_last_byte_is_there() {
        let packet = [0x30, 0x03, 1, 2, 3];
        for end in 0..packet.len() {
            assert_eq!(next(&packet[..end], 100), Ok(None));
        }
        assert_eq!(next(&packet, 100), Ok(Some(Frame { first: 0x30, header_bytes: 2, body_bytes: 3 })));
    }

    #[test]
    fn a_packet_that_is_too_large_is_refused_before_it_has_arrived() {
        assert_eq!(
            next(&[0x30, 0xff, 0xff, 0x7f], 100),
            Err(WireError::TooLarge { bytes: 2_097_155, max: 100 })
        );
    }

    #[test]
    fn a_length_of_five_bytes_is_malformed() {
        assert!(matches!(next(&[0x30, 0xff, 0xff, 0xff, 0xff, 1], 100), Err(WireError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn lengths_are_read_as_they_were_written(value in 0usize..1 << 28) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varint_bytes(value));
            prop_assert_eq!(varint(&bytes), Ok(Some((value, bytes.len()))));
        }
    }
}
