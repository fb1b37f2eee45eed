//! Two hubs on the loopback: round trips of small messages, and bytes per second of large ones, with beats between.
//!
//! `cargo run --release -p peers --example loopback`

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use peers::{Change, Config, Limits, Parcel, ParcelBody, Peers};
use schemas::NodeId;
use uuid::Uuid;

const ROUNDS: usize = 20_000;
const LARGE_BYTES: usize = 1024 * 1024;
const LARGE_COUNT: usize = 2_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (first, second) = runtime.block_on(pair());
    round_trips(&first, &second);
    large(&first, &second);
}

async fn pair() -> (Peers, Peers) {
    let bind = async |number: u32| {
        let config = Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            advertise: None,
            node: NodeId(number),
            incarnation: Uuid::from_u128(number.into()),
            seeds: Vec::new(),
            shard_count: 64,
            limits: Limits::default(),
        };
        let peers = Peers::bind(config).await.expect("binds");
        peers.set_cluster(Uuid::from_u128(1));
        peers
    };
    let (first, second) = (bind(1).await, bind(2).await);
    let (up, mut is_up) = tokio::sync::mpsc::unbounded_channel();
    for hub in [&first, &second] {
        let up = up.clone();
        hub.on_change(Arc::new(move |change| {
            if matches!(change, Change::Up(_)) {
                let _ = up.send(());
            }
        }));
    }
    first.know(NodeId(2), &second.address().expect("listens"));
    is_up.recv().await;
    is_up.recv().await;
    (first, second)
}

fn message(bytes: usize) -> Parcel {
    Parcel { group: 1, from: 1, to: 2, body: ParcelBody::Message(Bytes::from(vec![0; bytes])) }
}

fn round_trips(first: &Peers, second: &Peers) {
    let (heard, hearing) = mpsc::channel();
    first.on_parcels(Arc::new(move |_, _| {
        let _ = heard.send(());
    }));
    let back = second.clone();
    second.on_parcels(Arc::new(move |from, parcels| {
        back.send(from, parcels);
    }));
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            first.send(NodeId(2), vec![message(200)]);
            hearing.recv().expect("an answer");
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("round trip of 200 bytes: median {:?}, p99 {:?}", times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
}

fn large(first: &Peers, second: &Peers) {
    let (heard, hearing) = mpsc::channel();
    let (beat, beats) = mpsc::channel();
    second.on_parcels(Arc::new(move |_, parcels| {
        for parcel in parcels {
            match parcel.body {
                ParcelBody::Message(_) => drop(heard.send(())),
                ParcelBody::Beat { .. } => drop(beat.send(Instant::now())),
            }
        }
    }));
    let (start, one, mut waiting, mut delays) = (Instant::now(), message(LARGE_BYTES), 0, Vec::new());
    for round in 0..LARGE_COUNT {
        while waiting >= 16 {
            hearing.recv().expect("it arrives");
            waiting -= 1;
        }
        first.send(NodeId(2), vec![one.clone()]);
        waiting += 1;
        if round % 50 == 0 {
            let body = ParcelBody::Beat { response: false, term: 1, commit: 1, context: Bytes::new() };
            let sent = Instant::now();
            first.send(NodeId(2), vec![Parcel { body, ..one.clone() }]);
            delays.push(beats.recv().expect("it arrives") - sent);
        }
    }
    (0..waiting).for_each(|_| hearing.recv().expect("it arrives"));
    let mib_per_s = LARGE_COUNT as f64 / start.elapsed().as_secs_f64();
    delays.sort();
    let (median, most) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    println!(
        "messages of 1 MiB: {mib_per_s:.0} MiB/s; a beat between them: median {median:?}, most {most:?}"
    );
}
