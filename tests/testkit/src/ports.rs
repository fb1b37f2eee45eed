//! Free ports on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that systems take for outgoing connections, of which the tests make many: one of these takes a hub's port
/// while the hub is down.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;
/// Processes begin so far from each other.
const STEP: u32 = 97;

static USED: AtomicU32 = AtomicU32::new(0);

/// An address that nobody listens on now, and that this process gives nobody else. Another may take it before it is
/// used; a program that finds it taken says so, and the test fails by name.
///
/// # Panics
/// Where every port is taken.
pub fn free() -> SocketAddr {
    let begin = std::process::id().wrapping_mul(STEP);
    for _ in 0..COUNT {
        let next = begin.wrapping_add(USED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + next).expect("it is below 32,000");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().expect("a bound listener has an address");
        }
    }
    panic!("no port of loopback is free");
}
