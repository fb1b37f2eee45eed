//! Senders with exactly-once: each writes numbered batches to one partition, with several on their way, and sends
//! what was not acknowledged again, in order, wherever the leader is by then.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use schemas::{
    BatchBuilder, BuilderOptions, Compression, DeviceId, NodeId, ProducerEpoch, ProducerId, RawBatch,
    Sequence, Term,
};
use shards::{Append, AppendError, Appended, Origin};

use crate::keyed::{self, Keyed};
use crate::plan;

/// Batches on their way at once.
const WINDOW: usize = 3;
/// Producers that come once have ids from here on.
const VISITORS: i64 = 1000;
/// Those who write under keys have ids from here on.
const KEYED: i64 = 300;
/// Coordinators have ids from here on.
const COORDINATORS: i64 = 500;
/// Streams of agents have ids from here on.
const STREAMS: i64 = schemas::limits::STREAM_ID_MIN;

/// A batch that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub partition: i32,
    pub base_offset: i64,
    pub last_offset: i64,
    pub crc: u32,
    /// Producer and base sequence.
    pub sender: (i64, i32),
    /// The only term in which it may have been stored, if the sender named one.
    pub term: Option<Term>,
}

type Answer = Option<Result<Appended, AppendError>>;

pub struct Client {
    pub partition: i32,
    producer: ProducerId,
    kind: Kind,
    next_sequence: i32,
    /// Not acknowledged, oldest first.
    waiting: VecDeque<Waiting>,
    /// Whom it believes to lead.
    pub leader: NodeId,
    /// The only term in which it writes, if it is bound to one.
    pub term: Option<Term>,
    attempt: Option<Attempt>,
    acknowledged: u64,
}

#[derive(Clone)]
enum Kind {
    Kafka,
    Keyed,
    Agent(DeviceId),
}

struct Waiting {
    batch: Bytes,
    crc: u32,
    sequence: i32,
}

/// The oldest batches on their way, and what is answered to each.
struct Attempt {
    sent_at: u64,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Client {
    /// Number `n`: every second one is an agent, the others are idempotent producers.
    pub fn new(n: i32, leader: NodeId) -> Self {
        let agent = n % 2 == 1;
        let device = DeviceId::try_from(format!("device-{n}").as_str());
        Self {
            partition: n % plan::COMPACTED_PARTITION,
            producer: ProducerId(if agent { STREAMS + i64::from(n) } else { 100 + i64::from(n) }),
            kind: match device {
                Ok(device) if agent => Kind::Agent(device),
                _ => Kind::Kafka,
            },
            next_sequence: 0,
            waiting: VecDeque::new(),
            leader,
            term: None,
            attempt: None,
            acknowledged: 0,
        }
    }

    /// Writes records whose keys come again and again, and deletes some.
    pub fn keyed(n: i32, leader: NodeId) -> Self {
        Self {
            partition: plan::COMPACTED_PARTITION,
            producer: ProducerId(KEYED + i64::from(n)),
            kind: Kind::Keyed,
            ..Self::new(0, leader)
        }
    }

    /// A Kafka producer of its own, which is asked to send only once.
    pub fn visitor(n: i64, leader: NodeId) -> Self {
        Self {
            partition: plan::VISITED_PARTITION,
            producer: ProducerId(VISITORS + n),
            kind: Kind::Kafka,
            ..Self::new(0, leader)
        }
    }

    /// A coordinator writes only in terms of which it is told.
    pub fn coordinator(partition: i32, leader: NodeId) -> Self {
        Self {
            partition,
            producer: ProducerId(COORDINATORS + i64::from(partition)),
            kind: Kind::Kafka,
            ..Self::new(0, leader)
        }
    }

    /// How many batches it knows to be stored.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Ends the present attempt once all of it is answered or it is too old. Returns what is newly acknowledged, in
    /// order, or why an answer cannot be right. A failure ends the term to which it was bound.
    pub fn settle(&mut self, now_ms: u64) -> Result<Vec<Acknowledged>, String> {
        let Some(attempt) = &self.attempt else { return Ok(Vec::new()) };
        let mut answers = attempt.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let late = now_ms.saturating_sub(attempt.sent_at) > plan::ANSWER_MS;
        if !late && answers.iter().any(Option::is_none) {
            return Ok(Vec::new());
        }
        self.attempt = None;
        let mut done = Vec::new();
        for answer in answers.drain(..) {
            match answer {
                Some(Ok(appended)) => done.extend(self.acknowledge(appended)),
                // Everything before it is stored, so its sequence is right.
                Some(Err(AppendError::Sequence(error))) => {
                    return Err(format!("{:?} in partition {}: {error}", self.producer, self.partition));
                }
                Some(Err(AppendError::NotLeader { leader: Some(leader) })) => {
                    (self.leader, self.term) = (leader, None);
                    break;
                }
                // What comes behind a failure is sent again with it, whatever became of it.
                Some(Err(_)) | None => {
                    self.term = None;
                    break;
                }
            }
        }
        Ok(done)
    }

    fn acknowledge(&mut self, appended: Appended) -> Option<Acknowledged> {
        let waiting = self.waiting.pop_front()?;
        self.acknowledged += 1;
        // A duplicate's place may be forgotten.
        (appended.base_offset.0 >= 0).then_some(Acknowledged {
            partition: self.partition,
            base_offset: appended.base_offset.0,
            last_offset: appended.last_offset.0,
            crc: waiting.crc,
            sender: (self.producer.0, waiting.sequence),
            term: self.term.filter(|_| !appended.duplicate),
        })
    }

    /// Whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.attempt.is_none()
    }

    /// A new attempt: the oldest batches, with the callback for each.
    pub fn send(&mut self, now_ms: u64, random: &mut StdRng) -> Vec<(Append, shards::AppendDone)> {
        while self.waiting.len() < WINDOW {
            self.build(random.gen_range(1..4), random.gen_range(10..200));
        }
        let answers = Arc::new(Mutex::new(vec![None; self.waiting.len()]));
        self.attempt = Some(Attempt { sent_at: now_ms, answers: answers.clone() });
        let appends = self.waiting.iter().map(|waiting| self.append(waiting)).enumerate();
        appends.map(|(position, append)| (append, answer(&answers, position))).collect()
    }

    fn append(&self, waiting: &Waiting) -> Append {
        let origin = match &self.kind {
            Kind::Kafka | Kind::Keyed => Origin::Kafka,
            Kind::Agent(device) => Origin::Agent { device: device.clone(), sent_crc: waiting.crc },
        };
        let batch = waiting.batch.clone();
        Append { partition: plan::partition(self.partition), origin, batch, expected_term: self.term }
    }

    fn record(&self, sequence: i32, bytes: usize) -> (String, Option<String>) {
        if let Kind::Keyed = self.kind {
            let Keyed { key, value } = keyed::record(self.producer.0, sequence);
            return (key, value);
        }
        ("key".to_owned(), Some(format!("{:?} {sequence} {}", self.producer, "v".repeat(bytes))))
    }

    fn build(&mut self, records: i32, bytes: usize) {
        let mut builder = BatchBuilder::new(BuilderOptions {
            compression: Compression::None,
            producer: Some((self.producer, ProducerEpoch(0), Sequence(self.next_sequence))),
            ..Default::default()
        });
        for record in 0..records {
            let (key, value) = self.record(self.next_sequence + record, bytes);
            let value = value.as_ref().map(String::as_bytes);
            let pushed = builder.push(plan::WALL_MS + i64::from(record), Some(key.as_bytes()), value, &[]);
            pushed.expect("a small record fits");
        }
        let batch = builder.finish().expect("a batch with records");
        let crc = RawBatch::parse(batch.clone()).expect("a batch of our own").header().crc;
        self.waiting.push_back(Waiting { batch, crc, sequence: self.next_sequence });
        self.next_sequence += records;
    }
}

fn answer(answers: &Arc<Mutex<Vec<Answer>>>, position: usize) -> shards::AppendDone {
    let answers = answers.clone();
    Box::new(move |result| {
        answers.lock().unwrap_or_else(PoisonError::into_inner)[position] = Some(result);
    })
}
