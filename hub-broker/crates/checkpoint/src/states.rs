//! State files: the states that changed between two checkpoints, one behind the other, so that one sync makes all of
//! them durable. Version 1, little-endian:
//!
//! ```text
//!  0  8 bytes  "HWSTATE\n"
//!  8  u16      version 1
//! 10  6 bytes  0
//! 16  u64      sequence number of the file: that of the checkpoint that it was written for
//! 24  …        states; the manifests say where each begins, how long it is, and its CRC-32C
//! ```
//!
//! A state file is called `states-` and its sequence number, 16 hexadecimal digits. It is never written again.

use crate::{error::DamageKind, manifest::Place};
use bytes::Bytes;
use std::{fs::File, io, io::Write, os::unix::fs::FileExt};

const MAGIC: &[u8; 8] = b"HWSTATE\n";
const VERSION: u16 = 1;
pub const HEADER_BYTES: u64 = 24;

pub fn header(sequence: u64) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[0..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    bytes
}

/// A manifest of version 1 names files of version 1: anything else is damage.
pub fn check_header(file: &File, sequence: u64) -> io::Result<Result<(), DamageKind>> {
    let mut bytes = [0; HEADER_BYTES as usize];
    if let Err(error) = file.read_exact_at(&mut bytes, 0) {
        return truncated(error).map(Err);
    }
    Ok(if bytes == header(sequence) { Ok(()) } else { Err(DamageKind::Format) })
}

/// Reads one state and checks it.
pub fn read(file: &File, place: &Place) -> io::Result<Result<Bytes, DamageKind>> {
    if place.position + u64::from(place.bytes) > file.metadata()?.len() {
        return Ok(Err(DamageKind::Truncated));
    }
    let mut bytes = vec![0; place.bytes as usize];
    if let Err(error) = file.read_exact_at(&mut bytes, place.position) {
        return truncated(error).map(Err);
    }
    Ok(if crc32c::crc32c(&bytes) == place.crc { Ok(bytes.into()) } else { Err(DamageKind::Checksum) })
}

fn truncated(error: io::Error) -> io::Result<DamageKind> {
    if error.kind() == io::ErrorKind::UnexpectedEof { Ok(DamageKind::Truncated) } else { Err(error) }
}

/// Lays states out in a new file.
pub struct Layout {
    sequence: u64,
    end: u64,
    states: Vec<Bytes>,
}

impl Layout {
    pub fn new(sequence: u64) -> Self {
        Layout { sequence, end: HEADER_BYTES, states: Vec::new() }
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn push(&mut self, state: Bytes) -> Place {
        let place = Place {
            file: self.sequence,
            position: self.end,
            bytes: state.len() as u32,
            crc: crc32c::crc32c(&state),
        };
        self.end += state.len() as u64;
        self.states.push(state);
        place
    }

    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    pub fn write(&self, file: &File) -> io::Result<()> {
        let mut writer = io::BufWriter::with_capacity(256 * 1024, file);
        writer.write_all(&header(self.sequence))?;
        self.states.iter().try_for_each(|state| writer.write_all(state))?;
        writer.flush()
    }
}
