//! A small disk of its own: a file system on a loop device that can lose its power, or one in memory that fills.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; unmounted when dropped.
pub struct Disk {
    mount: PathBuf,
    image: Option<PathBuf>,
}

impl Disk {
    /// An ext4 of so many MiB on a loop device below `folder`. Needs root.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn ext4(folder: &Path, mebibytes: u64) -> Self {
        let image = folder.join("disk.img");
        let mount = folder.join("disk");
        std::fs::create_dir_all(&mount).expect("a mount point");
        let file = std::fs::File::create(&image).expect("an image file");
        file.set_len(mebibytes << 20).expect("a sparse file");
        // Nothing of it is left to be written later, when writes are counted.
        let at_once = "lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-E", at_once, &image.display().to_string()]);
        let disk = Self { mount, image: Some(image) };
        disk.mount_image();
        disk
    }

    /// A file system in memory of so many MiB. Needs root.
    ///
    /// # Panics
    /// Where it cannot be mounted.
    pub fn memory(folder: &Path, mebibytes: u64) -> Self {
        let mount = folder.join("disk");
        std::fs::create_dir_all(&mount).expect("a mount point");
        let size = format!("size={mebibytes}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &mount.display().to_string()]);
        Self { mount, image: None }
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// What the block device was written, in bytes.
    ///
    /// # Panics
    /// Where this is no loop device.
    pub fn bytes_written(&self) -> u64 {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        let mount = self.mount.display().to_string();
        let line =
            mounts.lines().find(|line| line.split(' ').nth(1) == Some(&mount)).expect("a mounted disk");
        let device = line.strip_prefix("/dev/").and_then(|line| line.split(' ').next()).expect("a device");
        let stat = std::fs::read_to_string(format!("/sys/block/{device}/stat")).expect("a block device");
        // Documentation/block/stat.rst: the seventh is the sectors written, of 512 bytes each.
        let sectors = stat.split_whitespace().nth(6).and_then(|sectors| sectors.parse::<u64>().ok());
        sectors.expect("a count of sectors") * 512
    }

    /// Cuts the power: what was not flushed is gone, the journal included, and every write fails from now on.
    pub fn cut_power(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", &self.mount.display().to_string()]);
    }

    /// Takes what the disk still has, as after the power came back. Nothing may have files open on it.
    pub fn restore_power(&self) {
        run("umount", &[&self.mount.display().to_string()]);
        self.mount_image();
    }

    /// Lets every write wait from now on, as a card that answers no more does.
    pub fn freeze(&self) {
        run("xfs_io", &["-x", "-c", "freeze", &self.mount.display().to_string()]);
    }

    /// Ends that.
    pub fn thaw(&self) {
        run("xfs_io", &["-x", "-c", "thaw", &self.mount.display().to_string()]);
    }

    /// What of it lies behind so many bytes cannot be read any more, once nobody remembers it: as after
    /// [`Disk::restore_power`].
    ///
    /// # Panics
    /// Where this is no loop device.
    pub fn lose_behind(&self, bytes: u64) {
        let image = self.image.as_ref().expect("only a disk with an image can be cut short");
        let file = std::fs::File::options().write(true).open(image).expect("an image file");
        file.set_len(bytes).expect("a shorter file");
    }

    fn mount_image(&self) {
        let image = self.image.as_ref().expect("only a disk with an image is mounted again");
        run("mount", &["-o", "loop", &image.display().to_string(), &self.mount.display().to_string()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, so that a failed test with a program still on it leaves no mount behind.
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
