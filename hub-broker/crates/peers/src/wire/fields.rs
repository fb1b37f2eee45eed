//! Reading bounded fields out of bytes from the network.

use uuid::Uuid;

/// What is left to read. Every step says whether it was there.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn uuid(&mut self) -> Option<Uuid> {
        self.array().map(Uuid::from_bytes)
    }

    /// UTF-8 behind its length in two bytes.
    pub fn text(&mut self, bytes_max: usize) -> Option<String> {
        let length = usize::from(self.u16()?);
        if length > bytes_max {
            return None;
        }
        std::str::from_utf8(self.bytes(length)?).ok().map(str::to_owned)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
