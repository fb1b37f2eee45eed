//! CRC-32C of what files hold.

use std::fs::File;
use std::io::{self, Read};

use crate::limits::COPY_STEP_BYTES;

/// Told of the bytes of each step while files are read; says whether to read on.
pub type GoOn<'a> = dyn FnMut(usize) -> bool + 'a;

/// How many of a file's first `bytes` there are, and their CRC-32C; `None` where `go_on` has put an end to it.
pub(crate) fn checksum_of(file: File, bytes: u32, go_on: &mut GoOn<'_>) -> io::Result<Option<(u32, u32)>> {
    let mut input = file.take(u64::from(bytes));
    let mut buffer = vec![0; COPY_STEP_BYTES];
    let (mut length, mut checksum) = (0, 0);
    loop {
        let count = match input.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 {
            return Ok(Some((length, checksum)));
        }
        length += count as u32;
        checksum = crc32c::crc32c_append(checksum, &buffer[..count]);
        if !go_on(count) {
            return Ok(None);
        }
    }
}
