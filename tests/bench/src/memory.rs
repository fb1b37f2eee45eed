//! What a process holds in memory, as the kernel counts it.

use anyhow::{Context, Result};

const BYTES_PER_MB: f64 = 1e6;

/// In MB of a million bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Anonymous pages: what the process itself keeps, without the programs' and data files' cached pages.
    pub anonymous_mb: f64,
    /// The most that was resident at once, cached pages of files included.
    pub peak_mb: f64,
}

impl Memory {
    pub fn of(process: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let kib: f64 = found
                .and_then(|value| value.strip_suffix(" kB")?.trim().parse().ok())
                .with_context(|| format!("no {name} in the status of a process"))?;
            Ok::<_, anyhow::Error>(kib * 1024.0 / BYTES_PER_MB)
        };
        Ok(Self { anonymous_mb: line("RssAnon:")?, peak_mb: line("VmHWM:")? })
    }
}
