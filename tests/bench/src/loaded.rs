//! The files that a running program consists of, and how large they are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// In bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loaded {
    /// The program and its own plugins.
    pub own: u64,
    /// Libraries that it shares with other programs, libc among them.
    pub shared: u64,
}

impl Loaded {
    /// Everything that a process has mapped to execute it; what lies below `plugins` is its own.
    pub fn by(process: u32, plugins: Option<&Path>) -> Result<Self> {
        let program = std::fs::read_link(format!("/proc/{process}/exe"))?;
        let mut loaded = Self::default();
        for path in executed(&std::fs::read_to_string(format!("/proc/{process}/maps"))?) {
            let bytes = std::fs::metadata(&path)?.len();
            let is_own = path == program || plugins.is_some_and(|folder| path.starts_with(folder));
            *(if is_own { &mut loaded.own } else { &mut loaded.shared }) += bytes;
        }
        Ok(loaded)
    }
}

/// The files with executable pages: "address perms offset device inode path" (proc_pid_maps(5)).
fn executed(maps: &str) -> BTreeSet<PathBuf> {
    let files = maps.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let is_executable = fields.nth(1)?.contains('x');
        let path = fields.nth(3)?;
        (is_executable && path.starts_with('/')).then(|| PathBuf::from(path))
    });
    files.collect()
}
