//! What a command line or a file may say, and how a refusal reads.

use super::*;

fn refused(raw: Raw) -> String {
    validated(raw).unwrap_err().message().to_owned()
}

#[test]
fn with_nothing_given_everything_is_on_loopback() {
    let settings = validated(Raw::default()).unwrap();
    assert_eq!(settings.mqtt_listen.to_string(), "127.0.0.1:1883");
    assert_eq!(settings.kafka_listen.to_string(), "127.0.0.1:9092");
    assert_eq!(settings.http_listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.data_dir, PathBuf::from("headwater-data"));
    assert!(settings.auto_create_topics);
}

#[test]
fn a_door_to_the_outside_names_its_risk() {
    let raw = Raw { mqtt_listen: Some("192.0.2.1:1883".into()), ..Raw::default() };
    assert!(refused(raw).contains("--insecure"));
    let raw = Raw { mqtt_listen: Some("192.0.2.1:1883".into()), insecure: Some(true), ..Raw::default() };
    assert!(validated(raw).is_ok());
}

#[test]
fn a_wildcard_address_needs_one_to_advertise() {
    let open = |advertise: Option<&str>| Raw {
        kafka_listen: Some("0.0.0.0:9092".into()),
        insecure: Some(true),
        kafka_advertise: advertise.map(str::to_owned),
        ..Raw::default()
    };
    assert!(refused(open(None)).contains("--kafka-advertise"));
    let settings = validated(open(Some("hub.example.org:9092"))).unwrap();
    assert_eq!(settings.kafka_advertise, Some(("hub.example.org".into(), 9092)));
    assert!(!settings.auto_create_topics, "not on by itself where anybody may come");
}

#[test]
fn an_address_that_is_none_says_what_one_looks_like() {
    let raw = Raw { http_listen: Some("8080".into()), ..Raw::default() };
    assert!(refused(raw).contains("HOST:PORT"));
    let raw = Raw { kafka_advertise: Some(":9092".into()), ..Raw::default() };
    assert!(refused(raw).contains("HOST:PORT"));
}

#[test]
fn what_is_no_node_id_is_refused_with_what_one_is() {
    let flags = [("node_id", Some("x".to_owned()))];
    let said = load::<Raw>(None, std::iter::empty(), &flags).unwrap_err().to_string();
    assert!(said.starts_with("node_id: ") && said.contains("from 1 to 2147483647"), "{said}");
    assert!(refused(Raw { node_id: Some(0), ..Raw::default() }).contains("from 1 to 2147483647"));
    let flags = [("node_id", Some("7".to_owned()))];
    assert_eq!(load::<Raw>(None, std::iter::empty(), &flags).unwrap().node_id, Some(7));
}

#[test]
fn an_example_of_an_address_has_the_port_that_is_usual_there() {
    let listen = |key: &str| Raw {
        mqtt_listen: (key == "mqtt").then(|| "x".to_owned()),
        http_listen: (key == "http").then(|| "x".to_owned()),
        cluster_listen: (key == "cluster").then(|| "x".to_owned()),
        kafka_listen: (key == "kafka").then(|| "x".to_owned()),
        ..Raw::default()
    };
    for (key, port) in [("mqtt", "1883"), ("http", "8080"), ("cluster", "9191"), ("kafka", "9092")] {
        let said = refused(listen(key));
        assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    }
    let said = refused(of_three("127.0.0.1:9191", None, "hub-2"));
    assert!(said.contains("hub-1:9191,hub-2:9191,hub-3:9191"), "{said}");
}

#[test]
fn numbers_out_of_range_are_refused() {
    assert!(refused(Raw { default_partitions: Some(0), ..Raw::default() }).contains("default_partitions"));
    assert!(refused(Raw { wal_keep_bytes: Some(1 << 41), ..Raw::default() }).contains("wal_keep_bytes"));
    assert_eq!(validated(Raw { wal_keep_bytes: Some(0), ..Raw::default() }).unwrap().wal_keep_bytes, Some(0));
    for rate in [1, 65_535, (1 << 30) + 1] {
        assert!(refused(Raw { scrub_rate_bytes: Some(rate), ..Raw::default() }).contains("scrub_rate_bytes"));
    }
    for rate in [0, (4 << 20) - 1, (16 << 30) + 1] {
        let said = refused(Raw { catch_up_rate_bytes: Some(rate), ..Raw::default() });
        assert!(said.contains("catch_up_rate_bytes"), "{said}");
    }
}

#[test]
fn the_rate_at_which_the_log_is_read_through_can_be_chosen() {
    let rate = |given| validated(Raw { scrub_rate_bytes: given, ..Raw::default() }).unwrap().scrub_rate_bytes;
    assert_eq!(rate(None), 4 << 20);
    assert_eq!([0, 65_536, 1 << 30].map(|given| rate(Some(given))), [0, 65_536, 1 << 30]);
}

#[test]
fn the_rate_at_which_hubs_are_caught_up_can_be_chosen() {
    let rate =
        |given| validated(Raw { catch_up_rate_bytes: given, ..Raw::default() }).unwrap().catch_up_rate_bytes;
    assert_eq!(rate(None), 64 << 20);
    assert_eq!([4 << 20, 16 << 30].map(|given| rate(Some(given))), [4 << 20, 16 << 30]);
}

fn of_three(listen: &str, advertise: Option<&str>, seeds: &str) -> Raw {
    Raw {
        cluster_listen: Some(listen.to_owned()),
        cluster_advertise: advertise.map(str::to_owned),
        seed: Some(SeedList::Text(seeds.to_owned())),
        insecure: Some(true),
        ..Raw::default()
    }
}

#[test]
fn three_hubs_are_named_by_their_seeds() {
    let raw = of_three("127.0.0.1:9191", None, "127.0.0.1:9191, 127.0.0.1:9192,127.0.0.1:9193");
    let cluster = validated(raw).unwrap().cluster.unwrap();
    assert_eq!(cluster.seeds, ["127.0.0.1:9191", "127.0.0.1:9192", "127.0.0.1:9193"]);
    assert_eq!(cluster.address(), "127.0.0.1:9191");
    let raw = of_three("0.0.0.0:9191", Some("hub-1:9191"), "HUB-1:9191,hub-2:9191");
    assert_eq!(validated(raw).unwrap().cluster.unwrap().address(), "hub-1:9191");
}

#[test]
fn seeds_stand_in_a_file_as_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hub.toml");
    std::fs::write(
        &file,
        "cluster_listen = \"127.0.0.1:9191\"\nseed = [\"127.0.0.1:9191\", \"hub-2:9191\"]\n",
    )
    .unwrap();
    let raw: Raw = load(Some(&file), std::iter::empty(), &[]).unwrap();
    assert_eq!(validated(raw).unwrap().cluster.unwrap().seeds.len(), 2);
    let flags = [("seed", Some("127.0.0.1:9191,a:1,b:1".to_owned()))];
    let raw: Raw = load(Some(&file), std::iter::empty(), &flags).unwrap();
    assert_eq!(validated(raw).unwrap().cluster.unwrap().seeds.len(), 3, "a flag wins");
}

#[test]
fn seeds_without_this_hub_are_refused() {
    let said = refused(of_three("127.0.0.1:9194", None, "127.0.0.1:9191,127.0.0.1:9192"));
    assert!(said.contains("127.0.0.1:9194 is not among"), "{said}");
    let said = refused(of_three("0.0.0.0:9191", Some("hub-4:9191"), "hub-1:9191,hub-2:9191"));
    assert!(said.contains("hub-4:9191 is not among"), "{said}");
}

#[test]
fn a_seed_named_twice_is_refused() {
    let said = refused(of_three("127.0.0.1:9191", None, "127.0.0.1:9191,hub-2:9191,Hub-2:9191"));
    assert!(said.contains("twice"), "{said}");
}

#[test]
fn what_is_for_several_hubs_needs_a_cluster_listener() {
    let seed = Some(SeedList::Text("hub-1:9191".to_owned()));
    assert!(refused(Raw { seed, ..Raw::default() }).contains("--cluster-listen"));
    let cluster_advertise = Some("hub-1:9191".to_owned());
    assert!(refused(Raw { cluster_advertise, ..Raw::default() }).contains("--cluster-listen"));
}

#[test]
fn a_wildcard_cluster_address_needs_one_to_advertise() {
    assert!(refused(of_three("0.0.0.0:9191", None, "hub-1:9191")).contains("--cluster-advertise"));
}

#[test]
fn a_cluster_listener_beyond_loopback_names_its_risk() {
    let raw = Raw { insecure: None, ..of_three("192.0.2.1:9191", None, "192.0.2.1:9191") };
    assert!(refused(raw).contains("--insecure"));
}

#[test]
fn a_rack_has_a_name() {
    assert!(refused(Raw { rack: Some(String::new()), ..Raw::default() }).contains("rack"));
    assert_eq!(validated(Raw { rack: Some("a".into()), ..Raw::default() }).unwrap().rack.unwrap(), "a");
}

#[test]
fn only_levels_that_this_release_supports_can_be_claimed() {
    let claiming = |text: &str| Raw { unsafe_feature_levels: Some(text.to_owned()), ..Raw::default() };
    assert_eq!(validated(Raw::default()).unwrap().feature_levels, Levels::OWN);
    assert_eq!(validated(claiming("0-0")).unwrap().feature_levels, Levels { least: 0, most: 0 });
    for wrong in ["", "0", "1-0", "a-b", &format!("0-{}", Levels::OWN.most + 1)] {
        assert!(refused(claiming(wrong)).contains("no range LEAST-MOST"), "{wrong}");
    }
}
