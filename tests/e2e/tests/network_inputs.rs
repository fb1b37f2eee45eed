//! Everything that others can send to an agent, at once and through a hub into the log, while both are killed.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use e2e::mqtt;
use e2e::numbered::assert_once_in_order;
use schemas::{Measurement, Value, decode_pack, encode_pack};
use testkit::kafka::Message;
use testkit::{Agent, Hub, kafka, ports, tools, wait};

const WITHIN: Duration = Duration::from_secs(120);
/// Between what one sender sends.
const PACE: Duration = Duration::from_millis(5);
/// Until a sender that was not answered tries again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// What every sender has had acknowledged before something else happens.
const A_WHILE: usize = 15;
const START_S: i64 = 1_700_000_000;

/// What became of a sender's numbers.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<i64>,
    unsure: Vec<i64>,
}

/// A sender in a thread of its own, whose numbers count up whether they are acknowledged or not.
struct Sender {
    sensor: &'static str,
    sent: Arc<Mutex<Sent>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sender {
    fn start(
        sensor: &'static str,
        stop: &Arc<AtomicBool>,
        mut send: impl FnMut(i64) -> bool + Send + 'static,
    ) -> Self {
        let sent: Arc<Mutex<Sent>> = Arc::default();
        let (noted, stop) = (Arc::clone(&sent), Arc::clone(stop));
        let thread = thread::spawn(move || {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let is_acknowledged = send(number);
                let mut noted = noted.lock().unwrap();
                let list = if is_acknowledged { &mut noted.acknowledged } else { &mut noted.unsure };
                list.push(number);
                drop(noted);
                wait::pause(if is_acknowledged { PACE } else { AGAIN_AFTER });
            }
        });
        Self { sensor, sent, thread: Some(thread) }
    }

    fn acknowledged(&self) -> usize {
        self.sent.lock().unwrap().acknowledged.len()
    }

    fn last_acknowledged(&self) -> i64 {
        *self.sent.lock().unwrap().acknowledged.last().unwrap()
    }

    /// No number below this is sent any more.
    fn next(&self) -> i64 {
        let sent = self.sent.lock().unwrap();
        let last = sent.acknowledged.last().max(sent.unsure.last());
        last.map_or(0, |last| last + 1)
    }
}

/// The agent, what it listens on, and the programs that speak to it.
struct Site {
    hub: Hub,
    agent: Agent,
    curl: PathBuf,
    http: SocketAddr,
    mqtt: SocketAddr,
    socket: PathBuf,
    stdin: Arc<Mutex<Option<ChildStdin>>>,
    stop: Arc<AtomicBool>,
}

impl Site {
    fn start(folder: &Path, curl: PathBuf) -> Self {
        let hub = Hub::started(folder);
        let (http, mqtt, socket) = (ports::free(), ports::free(), folder.join("in.sock"));
        let settings = format!(
            "linger_ms = 50\n\
             [[inputs]]\nkind = \"http\"\nlisten = \"{http}\"\n\
             [[inputs]]\nkind = \"socket\"\npath = {socket:?}\nformat = \"json-lines\"\n\
             [[inputs]]\nkind = \"mqtt\"\nlisten = \"{mqtt}\"\n\
             [[inputs]]\nkind = \"stdin\"\nformat = \"json-lines\"\ntags = {{ from = \"stdin\" }}\n"
        );
        let config = folder.join("agent.toml");
        fs::write(&config, settings).unwrap();
        let mut agent = Agent::new(folder, "gateway", &hub.mqtt_url())
            .with_argument("--config")
            .with_argument(config.to_str().unwrap());
        let stdin = Arc::new(Mutex::new(Some(agent.start_fed())));
        Self { hub, agent, curl, http, mqtt, socket, stdin, stop: Arc::default() }
    }

    /// Posts with curl; whether it is answered by 204.
    fn post(&self, target: &str, kind: &str) -> impl FnMut(Vec<u8>) -> bool + Send + use<> {
        let (curl, url, kind) =
            (self.curl.clone(), format!("http://{}{target}", self.http), format!("Content-Type: {kind}"));
        move |body| {
            let mut command = Command::new(&curl);
            command.args([
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-H",
                &kind,
                "--data-binary",
                "@-",
                &url,
            ]);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            // It may end before it has read everything.
            let _ = child.stdin.take().unwrap().write_all(&body);
            child.wait_with_output().unwrap().stdout == b"204"
        }
    }

    fn posts(&self) -> Vec<Sender> {
        let mut v1 = self.post("/write?db=plant", "text/plain");
        let mut v2 = self.post("/api/v2/write?org=o&bucket=b&precision=ms", "text/plain");
        let mut json = self.post("/senml", "application/senml+json");
        let mut cbor = self.post("/senml", "application/senml+cbor");
        let in_json = |n: i64| {
            let time = START_S + n;
            format!(r#"[{{"bn":"room/","bt":{time},"n":"json","u":"Cel","v":{n}}}]"#)
        };
        let stop = &self.stop;
        vec![
            Sender::start("v1.n", stop, move |n| {
                v1(format!("v1,site=north n={n} {}000000000", START_S + n).into_bytes())
            }),
            Sender::start("v2.n", stop, move |n| v2(format!("v2 n={n} {}000", START_S + n).into_bytes())),
            Sender::start("room/json", stop, move |n| json(in_json(n).into_bytes())),
            Sender::start("room/cbor", stop, move |n| cbor(pack("room/cbor", "%RH", n))),
        ]
    }

    /// Children of the gateway.
    fn publishers(&self) -> Vec<Sender> {
        let address = self.mqtt;
        let publisher = |child: &'static str, sensor: &'static str| {
            let mut client = None;
            Sender::start(sensor, &self.stop, move |n| {
                let connected = client.take().map_or_else(|| mqtt::Client::connect(address, child), Ok);
                let published = connected.and_then(|mut it| it.publish("power", &n.to_string()).map(|()| it));
                client = published.ok();
                client.is_some()
            })
        };
        vec![publisher("plug-1", "plug-1/power"), publisher("plug-2", "plug-2/power")]
    }

    /// What nobody acknowledges: whether it could be written is all that is known.
    fn writers(&self) -> Vec<Sender> {
        let line = |sensor, n| format!("{{\"time\": {}, \"{sensor}\": {n}}}\n", START_S + n);
        let (path, stdin) = (self.socket.clone(), Arc::clone(&self.stdin));
        let mut stream = None;
        let socket = Sender::start("socket", &self.stop, move |n| {
            let connected = stream.take().map_or_else(|| UnixStream::connect(&path), Ok);
            let written =
                connected.and_then(|mut it| it.write_all(line("socket", n).as_bytes()).map(|()| it));
            stream = written.ok();
            stream.is_some()
        });
        let stdin = Sender::start("stdin", &self.stop, move |n| {
            let mut stdin = stdin.lock().unwrap();
            stdin.as_mut().is_some_and(|input| input.write_all(line("stdin", n).as_bytes()).is_ok())
        });
        vec![socket, stdin]
    }

    fn read(&self) -> BTreeMap<String, Series> {
        let mut series: BTreeMap<String, Series> = BTreeMap::new();
        for message in kafka::read_all(&self.hub.brokers(), "telemetry", WITHIN) {
            assert_eq!(message.key, b"gateway");
            for measured in decode_pack(&message.value).unwrap() {
                series.entry(measured.name.clone()).or_default().take(&measured, &message);
            }
        }
        series
    }
}

fn pack(name: &str, unit: &str, number: i64) -> Vec<u8> {
    let value = Value::Integer(i128::from(number));
    encode_pack(&[Measurement { name: name.to_owned(), unit: Some(unit.to_owned()), value }]).unwrap()
}

/// One sensor's records in the order of the log.
#[derive(Default)]
struct Series {
    numbers: Vec<i64>,
    /// Those that differ from each other.
    units: Vec<Option<String>>,
    tags: Vec<Vec<(String, Vec<u8>)>>,
    /// Every number has the time that was sent with it.
    is_timed: bool,
}

impl Series {
    fn take(&mut self, measured: &Measurement, message: &Message) {
        let number = match &measured.value {
            Value::Float(number) => *number as i64,
            Value::Integer(number) => i64::try_from(*number).unwrap(),
            other => panic!("{} is {other:?}", measured.name),
        };
        let is_timed = message.timestamp_ms == Some(1000 * (START_S + number));
        self.is_timed = is_timed && (self.is_timed || self.numbers.is_empty());
        self.numbers.push(number);
        if !self.units.contains(&measured.unit) {
            self.units.push(measured.unit.clone());
        }
        let tags: Vec<_> =
            message.headers.iter().filter(|(name, _)| name.starts_with("tag.")).cloned().collect();
        if !self.tags.contains(&tags) {
            self.tags.push(tags);
        }
    }
}

/// Unit, tags and whether the time was said of every sensor.
type Kind = (Option<&'static str>, Option<(&'static str, &'static [u8])>, bool);

const KINDS: [(&str, Kind); 8] = [
    ("v1.n", (None, Some(("tag.site", b"north")), true)),
    ("v2.n", (None, None, true)),
    ("room/json", (Some("Cel"), None, true)),
    ("room/cbor", (Some("%RH"), None, false)),
    ("plug-1/power", (None, None, false)),
    ("plug-2/power", (None, None, false)),
    ("socket", (None, None, true)),
    ("stdin", (None, Some(("tag.from", b"stdin")), true)),
];

fn check_kinds(series: &BTreeMap<String, Series>) {
    let names: Vec<&str> = series.keys().map(String::as_str).collect();
    let mut expected = KINDS.map(|(name, _)| name);
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, (unit, tag, is_timed)) in KINDS {
        let found = &series[name];
        assert_eq!(found.units, [unit.map(str::to_owned)], "{name}");
        let tags: Vec<_> = tag.into_iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        assert_eq!((&found.tags[..], found.is_timed), (&[tags][..], is_timed), "{name}");
    }
}

/// What was written to an agent before it was killed is there up to some number; `killed_at` itself may have been
/// written to either.
fn check_written(found: &[i64], sent: &Sent, killed_at: i64) {
    let stored = found.iter().filter(|n| **n < killed_at).max().copied().unwrap_or(-1);
    let is_owed = |n: &i64| *n <= stored || *n > killed_at;
    let (owed, unsure): (Vec<i64>, Vec<i64>) = sent.acknowledged.iter().partition(|n| is_owed(n));
    assert_once_in_order(found, &owed, &[&unsure[..], &sent.unsure].concat());
}

#[test]
fn what_everyone_sends_at_once_is_stored_once_and_in_order_though_hub_and_agent_are_killed() {
    let Some(curl) = tools::find("curl", "everything that others can send") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut site = Site::start(folder.path(), curl);
    let (mut asked, mut written) = (site.posts(), site.writers());
    asked.extend(site.publishers());
    let go_on = |what: &str| {
        let before: Vec<usize> = asked.iter().chain(&written).map(Sender::acknowledged).collect();
        wait::until(what, WITHIN, || {
            let mut counts = asked.iter().chain(&written).map(Sender::acknowledged).zip(&before);
            counts.all(|(count, before)| count >= before + A_WHILE).then_some(())
        });
    };
    go_on("all senders");
    site.hub.kill();
    go_on("what comes without a hub");
    site.hub.start();
    go_on("what comes with a hub again");
    site.agent.kill();
    let killed_at: Vec<i64> = written.iter().map(Sender::next).collect();
    *site.stdin.lock().unwrap() = Some(site.agent.start_fed());
    go_on("what comes after the agent was killed");
    site.stop.store(true, Ordering::Relaxed);
    for sender in asked.iter_mut().chain(&mut written) {
        sender.thread.take().unwrap().join().unwrap();
    }
    // Nothing more comes there either.
    site.stdin.lock().unwrap().take();
    wait::until("the last of each", WITHIN, || {
        let series = site.read();
        let has =
            |it: &Sender| series.get(it.sensor)?.numbers.contains(&it.last_acknowledged()).then_some(());
        asked.iter().chain(&written).all(|it| has(it).is_some()).then_some(())
    });
    site.agent.wait_shipped(WITHIN);
    let series = site.read();
    check_kinds(&series);
    for sender in &asked {
        let sent = sender.sent.lock().unwrap();
        assert_once_in_order(&series[sender.sensor].numbers, &sent.acknowledged, &sent.unsure);
    }
    for (sender, killed_at) in written.iter().zip(killed_at) {
        check_written(&series[sender.sensor].numbers, &sender.sent.lock().unwrap(), killed_at);
    }
}
