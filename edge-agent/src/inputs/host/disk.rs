//! `/proc/diskstats` for whole disks, and how full the root file system is.

use super::Found;

/// Sectors in diskstats are of 512 bytes whatever the disk's are (Documentation/admin-guide/iostats).
const SECTOR_BYTES: f64 = 512.0;

pub fn read(found: &mut Found<'_>) {
    read_counters(found);
    read_root(found);
}

fn read_counters(found: &mut Found<'_>) {
    let Some(text) = found.text("proc/diskstats") else { return };
    let disks = found.names("sys/block");
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, disk, _, _, read, _, _, _, written, ..] = fields.as_slice() else { continue };
        let is_real =
            disks.iter().any(|known| known == disk) && !disk.starts_with("loop") && !disk.starts_with("ram");
        if let (true, Ok(read), Ok(written)) = (is_real, read.parse::<f64>(), written.parse::<f64>()) {
            found.add(format!("disk.{disk}.read"), Some("B"), read * SECTOR_BYTES);
            found.add(format!("disk.{disk}.written"), Some("B"), written * SECTOR_BYTES);
        }
    }
}

/// Only of the machine itself: below another root it would be the wrong file system's.
fn read_root(found: &mut Found<'_>) {
    if found.root != "/" {
        return;
    }
    if let Ok(stat) = rustix::fs::statvfs("/") {
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        let usable = used + stat.f_bavail;
        if usable > 0 {
            found.add("disk.root.used", Some("%"), 100.0 * used as f64 / usable as f64);
        }
    }
}
