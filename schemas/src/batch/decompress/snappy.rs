//! Snappy, in the two ways that Kafka clients write it: one raw block (librdkafka), or the framing of
//! snappy-java, which Java's client writes.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 · version u32 · compatible version u32 · blocks: length u32, one raw block
//! ```

use super::Failure;
use crate::limits::DECOMPRESSED_BYTES_MAX;

const FRAMING_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSIONS_BYTES: usize = 8;

/// The densest element is a copy of 64 bytes in 3; nothing honest states more than this many times its size.
const RATIO_MAX: usize = 32;

pub fn decompress(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    let Some(framed) = body.strip_prefix(&FRAMING_MAGIC) else {
        block(body, &mut output)?;
        return Ok(output);
    };
    let mut rest = framed.get(VERSIONS_BYTES..).ok_or(Failure::Damaged)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(Failure::Damaged)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Failure::Damaged)?;
        let (compressed, after) = after.split_at_checked(length).ok_or(Failure::Damaged)?;
        block(compressed, &mut output)?;
        rest = after;
    }
    Ok(output)
}

/// Appends one raw block. Its stated length is believed only as far as its own bytes could yield it.
fn block(compressed: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
    let stated = snap::raw::decompress_len(compressed).map_err(|_| Failure::Damaged)?;
    if stated > compressed.len().saturating_mul(RATIO_MAX) {
        return Err(Failure::Damaged);
    }
    let start = output.len();
    if stated > DECOMPRESSED_BYTES_MAX - start {
        return Err(Failure::TooLarge);
    }
    output.resize(start + stated, 0);
    let written = snap::raw::Decoder::new()
        .decompress(compressed, &mut output[start..])
        .map_err(|_| Failure::Damaged)?;
    if written == stated { Ok(()) } else { Err(Failure::Damaged) }
}
