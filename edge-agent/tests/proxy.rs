//! A proxy on the way to the hub.

#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::{BufRead, BufReader, Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

use common::fake_hub::FakeHub;
use common::program::{Agent, ingest};

/// A proxy that does what CONNECT asks for, and tells each request's lines.
fn proxy() -> (SocketAddr, mpsc::Receiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, told) = mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let requests = requests.clone();
            std::thread::spawn(move || tunnel(client.unwrap(), &requests));
        }
    });
    (address, told)
}

fn tunnel(mut client: TcpStream, requests: &mpsc::Sender<Vec<String>>) {
    let mut input = BufReader::new(client.try_clone().unwrap());
    let lines = input.by_ref().lines().map(Result::unwrap);
    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let place = lines[0].strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
    let _ = requests.send(lines);
    let mut hub = TcpStream::connect(place).unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    let mut up = hub.try_clone().unwrap();
    std::thread::spawn(move || copy(&mut input, &mut up));
    let _ = copy(&mut hub, &mut client);
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn records_go_through_a_proxy_that_asks_for_a_password() {
    let (folder, hub, (address, told)) = (tempfile::tempdir().unwrap(), FakeHub::start(), proxy());
    let config = folder.path().join("agent.toml");
    std::fs::write(&config, format!("[uplink]\nproxy = \"http://pump:hush@{address}\"\n")).unwrap();
    assert!(ingest(folder.path(), 0..100).status.success());
    let _agent =
        Agent::run(folder.path(), &hub.url(), &["--no-host-input", "--config", config.to_str().unwrap()]);
    hub.wait("every record", |inner| inner.hub.log.len() == 100);
    let request = told.recv().unwrap();
    assert_eq!(request[0], format!("CONNECT {} HTTP/1.1", hub.address));
    // "pump:hush" in base64.
    let login = "proxy-authorization: basic chvtcdpodxno";
    assert!(request.iter().any(|line| line.to_lowercase() == login), "{request:?}");
}
