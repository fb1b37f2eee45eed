//! Plain publishes into the log.

use mqtt_server::{Decoding, Route, Routes};
use schemas::TopicName;

use crate::support::{Client, Hub, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, ack, publish};

fn header(record: &schemas::Record, name: &str) -> Option<String> {
    record.header(name).map(|value| String::from_utf8(value.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_acknowledged_is_in_the_log() {
    let hub = Hub::start().await;
    for level in [4, 5] {
        let mut client = Client::connect(&hub, level, "c").await;
        let puback = client.published(1, 7, "a/b/c", format!("one-{level}").as_bytes()).await;
        assert_eq!((puback.kind(), puback.id(), puback.reason()), (PUBACK, 7, 0));
        let pubrec = client.published(2, 8, "a/b/c", format!("two-{level}").as_bytes()).await;
        assert_eq!((pubrec.kind(), pubrec.id()), (PUBREC, 8));
        client.send(&ack(PUBREL, 8)).await;
        let pubcomp = client.read().await.unwrap();
        assert_eq!((pubcomp.kind(), pubcomp.id()), (PUBCOMP, 8));
    }
    assert_eq!(hub.values("mqtt"), ["one-4", "two-4", "one-5", "two-5"]);
    let record = &hub.records("mqtt")[0];
    assert_eq!(record.key.as_deref(), Some(&b"a/b/c"[..]));
    assert_eq!(header(record, "mqtt.qos").as_deref(), Some("1"));
    hub.stop().await;
}

#[tokio::test]
async fn a_burst_is_acknowledged_in_the_order_of_its_publishes() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 4, "c").await;
    let mut burst = Vec::new();
    for id in 1..=1000u16 {
        let topic = format!("sensor/{}", id % 17);
        burst.extend(publish(4, 2, id, &topic, &[], id.to_string().as_bytes()));
    }
    client.send(&burst).await;
    for id in 1..=1000u16 {
        let puback = client.read().await.unwrap();
        assert_eq!((puback.kind(), puback.id()), (PUBACK, id));
    }
    let records = hub.records("mqtt");
    assert_eq!(records.len(), 1000);
    // Publishes to one topic keep their order in the log.
    for sensor in 0..17 {
        let key = format!("sensor/{sensor}");
        let values: Vec<u16> = records
            .iter()
            .filter(|record| record.key.as_deref() == Some(key.as_bytes()))
            .map(|record| std::str::from_utf8(record.value.as_deref().unwrap()).unwrap().parse().unwrap())
            .collect();
        assert!(values.is_sorted() && !values.is_empty(), "{key}: {values:?}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn packets_may_arrive_byte_by_byte() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    for byte in publish(5, 2, 1, "a", &[], b"slow") {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.read().await.unwrap().id(), 1);
    assert_eq!(hub.values("mqtt"), ["slow"]);
    hub.stop().await;
}

#[tokio::test]
async fn a_qos_2_publish_sent_again_before_its_release_is_stored_once() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    client.published(2, 5, "a", b"first").await;
    let again = publish(5, 2 << 1 | 8, 5, "a", &[], b"first");
    client.send(&again).await;
    let pubrec = client.read().await.unwrap();
    assert_eq!((pubrec.kind(), pubrec.id(), pubrec.reason()), (PUBREC, 5, 0));
    client.send(&ack(PUBREL, 5)).await;
    assert_eq!(client.read().await.unwrap().kind(), PUBCOMP);
    client.send(&ack(PUBREL, 5)).await;
    let unknown = client.read().await.unwrap();
    assert_eq!((unknown.kind(), unknown.reason()), (PUBCOMP, 0x92));
    client.published(2, 5, "a", b"second").await;
    assert_eq!(hub.values("mqtt"), ["first", "second"]);
    hub.stop().await;
}

#[tokio::test]
async fn qos_0_is_stored_before_what_comes_after_it_is_acknowledged() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 4, "c").await;
    client.publish(0, 0, "a", b"zero").await;
    client.published(1, 1, "a", b"one").await;
    assert_eq!(hub.values("mqtt"), ["zero", "one"]);
    hub.stop().await;
}

#[tokio::test]
async fn properties_become_headers() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    let properties = [&[1, 1, 2, 0, 0, 0, 60, 3, 0, 1, b't', 38, 0, 1, b'k', 0, 1, b'v'][..]].concat();
    client.send(&publish(5, 2 | 1, 1, "a", &properties, b"x")).await;
    assert_eq!(client.read().await.unwrap().reason(), 0);
    let record = &hub.records("mqtt")[0];
    let found =
        ["mqtt.payload-format", "mqtt.message-expiry", "mqtt.content-type", "mqtt.user.k", "mqtt.retain"]
            .map(|name| header(record, name).unwrap());
    assert_eq!(found, ["1", "60", "t", "v", "1"]);
    hub.stop().await;
}

#[tokio::test]
async fn a_topic_alias_stands_for_its_topic() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    client.send(&publish(5, 2, 1, "a/long/topic", &[35, 0, 3], b"1")).await;
    client.send(&publish(5, 2, 2, "", &[35, 0, 3], b"2")).await;
    client.read().await.unwrap();
    client.read().await.unwrap();
    let keys: Vec<_> = hub.records("mqtt").into_iter().map(|record| record.key.unwrap()).collect();
    assert_eq!(keys, ["a/long/topic", "a/long/topic"]);
    client.send(&publish(5, 2, 3, "", &[35, 0, 4], b"3")).await;
    assert_eq!(client.end().await, Some(0x94));
    hub.stop().await;
}

#[tokio::test]
async fn routes_choose_the_log_topic_and_the_key() {
    let temps = TopicName::try_from("temps").unwrap();
    let route = Route::new("plant/{line}/temp", temps, Some("line"), Decoding::Raw).unwrap();
    let hub = Hub::with(|config| config.routes = Routes::new(vec![route])).await;
    let mut subscriber = Client::connect(&hub, 5, "s").await;
    subscriber.subscribe("plant/#", 1).await;
    let mut client = Client::connect(&hub, 5, "c").await;
    assert_eq!(client.published(1, 1, "plant/7/temp", b"21").await.reason(), 0);
    let record = &hub.records("temps")[0];
    assert_eq!(record.key.as_deref(), Some(&b"7"[..]));
    assert_eq!(header(record, "mqtt.topic").as_deref(), Some("plant/7/temp"));
    assert_eq!(subscriber.message().await, ("plant/7/temp".to_owned(), "21".to_owned()));
    assert_eq!(client.published(1, 2, "other", b"x").await.reason(), 0x90);
    hub.stop().await;
}

#[tokio::test]
async fn what_is_not_stored_is_refused_in_5_and_ends_the_connection_in_3_1_1() {
    let hub = Hub::start().await;
    for topic in ["$SYS/x", "headwater/v2/x", "headwater/v1/d/batch/telemetry/x"] {
        let mut client = Client::connect(&hub, 5, "c").await;
        assert_eq!(client.published(1, 1, topic, b"x").await.reason(), 0x90, "{topic}");
        assert_eq!(client.published(2, 2, topic, b"x").await.reason(), 0x90, "{topic}");
        client.publish(0, 0, topic, b"x").await;
        client.ping().await;
        let mut old = Client::connect(&hub, 4, "old").await;
        old.publish(1, 1, topic, b"x").await;
        assert_eq!(old.read().await, None, "{topic}");
    }
    assert_eq!(hub.values("mqtt").len(), 0);
    hub.stop().await;
}

#[tokio::test]
async fn a_payload_that_is_not_what_it_says_is_refused() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    client.send(&publish(5, 2, 1, "a", &[1, 1], b"\xff")).await;
    assert_eq!(client.read().await.unwrap().reason(), 0x99);
    assert_eq!(client.published(1, 2, "a", b"\xff").await.reason(), 0);
    assert_eq!(hub.records("mqtt").len(), 1);
    hub.stop().await;
}

#[tokio::test]
async fn a_message_larger_than_its_log_topic_takes_is_refused() {
    let hub = Hub::start().await;
    hub.create_topic("mqtt", 1, &[("max.message.bytes", "1024")]).await;
    let mut client = Client::connect(&hub, 5, "c").await;
    let mut burst = publish(5, 2, 1, "a", &[], &[b'x'; 2000]);
    for id in 2..=40 {
        burst.extend(publish(5, 2, id, "a", &[], &[b'x'; 100]));
    }
    client.send(&burst).await;
    assert_eq!(client.read().await.unwrap().reason(), 0x97);
    for id in 2..=40 {
        let puback = client.read().await.unwrap();
        assert_eq!((puback.id(), puback.reason()), (id, 0), "small ones are stored beside it");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_message_may_be_as_large_as_its_log_topic_takes() {
    let hub = Hub::start().await;
    hub.create_topic("mqtt", 1, &[]).await;
    for (level, payload_bytes) in [(4, 786_433), (5, 1_048_000)] {
        let mut client = Client::connect(&hub, level, "c").await;
        let puback = client.published(1, 1, "a", &vec![b'x'; payload_bytes]).await;
        assert_eq!((puback.kind(), puback.reason()), (PUBACK, 0));
    }
    let sizes: Vec<_> = hub.values("mqtt").iter().map(String::len).collect();
    assert_eq!(sizes, [786_433, 1_048_000]);
    hub.stop().await;
}

#[tokio::test]
async fn a_packet_larger_than_the_maximum_packet_size_ends_the_connection() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    client.send(&publish(5, 2, 1, "a", &[], &vec![b'x'; 1_048_576])[..4096]).await;
    assert_eq!(client.end().await, Some(0x95));
    hub.stop().await;
}

#[tokio::test]
async fn more_than_the_receive_maximum_ends_the_connection() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    let mut answers: Vec<Packet> = Vec::new();
    // Released never, so every one of them stays open.
    for id in 1..=1025u16 {
        client.send(&publish(5, 4, id, "a", &[], b"x")).await;
    }
    while let Some(packet) = client.read().await {
        answers.push(packet);
    }
    let last = answers.pop().unwrap();
    assert_eq!((last.kind(), last.body[0]), (crate::support::DISCONNECT, 0x93));
    hub.stop().await;
}

#[tokio::test]
async fn a_3_1_1_client_may_send_more_than_the_bound_and_only_waits() {
    let hub = Hub::start().await;
    let (mut client, mut sent) = (Client::connect(&hub, 4, "c").await, Vec::new());
    for id in 1..=5000u16 {
        sent.extend(publish(4, 2, id, "a", &[], b"x"));
    }
    client.send(&sent).await;
    for id in 1..=5000u16 {
        assert_eq!(client.read().await.unwrap().id(), id);
    }
    assert_eq!(hub.records("mqtt").len(), 5000);
    hub.stop().await;
}
