//! collectd as Debian's collectd-core has it, at an agent's work: it reads the machine every second, takes values from
//! others over its socket, keeps everything in CSV files, and sends it on.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::{Process, wait};

pub const PROGRAM: &str = "/usr/sbin/collectd";
/// Where its plugins are.
pub const PLUGINS: &str = "/usr/lib/collectd";
const TYPES: &str = "/usr/share/collectd/types.db";
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// A collectd with threads, queues and lingers as they come.
pub struct Collectd {
    process: Process,
    answers: BufReader<UnixStream>,
    /// Who it sends to; what nobody reads is dropped there.
    _receiver: UdpSocket,
}

impl Collectd {
    pub fn start(folder: &Path) -> Result<Self> {
        ensure!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing; Debian: apt install collectd-core");
        let folder = folder.join("collectd");
        std::fs::create_dir_all(&folder)?;
        let receiver = UdpSocket::bind("127.0.0.1:0")?;
        let settings = folder.join("collectd.conf");
        std::fs::write(&settings, settings_of(&folder, receiver.local_addr()?.port()))?;
        let mut command = Command::new(PROGRAM);
        command.arg("-f").arg("-C").arg(&settings);
        let process = Process::start("collectd", &mut command, &folder.join("collectd.log"));
        let socket = wait::until("collectd's socket", STARTED_WITHIN, || {
            UnixStream::connect(folder.join("socket")).ok()
        });
        Ok(Self { process, answers: BufReader::new(socket), _receiver: receiver })
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Hands over one sensor's value, measured now.
    pub fn put(&mut self, sensor: u64, value: &str) -> Result<()> {
        writeln!(self.answers.get_mut(), "PUTVAL \"bench/fed/gauge-{sensor}\" interval=1 N:{value}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("collectd does not answer")?;
        ensure!(answer.starts_with("0 Success"), "collectd answers {answer:?}");
        Ok(())
    }
}

fn settings_of(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "BaseDir \"{folder}\"\nPIDFile \"{folder}/pid\"\nPluginDir \"{PLUGINS}\"\nTypesDB \"{TYPES}\"\n\
         Hostname \"bench\"\nFQDNLookup false\nInterval 1\n\
         LoadPlugin cpu\nLoadPlugin load\nLoadPlugin memory\nLoadPlugin disk\nLoadPlugin interface\n\
         LoadPlugin thermal\n\
         LoadPlugin unixsock\n<Plugin unixsock>\n  SocketFile \"{folder}/socket\"\n  SocketGroup \"root\"\n</Plugin>\n\
         LoadPlugin csv\n<Plugin csv>\n  DataDir \"{folder}/csv\"\n</Plugin>\n\
         LoadPlugin network\n<Plugin network>\n  Server \"127.0.0.1\" \"{port}\"\n</Plugin>\n"
    )
}
