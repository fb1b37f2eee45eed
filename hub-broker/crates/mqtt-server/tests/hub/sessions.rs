//! Connections and what outlives them.

use crate::support::{
    Client, Connect, DISCONNECT, Hub, PUBACK, PUBCOMP, PUBREC, PUBREL, ack, publish, read_publish, text,
};

fn keeps(level: u8, id: &str) -> Connect<'_> {
    let properties = if level == 5 { vec![17, 0, 0, 0, 60] } else { Vec::new() };
    Connect { level, id, clean: false, properties, ..Connect::default() }
}

#[tokio::test]
async fn a_new_connection_takes_the_client_id_over() {
    let hub = Hub::start().await;
    let mut old = Client::connect(&hub, 5, "same").await;
    let mut new = Client::connect(&hub, 4, "same").await;
    assert_eq!(old.end().await, Some(0x8e));
    new.ping().await;
    let mut newest = Client::connect(&hub, 5, "same").await;
    assert_eq!(new.end().await, None, "3.1.1 has no word for it");
    newest.ping().await;
    hub.stop().await;
}

#[tokio::test]
async fn an_empty_client_id_is_given_a_name() {
    let hub = Hub::start().await;
    let (_client, connack) = Client::connect_with(&hub, Connect { level: 5, ..Connect::default() }).await;
    assert!(connack.body.windows(5).any(|window| window == b"auto-"));
    Client::connect(&hub, 4, "").await.ping().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_silent_client_is_disconnected_after_one_and_a_half_keep_alives() {
    let hub = Hub::start().await;
    let connect = Connect { level: 5, id: "silent", keep_alive: 1, ..Connect::default() };
    let (mut client, _) = Client::connect_with(&hub, connect).await;
    let before = std::time::Instant::now();
    assert_eq!(client.end().await, Some(0x8d));
    assert!(before.elapsed() >= std::time::Duration::from_millis(1400));
    hub.stop().await;
}

#[tokio::test]
async fn a_will_is_published_unless_the_client_says_goodbye() {
    let hub = Hub::start().await;
    let mut witness = Client::connect(&hub, 5, "witness").await;
    witness.subscribe("will/#", 1).await;
    let with_will = |topic: &str| {
        let fields = [vec![0], text(topic), text("gone")].concat();
        Connect { level: 5, id: "c", will: Some((1 << 3, fields)), ..Connect::default() }
    };
    let (mut polite, _) = Client::connect_with(&hub, with_will("will/polite")).await;
    polite.send(&[0xe0, 0]).await;
    assert_eq!(polite.read().await, None);
    let (mut on_purpose, _) = Client::connect_with(&hub, with_will("will/on-purpose")).await;
    on_purpose.send(&[0xe0, 1, 0x04]).await;
    assert_eq!(witness.message().await.0, "will/on-purpose");
    let (dropped, _) = Client::connect_with(&hub, with_will("will/dropped")).await;
    drop(dropped);
    assert_eq!(witness.message().await.0, "will/dropped");
    let (mut malformed, _) = Client::connect_with(&hub, with_will("will/malformed")).await;
    malformed.send(&[0, 0]).await;
    assert_eq!(witness.message().await, ("will/malformed".to_owned(), "gone".to_owned()));
    assert_eq!(hub.records("mqtt").len(), 3);
    hub.stop().await;
}

#[tokio::test]
async fn a_kept_session_stores_a_qos_2_publish_once_across_connections() {
    let hub = Hub::start().await;
    for level in [4, 5] {
        let payload = format!("level {level}");
        let (mut client, connack) = Client::connect_with(&hub, keeps(level, "c")).await;
        assert_eq!(connack.body[0], 0, "no session yet");
        assert_eq!(client.published(2, 9, "a", payload.as_bytes()).await.kind(), PUBREC);
        drop(client);
        let (mut client, connack) = Client::connect_with(&hub, keeps(level, "c")).await;
        assert_eq!(connack.body[0], 1, "the session is present");
        client.send(&publish(level, 4 | 8, 9, "a", &[], payload.as_bytes())).await;
        assert_eq!(client.read().await.unwrap().kind(), PUBREC);
        client.send(&ack(PUBREL, 9)).await;
        assert_eq!(client.read().await.unwrap().kind(), PUBCOMP);
        // A clean start ends it.
        let (_client, connack) =
            Client::connect_with(&hub, Connect { level, id: "c", ..Connect::default() }).await;
        assert_eq!(connack.body[0], 0);
    }
    assert_eq!(hub.values("mqtt"), ["level 4", "level 5"]);
    hub.stop().await;
}

#[tokio::test]
async fn a_qos_2_publish_beyond_the_receive_maximum_is_taken_when_there_is_room_again() {
    let hub = Hub::start().await;
    let (mut client, _) = Client::connect_with(&hub, keeps(5, "c")).await;
    let over = mqtt_server::limits::RECEIVE_MAXIMUM + 1;
    let packets: Vec<u8> = (1..=over).flat_map(|id| publish(5, 4, id, "a", &[], b"x")).collect();
    client.send(&packets).await;
    assert_eq!(client.end().await, Some(0x93));
    let (mut client, _) = Client::connect_with(&hub, keeps(5, "c")).await;
    client.send(&ack(PUBREL, 1)).await;
    assert_eq!(client.read().await.unwrap().kind(), PUBCOMP);
    client.send(&publish(5, 4 | 8, over, "a", &[], b"x")).await;
    let answer = client.read().await.unwrap();
    assert_eq!((answer.kind(), answer.id()), (PUBREC, over));
    assert_eq!(hub.records("mqtt").len(), usize::from(over));
    hub.stop().await;
}

#[tokio::test]
async fn a_kept_session_is_given_what_it_missed() {
    let hub = Hub::start().await;
    let (mut client, _) = Client::connect_with(&hub, keeps(5, "c")).await;
    client.subscribe("a/#", 1).await;
    let mut publisher = Client::connect(&hub, 5, "p").await;
    publisher.published(1, 1, "a/1", b"unacknowledged").await;
    let first = client.read().await.unwrap();
    let first = read_publish(5, &first);
    drop(client);
    // The publish that was sent and not acknowledged comes first, as a duplicate.
    publisher.published(1, 2, "a/2", b"missed").await;
    let (mut client, connack) = Client::connect_with(&hub, keeps(5, "c")).await;
    assert_eq!(connack.body[0], 1);
    let again = client.read().await.unwrap();
    assert_eq!(again.first & 8, 8, "DUP");
    let again = read_publish(5, &again);
    assert_eq!((again.packet_id, again.payload), (first.packet_id, first.payload));
    client.send(&ack(PUBACK, again.packet_id.unwrap())).await;
    assert_eq!(client.message().await.1, "missed");
    hub.stop().await;
}

#[tokio::test]
async fn a_session_expiry_of_0_in_the_disconnect_ends_the_session() {
    let hub = Hub::start().await;
    let (mut client, _) = Client::connect_with(&hub, keeps(5, "c")).await;
    client.subscribe("a", 1).await;
    client.send(&[0xe0, 7, 0, 5, 17, 0, 0, 0, 0]).await;
    assert_eq!(client.read().await, None);
    let (_client, connack) = Client::connect_with(&hub, keeps(5, "c")).await;
    assert_eq!(connack.body[0], 0);
    hub.stop().await;
}

#[tokio::test]
async fn a_stop_acknowledges_what_is_on_its_way_and_says_goodbye() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    client.published(1, 1, "a", b"x").await;
    let stop = tokio::spawn(hub.stop());
    let goodbye = client.read().await.unwrap();
    assert_eq!((goodbye.kind(), goodbye.body[0]), (DISCONNECT, 0x8b));
    assert_eq!(client.read().await, None);
    stop.await.unwrap();
}
