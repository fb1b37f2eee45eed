//! Reads the frames of one file, and finds them again behind damage.

use crate::{
    codec::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, Generation, frame_bytes, is_whole, u32_at},
    disk::DiskFile,
    file_header::FileHeader,
};
use std::{io, sync::Arc};

/// How much is read at once.
const WINDOW_BYTES: usize = 1024 * 1024;

/// A frame that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub header: FrameHeader,
    pub position: u64,
}

impl Found {
    pub fn end(&self) -> u64 {
        self.position + self.header.frame_bytes()
    }
}

pub struct FrameReader {
    file: Arc<dyn DiskFile>,
    generation: Generation,
    file_bytes: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl FrameReader {
    pub fn new(file: Arc<dyn DiskFile>, header: &FileHeader) -> Self {
        let (generation, file_bytes) = (header.generation, header.file_bytes);
        FrameReader { file, generation, file_bytes, window: Vec::new(), window_start: 0 }
    }

    /// The header at `position`, whatever state its payload is in.
    pub fn header_at(&mut self, position: u64) -> io::Result<Option<FrameHeader>> {
        let (generation, file_bytes) = (self.generation, self.file_bytes);
        let header = FrameHeader::decode(generation, self.slice(position, FRAME_HEADER_BYTES)?);
        Ok(header.filter(|header| header.frame_bytes() <= file_bytes - position))
    }

    /// The frame at `position`, if it is whole.
    pub fn frame_at(&mut self, position: u64) -> io::Result<Option<Found>> {
        let Some(header) = self.header_at(position)? else { return Ok(None) };
        let generation = self.generation;
        let frame = self.slice(position, frame_bytes(header.payload_bytes as usize) as usize)?;
        Ok(is_whole(generation, &header, frame).then_some(Found { header, position }))
    }

    /// The first whole frame at or after `position`.
    pub fn find_from(&mut self, mut position: u64) -> io::Result<Option<Found>> {
        while let Some(candidate) = self.find_magic(position)? {
            if let Some(found) = self.frame_at(candidate)? {
                return Ok(Some(found));
            }
            position = candidate + 8;
        }
        Ok(None)
    }

    pub fn payload(&mut self, found: &Found) -> io::Result<&[u8]> {
        self.slice(found.position + FRAME_HEADER_BYTES as u64, found.header.payload_bytes as usize)
    }

    fn find_magic(&mut self, mut position: u64) -> io::Result<Option<u64>> {
        loop {
            if self.buffered(position).len() < 8 {
                self.fill(position, WINDOW_BYTES.min(self.left_from(position)))?;
            }
            let words = self.buffered(position).chunks_exact(8);
            let count = words.len() as u64;
            if count == 0 {
                return Ok(None);
            }
            let found = words.enumerate().find(|(_, bytes)| u32_at(bytes, 0) == Some(FRAME_MAGIC));
            if let Some((word, _)) = found {
                return Ok(Some(position + 8 * word as u64));
            }
            position += 8 * count;
        }
    }

    /// What is in memory from `position` on.
    fn buffered(&self, position: u64) -> &[u8] {
        let skip = position.checked_sub(self.window_start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.window.get(skip..)).unwrap_or_default()
    }

    fn left_from(&self, position: u64) -> usize {
        usize::try_from(self.file_bytes.saturating_sub(position)).unwrap_or(usize::MAX)
    }

    /// `bytes` from `position`, fewer at the end of the file.
    fn slice(&mut self, position: u64, bytes: usize) -> io::Result<&[u8]> {
        if self.buffered(position).len() < bytes {
            self.fill(position, bytes.max(WINDOW_BYTES).min(self.left_from(position)))?;
        }
        let buffered = self.buffered(position);
        Ok(&buffered[..buffered.len().min(bytes)])
    }

    fn fill(&mut self, position: u64, bytes: usize) -> io::Result<()> {
        self.window_start = position;
        self.window.resize(bytes, 0);
        let mut filled = 0;
        while filled < bytes {
            match self.file.read_at(&mut self.window[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.window.truncate(filled);
        Ok(())
    }
}
