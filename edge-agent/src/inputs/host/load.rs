//! Load averages and the processors' busy share.

use super::Found;

/// `/proc/loadavg`: processes that run or wait, averaged over 1, 5 and 15 minutes.
pub fn read(found: &mut Found<'_>) {
    let Some(text) = found.text("proc/loadavg") else { return };
    for (name, value) in ["load.1m", "load.5m", "load.15m"].into_iter().zip(text.split_whitespace()) {
        if let Ok(value) = value.parse() {
            found.add(name, None, value);
        }
    }
}

/// `/proc/stat` at the last reading.
#[derive(Default)]
pub struct Processor {
    last: Option<Ticks>,
}

#[derive(Clone, Copy)]
struct Ticks {
    total: u64,
    idle: u64,
}

impl Processor {
    /// The share of time, in percent, that the processors were busy since the last reading.
    pub fn read(&mut self, found: &mut Found<'_>) {
        let Some(now) = found.text("proc/stat").as_deref().and_then(ticks) else { return };
        if let Some(last) = self.last.replace(now) {
            let total = now.total.saturating_sub(last.total);
            let idle = now.idle.saturating_sub(last.idle);
            if total > 0 {
                found.add("cpu.busy", Some("%"), 100.0 * (1.0 - idle as f64 / total as f64));
            }
        }
    }
}

/// user nice system idle iowait irq softirq steal; guest time is in user already (proc(5)).
fn ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().find(|line| line.starts_with("cpu "))?;
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).take(8).map_while(|field| field.parse().ok()).collect();
    let idle = fields.get(3)? + fields.get(4)?;
    Some(Ticks { total: fields.iter().sum(), idle })
}
