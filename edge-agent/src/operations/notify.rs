//! systemd's notification socket (sd_notify(3)): opening the buffer, ready, stopping, and the watchdog's keep-alive.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::limits::{OPENING_BYTES_PER_SECOND, OPENING_TIME};

/// Says nothing where nobody asked for it.
#[derive(Debug)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// The socket that `NOTIFY_SOCKET` names, and the watchdog's time from `WATCHDOG_USEC`.
    pub fn from_environment() -> Self {
        let name = std::env::var("NOTIFY_SOCKET").ok();
        let socket = name.and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(name, %error, "systemd is not told how the agent fares");
                None
            }
        });
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let is_meant = match std::env::var("WATCHDOG_PID") {
            Ok(process) => process == std::process::id().to_string(),
            Err(_) => true,
        };
        let watchdog = micros.filter(|micros| is_meant && *micros > 0).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// How often [`Self::alive`] is due: twice in the watchdog's time.
    pub fn interval(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog).map(|time| time / 2)
    }

    /// The buffer is opened next, which after a power cut reads the whole file. systemd waits for so long at least, and
    /// not for ever.
    pub fn opening(&self, buffer_bytes: u64) {
        let micros = opening_time(buffer_bytes).as_micros();
        self.send(&format!("EXTEND_TIMEOUT_USEC={micros}\nSTATUS=opening the buffer"));
    }

    /// It comes on: it is given the time again that an empty buffer may take.
    pub fn still_opening(&self, what: &str) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}\nSTATUS={what}", OPENING_TIME.as_micros()));
    }

    pub fn ready(&self) {
        self.send("READY=1\nSTATUS=running");
    }

    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, state: &str) {
        // systemd that does not listen any more is not waited for.
        let _ = self.socket.as_ref().map(|socket| socket.send(state.as_bytes()));
    }
}

fn connect(name: &str) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match name.strip_prefix('@') {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(name)?,
    }
    Ok(socket)
}

/// What the slowest card may take to open a buffer whose file has so many bytes.
fn opening_time(buffer_bytes: u64) -> Duration {
    OPENING_TIME + Duration::from_secs(buffer_bytes / OPENING_BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_open_goes_with_the_size_of_the_buffer() {
        assert_eq!(opening_time(0), OPENING_TIME);
        let minutes = opening_time((4 << 30) / 3).as_secs() / 60;
        assert!((45..60).contains(&minutes), "{minutes} min for a buffer of 1 GiB");
    }
}
