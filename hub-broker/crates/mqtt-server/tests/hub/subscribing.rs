//! From committed records to subscribers.

use crate::support::{Client, Hub, PUBCOMP, PUBREC, PUBREL, ack, packet, publish, read_publish, text};

#[tokio::test]
async fn wildcards_bring_what_they_match_in_order() {
    let hub = Hub::start().await;
    for level in [4, 5] {
        let mut subscriber = Client::connect(&hub, level, "s").await;
        assert_eq!(*subscriber.subscribe("a/+/c", 1).await.body.last().unwrap(), 1);
        let mut publisher = Client::connect(&hub, level, "p").await;
        for (id, topic) in [(1, "a/b/c"), (2, "a/b"), (3, "x"), (4, "a//c"), (5, "a/b/c")] {
            publisher.published(1, id, topic, id.to_string().as_bytes()).await;
        }
        let mut heard = Vec::new();
        for _ in 0..3 {
            heard.push(subscriber.message().await.1);
        }
        // "a//c" may lie in another partition than "a/b/c".
        heard.retain(|payload| payload != "4");
        assert_eq!(heard, ["1", "5"]);
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_message_comes_at_the_lower_qos() {
    let hub = Hub::start().await;
    let mut subscriber = Client::connect(&hub, 5, "s").await;
    assert_eq!(subscriber.subscribe("a", 2).await.body.last(), Some(&2));
    let mut publisher = Client::connect(&hub, 5, "p").await;
    publisher.publish(0, 0, "a", b"0").await;
    publisher.published(1, 1, "a", b"1").await;
    publisher.published(2, 2, "a", b"2").await;
    for qos in 0..3u8 {
        let publish = subscriber.read().await.unwrap();
        assert_eq!((publish.first >> 1) & 3, qos);
        let message = read_publish(5, &publish);
        assert_eq!(message.payload, qos.to_string());
        match message.packet_id {
            Some(id) if qos == 2 => {
                subscriber.send(&ack(PUBREC, id)).await;
                let pubrel = subscriber.read().await.unwrap();
                assert_eq!((pubrel.kind(), pubrel.id()), (PUBREL, id));
                subscriber.send(&ack(PUBCOMP, id)).await;
            }
            Some(id) => subscriber.send(&ack(crate::support::PUBACK, id)).await,
            None => {}
        }
    }
    subscriber.ping().await;
    hub.stop().await;
}

#[tokio::test]
async fn retained_messages_wait_for_subscribers_and_empty_ones_delete_them() {
    let hub = Hub::start().await;
    let mut publisher = Client::connect(&hub, 5, "p").await;
    publisher.send(&publish(5, 2 | 1, 1, "r/1", &[], b"old")).await;
    publisher.read().await.unwrap();
    publisher.send(&publish(5, 2 | 1, 2, "r/1", &[], b"new")).await;
    publisher.read().await.unwrap();
    publisher.published(1, 3, "r/2", b"not retained").await;
    let mut subscriber = Client::connect(&hub, 5, "s").await;
    subscriber.subscribe("r/#", 1).await;
    let retained = subscriber.read().await.unwrap();
    assert_eq!(retained.first & 1, 1, "the retain flag");
    let message = read_publish(5, &retained);
    assert_eq!(message.payload, "new");
    subscriber.send(&ack(crate::support::PUBACK, message.packet_id.unwrap())).await;
    publisher.send(&publish(5, 2 | 1, 4, "r/1", &[], b"")).await;
    publisher.read().await.unwrap();
    assert_eq!(subscriber.message().await, ("r/1".to_owned(), String::new()));
    let mut late = Client::connect(&hub, 5, "late").await;
    late.subscribe("r/1", 1).await;
    publisher.published(1, 5, "r/1", b"live").await;
    assert_eq!(late.message().await.1, "live");
    hub.stop().await;
}

#[tokio::test]
async fn filters_that_cannot_be_are_refused_one_by_one() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    for (filter, code) in [("a/#/b", 0x8f), ("a+", 0x8f), ("", 0x8f), ("$share/g/a", 0x9e), ("good/#", 1)] {
        let suback = client.subscribe(filter, 1).await;
        assert_eq!(suback.body.last(), Some(&code), "{filter}");
    }
    let mut old = Client::connect(&hub, 4, "old").await;
    assert_eq!(old.subscribe("$share/g/a", 1).await.body.last(), Some(&0x80));
    hub.stop().await;
}

#[tokio::test]
async fn an_unsubscribed_filter_brings_nothing_more() {
    let hub = Hub::start().await;
    let mut subscriber = Client::connect(&hub, 5, "s").await;
    subscriber.subscribe("a", 1).await;
    subscriber.subscribe("b", 1).await;
    let unsubscribe = |filter: &str| packet(0xa2, &[&[0, 9, 0][..], &text(filter)].concat());
    subscriber.send(&unsubscribe("a")).await;
    assert_eq!(subscriber.read().await.unwrap().body.last(), Some(&0));
    subscriber.send(&unsubscribe("a")).await;
    assert_eq!(subscriber.read().await.unwrap().body.last(), Some(&0x11));
    let mut publisher = Client::connect(&hub, 5, "p").await;
    publisher.published(1, 1, "a", b"no").await;
    publisher.published(1, 2, "b", b"yes").await;
    assert_eq!(subscriber.message().await.1, "yes");
    hub.stop().await;
}

#[tokio::test]
async fn no_local_keeps_a_clients_publishes_from_itself() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "me").await;
    client.subscribe("a", 1 | 4).await;
    let own = client.published(1, 1, "a", b"own").await;
    assert_eq!(own.reason(), 0);
    let mut other = Client::connect(&hub, 5, "other").await;
    other.published(1, 1, "a", b"other").await;
    assert_eq!(client.message().await.1, "other");
    hub.stop().await;
}

#[tokio::test]
async fn properties_and_subscription_identifiers_reach_the_subscriber() {
    let hub = Hub::start().await;
    let mut subscriber = Client::connect(&hub, 5, "s").await;
    let body = [&[0, 1, 2, 11, 42][..], &text("a"), &[0]].concat();
    subscriber.send(&packet(0x82, &body)).await;
    subscriber.read().await.unwrap();
    let mut publisher = Client::connect(&hub, 5, "p").await;
    let properties = [&[3, 0, 1, b't', 9, 0, 1, 7][..], &crate::support::user_property("k", "v")].concat();
    publisher.send(&publish(5, 2, 1, "a", &properties, b"x")).await;
    publisher.read().await.unwrap();
    let heard = subscriber.read().await.unwrap();
    let expected = publish(5, 0, 0, "a", &[&[11, 42][..], &properties].concat(), b"x");
    assert_eq!(&heard.body[..], &expected[2..]);
    hub.stop().await;
}

#[tokio::test]
async fn a_packet_that_the_client_does_not_take_is_left_out() {
    let hub = Hub::start().await;
    let connect = crate::support::Connect {
        level: 5,
        id: "small",
        properties: vec![39, 0, 0, 0, 40],
        ..crate::support::Connect::default()
    };
    let (mut subscriber, _) = Client::connect_with(&hub, connect).await;
    subscriber.subscribe("a", 1).await;
    let mut publisher = Client::connect(&hub, 5, "p").await;
    publisher.published(1, 1, "a", &[b'x'; 100]).await;
    publisher.published(1, 2, "a", b"fits").await;
    assert_eq!(subscriber.message().await.1, "fits");
    hub.stop().await;
}

#[tokio::test]
async fn a_slow_subscriber_holds_up_nobody() {
    let hub = Hub::start().await;
    let mut slow = Client::connect(&hub, 5, "slow").await;
    slow.subscribe("#", 1).await;
    let mut quick = Client::connect(&hub, 5, "quick").await;
    quick.subscribe("#", 0).await;
    let mut publisher = Client::connect(&hub, 4, "p").await;
    let payload = vec![b'x'; 20_000];
    for round in 0..20u16 {
        let burst: Vec<u8> =
            (1..=50).flat_map(|id| publish(4, 2, round * 50 + id, "a", &[], &payload)).collect();
        publisher.send(&burst).await;
        for _ in 0..50 {
            publisher.read().await.unwrap();
            assert_eq!(quick.read().await.unwrap().kind(), crate::support::PUBLISH);
        }
    }
    hub.stop().await;
}
