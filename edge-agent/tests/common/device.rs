//! A device of the program's own: its data directory, and beside it what it reads.

use std::fs;
use std::path::PathBuf;

pub struct Device {
    folder: tempfile::TempDir,
}

impl Device {
    pub fn new() -> Self {
        let device = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(device.path("data")).unwrap();
        device
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Where a configuration file of this text is now.
    pub fn configure(&self, text: &str) -> String {
        fs::write(self.path("agent.toml"), text).unwrap();
        self.text("agent.toml")
    }
}
