//! `/proc/meminfo`.

use super::Found;

pub fn read(found: &mut Found<'_>) {
    let Some(text) = found.text("proc/meminfo") else { return };
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().trim_end_matches("kB").trim().parse::<f64>().ok().map(|kib| kib * 1024.0)
    };
    let (Some(total), Some(available)) = (bytes("MemTotal"), bytes("MemAvailable")) else { return };
    found.add("memory.total", Some("B"), total);
    found.add("memory.available", Some("B"), available);
    found.add("memory.used", Some("%"), 100.0 * (1.0 - available / total));
}
