//! The ways into an agent, and what each promises of the numbered records that it takes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::numbered::json_lines;
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS};
use rustix::fs::OFlags;
use testkit::{Agent, ports, wait};

const LISTENS_WITHIN: Duration = Duration::from_secs(30);
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// More than are published before they are waited for.
const PUBLISHES_MAX: usize = 100;
const START_S: i64 = 1_700_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tail,
    Exec,
    Http,
    Socket,
    Mqtt,
    /// `edge-agent ingest`, which hands over to the running agent.
    Ingest,
}

pub const KINDS: [Kind; 6] = [Kind::Tail, Kind::Exec, Kind::Http, Kind::Socket, Kind::Mqtt, Kind::Ingest];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It is read again from where the buffer knows it: nothing is lost, ever.
    Kept,
    /// What was answered is durable.
    Answered,
    /// Nothing is answered: what was written is durable when it has lingered.
    Written,
}

impl Kind {
    pub fn topic(self) -> &'static str {
        match self {
            Self::Tail => "by-tail",
            Self::Exec => "by-exec",
            Self::Http => "by-http",
            Self::Socket => "by-socket",
            Self::Mqtt => "by-mqtt",
            Self::Ingest => "by-ingest",
        }
    }

    pub fn promise(self) -> Promise {
        match self {
            Self::Tail => Promise::Kept,
            Self::Exec | Self::Socket => Promise::Written,
            Self::Http | Self::Mqtt | Self::Ingest => Promise::Answered,
        }
    }
}

/// Takes records; false where it did not, or cannot tell.
pub trait Way {
    fn take(&mut self, numbers: Range<i64>) -> bool;
}

/// Where the inputs of one start of an agent are: on a disk that keeps its power.
pub struct Place {
    folder: PathBuf,
    lines: PathBuf,
    http: SocketAddr,
    mqtt: SocketAddr,
    /// Held open, so that the command of the exec input finds an end only when this is gone.
    pipe: File,
}

impl Place {
    /// In a new folder; `lines` is the file that all starts of an agent tail.
    pub fn new(folder: &Path, lines: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        File::options().create(true).append(true).open(lines).unwrap();
        let pipe = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let pipe = File::options().read(true).write(true).custom_flags(flags).open(pipe).unwrap();
        Self {
            folder: folder.to_owned(),
            lines: lines.to_owned(),
            http: ports::free(),
            mqtt: ports::free(),
            pipe,
        }
    }

    /// Writes the agent's settings.
    pub fn settings(&self) -> PathBuf {
        let (pipe, socket) = (self.folder.join("pipe"), self.socket());
        let input = |kind: Kind, rest: String| format!("[[inputs]]\ntopic = {:?}\n{rest}\n", kind.topic());
        let text = [
            input(
                Kind::Tail,
                format!("kind = \"tail\"\nformat = \"json-lines\"\npoll_ms = 20\npath = {:?}", self.lines),
            ),
            input(
                Kind::Exec,
                format!("kind = \"exec\"\nformat = \"json-lines\"\ncommand = [\"cat\", {pipe:?}]"),
            ),
            input(Kind::Http, format!("kind = \"http\"\nlisten = \"{}\"", self.http)),
            input(Kind::Socket, format!("kind = \"socket\"\nformat = \"json-lines\"\npath = {socket:?}")),
            input(Kind::Mqtt, format!("kind = \"mqtt\"\nlisten = \"{}\"", self.mqtt)),
            "[[sensors]]\nmatch = \"sensor/n\"\nrename = \"n\"\n".to_owned(),
        ];
        let path = self.folder.join("agent.toml");
        fs::write(&path, text.concat()).unwrap();
        path
    }

    /// One way in, once the agent listens there.
    pub fn open(&self, kind: Kind, agent: Agent) -> Box<dyn Way + Send> {
        match kind {
            Kind::Tail => Box::new(Lines(File::options().append(true).open(&self.lines).unwrap())),
            Kind::Exec => Box::new(Lines(self.pipe.try_clone().unwrap())),
            Kind::Http => {
                connected(self.http);
                Box::new(Http(self.http))
            }
            Kind::Socket => Box::new(Lines(wait::until("the socket", LISTENS_WITHIN, || {
                UnixStream::connect(self.socket()).ok()
            }))),
            Kind::Mqtt => {
                connected(self.mqtt);
                Box::new(Mqtt::connect(self.mqtt))
            }
            Kind::Ingest => Box::new(Ingest(agent)),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("in.sock")
    }
}

fn connected(address: SocketAddr) -> TcpStream {
    wait::until("the input to listen", LISTENS_WITHIN, || TcpStream::connect(address).ok())
}

/// JSON lines into what is written to: a file, a pipe, a socket.
struct Lines<W>(W);

impl<W: Write> Way for Lines<W> {
    fn take(&mut self, numbers: Range<i64>) -> bool {
        self.0.write_all(json_lines(numbers).as_bytes()).is_ok()
    }
}

/// SenML packs.
struct Http(SocketAddr);

impl Http {
    fn post(&self, pack: &str) -> io::Result<bool> {
        let mut stream = TcpStream::connect(self.0)?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        let head = "POST /senml HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Type: application/senml+json";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{pack}", pack.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 204"))
    }
}

impl Way for Http {
    fn take(&mut self, numbers: Range<i64>) -> bool {
        let records: Vec<String> =
            numbers.map(|n| format!("{{\"n\":\"n\",\"t\":{},\"v\":{n}}}", START_S + n)).collect();
        self.post(&format!("[{}]", records.join(","))).unwrap_or(false)
    }
}

/// One message a number, with QoS 1.
struct Mqtt {
    client: Client,
    connection: Connection,
}

impl Mqtt {
    fn connect(address: SocketAddr) -> Self {
        let options = MqttOptions::new("sensor", address.ip().to_string(), address.port());
        let (client, connection) = Client::new(options, PUBLISHES_MAX);
        Self { client, connection }
    }

    fn acknowledged(&mut self, mut count: usize) -> bool {
        while count > 0 {
            match self.connection.recv_timeout(ANSWERS_WITHIN) {
                Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => count -= 1,
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        true
    }
}

impl Way for Mqtt {
    fn take(&mut self, numbers: Range<i64>) -> bool {
        let mut count = 0;
        for n in numbers {
            if self.client.publish("n", QoS::AtLeastOnce, false, n.to_string()).is_err() {
                return false;
            }
            count += 1;
        }
        self.acknowledged(count)
    }
}

struct Ingest(Agent);

impl Way for Ingest {
    fn take(&mut self, numbers: Range<i64>) -> bool {
        self.0.ingest_lines_to(Kind::Ingest.topic(), &json_lines(numbers)).status.success()
    }
}
