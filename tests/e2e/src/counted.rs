//! A device that counts: its agent reads a program that numbers its lines, and tells on its console how far it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use testkit::wait;

use crate::board::{Device, now_s};

/// The log topic of the counted records.
pub const TOPIC: &str = "counted";
/// Boot and number go into tags, which any Kafka client shows.
const SCRIPT: &str = "n=0\n\
    while true; do\n\
    n=$((n + 1))\n\
    echo \"counted,boot=$agent_boot,n=$n value=$n\"\n\
    printf '\\nCOUNTED %s.\\n' $n > /dev/console\n\
    usleep 200000\n\
    done\n";

/// The files of a device that counts and reads its host: `agent.toml` with more `settings` before its inputs.
pub fn write_files(folder: &Path, device: &str, settings: &str) -> io::Result<()> {
    fs::write(folder.join("count.sh"), SCRIPT)?;
    let settings = format!(
        "device_id = {device:?}\ndata_dir = \"/data/agent\"\nbuffer_bytes = 16777216\nprofile = \"lan\"\n{settings}\n\
         [[inputs]]\nkind = \"host\"\ninterval_ms = 1000\n\
         [[inputs]]\nkind = \"exec\"\ncommand = [\"/bin/sh\", \"/data/count.sh\"]\nformat = \"line-protocol\"\n\
         topic = {TOPIC:?}\n"
    );
    fs::write(folder.join("agent.toml"), settings)
}

/// When this machine saw which number of a boot on the device's console, in seconds since 1970.
#[derive(Default)]
pub struct Seen(pub BTreeMap<u32, i64>);

impl Seen {
    /// Watches until the device has counted so far.
    ///
    /// # Panics
    /// Where it does not within the deadline.
    pub fn until(&mut self, device: &Device<'_>, number: u32, deadline: Duration) {
        wait::until(&format!("the device to count to {number}"), deadline, || {
            let console = device.console();
            let counted = console.rsplit("COUNTED ").find_map(|text| text.split_once('.')?.0.parse().ok());
            let last: u32 = counted?;
            self.0.entry(last).or_insert_with(now_s);
            (last >= number).then_some(())
        });
    }

    pub fn last(&self) -> u32 {
        self.0.keys().last().copied().unwrap_or_default()
    }
}

/// A counted record as a consumer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub boot: u32,
    pub number: u32,
    pub timestamp_ms: i64,
}

/// What kcat reads of a device, in the order of the log.
///
/// # Panics
/// Where a record is not the device's, stands for lost ones, or was never timed.
pub fn read(kcat: &PathBuf, brokers: &str, device: &str) -> Vec<Counted> {
    let mut command = Command::new(kcat);
    command.args(["-C", "-e", "-q", "-b", brokers, "-t", TOPIC, "-f", "%T %k %h\\n"]);
    let output = command.output().expect("kcat can be started");
    // A topic that nothing was written to yet is not there.
    String::from_utf8_lossy(&output.stdout).lines().map(|line| record(line, device)).collect()
}

fn record(line: &str, device: &str) -> Counted {
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().expect("three words");
    let (timestamp, key, headers) = (word(), word(), word());
    assert_eq!(key, device, "{line}");
    let header = |name: &str| headers.split(',').find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
    assert!(header("gap").is_none() && header("untimed").is_none(), "{line}");
    let number = |name| header(name).and_then(|text| text.parse().ok()).expect("a number");
    Counted {
        boot: number("tag.boot"),
        number: number("tag.n"),
        timestamp_ms: timestamp.parse().expect("a timestamp"),
    }
}
