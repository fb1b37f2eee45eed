//! Whatever happens between two moments, a restart finds exactly what was acknowledged.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use parking_lot::Mutex;
use partition_log::PartitionState;
use proptest::prelude::*;
use schemas::{Offset, PartitionId};
use shards::*;

const PARTITIONS: i32 = 6;

/// What a test does, one after another.
#[derive(Debug, Clone)]
enum Step {
    /// The producer's next batches, one after another in flight. Producer 3 is an agent's stream.
    Append {
        partition: i32,
        producer: i64,
        batches: i32,
        records: i32,
        bytes: usize,
    },
    /// A batch that was stored before.
    Resend {
        partition: i32,
        producer: i64,
        back: usize,
    },
    /// A batch that leaves out a sequence.
    Skip {
        partition: i32,
        producer: i64,
    },
    Open {
        partition: i32,
    },
    Roll {
        partition: i32,
    },
    Retain {
        partition: i32,
        bytes: i64,
    },
    /// The process dies; what the operating system had not been made to write may be lost too.
    Crash {
        power_cut: bool,
    },
    /// An orderly end with its checkpoint.
    Stop,
    /// A checkpoint while running.
    Checkpoint,
}

fn steps() -> impl Strategy<Value = Step> {
    let partitions = 0..PARTITIONS;
    let producers = 1_i64..4;
    prop_oneof![
        8 => (partitions.clone(), producers.clone(), 1..12, 1..5, 1_usize..9_000).prop_map(
            |(partition, producer, batches, records, bytes)| Step::Append { partition, producer, batches, records, bytes }
        ),
        2 => (partitions.clone(), producers.clone(), 0_usize..4)
            .prop_map(|(partition, producer, back)| Step::Resend { partition, producer, back }),
        1 => (partitions.clone(), producers).prop_map(|(partition, producer)| Step::Skip { partition, producer }),
        2 => partitions.clone().prop_map(|partition| Step::Open { partition }),
        1 => partitions.clone().prop_map(|partition| Step::Roll { partition }),
        1 => (partitions, 0_i64..100_000).prop_map(|(partition, bytes)| Step::Retain { partition, bytes }),
        2 => any::<bool>().prop_map(|power_cut| Step::Crash { power_cut }),
        1 => Just(Step::Stop),
        2 => Just(Step::Checkpoint),
    ]
}

const AGENT: i64 = 3;

fn id(producer: i64) -> i64 {
    if producer == AGENT { (1 << 62) + producer } else { producer }
}

fn request(n: i32, producer: i64, batch: bytes::Bytes) -> Append {
    if producer == AGENT { agent_append(n, "pump-7", batch) } else { append(n, batch) }
}

/// What a partition must hold.
#[derive(Default)]
struct Expected {
    start: i64,
    end: i64,
    /// Base offset, and the CRC of the batch.
    batches: Vec<(i64, u32)>,
    producers: BTreeMap<i64, Sent>,
}

#[derive(Default)]
struct Sent {
    next: i32,
    batches: Vec<(bytes::Bytes, i64)>,
}

struct World {
    // Goes before its directory.
    shards: Option<Shards>,
    dir: tempfile::TempDir,
    expected: BTreeMap<i32, Expected>,
}

impl World {
    fn new() -> Self {
        let mut world =
            Self { dir: tempfile::tempdir().expect("a directory"), shards: None, expected: BTreeMap::new() };
        world.start();
        world
    }

    fn start(&mut self) {
        let config = Config { checkpoint_bytes: 1, ..config(self.dir.path()) };
        self.shards = Some(try_start(config).expect("a start after anything"));
        self.check();
    }

    fn shards(&self) -> &Shards {
        self.shards.as_ref().expect("running")
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Append { partition, producer, batches, records, bytes } => {
                self.append(partition, producer, batches, records, bytes).await;
            }
            Step::Resend { partition, producer, back } => self.resend(partition, producer, back).await,
            Step::Skip { partition, producer } => self.skip(partition, producer).await,
            Step::Open { partition } => {
                open(self.shards(), partition).await;
                self.expected.entry(partition).or_default();
            }
            Step::Roll { partition: n } => {
                let known = self.expected.contains_key(&n);
                let rolled =
                    self.shards().command(shard(n), PartitionCommand::Roll { partition: partition(n) });
                assert_eq!(rolled.await.is_ok(), known);
            }
            Step::Retain { partition, bytes } => self.retain(partition, bytes).await,
            Step::Crash { power_cut } => {
                self.shards = None;
                if power_cut {
                    lose_what_was_not_synced(self.dir.path());
                }
                self.start();
            }
            Step::Stop => {
                self.shards.take().expect("running").shutdown().await;
                self.start();
            }
            // Every write orders one, since `checkpoint_bytes` is 1.
            Step::Checkpoint => {
                self.shards().propose_metadata(bytes::Bytes::from_static(b"x")).await.expect("applied");
            }
        }
    }

    async fn append(&mut self, n: i32, producer: i64, batches: i32, records: i32, bytes: usize) {
        let shards = self.shards().clone();
        let Some(expected) = self.expected.get_mut(&n) else { return };
        let sent = expected.producers.entry(producer).or_default();
        let mut answers = Vec::new();
        for _ in 0..batches {
            let batch = batch(Some((id(producer), sent.next)), records, bytes);
            sent.next += records;
            answers.push((batch.clone(), shards.append_future(shard(n), request(n, producer, batch))));
        }
        for (batch, answer) in answers {
            let stored = answer.await.expect("the next batch is stored");
            assert_eq!((stored.base_offset.0, stored.duplicate), (expected.end, false));
            expected.end += i64::from(records);
            let crc = schemas::BatchHeader::parse(&batch).expect("a batch").crc;
            expected.batches.push((stored.base_offset.0, crc));
            sent.batches.push((batch, stored.base_offset.0));
        }
    }

    async fn resend(&mut self, n: i32, producer: i64, back: usize) {
        let sent = self.expected.get(&n).and_then(|expected| expected.producers.get(&producer));
        let Some((batch, base)) = sent.and_then(|sent| sent.batches.iter().rev().nth(back)) else { return };
        let again = self.shards().append_future(shard(n), request(n, producer, batch.clone())).await;
        let again = again.expect("the last four are remembered");
        assert_eq!((again.base_offset.0, again.duplicate), (*base, true));
    }

    async fn skip(&mut self, n: i32, producer: i64) {
        let Some(sent) = self.expected.get(&n).and_then(|expected| expected.producers.get(&producer)) else {
            return;
        };
        if sent.next == 0 {
            return;
        }
        let ahead = batch(Some((id(producer), sent.next + 3)), 1, 10);
        let refused = self.shards().append_future(shard(n), request(n, producer, ahead)).await;
        assert!(matches!(refused, Err(AppendError::Sequence(_))), "{refused:?}");
    }

    async fn retain(&mut self, n: i32, bytes: i64) {
        let keep = Retention { ms: None, bytes: Some(bytes) };
        let moved = self.shards().enforce_retention(shard(n), partition(n), keep).await;
        let Some(expected) = self.expected.get_mut(&n) else {
            assert_eq!(moved, Err(CommandError::UnknownPartition));
            return;
        };
        if let Some(Offset(start)) = moved.expect("an open partition") {
            assert!(start > expected.start && start <= expected.end);
            expected.start = start;
            expected.batches.retain(|(base, _)| *base >= start);
        }
    }

    fn check(&self) {
        for n in 0..PARTITIONS {
            let reader = self.shards().partition(partition(n));
            let Some(expected) = self.expected.get(&n) else {
                assert!(reader.is_none());
                continue;
            };
            let reader = reader.expect("what was opened is open");
            assert_eq!((reader.log_start().0, reader.high_watermark().0), (expected.start, expected.end));
            assert_eq!(contents(self.shards(), n), expected.batches);
        }
    }
}

/// A power cut at its worst: of the partition logs only what a checkpoint made durable is left, and behind that
/// lies what happened to be on the disk. The WAL syncs everything that it acknowledges.
fn lose_what_was_not_synced(dir: &Path) {
    let durable = durable_states(&dir.join("checkpoint"));
    for entry in fs::read_dir(dir.join("log")).expect("a directory") {
        let directory = entry.expect("an entry").path();
        let state = durable.iter().find(|state| directory.ends_with(name(state.id)));
        for file in fs::read_dir(&directory).expect("a directory") {
            let path = file.expect("an entry").path();
            spoil(&path, state);
        }
    }
}

fn name(id: PartitionId) -> String {
    format!("{}-{}", id.topic, id.index)
}

fn spoil(path: &Path, state: Option<&PartitionState>) {
    let file = fs::File::options().write(true).open(path).expect("a file");
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let mut lengths =
        state.into_iter().flat_map(|state| &state.segments).map(|segment| (segment.id, segment.bytes));
    let is_known = |id: &u64| name.contains(&format!("-{id:08x}."));
    match lengths.rfind(|(id, _)| is_known(id)) {
        // An index that was synced stays; what was added to it since is cut off at the start.
        Some(_) if !name.ends_with(".log") => {}
        Some((_, bytes)) => {
            // Behind what was synced: zeros, as a file system leaves them.
            let length = file.metadata().expect("a length").len();
            file.set_len(u64::from(bytes)).expect("cut");
            file.set_len(length).expect("longer again");
        }
        // A segment begun since.
        None => file.set_len(file.metadata().expect("a length").len() / 2).expect("cut"),
    }
}

/// The states in every group's newest checkpoint.
fn durable_states(checkpoints: &Path) -> Vec<PartitionState> {
    let mut states = Vec::new();
    for group in fs::read_dir(checkpoints).expect("a directory") {
        let (_, loaded, damage) = checkpoint::Store::open(&group.expect("an entry").path()).expect("a store");
        assert!(damage.is_empty());
        let values = loaded.into_iter().flat_map(|loaded| loaded.states.into_values());
        states.extend(values.filter_map(|bytes| PartitionState::decode(&bytes).ok()));
    }
    states
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_restart_finds_exactly_what_was_acknowledged(steps in prop::collection::vec(steps(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new();
            for n in 0..3 {
                world.step(Step::Open { partition: n }).await;
            }
            for step in steps {
                world.step(step).await;
            }
            world.check();
            world.step(Step::Crash { power_cut: true }).await;
        });
    }
}

/// Appends that nobody has an answer to yet are stored wholly or not at all, in order, and never twice.
#[tokio::test]
async fn what_was_in_flight_at_a_crash_is_a_prefix() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sent: Vec<bytes::Bytes> = Vec::new();
    let mut producer = Producer::new(3);
    for round in 0..10 {
        let shards = start(dir.path());
        open(&shards, 0).await;
        let stored = usize::try_from(high_watermark(&shards, 0)).expect("small");
        for batch in &sent[stored.saturating_sub(5).min(sent.len())..] {
            let again = shards.append_future(shard(0), append(0, batch.clone())).await;
            again.expect("resent in order, stored once");
        }
        assert_eq!(high_watermark(&shards, 0), i64::try_from(sent.len()).expect("small"));
        for _ in 0..50 {
            let batch = producer.batch(1, 500);
            sent.push(batch.clone());
            shards.append(shard(0), append(0, batch), Box::new(|_| {}));
        }
        let last = producer.batch(1, 1 + round);
        sent.push(last.clone());
        let last = shards.append_future(shard(0), append(0, last));
        drop(shards);
        // Answered, one way or the other, also without anyone who runs.
        let _ = tokio::time::timeout(Duration::from_secs(10), last).await.expect("an answer");
    }
}

#[tokio::test]
async fn everyone_is_answered_once_when_the_hub_stops() {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = start(dir.path());
    open(&shards, 0).await;
    let answers = Arc::new(Mutex::new(BTreeMap::<usize, Vec<bool>>::new()));
    for n in 0..3_000 {
        let answers = answers.clone();
        let done = move |result: Result<Appended, AppendError>| {
            answers.lock().entry(n).or_default().push(result.is_ok());
        };
        shards.append(shard(0), append(0, batch(None, 1, 300)), Box::new(done));
    }
    shards.shutdown().await;
    let answers = answers.lock();
    assert_eq!(answers.len(), 3_000);
    assert!(answers.values().all(|answers| answers.len() == 1));
    let stored = answers.values().filter(|answers| answers[0]).count();
    assert!(stored > 0);
    let shards = start(dir.path());
    assert_eq!(contents(&shards, 0).len(), stored, "what was refused is not there");
}
