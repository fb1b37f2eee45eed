//! A whole device in qemu: a board with its kernel, its clock and its disk, the agent, and one way to the outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::{Process, binaries, tools, wait};

/// Where the guest finds the hub; the forward to it is all that it can reach.
pub const HUB_ADDRESS: &str = "10.0.2.100";
pub const HUB_PORT: u16 = 1883;
/// A power of two, as the model of an SD card wants it.
const DISK_BYTES: u64 = 128 << 20;
const BOOTED_WITHIN: Duration = Duration::from_secs(240);

/// A model of a board.
#[derive(Clone, Copy, Debug)]
pub enum Board {
    /// qemu's own board for 32-bit ARM, with a clock that runs on.
    VirtArmhf,
    /// Raspberry Pi 3: it has no clock, and boots in 1970.
    Raspi3b,
}

impl Board {
    pub fn name(self) -> &'static str {
        match self {
            Self::VirtArmhf => "virt-armhf",
            Self::Raspi3b => "raspi3b",
        }
    }

    fn emulator(self) -> &'static str {
        match self {
            Self::VirtArmhf => "qemu-system-arm",
            Self::Raspi3b => "qemu-system-aarch64",
        }
    }

    /// Where `deploy/cross` puts the agent for it.
    fn agent(self) -> &'static str {
        match self {
            Self::VirtArmhf => "armv7-unknown-linux-gnueabihf/edge/edge-agent",
            Self::Raspi3b => "aarch64-unknown-linux-gnu/edge/edge-agent",
        }
    }

    fn disk(self) -> &'static str {
        match self {
            Self::VirtArmhf => "/dev/vda",
            Self::Raspi3b => "/dev/mmcblk0",
        }
    }
}

/// The kernel and file system that a board starts from; made once for many devices.
pub struct Image {
    board: Board,
    folder: PathBuf,
}

impl Image {
    /// Made in a new folder below `folder`; none where something that it takes is missing.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn make(board: Board, folder: &Path, test: &str) -> Option<Self> {
        for program in [board.emulator(), "nc", "cpio", "mkfs.ext4"] {
            tools::find(program, test)?;
        }
        let Some(agent) = binaries::find(board.agent()) else {
            tools::skip(test, "deploy/cross has not built the agent");
            return None;
        };
        let folder = folder.join(board.name());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/make");
        let made = Command::new(script).arg(board.name()).args([&agent, &folder]).output();
        let made = made.expect("tests/images/make can be started");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Self { board, folder })
    }
}

/// A device that can lose its power, and has it back with what is on its disk.
pub struct Device<'a> {
    image: &'a Image,
    folder: PathBuf,
    hub_port: u16,
    boots: u32,
    process: Option<Process>,
}

impl<'a> Device<'a> {
    /// Has a new disk with `files`, `agent.toml` among them; reaches the hub's `hub_port` on loopback.
    ///
    /// # Panics
    /// Where the disk cannot be made.
    pub fn new(image: &'a Image, folder: &Path, files: &Path, hub_port: u16) -> Self {
        fs::create_dir_all(folder).expect("a folder can be made");
        let disk = fs::File::create(folder.join("disk.img")).expect("an image can be made");
        disk.set_len(DISK_BYTES).expect("a sparse file");
        let mut command = Command::new("mkfs.ext4");
        command.args(["-q", "-F", "-d"]).arg(files).arg(folder.join("disk.img"));
        let made = command.output().expect("mkfs.ext4 can be started");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { image, folder: folder.to_owned(), hub_port, boots: 0, process: None }
    }

    /// Switches it on. `clock_s` is what its clock is set to first, as by fake-hwclock; else it shows what the
    /// board makes of it. Answers once the agent runs, with what the clock showed.
    ///
    /// # Panics
    /// Where it does not boot.
    pub fn boot(&mut self, clock_s: Option<i64>) -> i64 {
        self.boots += 1;
        let clock = clock_s.map_or_else(String::new, |seconds| format!(" agent_clock={seconds}"));
        let parameters = format!(
            "console=ttyAMA0,115200 quiet panic=5 agent_disk={} agent_boot={}{clock}",
            self.image.board.disk(),
            self.boots
        );
        let mut command = Command::new(self.image.board.emulator());
        self.add_machine(&mut command);
        command.arg("-kernel").arg(self.image.folder.join("kernel"));
        command.arg("-initrd").arg(self.image.folder.join("initrd")).args(["-append", &parameters]);
        command.args(["-display", "none", "-monitor", "none", "-no-reboot", "-serial"]);
        command.arg(format!("file:{}", self.console_file().display()));
        let log = self.folder.join("qemu.log");
        self.process = Some(Process::start(self.image.board.emulator(), &mut command, &log));
        wait::until("the agent on the board to run", BOOTED_WITHIN, || {
            let console = self.console();
            let process = self.process.as_mut().expect("it was started");
            assert!(process.is_running(), "qemu ended: {}{console}", process.printed());
            let (_, clock) = console.split_once("INIT clock ")?;
            console.contains("the agent runs").then(|| clock.lines().next()?.trim().parse().ok())?
        })
    }

    /// The board, its disk and its network.
    fn add_machine(&self, command: &mut Command) {
        let disk = self.folder.join("disk.img");
        let network = format!(
            "user,id=net,restrict=on,guestfwd=tcp:{HUB_ADDRESS}:{HUB_PORT}-cmd:nc -N 127.0.0.1 {}",
            self.hub_port
        );
        command.args(["-accel", "tcg,thread=multi", "-netdev", &network, "-drive"]);
        match self.image.board {
            Board::VirtArmhf => {
                command.arg(format!("file={},format=raw,if=virtio", disk.display()));
                command.args(["-M", "virt,highmem=off", "-cpu", "cortex-a15", "-smp", "2", "-m", "256"]);
                command.args(["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]);
            }
            Board::Raspi3b => {
                command.arg(format!("file={},format=raw,if=sd", disk.display()));
                command.args(["-M", "raspi3b", "-device", "usb-net,netdev=net", "-dtb"]);
                command.arg(self.image.folder.join("board.dtb"));
            }
        }
    }

    /// Takes its power away: what its kernel had not written is lost.
    pub fn cut_power(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// What it printed since it was switched on last.
    pub fn console(&self) -> String {
        let printed = fs::read(self.console_file()).unwrap_or_default();
        String::from_utf8_lossy(&printed).replace('\r', "")
    }

    fn console_file(&self) -> PathBuf {
        self.folder.join(format!("console-{}.log", self.boots))
    }
}

/// Now, in seconds since 1970.
///
/// # Panics
/// Before that.
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a time that fits")
}
