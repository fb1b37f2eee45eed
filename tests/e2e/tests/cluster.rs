//! Several hubs as one: they form, grow, lose members and take them back, and clients notice no more than a pause.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::group::read_as_group;
use e2e::numbered::{assert_once_in_order, json_lines, of_device};
use e2e::producer::{NumberedProducer, numbers};
use rustix::process::Signal;
use testkit::{Agent, Cluster, Hub, kafka, ports, tools, wait};

const READ_WITHIN: Duration = Duration::from_secs(60);
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

fn printed(output: &std::process::Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    texts.concat()
}

#[test]
fn a_single_hub_becomes_three_and_its_topics_survive_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Hub::started(folder.path());
    let created = first.tool(&["topic", "create", "orders", "--partitions", "3"]).status().unwrap();
    assert!(created.success());
    let producer = NumberedProducer::new(&first.brokers(), "orders");
    (0..3000).for_each(|number| producer.send((number % 3) as i32, number));
    producer.flush(SETTLED_WITHIN);
    drop(producer);
    first.stop();
    let others = [2, 3].map(|node| {
        let home = folder.path().join(format!("hub-{node}"));
        std::fs::create_dir_all(&home).unwrap();
        (Hub::new(&home), ports::free())
    });
    let mut hubs = vec![(first, ports::free())];
    hubs.extend(others);
    let mut cluster = Cluster::of(hubs);
    cluster.start();
    cluster.hub(1).kill();
    let brokers = cluster.hub(2).brokers();
    let producer = NumberedProducer::new(&cluster.brokers(), "orders");
    (3000..6000).for_each(|number| producer.send((number % 3) as i32, number));
    producer.flush(SETTLED_WITHIN);
    let messages = kafka::read_all(&brokers, "orders", READ_WITHIN);
    for partition in 0..3 {
        let sent: Vec<i64> = (0..6000).filter(|n| n % 3 == i64::from(partition)).collect();
        assert_once_in_order(&numbers(&messages, partition), &sent, &[]);
    }
}

#[test]
fn an_agent_moves_on_to_a_hub_that_answers_and_every_hub_forwards_to_the_leader() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    let mut agent = Agent::new(folder.path(), "pump-7", &cluster.mqtt_urls());
    agent.start();
    let mut kept = Vec::new();
    for node in cluster.nodes() {
        let from = kept.len() as i64;
        assert!(agent.ingest_lines(&json_lines(from..from + 300)).status.success());
        kept.extend(from..from + 300);
        agent.wait_shipped(SETTLED_WITHIN);
        cluster.hub(node).kill();
        let from = kept.len() as i64;
        assert!(agent.ingest_lines(&json_lines(from..from + 300)).status.success());
        kept.extend(from..from + 300);
        agent.wait_shipped(SETTLED_WITHIN);
        cluster.hub(node).start();
        cluster.wait_replicated();
    }
    let found = of_device(&kafka::read_all(&cluster.brokers(), "telemetry", READ_WITHIN), "pump-7");
    assert_once_in_order(&found, &kept, &[]);
}

#[test]
fn a_subscriber_at_one_hub_sees_what_is_published_at_another() {
    let name = "a_subscriber_at_one_hub_sees_what_is_published_at_another";
    let (Some(subscribe), Some(publish)) =
        (tools::find("mosquitto_sub", name), tools::find("mosquitto_pub", name))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    let seen = folder.path().join("seen");
    let mut subscriber = Command::new(subscribe);
    subscriber
        .args(["-p", &cluster.hub(3).mqtt.port().to_string(), "-t", "plant/#", "-q", "1", "-v", "-C", "30"])
        .stdout(std::fs::File::create(&seen).unwrap())
        .stderr(Stdio::null());
    let mut subscriber = subscriber.spawn().unwrap();
    // The first that arrives shows that the subscription stands.
    let send = |cluster: &mut Cluster, node: usize, text: &str| {
        let port = cluster.hub(node).mqtt.port().to_string();
        let arguments = ["-p", &port, "-t", "plant/line", "-q", "1", "-m", text];
        assert!(Command::new(&publish).args(arguments).status().unwrap().success());
    };
    wait::until("the subscription", SETTLED_WITHIN, || {
        send(&mut cluster, 1, "first");
        std::fs::read_to_string(&seen).ok().filter(|text| text.contains("first")).map(drop)
    });
    for number in 0..30 {
        send(&mut cluster, number % 2 + 1, &format!("number {number}"));
    }
    wait::until("the subscriber's end", SETTLED_WITHIN, || subscriber.try_wait().unwrap());
    let text = std::fs::read_to_string(&seen).unwrap();
    for number in 0..20 {
        let line = format!("plant/line number {number}");
        assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line}:\n{text}");
    }
}

#[test]
fn a_consumer_group_goes_on_when_its_coordinator_dies() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic("jobs", 2);
    let producer = NumberedProducer::new(&cluster.brokers(), "jobs");
    (0..500).for_each(|number| producer.send((number % 2) as i32, number));
    producer.flush(SETTLED_WITHIN);
    let mut seen = read_as_group(&cluster.brokers(), "jobs", "workers", 500, SETTLED_WITHIN);
    for node in cluster.nodes() {
        cluster.hub(node).kill();
        let from = seen.len() as i64;
        (from..from + 200).for_each(|number| producer.send((number % 2) as i32, number));
        producer.flush(SETTLED_WITHIN);
        seen.extend(read_as_group(&cluster.brokers(), "jobs", "workers", 200, SETTLED_WITHIN));
        cluster.hub(node).start();
        cluster.wait_replicated();
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count, "what was committed is not read again");
    assert_eq!(seen, (0..count as i64).collect::<Vec<_>>());
}

#[test]
fn a_hub_of_another_cluster_is_refused_and_both_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    let home = folder.path().join("stranger");
    std::fs::create_dir_all(&home).unwrap();
    // It has a cluster of its own already.
    let mut stranger = Hub::started(&home);
    stranger.stop();
    let (own, known) = (ports::free(), cluster.cluster_address(1));
    let mut stranger = stranger
        .with_argument("--cluster-listen")
        .with_argument(own.to_string())
        .with_argument("--seed")
        .with_argument(format!("{known},{own}"));
    stranger.spawn();
    wait::until("the refusal to be told", SETTLED_WITHIN, || {
        let told = |text: String| text.contains("belongs to the cluster");
        (told(stranger.printed()) && told(cluster.hub(1).printed())).then_some(())
    });
    let status = cluster.status().unwrap();
    assert_eq!(status["hubs"].as_array().unwrap().len(), 3, "{status}");
}

#[test]
fn status_drain_and_remove_say_what_they_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    let run = |cluster: &mut Cluster, arguments: &[&str]| cluster.hub(1).tool(arguments).output().unwrap();
    let status = run(&mut cluster, &["cluster", "status"]);
    assert!(status.status.success(), "{}", printed(&status));
    let refused = run(&mut cluster, &["cluster", "remove", "3"]);
    assert!(!refused.status.success(), "a hub that runs is not removed");
    assert!(printed(&refused).contains("stop it first"), "it says what to do: {}", printed(&refused));
    cluster.hub(2).kill();
    let refused = run(&mut cluster, &["cluster", "remove", "2"]);
    assert!(!refused.status.success(), "a hub that holds shards is not removed");
    assert!(printed(&refused).contains("drain"), "it says what to do: {}", printed(&refused));
    cluster.hub(2).start();
    cluster.wait_replicated();
    let unknown = run(&mut cluster, &["cluster", "drain", "9"]);
    assert!(!unknown.status.success(), "{}", printed(&unknown));
    assert!(printed(&unknown).contains("no hub 9; it has 1, 2, 3"), "{}", printed(&unknown));
    let drained = run(&mut cluster, &["cluster", "drain", "3"]);
    assert!(drained.status.success(), "{}", printed(&drained));
    assert!(printed(&drained).contains("2 replicas instead of 3"), "what it costs: {}", printed(&drained));
    cluster.hub(3).stop();
    assert!(!cluster.hub(3).printed().contains("fetched again"), "what moved away was not lost");
    let removed = run(&mut cluster, &["cluster", "remove", "3"]);
    assert!(removed.status.success(), "{}", printed(&removed));
    assert_eq!(cluster.status().unwrap()["hubs"].as_array().unwrap().len(), 2);

    cluster.hub(3).spawn();
    let ended = cluster.hub(3).wait_end().unwrap();
    assert_eq!(ended.code(), Some(2), "a removed hub ends by itself");
    let said = cluster.hub(3).printed();
    assert!(
        said.contains("was removed from its cluster") && said.contains("delete the data directory"),
        "{said}"
    );
    std::fs::remove_dir_all(cluster.hub(3).data_dir()).unwrap();
    cluster.hub(3).start();
    cluster.wait_replicated();
    assert_eq!(cluster.status().unwrap()["hubs"].as_array().unwrap().len(), 3, "it joined as a new hub");
}

#[test]
fn a_cluster_at_rest_keeps_its_replicas_in_sync_and_without_a_majority_says_that_it_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic("quiet", 20);
    let (mut looks, mut last) = (0, Vec::new());
    // Several election timeouts, at which raft forgets whom it has heard, from when every lead is where it stays.
    wait::until("three seconds of rest", SETTLED_WITHIN, || {
        let seen = kafka::in_sync(&cluster.brokers(), "quiet")?;
        let leaders: Vec<i32> = seen.iter().map(|(leader, _)| *leader).collect();
        let is_whole = seen.len() == 20 && seen.iter().all(|(_, in_sync)| *in_sync == 3);
        assert!(is_whole || looks == 0 || leaders != last, "after {looks} looks at rest: {seen:?}");
        looks = if is_whole && leaders == last { looks + 1 } else { 0 };
        last = leaders;
        wait::pause(Duration::from_millis(200));
        (looks == 15).then_some(())
    });
    cluster.hub(2).kill();
    cluster.hub(3).kill();
    wait::until("the last hub to say that nobody leads", SETTLED_WITHIN, || {
        let (status, why) = cluster.hub(1).get("/readyz")?;
        (status == 503 && why.contains("2 of 3 hubs are not reachable: 2 (")).then_some(())
    });
}

#[test]
fn without_a_majority_everything_says_which_hubs_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic("quiet", 20);
    cluster.hub(2).kill();
    cluster.hub(3).kill();
    let [two, three] = [2, 3].map(|node| cluster.cluster_address(node));
    let cause = format!("2 of 3 hubs are not reachable: 2 ({two}), 3 ({three}); a majority is needed");
    wait::until("the last hub to say so", SETTLED_WITHIN, || {
        let (status, why) = cluster.hub(1).get("/readyz")?;
        (status == 503 && why.contains(&cause)).then_some(())
    });
    let told = kafka::hubs(&cluster.hub(1).brokers());
    assert_eq!(told, Some(3), "it may be the one that is cut off: clients must not forget the others");
    let (_, topics) = cluster.hub(1).get("/api/v1/topics").unwrap();
    let topics: serde_json::Value = serde_json::from_str(&topics).unwrap();
    let partitions = topics.as_array().unwrap().iter().flat_map(|it| it["partitions"].as_array().unwrap());
    let gone = partitions.filter(|it| it["leader"] == 2 || it["leader"] == 3).count();
    assert_eq!(gone, 0, "no hub that is gone is named as a leader");

    let start = |arguments: &[&str], cluster: &mut Cluster| {
        let mut tool = cluster.hub(1).tool(arguments);
        tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let asked = Instant::now();
    let refused = [
        start(&["topic", "create", "orders"], &mut cluster),
        start(&["cluster", "drain", "2"], &mut cluster),
        start(&["cluster", "remove", "2"], &mut cluster),
    ];
    for tool in refused {
        let output = tool.wait_with_output().unwrap();
        assert!(!output.status.success() && printed(&output).contains(&cause), "{}", printed(&output));
    }
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    let status = cluster.hub(1).tool(&["cluster", "status"]).output().unwrap();
    let status = printed(&status);
    assert!(status.contains(&cause), "{status}");
    assert!(status.contains("64 of 64 shards and the metadata") && status.lines().count() < 20, "{status}");
    let line = format!("nothing is written, by Kafka or MQTT clients or tools: {cause}");
    wait::until("the log to say it", SETTLED_WITHIN, || {
        cluster.hub(1).printed().contains(&line).then_some(())
    });
    assert!(!cluster.hub(1).printed().contains("stepped down"), "a line for the hub, not one for each shard");
}

#[test]
fn groups_are_listed_without_the_hub_that_is_gone_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic("jobs", 2);
    let producer = NumberedProducer::new(&cluster.brokers(), "jobs");
    (0..10).for_each(|number| producer.send((number % 2) as i32, number));
    producer.flush(SETTLED_WITHIN);
    read_as_group(&cluster.brokers(), "jobs", "workers", 10, SETTLED_WITHIN);
    let list = |cluster: &mut Cluster| cluster.hub(1).tool(&["group", "list"]).output().unwrap();
    let whole = list(&mut cluster);
    assert!(whole.status.success() && printed(&whole).contains("workers"), "{}", printed(&whole));
    cluster.hub(3).kill();
    wait::until("the group to be listed by those that are left", SETTLED_WITHIN, || {
        let output = list(&mut cluster);
        let groups = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{groups}{complaint}");
        assert!(complaint.contains("hub 3") && !complaint.contains("hub 2"), "{complaint}");
        groups.contains("workers").then_some(())
    });
}

#[test]
fn tools_turn_to_the_next_hub_where_one_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    let several = cluster.brokers();
    cluster.hub(1).process().unwrap().signal(Signal::STOP);
    let began = Instant::now();
    let alone = cluster.hub(1).tool(&["topic", "list"]).output().unwrap();
    assert!(!alone.status.success() && printed(&alone).contains("did not answer"), "{}", printed(&alone));
    assert!(began.elapsed() < Duration::from_secs(10), "it waited {:?}", began.elapsed());
    let began = Instant::now();
    let status = Command::new(testkit::binaries::path("hub-broker"))
        .args(["cluster", "status", "--hub", &several])
        .output()
        .unwrap();
    assert!(
        status.status.success() && printed(&status).contains("answered by hub 2"),
        "{}",
        printed(&status)
    );
    assert!(began.elapsed() < Duration::from_secs(15), "it waited {:?}", began.elapsed());
    cluster.hub(1).process().unwrap().signal(Signal::CONT);
    cluster.wait_replicated();
}

#[test]
fn a_hub_whose_others_lost_their_disks_says_what_can_be_done_and_that_helps() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic("orders", 3);
    for node in [2, 3] {
        cluster.hub(node).kill();
    }
    for node in [2, 3] {
        let data = cluster.hub(node).data_dir().to_owned();
        std::fs::rename(&data, data.with_extension("former")).unwrap();
        cluster.hub(node).spawn();
    }
    wait::until("the hub that is left to say what it needs", SETTLED_WITHIN, || {
        let said = "one of these hubs has to be started with its former data directory";
        (cluster.hub(1).get("/readyz")?.1.contains(said) && cluster.hub(1).printed().contains(said))
            .then_some(())
    });
    for node in [2, 3] {
        wait::until("an empty hub to say why it is not taken in", SETTLED_WITHIN, || {
            cluster.hub(node).printed().contains("lost its data directory does not count").then_some(())
        });
    }
    cluster.hub(2).kill();
    let data = cluster.hub(2).data_dir().to_owned();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(data.with_extension("former"), &data).unwrap();
    cluster.hub(2).start();
    cluster.hub(3).wait_ready();
    cluster.wait_replicated();
    cluster.create_topic("more", 1);
}
