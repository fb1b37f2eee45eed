//! Frames that no client sends: they cost their own connection and nothing else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{Client, Hub};
use kafka_protocol::messages::ApiVersionsRequest;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::io::AsyncWriteExt;

/// The most address space that this process has had, in KiB: an array that is believed shows here even if its
/// memory is never touched.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

async fn is_alive(hub: &Hub) {
    let mut client = hub.client().await;
    assert!(!client.call(&ApiVersionsRequest::default(), 3).await.api_keys.is_empty());
}

/// Sends and takes whatever comes until the hub has had enough.
async fn attack(hub: &Hub, bytes: &[u8]) {
    let mut client = Client::connect(hub.address).await;
    if client.socket.write_all(bytes).await.is_ok() && client.socket.shutdown().await.is_ok() {
        while client.frame().await.is_some() {}
    }
}

fn frame(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(u32::try_from(body.len()).unwrap() + 10).to_be_bytes());
    bytes.extend_from_slice(&api_key.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0]);
    bytes.extend_from_slice(body);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn claimed_lengths_are_not_believed() {
    let hub = Hub::start().await;
    is_alive(&hub).await;
    let before = peak_kib();
    for length in [-1_i32, i32::MIN, i32::MAX, 0, 1, 7, 64 << 20] {
        attack(&hub, &length.to_be_bytes()).await;
        attack(&hub, &[&length.to_be_bytes()[..], &[0; 8]].concat()).await;
    }
    let offered: Vec<(i16, i16)> = {
        let answer = hub.client().await.call(&ApiVersionsRequest::default(), 3).await;
        answer
            .api_keys
            .iter()
            .flat_map(|api| (api.min_version..=api.max_version).map(|v| (api.api_key, v)))
            .collect()
    };
    for (api_key, version) in offered {
        for fill in [0x7f, 0xff, 0x00, 0x0f] {
            attack(&hub, &frame(api_key, version, &[fill; 64])).await;
        }
        // An array of two billion wherever an array may come first.
        for offset in 0..12 {
            let mut body = vec![0; offset];
            body.extend_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x0f, 0xff]);
            attack(&hub, &frame(api_key, version, &body)).await;
        }
    }
    is_alive(&hub).await;
    let grown_mib = (peak_kib() - before) / 1024;
    assert!(grown_mib < 512, "{grown_mib} MiB were taken for claims of gigabytes");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_ends_its_own_connection_only() {
    let hub = Hub::start().await;
    let mut runner = TestRunner::deterministic();
    let noise = (0i16..70, -1i16..17, prop::collection::vec(any::<u8>(), 0..300));
    for _ in 0..2000 {
        let (api_key, version, body) = noise.new_tree(&mut runner).unwrap().current();
        attack(&hub, &frame(api_key, version, &body)).await;
    }
    is_alive(&hub).await;
    hub.stop().await;
}
