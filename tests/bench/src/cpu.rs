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

/// Seconds of one core that a process has used since it began, threads that have ended included; in steps of the
/// kernel's clock tick (fields 14 and 15 in proc_pid_stat(5)).
pub fn seconds(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name in parentheses, with whatever characters it has.
    let (_, rest) = stat.rsplit_once(')').context("no name in the status of a process")?;
    let times = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = times.sum::<Result<u64, _>>().context("no time in the status of a process")?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
