//! How busy a process is.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::wait;

/// Seconds of one core that the process's threads have used since they began.
fn used(process: u32) -> Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // "nanoseconds on a core, nanoseconds waiting, slices" (the kernel's sched-stats.rst)
        let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let on_core = stat.split(' ').next().and_then(|field| field.parse::<f64>().ok());
        nanoseconds += on_core.context("no time in the status of a thread")?;
    }
    Ok(nanoseconds / 1e9)
}

/// Percent of one core that the process uses over a time.
pub fn percent(process: u32, over: Duration) -> Result<f64> {
    let (start, before) = (Instant::now(), used(process)?);
    wait::pause(over);
    Ok((used(process)? - before) / start.elapsed().as_secs_f64() * 100.0)
}
