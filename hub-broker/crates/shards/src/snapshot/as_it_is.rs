//! What is left of a file that is known to be damaged.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use partition_log::is_unreadable;

/// So much is lost with a place that the disk cannot read.
const STEP_BYTES: usize = 4096;

/// Bytes of the file as the disk has them; zeros where it has none. An error is none of the file's: it can be read
/// another time.
pub(super) fn read_as_it_is(path: &Path, position: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(bytes.into()),
        Err(error) => return Err(error),
    };
    for (at, step) in (position..).step_by(STEP_BYTES).zip(bytes.chunks_mut(STEP_BYTES)) {
        let read = read_step(&file, at, step)?;
        step[read..].fill(0);
    }
    Ok(bytes.into())
}

/// How many bytes there are before the file's end, or what cannot be read.
fn read_step(file: &File, position: u64, step: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < step.len() {
        match file.read_at(&mut step[read..], position + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_gone(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is_unreadable(error)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_there_is_read_and_zeros_stand_for_the_rest() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..10_000_u32).map(|at| at as u8 | 1).collect();
        fs::write(&path, &bytes).expect("written");
        assert_eq!(read_as_it_is(&path, 100, 9_000).expect("read"), bytes[100..9_100]);
        let longer = read_as_it_is(&path, 9_000, 9_000).expect("read");
        assert_eq!(longer[..1_000], bytes[9_000..]);
        assert_eq!(longer[1_000..], [0; 8_000]);
        assert_eq!(read_as_it_is(&path, 20_000, 5).expect("read"), [0; 5][..]);
        fs::remove_file(&path).expect("removed");
        assert_eq!(read_as_it_is(&path, 0, 5_000).expect("read"), [0; 5_000][..]);
        // Reading from its beginning fails as it does from a bad sector.
        std::os::unix::fs::symlink("/proc/self/mem", &path).expect("linked");
        assert_eq!(read_as_it_is(&path, 0, 5_000).expect("read"), [0; 5_000][..]);
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("made");
        read_as_it_is(&path, 0, 5).expect_err("that is no damage");
    }
}
