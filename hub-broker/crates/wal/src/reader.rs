//! Reads the frames of one file, and finds them again behind damage.

use crate::{
    codec::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, Generation, frame_bytes, is_whole, u32_at},
    disk::DiskFile,
    file_header::FileHeader,
};
use bytes::Bytes;
use std::{io, sync::Arc};

/// How much is read at once where everything is read.
const WINDOW_BYTES: usize = 1024 * 1024;

/// Most of what is searched is zeros, and comparing them at once is fast in every build.
static ZEROS: [u8; 4096] = [0; 4096];

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
    /// How much is read at once.
    window_bytes: usize,
}

impl FrameReader {
    pub fn new(file: Arc<dyn DiskFile>, header: &FileHeader) -> Self {
        Self::with_window(file, header, WINDOW_BYTES)
    }

    pub fn with_window(file: Arc<dyn DiskFile>, header: &FileHeader, window_bytes: usize) -> Self {
        let (generation, file_bytes) = (header.generation, header.file_bytes);
        FrameReader { file, generation, file_bytes, window: Vec::new(), window_start: 0, window_bytes }
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
                self.fill(position, self.window_bytes.min(self.left_from(position)))?;
            }
            let buffered = self.buffered(position);
            if buffered.len() < 8 {
                return Ok(None);
            }
            let step = buffered.len().min(ZEROS.len()) / 8 * 8;
            let found = if buffered[..step] == ZEROS[..step] { None } else { find_word(&buffered[..step]) };
            if let Some(offset) = found {
                return Ok(Some(position + offset as u64));
            }
            position += step as u64;
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
            self.fill(position, bytes.max(self.window_bytes).min(self.left_from(position)))?;
        }
        let buffered = self.buffered(position);
        Ok(&buffered[..buffered.len().min(bytes)])
    }

    fn fill(&mut self, position: u64, bytes: usize) -> io::Result<()> {
        self.window_start = position;
        self.window.resize(bytes, 0);
        let filled = read_full_at(self.file.as_ref(), &mut self.window, position)?;
        self.window.truncate(filled);
        Ok(())
    }
}

/// Reads until the buffer is full or the file ends; returns how much there is.
pub fn read_full_at(file: &dyn DiskFile, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The frame of that size at `position` with its payload, if it is there and whole.
pub fn read_frame(
    file: &dyn DiskFile,
    generation: Generation,
    position: u64,
    bytes: usize,
) -> io::Result<Option<(FrameHeader, Bytes)>> {
    let mut frame = vec![0; bytes];
    if read_full_at(file, &mut frame, position)? < bytes {
        return Ok(None);
    }
    let header = FrameHeader::decode(generation, &frame)
        .filter(|header| header.frame_bytes() == bytes as u64 && is_whole(generation, header, &frame));
    let payload =
        |header: &FrameHeader| FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_bytes as usize;
    Ok(header.map(|header| (header, Bytes::from(frame).slice(payload(&header)))))
}

/// Where among words of 8 bytes the first magic number stands.
fn find_word(bytes: &[u8]) -> Option<usize> {
    bytes.chunks_exact(8).position(|word| u32_at(word, 0) == Some(FRAME_MAGIC)).map(|word| 8 * word)
}
