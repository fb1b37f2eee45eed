//! The clocks of a machine, as they are: what they are worth is judged elsewhere.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};

/// How often two clocks are read anew that could not be read at one time.
const READ_TRIES: u32 = 5;
/// Readings closer together than this count as one time, in ms.
const READ_WITHIN_MS: i64 = 20;

/// The clocks that a machine has.
pub trait Machine: Debug + Send + Sync {
    /// ms since the boot, sleep included: it MUST never jump.
    fn boot_ms(&self) -> i64;
    /// ms since 1970 by the kernel, right or wrong.
    fn kernel_ms(&self) -> i64;
    /// Whether the kernel's clock is synchronised.
    fn is_synchronised(&self) -> bool;
    /// s since 1970 by the hardware clock, right or wrong; `None` where there is none that counts UTC.
    fn hardware_s(&self) -> Option<i64>;
}

/// What the kernel's clocks said at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub boot_ms: i64,
    pub kernel_ms: i64,
    pub is_synchronised: bool,
}

impl Reading {
    pub fn of(machine: &dyn Machine) -> Self {
        // Setting the clock makes it unsynchronised: a time between two answers that it is synchronised was not
        // set in between.
        let was_synchronised = machine.is_synchronised();
        let (boot_ms, kernel_ms) = at_one_time(machine);
        Self { boot_ms, kernel_ms, is_synchronised: was_synchronised && machine.is_synchronised() }
    }

    /// The kernel's time minus boot time in ms: it changes only when the kernel's clock is set.
    pub fn kernel_offset_ms(&self) -> i64 {
        self.kernel_ms - self.boot_ms
    }
}

fn at_one_time(machine: &dyn Machine) -> (i64, i64) {
    let mut tries = 0;
    loop {
        let (boot_ms, kernel_ms) = (machine.boot_ms(), machine.kernel_ms());
        tries += 1;
        if machine.boot_ms() - boot_ms <= READ_WITHIN_MS || tries == READ_TRIES {
            return (boot_ms, kernel_ms);
        }
    }
}

/// The machine that the program runs on; its files are read below a root that is `/` outside tests.
#[derive(Debug)]
pub struct ThisMachine {
    root: PathBuf,
}

impl Default for ThisMachine {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl ThisMachine {
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// hwclock(8): the third line of its file says what the hardware clock counts.
    fn counts_local_time(&self) -> bool {
        self.text("etc/adjtime")
            .is_some_and(|text| text.lines().nth(2).is_some_and(|it| it.trim() == "LOCAL"))
    }

    /// The names of the clocks, first the one that the kernel's was set from at the boot (`hctosys`).
    fn hardware_clocks(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("sys/class/rtc")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|it| it.file_name().into_string().ok()).collect();
        let is_systems = |name: &str| {
            self.text(&format!("sys/class/rtc/{name}/hctosys")).is_some_and(|text| text.trim() == "1")
        };
        names.sort_by_cached_key(|name| (!is_systems(name), name.clone()));
        names
    }
}

impl Machine for ThisMachine {
    fn boot_ms(&self) -> i64 {
        ms(ClockId::Boottime)
    }

    fn kernel_ms(&self) -> i64 {
        ms(ClockId::Realtime)
    }

    fn is_synchronised(&self) -> bool {
        program::clock::is_synchronised()
    }

    /// The kernel gives it in `/sys/class/rtc/rtc*/since_epoch` (Documentation/ABI/testing/sysfs-class-rtc).
    fn hardware_s(&self) -> Option<i64> {
        if self.counts_local_time() {
            return None;
        }
        let first = self.hardware_clocks().into_iter().next()?;
        self.text(&format!("sys/class/rtc/{first}/since_epoch"))?.trim().parse().ok()
    }
}

/// ms since 1970 by this machine's kernel, right or wrong: for ages and file names only.
pub fn realtime_ms() -> i64 {
    ms(ClockId::Realtime)
}

fn ms(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, ThisMachine) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = ThisMachine::below(root.path());
        (root, machine)
    }

    fn hardware(files: &[(&str, &str)]) -> Option<i64> {
        let (_root, machine) = machine(files);
        machine.hardware_s()
    }

    #[test]
    fn the_hardware_clock_is_the_one_that_the_kernel_was_set_from() {
        let files = [
            ("sys/class/rtc/rtc0/since_epoch", "86400\n"),
            ("sys/class/rtc/rtc0/hctosys", "0\n"),
            ("sys/class/rtc/rtc1/since_epoch", "1790000000\n"),
            ("sys/class/rtc/rtc1/hctosys", "1\n"),
        ];
        assert_eq!(hardware(&files), Some(1_790_000_000));
        assert_eq!(hardware(&files[..2]), Some(86_400));
        assert_eq!(hardware(&files[..1]), Some(86_400), "an old kernel does not say");
    }

    #[test]
    fn a_hardware_clock_that_is_missing_broken_or_of_local_time_says_nothing() {
        assert_eq!(hardware(&[]), None);
        assert_eq!(hardware(&[("sys/class/rtc/rtc0/hctosys", "1\n")]), None);
        assert_eq!(hardware(&[("sys/class/rtc/rtc0/since_epoch", "\n")]), None);
        let local = |mode| [("sys/class/rtc/rtc0/since_epoch", "5"), ("etc/adjtime", mode)];
        assert_eq!(hardware(&local("0.0 0 0.0\n0\nLOCAL\n")), None);
        assert_eq!(hardware(&local("0.0 0 0.0\n0\nUTC\n")), Some(5));
    }

    #[test]
    fn boot_time_only_goes_forward() {
        let machine = ThisMachine::default();
        let earlier = machine.boot_ms();
        assert!(machine.boot_ms() >= earlier && earlier > 0);
    }
}
