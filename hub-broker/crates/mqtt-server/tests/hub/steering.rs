//! How devices are steered: log topics by key to a device's own MQTT topics, and its answers into the log.

use crate::support::{Client, Hub, agent_connect};

const DESIRED: &str = "headwater.desired";
const COMMANDS: &str = "headwater.commands";
const NOT_AUTHORIZED: u8 = 0x87;
const QOS_1: u8 = 1;

async fn device(hub: &Hub, id: &str) -> Client {
    Client::connect_with(hub, agent_connect(id, &[])).await.0
}

/// The reason code of the SUBACK.
async fn granted(client: &mut Client, filter: &str) -> u8 {
    *client.subscribe(filter, QOS_1).await.body.last().unwrap()
}

fn topic(device: &str, of: &str) -> String {
    format!("headwater/v1/{device}/{of}")
}

fn message(device: &str, of: &str, payload: &str) -> (String, String) {
    (topic(device, of), payload.to_owned())
}

#[tokio::test]
async fn a_device_is_told_the_newest_of_what_it_is_to_be_and_what_comes_after() {
    let hub = Hub::start().await;
    hub.create_topic(DESIRED, 3, &[("cleanup.policy", "compact")]).await;
    hub.produce(DESIRED, "pump-7", "old").await;
    hub.produce(DESIRED, "pump-7", "new").await;
    hub.produce(DESIRED, "pump-8", "another's").await;
    let mut device = device(&hub, "pump-7").await;
    assert_eq!(granted(&mut device, &topic("pump-7", "desired")).await, QOS_1);
    assert_eq!(device.message().await, message("pump-7", "desired", "new"));
    hub.produce(DESIRED, "pump-8", "another's").await;
    hub.produce(DESIRED, "pump-7", "newer").await;
    assert_eq!(device.message().await, message("pump-7", "desired", "newer"));
    hub.stop().await;
}

#[tokio::test]
async fn a_device_is_not_told_what_may_be_out_of_date_because_a_batch_after_it_is_lost() {
    let hub = Hub::start().await;
    hub.create_topic(DESIRED, 1, &[("cleanup.policy", "compact")]).await;
    for (id, payload) in [("pump-7", "old"), ("pump-8", "old"), ("pump-8", "lost"), ("pump-9", "set")] {
        hub.produce(DESIRED, id, payload).await;
    }
    hub.spoil(DESIRED, "pump-8", "lost");
    let mut after = device(&hub, "pump-9").await;
    assert_eq!(granted(&mut after, &topic("pump-9", "desired")).await, QOS_1);
    assert_eq!(after.message().await, message("pump-9", "desired", "set"));
    // Nobody knows which device the batch was meant for.
    for id in ["pump-7", "pump-8"] {
        let mut before = device(&hub, id).await;
        assert_eq!(granted(&mut before, &topic(id, "desired")).await, QOS_1);
        hub.produce(DESIRED, id, "set again").await;
        assert_eq!(before.message().await, message(id, "desired", "set again"));
        let mut back = device(&hub, id).await;
        assert_eq!(granted(&mut back, &topic(id, "desired")).await, QOS_1);
        assert_eq!(back.message().await, message(id, "desired", "set again"));
    }
    hub.stop().await;
}

#[tokio::test]
async fn the_first_device_makes_the_topics_and_the_desired_state_is_compacted() {
    let hub = Hub::start().await;
    let mut device = device(&hub, "pump-7").await;
    device.subscribe(&topic("pump-7", "desired"), QOS_1).await;
    assert_eq!(hub.config(DESIRED, "cleanup.policy").as_deref(), Some("compact"));
    assert_eq!(hub.config(COMMANDS, "cleanup.policy"), None);
    hub.produce(DESIRED, "pump-7", "first").await;
    assert_eq!(device.message().await, message("pump-7", "desired", "first"));
    hub.stop().await;
}

#[tokio::test]
async fn commands_wait_for_a_device_that_is_away() {
    let hub = Hub::start().await;
    hub.create_topic(COMMANDS, 1, &[]).await;
    hub.produce(COMMANDS, "pump-7", "one").await;
    hub.produce(COMMANDS, "pump-7", "two").await;
    let mut device = device(&hub, "pump-7").await;
    device.subscribe(&topic("pump-7", "commands"), QOS_1).await;
    for payload in ["one", "two"] {
        assert_eq!(device.message().await, message("pump-7", "commands", payload));
    }
    hub.produce(COMMANDS, "pump-7", "three").await;
    assert_eq!(device.message().await, message("pump-7", "commands", "three"));
    hub.stop().await;
}

#[tokio::test]
async fn nobody_reads_what_is_meant_for_a_device_by_chance_or_in_its_place() {
    let hub = Hub::start().await;
    hub.create_topic(DESIRED, 1, &[("cleanup.policy", "compact")]).await;
    hub.produce(DESIRED, "pump-7", "secret").await;
    let mut other = device(&hub, "pump-8").await;
    for filter in ["headwater/v1/pump-7/desired", "headwater/v1/+/desired", "headwater/#"] {
        assert_eq!(granted(&mut other, filter).await, NOT_AUTHORIZED, "{filter}");
    }
    let mut plain = Client::connect(&hub, 5, "plain").await;
    plain.subscribe("#", QOS_1).await;
    plain.published(QOS_1, 1, "a", b"plain").await;
    assert_eq!(plain.message().await, ("a".to_owned(), "plain".to_owned()));
    hub.stop().await;
}

#[tokio::test]
async fn answers_go_into_the_log_under_the_devices_name() {
    let hub = Hub::start().await;
    let mut device = device(&hub, "pump-7").await;
    assert_eq!(device.published(QOS_1, 1, &topic("pump-7", "answers"), b"done").await.reason(), 0);
    let refused = device.published(QOS_1, 2, &topic("pump-8", "answers"), b"done").await;
    assert_eq!(refused.reason(), NOT_AUTHORIZED);
    let records = hub.records("headwater.answers");
    let (key, value) = (records[0].key.clone().unwrap(), records[0].value.clone().unwrap());
    assert_eq!((records.len(), &*key, &*value), (1, b"pump-7".as_slice(), b"done".as_slice()));
    hub.stop().await;
}
