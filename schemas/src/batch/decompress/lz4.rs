//! LZ4 frames.
//!
//! The decoder takes the end of its input for the end of the frame and buffers a block before it has it.
//! So the frame is walked first, by its own lengths: one whole frame with its end mark, and nothing after it.
//!
//! ```text
//! magic 04 22 4d 18 · FLG · BD · [content size 8] · [dictionary 4] · header checksum
//! blocks: length u32 LE (top bit: stored), data, [checksum 4]; a length of 0 ends; [content checksum 4]
//! ```

use super::{Failure, read_bounded};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 1;
const STORED: u32 = 1 << 31;

pub fn decompress(body: &[u8]) -> Result<Vec<u8>, Failure> {
    if !is_one_whole_frame(body).unwrap_or(false) {
        return Err(Failure::Damaged);
    }
    read_bounded(lz4_flex::frame::FrameDecoder::new(body))
}

/// `None` where the frame is cut.
fn is_one_whole_frame(body: &[u8]) -> Option<bool> {
    let rest = body.strip_prefix(&MAGIC)?;
    let (&flags, rest) = rest.split_first()?;
    if flags & DICTIONARY != 0 {
        return Some(false);
    }
    let size_bytes = if flags & CONTENT_SIZE == 0 { 0 } else { 8 };
    let block_checksum_bytes = if flags & BLOCK_CHECKSUM == 0 { 0 } else { 4 };
    let content_checksum_bytes = if flags & CONTENT_CHECKSUM == 0 { 0 } else { 4 };
    // BD and the header checksum stand around the content size.
    let mut rest = rest.get(1 + size_bytes + 1..)?;
    loop {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return Some(after.len() == content_checksum_bytes);
        }
        let data_bytes = usize::try_from(length & !STORED).ok()?;
        rest = after.get(data_bytes.checked_add(block_checksum_bytes)?..)?;
    }
}
