//! Peers that do not do what hubs do. They speak with the golden bytes.

mod common;

use std::{io::ErrorKind, time::Duration};

use bytes::Bytes;
use common::{DEADLINE, Hub, beat, cluster, config, message, node, pair, until};
use peers::{Config, Limits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Of hub 7 without a cluster.
const HELLO: &[u8] = include_bytes!("../golden/hello-unformed-v1.bin");
const FRAMES: &[u8] = include_bytes!("../golden/frames-v1.bin");

fn impatient(number: u32) -> Config {
    let limits = Limits {
        ping_interval: Duration::from_millis(50),
        silence_max: Duration::from_millis(400),
        stall_max: Duration::from_millis(400),
        ..Limits::default()
    };
    Config { limits, ..config(number) }
}

/// Somebody who has said hello to `hub` as hub 7.
async fn stranger(hub: &mut Hub) -> TcpStream {
    let mut stream = TcpStream::connect(hub.address()).await.expect("connects");
    stream.write_all(HELLO).await.expect("writes");
    assert_eq!(hub.up().await, node(7));
    stream
}

/// Until the other side has ended the connection.
async fn ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let end = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("an end in time");
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_silent_is_down_but_not_gone() {
    let mut hub = Hub::formed(impatient(1)).await;
    let _stream = stranger(&mut hub).await;
    assert_eq!(hub.down().await, (node(7), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pings_stays() {
    let (mut first, mut second) = (Hub::formed(impatient(1)).await, Hub::formed(impatient(2)).await);
    first.know(&second);
    first.up().await;
    second.up().await;
    // Twice the time after which silence would have ended it.
    let quiet = timeout(Duration::from_millis(800), first.change()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert!(first.peers.is_connected(node(2)) && second.peers.is_connected(node(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_holds_up_nobody_and_is_closed() {
    let mut hub = Hub::formed(Config {
        limits: Limits { message_bytes_max: 4_000_000, ..impatient(1).limits },
        ..impatient(1)
    })
    .await;
    let mut stream = stranger(&mut hub).await;
    let (ping, joined) = (ping(), joining());
    stream.write_all(&joined).await.expect("writes");
    assert_eq!(hub.joined().await, node(7));
    let mut sent = 0;
    while hub.peers.send(node(7), vec![message(1, 500_000, 1)]) {
        sent += 1;
        assert!(sent < 1000, "what waits is bounded");
    }
    assert!(hub.peers.send(node(7), vec![beat(1, 1)]), "there is room for beats");
    let pings = async {
        while stream.write_all(&ping).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let down = tokio::select! {
        () = pings => hub.down().await,
        down = hub.down() => down,
    };
    assert_eq!(down, (node(7), false));
}

fn frame(kind: u8) -> Vec<u8> {
    let mut rest = FRAMES;
    loop {
        let length = u32::from_le_bytes(rest[4..8].try_into().expect("four bytes")) as usize;
        let (frame, others) = rest.split_at(12 + length);
        if frame[8] == kind {
            return frame.to_vec();
        }
        rest = others;
    }
}

fn ping() -> Vec<u8> {
    frame(7)
}

/// The golden frame's cluster is the tests'.
fn joining() -> Vec<u8> {
    let frame = frame(8);
    assert!(frame.ends_with(cluster().as_bytes()));
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_garbage_is_closed_and_harms_nobody() {
    let (mut hub, _second) = pair().await;
    let mut damaged = joining();
    damaged[20] ^= 1;
    let mut oversize = ping();
    oversize[4..8].copy_from_slice(&65_537u32.to_le_bytes());
    for garbage in [vec![0xff; 300], damaged, oversize] {
        let mut stream = stranger(&mut hub).await;
        stream.write_all(&garbage).await.expect("writes");
        ended(&mut stream).await;
        assert_eq!(hub.down().await, (node(7), false));
    }
    assert!(hub.peers.is_connected(node(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_no_hello_is_closed_without_a_word() {
    let hub = Hub::formed(config(1)).await;
    let mut stream = TcpStream::connect(hub.address()).await.expect("connects");
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.expect("writes");
    ended(&mut stream).await;
    let mut half = TcpStream::connect(hub.address()).await.expect("connects");
    half.write_all(&HELLO[..30]).await.expect("writes");
    half.shutdown().await.expect("ends");
    ended(&mut half).await;
    assert!(hub.peers.known().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn half_frames_are_put_together() {
    let mut hub = Hub::formed(config(1)).await;
    let mut stream = stranger(&mut hub).await;
    let bytes = [joining(), frame(1), frame(2), frame(3)].concat();
    for part in bytes.chunks(7) {
        stream.write_all(part).await.expect("writes");
    }
    assert_eq!(hub.joined().await, node(7));
    for group in [0, 64, 3, 4] {
        assert_eq!(hub.parcel().await.group, group);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parcels_of_who_is_not_of_the_cluster_are_not_taken() {
    let mut hub = Hub::formed(config(1)).await;
    let mut stream = stranger(&mut hub).await;
    stream.write_all(&[frame(1), frame(6), joining(), frame(2)].concat()).await.expect("writes");
    assert_eq!(hub.joined().await, node(7));
    until("the message is there", || !hub.parcels.is_empty()).await;
    // What came in one read with the news is taken with it; alone it would not have been.
    assert!(hub.notices.try_recv().is_err(), "a notice before the news is not heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_resets_and_does_not_listen_any_more_is_gone() {
    let mut hub = Hub::formed(config(1)).await;
    // The hello of hub 7 names an address where nobody listens.
    let name = Bytes::from_static(b"hub-7:7000");
    assert!(HELLO.ends_with(&name));
    let stream = stranger(&mut hub).await;
    stream.set_zero_linger().expect("sets");
    drop(stream);
    // Its name has no address: nothing can be said about the process.
    assert_eq!(hub.down().await, (node(7), false));

    let (mut first, second) = pair().await;
    second.peers.shutdown().await;
    assert_eq!(first.down().await, (node(2), true));
}
