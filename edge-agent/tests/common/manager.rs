//! A service manager that listens at its notification socket (sd_notify(3)).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// Nobody waits for so long.
pub const LONG: Duration = Duration::from_secs(60);

/// The service manager's end of the socket.
pub struct Manager {
    socket: UnixDatagram,
    pub name: String,
}

impl Manager {
    pub fn at(path: &Path) -> Self {
        Self { socket: UnixDatagram::bind(path).unwrap(), name: path.to_str().unwrap().to_owned() }
    }

    /// A name without a file, which systemd writes with an `@`.
    pub fn abstract_one() -> Self {
        let name = format!("headwater-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self { socket: UnixDatagram::bind_addr(&address).unwrap(), name: format!("@{name}") }
    }

    /// The next that is said within so long.
    pub fn hear_within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut bytes = [0; 256];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    /// The value that is said under this name next.
    pub fn hear(&self, name: &str) -> String {
        let message = self.hear_within(LONG).unwrap_or_else(|| panic!("{name} is not said"));
        let value = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("{message:?} instead of {name}")).to_owned()
    }
}
