//! The Unix socket: who writes what at the same time, and what becomes of what is no line.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use common::listening::{Listening, kind};
use common::program::until;
use edge_agent::buffer::Policy;
use edge_agent::limits::{LINE_BYTES_MAX, SOCKET_CLIENTS_MAX};
use schemas::Value;

fn start(format: &str) -> (Listening, std::path::PathBuf) {
    let mut input = Listening::new(Policy::DropOldest, Duration::from_millis(1));
    let path = input.path("in.sock");
    input.start(kind(&format!("kind = \"socket\"\npath = {path:?}\nformat = \"{format}\"")).unwrap());
    (input, path)
}

fn client(path: &Path) -> UnixStream {
    UnixStream::connect(path).unwrap()
}

#[test]
fn every_client_has_a_document_of_its_own() {
    let (input, path) = start("csv");
    let (mut one, mut other) = (client(&path), client(&path));
    one.write_all(b"ts,a\n1,10\n").unwrap();
    other.write_all(b"b,c,ts\n20,21,2").unwrap();
    one.write_all(b"3,11\n").unwrap();
    drop((one, other));
    let mut stored = input.wait_stored(3);
    stored.sort_by_key(|record| record.time_ms);
    let names: Vec<Vec<&str>> =
        stored.iter().map(|record| record.values.iter().map(|(name, _)| name.as_str()).collect()).collect();
    assert_eq!(names, [vec!["a"], vec!["b", "c"], vec!["a"]]);
    assert_eq!(stored[2].values, [("a".to_owned(), Value::Float(11.0))]);
}

#[test]
fn what_is_no_line_is_counted_and_the_rest_goes_on() {
    let (input, path) = start("line-protocol");
    let mut client = client(&path);
    client.write_all(b"m a=1 1000000\nm a\n").unwrap();
    client.write_all(&vec![b'x'; LINE_BYTES_MAX + 1]).unwrap();
    client.write_all(b"\nm a=2 2000000\nm a=").unwrap();
    drop(client);
    let times: Vec<i64> = input.wait_stored(2).iter().map(|record| record.time_ms).collect();
    assert_eq!(times, [1, 2]);
    until("the bad lines to be counted", || (input.health().bad == 3).then_some(()));
}

#[test]
fn nothing_is_answered_and_more_clients_than_can_be_served_wait() {
    let (mut input, path) = start("line-protocol");
    let mut clients: Vec<UnixStream> = (0..SOCKET_CLIENTS_MAX + 1).map(|_| client(&path)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("m a={n} {n}000000\n").as_bytes()).unwrap();
    }
    assert_eq!(input.wait_stored(SOCKET_CLIENTS_MAX).len(), SOCKET_CLIENTS_MAX);
    let mut first = clients.remove(0);
    first.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"");
    input.wait_stored(SOCKET_CLIENTS_MAX + 1);
    // Clients that stay do not keep it from ending, nor from listening again at once.
    assert_eq!(input.stop(), Ok(()));
    assert!(!path.exists());
    input.start(kind(&format!("kind = \"socket\"\npath = {path:?}\nformat = \"csv\"")).unwrap());
}

#[test]
fn a_socket_in_use_is_left_alone() {
    let (mut input, path) = start("csv");
    let other = kind(&format!("kind = \"socket\"\npath = {path:?}\nformat = \"csv\"")).unwrap();
    let mut second = Listening::new(Policy::DropOldest, Duration::from_millis(1));
    let told = second.fail(other).to_string();
    assert!(told.contains("another program listens there already"), "{told}");
    assert!(UnixStream::connect(&path).is_ok(), "the first still listens");
    // Another's socket is not removed either.
    std::fs::remove_file(&path).unwrap();
    let _others = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(input.stop(), Ok(()));
    assert!(path.exists());
}
