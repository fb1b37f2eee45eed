//! An input that listens, over a real buffer, for clients of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edge_agent::buffer::{Buffer, BufferOptions, Content, Policy, Retention};
use edge_agent::config::{InputConfig, InputKind, ListenAddress, Settings};
use edge_agent::destination::{Destination, Priority};
use edge_agent::inputs::{Filter, Health, HealthView, InputError, RowSink, Source, queue};
use edge_agent::pipeline::{Batching, Tuning, build};
use edge_agent::time::{self, Clock, realtime_ms};
use schemas::{RawBatch, Value, decode_pack};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{device, items, options, topic};

const CAP: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(60);

/// A record as it lies in the buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub time_ms: i64,
    pub values: Vec<(String, Value)>,
    pub tags: Vec<(String, String)>,
}

pub struct Listening {
    runtime: Runtime,
    folder: tempfile::TempDir,
    pub buffer: Buffer,
    source: Arc<Source>,
    sink: RowSink,
    running: Option<(CancellationToken, JoinHandle<Result<(), InputError>>)>,
}

impl Listening {
    pub fn new(policy: Policy, linger: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let (runtime, folder) = (runtime.unwrap(), tempfile::tempdir().unwrap());
        let inside = runtime.enter();
        let retention = Retention { policy, ..Retention::up_to(CAP) };
        let buffer = Buffer::open(&BufferOptions { retention, ..options(folder.path(), CAP, None) }).unwrap();
        let clock = Arc::new(Clock::of_this_machine());
        // Also where the kernel does not know what time it is.
        clock.recall(time::Source::EarlierRun, realtime_ms() - clock.boot_ms());
        let batching = Batching {
            device: device(),
            boot: clock.boot(),
            tuning: Tuning::new(linger),
            buffer: buffer.clone(),
        };
        let destination = Destination { topic: topic(), priority: Priority::Telemetry };
        let (rows, inbox) = queue(16);
        tokio::spawn(batching.run(destination.clone(), inbox, rows.waited_for(), CancellationToken::new()));
        let (name, health) = ("test".into(), Health::default());
        let source = Source { name, destination, tags: Vec::new(), health, is_trial: false };
        let sink = RowSink::new(source, Filter::default(), clock, rows, Arc::default());
        drop(inside);
        Self { runtime, folder, buffer, source: sink.source().clone(), sink, running: None }
    }

    /// Runs an input until it listens.
    pub fn run(kind: InputKind) -> Self {
        let mut listening = Self::new(Policy::DropOldest, Duration::from_millis(1));
        listening.start(kind);
        listening
    }

    /// The same with an input of this name and more settings, and where it listens.
    pub fn at_free_address(name: &str, more: &str) -> (Self, SocketAddr) {
        let address = free_address();
        (Self::run(listens(name, address, more)), address)
    }

    pub fn start(&mut self, kind: InputKind) {
        let destination = self.source.destination.clone();
        let config = InputConfig { name: "test".into(), destination, tags: Vec::new(), kind };
        let address = config.kind.listens().unwrap().clone();
        let stop = CancellationToken::new();
        let input = build(&config, None);
        let running = self.runtime.spawn(input.run(self.sink.clone(), stop.clone()));
        super::program::until("the input to listen", || {
            assert!(!running.is_finished(), "the input has ended");
            match &address {
                ListenAddress::Tcp(address) => TcpStream::connect(address).is_ok(),
                ListenAddress::Unix { path, .. } => std::os::unix::net::UnixStream::connect(path).is_ok(),
            }
            .then_some(())
        });
        self.running = Some((stop, running));
    }

    /// Why an input does not even begin.
    pub fn fail(&mut self, kind: InputKind) -> InputError {
        let destination = self.source.destination.clone();
        let config = InputConfig { name: "test".into(), destination, tags: Vec::new(), kind };
        self.runtime
            .block_on(build(&config, None).run(self.sink.clone(), CancellationToken::new()))
            .unwrap_err()
    }

    /// Asks the input to end, and says how it did.
    pub fn stop(&mut self) -> Result<(), InputError> {
        self.ask_to_stop();
        let (_, running) = self.running.take().unwrap();
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, running).await.unwrap().unwrap() })
    }

    pub fn ask_to_stop(&self) {
        self.running.as_ref().unwrap().0.cancel();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn health(&self) -> HealthView {
        self.source.health.view()
    }

    pub fn stored(&self) -> Vec<Stored> {
        records(&self.buffer)
    }

    /// Waits until so many records are durable.
    pub fn wait_stored(&self, count: usize) -> Vec<Stored> {
        super::program::until("the records", || Some(self.stored()).filter(|stored| stored.len() >= count))
    }
}

/// Everything that lies in a buffer, in its order.
pub fn records(buffer: &Buffer) -> Vec<Stored> {
    let lanes = buffer.snapshot().lanes.clone();
    let items = lanes.iter().flat_map(|lane| items(buffer, lane.id));
    items.flat_map(|item| of_batch(&item.content)).collect()
}

fn of_batch(content: &Content) -> Vec<Stored> {
    let Content::Batch(bytes) = content else { return Vec::new() };
    let batch = RawBatch::parse(bytes.clone()).unwrap();
    let base = batch.header().base_timestamp;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let stored = batch.records().unwrap().map(Result::unwrap).map(|record| Stored {
        time_ms: base + record.timestamp_delta,
        values: decode_pack(&record.value.unwrap()).unwrap().into_iter().map(|m| (m.name, m.value)).collect(),
        tags: record
            .headers
            .iter()
            .map(|(name, value)| (text(name), text(value.as_deref().unwrap())))
            .collect(),
    });
    stored.collect()
}

/// An address of loopback that nobody listens on now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Says something and reads to the end.
pub fn exchange(address: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.write_all(said).unwrap();
    to_end(&mut stream)
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

pub fn to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A connection that is cut still has said something.
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// An input of this name that is to listen there, with more settings.
pub fn listens(name: &str, address: SocketAddr, more: &str) -> InputKind {
    kind(&format!("kind = \"{name}\"\nlisten = \"{address}\"\n{more}")).unwrap()
}

/// An input as a configuration file has it.
pub fn kind(toml: &str) -> Result<InputKind, String> {
    let settings: Settings = toml::from_str(&format!("[[inputs]]\n{toml}")).map_err(|e| e.to_string())?;
    let config = settings.validate().map_err(|error| error.to_string())?;
    Ok(config.inputs.into_iter().next().unwrap().kind)
}
