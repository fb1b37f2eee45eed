//! The disk fills up: writes are refused with the proper errors, reads go on, nothing acknowledged is lost, and all
//! goes on by itself when there is room.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use e2e::numbered::{assert_once_in_order, gaps, json_lines, large_json_lines, of_device};
use e2e::producer::{NumberedProducer, numbers};
use e2e::values::refusal_of;
use rdkafka::types::RDKafkaErrorCode;
use testkit::disk::Disk;
use testkit::{Agent, Hub, Process, kafka, tools, wait};

const WITHIN: Duration = Duration::from_secs(40);
const HUB_MEBIBYTES: u64 = 52;

/// Takes all the room that is left.
fn fill(disk: &Disk, name: &str) {
    let mut filler = File::create(disk.path().join(name)).unwrap();
    for bytes in [1 << 16, 1 << 12, 1] {
        while filler.write_all(&vec![1; bytes]).is_ok() {}
    }
}

fn make_room(disk: &Disk, name: &str) {
    fs::remove_file(disk.path().join(name)).unwrap();
}

fn small_hub(folder: &Path, disk: &Disk) -> Hub {
    let settings = folder.join("hub.toml");
    fs::write(&settings, "wal_file_bytes = 1048576\n").unwrap();
    let mut hub = Hub::new(folder)
        .with_data_dir(&disk.path().join("hub"))
        .with_argument("--config")
        .with_argument(settings.display().to_string());
    hub.start();
    let created = hub.tool(&["topic", "create", "orders", "--partitions", "2"]).status().unwrap();
    assert!(created.success());
    hub
}

/// Publishes with mosquitto's client, which logs every packet.
fn publish(program: &Path, hub: &Hub, log: &Path, version: &str) -> Process {
    let mut command = Command::new("stdbuf");
    command.arg("-oL").arg(program);
    command.args(["-h", &hub.mqtt.ip().to_string(), "-p", &hub.mqtt.port().to_string()]);
    command.args(["-d", "-q", "1", "-V", version, "-t", "plant/pump", "-m", version]);
    Process::start("mosquitto_pub", command.stdin(Stdio::null()), log)
}

fn logged(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    wait::until(what, WITHIN, || holds().then_some(()));
}

#[test]
fn a_hub_on_a_full_disk_refuses_writes_serves_reads_and_goes_on_when_there_is_room() {
    let test = "a hub on a full disk";
    let Some(mosquitto) = tools::find("mosquitto_pub", test).filter(|_| tools::is_root(test)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::memory(folder.path(), HUB_MEBIBYTES);
    fs::write(disk.path().join("filler"), vec![0; 20 << 20]).unwrap();
    let mut hub = small_hub(folder.path(), &disk);
    let mut agent = Agent::new(folder.path(), "pump-7", &hub.mqtt_url());
    agent.start();
    assert!(agent.ingest_lines(&json_lines(0..100)).status.success());
    agent.wait_shipped(WITHIN);
    let log = folder.path().join("mosquitto.log");
    publish(&mosquitto, &hub, &log, "mqttv5").wait(WITHIN);
    let producer = NumberedProducer::new(&hub.brokers(), "orders");
    (0..1000).for_each(|number| producer.send(0, number));
    producer.flush(WITHIN);

    // Until it is full; the client does not try again, so that its error is the hub's.
    let value = "f".repeat(200_000);
    let mut stored = 0;
    let refusal = loop {
        match refusal_of(&hub.brokers(), "orders", 1, &value) {
            None => stored += 1,
            Some(refusal) => break refusal,
        }
    };
    assert_eq!(refusal, RDKafkaErrorCode::KafkaStorageError);
    assert!(stored > 10, "{stored}");
    // Others take what the hub had in reserve.
    fill(&disk, "more filler");
    assert_eq!(refusal_of(&hub.brokers(), "orders", 1, &value), Some(RDKafkaErrorCode::KafkaStorageError));
    (1000..2000).for_each(|number| producer.send(0, number));
    assert!(agent.ingest_lines(&json_lines(100..200)).status.success());
    wait_for("the agent to be refused", || {
        agent.printed().contains("the hub takes nothing now: the disk is full")
    });
    publish(&mosquitto, &hub, &log, "mqttv5").wait(WITHIN);
    assert!(logged(&log).contains("RC:151"), "0x97: {}", logged(&log));
    let old = folder.path().join("mosquitto-311.log");
    let publisher = publish(&mosquitto, &hub, &old, "mqttv311");
    wait_for("a publish", || logged(&old).contains("sending PUBLISH"));
    wait_for("its end", || hub.printed().contains("a publish could not be stored"));
    publisher.kill();
    assert!(!logged(&old).contains("received PUBACK"), "{}", logged(&old));

    let messages = kafka::read_all(&hub.brokers(), "orders", WITHIN);
    assert_eq!(numbers(&messages[..1000], 0), (0..1000).collect::<Vec<_>>(), "reads go on");
    assert!(hub.process().unwrap().is_running());
    wait_for("the metric", || {
        hub.get("/metrics").is_some_and(|(_, body)| body.contains("headwater_disk_full 1\n"))
    });

    make_room(&disk, "filler");
    make_room(&disk, "more filler");
    producer.flush(WITHIN);
    agent.wait_shipped(WITHIN);
    assert_eq!(refusal_of(&hub.brokers(), "orders", 1, &value), None);
    assert_eq!(producer.outcomes.failed(), Vec::<i64>::new());
    hub.kill();
    hub.start();
    let messages = kafka::read_all(&hub.brokers(), "orders", WITHIN);
    let (own, other): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| message.partition == 0);
    assert_once_in_order(&numbers(&own, 0), &(0..2000).collect::<Vec<_>>(), &[]);
    assert_eq!(other.len(), stored + 1);
    let found = of_device(&kafka::read_all(&hub.brokers(), "telemetry", WITHIN), "pump-7");
    assert_once_in_order(&found, &(0..200).collect::<Vec<_>>(), &[]);
    let plain = kafka::read_all(&hub.brokers(), "mqtt", WITHIN);
    assert_eq!(plain.iter().filter(|message| message.value == b"mqttv5").count(), 1);
}

#[test]
fn a_hub_is_stopped_killed_and_started_on_a_full_disk() {
    let test = "a hub's restart on a full disk";
    if !tools::is_root(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::memory(folder.path(), HUB_MEBIBYTES);
    let mut hub = small_hub(folder.path(), &disk);
    let producer = NumberedProducer::new(&hub.brokers(), "orders");
    (0..3000).for_each(|number| producer.send(0, number));
    producer.flush(WITHIN);
    // So much that is in no checkpoint that a start cuts it off and applies it again.
    let value = "s".repeat(200_000);
    (0..20).for_each(|_| assert_eq!(refusal_of(&hub.brokers(), "orders", 1, &value), None));
    // In the middle of it, so that entries are under way that cannot be applied.
    (3000..6000).for_each(|number| producer.send(0, number));
    fill(&disk, "filler");
    let serves_reads = |hub: &Hub| {
        let messages = kafka::read_all(&hub.brokers(), "orders", WITHIN);
        assert_eq!(numbers(&messages[..3000], 0), (0..3000).collect::<Vec<_>>());
    };
    serves_reads(&hub);
    hub.kill();
    // What the killed hub gave back is taken too.
    fill(&disk, "more filler");
    hub.start();
    serves_reads(&hub);
    assert_eq!(hub.stop().unwrap().code(), Some(0), "a clean stop needs no room");
    fill(&disk, "still more filler");
    hub.start();
    serves_reads(&hub);
    ["filler", "more filler", "still more filler"].iter().for_each(|name| make_room(&disk, name));
    producer.flush(WITHIN);
    assert_eq!(producer.outcomes.failed(), Vec::<i64>::new());
    hub.kill();
    hub.start();
    let messages = kafka::read_all(&hub.brokers(), "orders", WITHIN);
    assert_once_in_order(&numbers(&messages, 0), &(0..6000).collect::<Vec<_>>(), &[]);
}

/// What `ingest` said: records stored, and dropped to make room.
fn tally(output: &Output) -> (u64, u64) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<&str> = said.split_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|word: &&str| word.parse().ok());
    number(0).zip(number(3)).unwrap_or_else(|| panic!("no tally: {output:?}"))
}

#[test]
fn an_agent_on_a_full_disk_says_what_it_stored_and_ships_all_of_it() {
    let test = "an agent on a full disk";
    if !tools::is_root(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::memory(folder.path(), 16);
    let mut hub = Hub::new(folder.path());
    let log = folder.path().join("agent.log");
    let mut agent = Agent::new(disk.path(), "meter-1", &hub.mqtt_url()).with_log(&log);
    assert_eq!(tally(&agent.ingest_lines(&json_lines(0..100))), (100, 0));
    fill(&disk, "filler");
    let mut stored = 100;
    for (is_running, numbers) in [(false, 1000..15_000), (true, 15_000..30_000)] {
        if is_running {
            agent.start();
            wait_for("the agent", || {
                agent.status().is_some_and(|status| status.contains("\"running\":true"))
            });
        }
        let output = agent.ingest_lines(&large_json_lines(numbers));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let (more, dropped) = tally(&output);
        assert!(more < 1000 && dropped == 0, "{output:?}");
        stored += more;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.lines().count() == 1 && said.contains("no room"), "{said}");
        assert!(agent.status().is_some(), "running: {is_running}");
    }
    assert_eq!(agent.stop().unwrap().code(), Some(0), "a clean stop needs no room");
    agent.start();
    hub.start();
    agent.wait_shipped(WITHIN);
    let shipped = || of_device(&kafka::read_all(&hub.brokers(), "telemetry", WITHIN), "meter-1");
    let refused: Vec<i64> = (1000..30_000).collect();
    assert_once_in_order(&shipped(), &(0..100).collect::<Vec<_>>(), &refused);
    assert_eq!(shipped().len() as u64, stored, "what was said to be stored, on the disk that is still full");
    make_room(&disk, "filler");
    assert_eq!(tally(&agent.ingest_lines(&json_lines(30_000..30_100))), (100, 0), "it goes on by itself");
    agent.wait_shipped(WITHIN);
    let kept: Vec<i64> = (0..100).chain(30_000..30_100).collect();
    assert_once_in_order(&shipped(), &kept, &refused);
    assert_eq!(shipped().len() as u64, stored + 100);
    assert!(agent.process().unwrap().is_running());
}

#[test]
fn a_file_is_deleted_only_when_its_rows_or_the_gap_for_them_are_on_the_disk() {
    let test = "files on a full disk";
    if !tools::is_root(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::memory(folder.path(), 16);
    let (inbox, config) = (folder.path().join("in"), folder.path().join("agent.toml"));
    fs::create_dir(&inbox).unwrap();
    let settings = format!(
        "[buffer]\npolicy = \"drop-newest\"\n[[inputs]]\nkind = \"files\"\npath = \"{}/*.json\"\n\
         format = \"json-lines\"\nsettle_ms = 0\npoll_ms = 10\nwhen_done = \"delete\"\n",
        inbox.display()
    );
    fs::write(&config, settings).unwrap();
    let mut hub = Hub::new(folder.path());
    let mut agent = Agent::new(disk.path(), "meter-1", &hub.mqtt_url())
        .with_log(&folder.path().join("agent.log"))
        .with_argument("--config")
        .with_argument(config.display().to_string());
    assert_eq!(tally(&agent.ingest_lines(&json_lines(0..100))), (100, 0));
    let (file, ready) = (folder.path().join("new"), inbox.join("a.json"));
    agent.start();
    for numbers in [100..15_000, 15_000..30_000] {
        fill(&disk, "filler");
        fs::write(&file, large_json_lines(numbers)).unwrap();
        fs::rename(&file, &ready).unwrap();
        wait_for("its end", || !ready.exists() || waits_for_room(&agent));
        agent.kill();
        make_room(&disk, "filler");
        agent.start();
        wait_for("it to be deleted", || !ready.exists());
    }
    hub.start();
    agent.wait_shipped(WITHIN);
    let messages = kafka::read_all(&hub.brokers(), "telemetry", WITHIN);
    let found = of_device(&messages, "meter-1");
    assert_once_in_order(&found, &(0..100).collect::<Vec<_>>(), &(100..30_000).collect::<Vec<_>>());
    let (lost, unknown) = gaps(&messages, "meter-1");
    assert_eq!((found.len() as u64 + lost, unknown), (30_000, 0), "{lost} are a gap");
}

/// The file stays where it is.
fn waits_for_room(agent: &Agent) -> bool {
    let status = agent.status().and_then(|status| serde_json::from_str::<serde_json::Value>(&status).ok());
    let input = status.map_or_else(Default::default, |status| status["inputs"]["files"].clone());
    input["state"] == "failing" && input["last_error"].as_str().is_some_and(|why| why.contains("no room"))
}

#[test]
fn an_agent_whose_disk_fills_up_drops_the_oldest_and_says_how_many() {
    let test = "an agent whose disk fills up";
    if !tools::is_root(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::memory(folder.path(), 16);
    let mut hub = Hub::new(folder.path());
    let mut agent =
        Agent::new(disk.path(), "meter-1", &hub.mqtt_url()).with_log(&folder.path().join("agent.log"));
    assert_eq!(tally(&agent.ingest_lines(&json_lines(0..100))), (100, 0));
    fill(&disk, "filler");
    let filler = File::options().write(true).open(disk.path().join("filler")).unwrap();
    filler.set_len(filler.metadata().unwrap().len() - (6 << 20)).unwrap();
    let output = agent.ingest_lines(&large_json_lines(100..60_100));
    let (stored, dropped) = tally(&output);
    assert!(output.status.success(), "the oldest make room: {output:?}");
    assert_eq!(stored, 60_000);
    assert!(dropped > 1000, "{dropped}");
    hub.start();
    agent.start();
    agent.wait_shipped(WITHIN);
    let found = of_device(&kafka::read_all(&hub.brokers(), "telemetry", WITHIN), "meter-1");
    assert_eq!(found.len() as u64, 60_100 - dropped);
    assert_once_in_order(&found, &(60_000..60_100).collect::<Vec<_>>(), &(0..60_000).collect::<Vec<_>>());
}

#[test]
fn a_disk_too_small_for_the_buffer_shows_when_the_agent_is_installed() {
    if !tools::is_root("a disk too small for the buffer") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::memory(folder.path(), 8);
    let mut agent = Agent::new(disk.path(), "meter-1", "mqtt://127.0.0.1:9")
        .with_log(&folder.path().join("agent.log"))
        .with_variable("HEADWATER_BUFFER__PREALLOCATE", "true");
    agent.start();
    wait::until("the agent to say so", WITHIN, || {
        let process = agent.process()?;
        if process.is_running() { None } else { Some(()) }
    });
    let printed = agent.printed();
    assert!(printed.contains("make room, lower buffer_bytes"), "{printed}");
    assert!(!printed.contains("panicked"), "{printed}");
}
