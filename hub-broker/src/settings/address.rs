//! Addresses as people write them.

use std::net::{SocketAddr, ToSocketAddrs};

use program::outcome::Failure;

/// The port that a setting's address usually has.
fn usual_port(key: &str) -> u16 {
    match key {
        "mqtt_listen" => 1883,
        "mqtts_listen" => 8883,
        "http_listen" => 8080,
        "cluster_listen" | "cluster_advertise" | "seed" => 9191,
        _ => 9092,
    }
}

/// An address to listen on.
pub fn socket_address(key: &str, value: &str) -> Result<SocketAddr, Failure> {
    let port = usual_port(key);
    let wrong = |why: String| {
        Failure::usage(format!("{key} {value:?}: {why}; it is HOST:PORT, like 127.0.0.1:{port}"))
    };
    let mut found = value.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    found.next().ok_or_else(|| wrong("the host has no address".to_owned()))
}

/// An address that others connect to. Its name need not be known here.
pub fn host_and_port(key: &str, value: &str) -> Result<(String, u16), Failure> {
    let example = match (key, usual_port(key)) {
        ("seed", port) => format!("hub-1:{port}; all hubs are named: hub-1:{port},hub-2:{port},hub-3:{port}"),
        (_, port) => format!("hub-1.example.org:{port}"),
    };
    let wrong = || Failure::usage(format!("{key} {value:?} is not HOST:PORT, like {example}"));
    let (host, port) = value.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    if host.is_empty() {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

pub fn refuse_open_door(key: &str, address: SocketAddr, insecure: bool) -> Result<(), Failure> {
    if address.ip().is_loopback() || insecure {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{key} {address} can be reached from outside this machine without TLS or a password; listen on 127.0.0.1, or give --insecure to accept that anybody who reaches it can read and write"
    )))
}
