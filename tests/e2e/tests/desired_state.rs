//! What a device is to be, from hubs that were away when it was set: the newest, and nothing that was before it.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::time::Duration;

use e2e::kcat;
use e2e::subscriber::Subscriber;
use testkit::{Cluster, kafka, tools, wait};

const TOPIC: &str = "headwater.desired";
const DEVICE: &str = "pump-7";
const VERSIONS: usize = 2000;
const ROUNDS: usize = 3;
const WITHIN: Duration = Duration::from_secs(60);

/// Many versions with deletions among them; the last is none.
fn versions(round: usize) -> Vec<String> {
    let padding = "x".repeat(1000);
    let version = |number: usize| match number % 100 {
        50 => String::new(),
        _ => format!("{round}.{number}-{padding}"),
    };
    (0..VERSIONS).map(version).collect()
}

#[test]
fn a_hub_that_comes_back_tells_a_device_the_newest_at_once_and_nothing_before_it() {
    let name = "a_hub_that_comes_back_tells_a_device_the_newest_at_once_and_nothing_before_it";
    let (Some(subscribe), Some(kcat)) = (tools::find("mosquitto_sub", name), tools::find("kcat", name))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    let create = ["topic", "create", TOPIC, "--partitions", "1", "--config", "cleanup.policy=compact"];
    assert!(cluster.hub(1).tool(&create).status().unwrap().success());
    wait::until("a leader", WITHIN, || kafka::leader(&cluster.brokers(), TOPIC, 0));
    let filter = format!("headwater/v1/{DEVICE}/desired");
    let first = |subscriber: &Subscriber| subscriber.wait_for("a message", |line| line.starts_with(&filter));
    for round in 0..ROUNDS {
        cluster.hub(3).kill();
        let versions = versions(round);
        let records: Vec<_> = versions.iter().map(|version| (DEVICE, version.as_str())).collect();
        let brokers = cluster.hub(1).brokers();
        kcat::produce(&kcat, &brokers, TOPIC, &records);
        cluster.hub(3).start();
        let subscriber = Subscriber::start(&subscribe, cluster.hub(3), &filter, "mqttv5");
        assert_eq!(first(&subscriber), format!("{filter} {}", versions.last().unwrap()), "round {round}");
        kcat::produce(&kcat, &brokers, TOPIC, &[(DEVICE, "after it")]);
        assert_eq!(first(&subscriber), format!("{filter} after it"), "once, in round {round}");
    }
}
