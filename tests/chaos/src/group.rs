//! Two members of a consumer group that read and commit all the while, and one who looks at what is committed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use testkit::wait;

const GROUP: &str = "chaos";
const MEMBERS: usize = 2;
const POLL: Duration = Duration::from_millis(100);
const COMMIT_PAUSE: Duration = Duration::from_millis(100);
const LOOK_PAUSE: Duration = Duration::from_millis(100);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What a member of the group saw at a place of the log.
pub type Seen = BTreeMap<(i32, i64), Vec<u8>>;

pub struct Group {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    known: Arc<Mutex<Known>>,
}

/// What the members have read, and what the hubs say that they have committed.
#[derive(Default)]
struct Known {
    seen: Seen,
    /// Next offsets by partition, the last that were heard of.
    committed: BTreeMap<i32, i64>,
    /// Records by member.
    read: [u64; MEMBERS],
}

impl Group {
    pub fn start(brokers: &str, topic: &str, partitions: i32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let known = Arc::new(Mutex::new(Known::default()));
        let mut threads: Vec<_> = (0..MEMBERS)
            .map(|member| {
                let consumer = consumer(brokers);
                consumer.subscribe(&[topic]).expect("a valid subscription");
                let (stop, known) = (stop.clone(), known.clone());
                std::thread::spawn(move || read(member, &consumer, &stop, &known))
            })
            .collect();
        let looker = consumer(brokers);
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, partitions - 1);
        let (stopped, shared) = (stop.clone(), known.clone());
        threads.push(std::thread::spawn(move || look(&looker, &wanted, &stopped, &shared)));
        Self { stop, threads, known }
    }

    /// The partitions of which it has committed no record with such a number or a later one yet.
    pub fn behind(&self, partitions: &[i32], number: i64) -> Vec<i32> {
        let known = lock(&self.known);
        let has_come = |partition: i32| {
            let last = known.committed.get(&partition)? - 1;
            let value = known.seen.get(&(partition, last))?;
            (String::from_utf8_lossy(value).parse::<i64>().expect("a number") >= number).then_some(())
        };
        partitions.iter().copied().filter(|partition| has_come(*partition).is_none()).collect()
    }

    /// Partitions that are not committed up to these ends, with where they are.
    pub fn left(&self, ends: &[(i32, i64, i64)]) -> Vec<(i32, Option<i64>, i64)> {
        let known = lock(&self.known);
        let places = ends.iter().map(|(index, _, end)| (*index, known.committed.get(index).copied(), *end));
        places.filter(|(_, committed, end)| *committed != Some(*end)).collect()
    }

    /// The members that have read nothing yet.
    pub fn idle(&self) -> Vec<usize> {
        let read = lock(&self.known).read;
        (0..MEMBERS).filter(|member| read[*member] == 0).collect()
    }

    /// Ends it; answers what it saw.
    pub fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("the group works as it should"));
        std::mem::take(&mut lock(&self.known).seen)
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().expect("no panic while held")
}

fn consumer(brokers: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", GROUP)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("socket.timeout.ms", "5000")
        .set("reconnect.backoff.max.ms", "500")
        .set("topic.metadata.refresh.interval.ms", "1000")
        .create()
        .expect("a valid configuration")
}

/// A member that commits as it goes. What is seen again after a rebalance must be what was seen before.
fn read(member: usize, consumer: &BaseConsumer, stop: &AtomicBool, known: &Mutex<Known>) {
    let (mut last_commit, mut is_new) = (Instant::now(), false);
    while !stop.load(Ordering::Relaxed) {
        // Errors are what the faults are for; the client tries again by itself.
        if let Some(Ok(message)) = consumer.poll(POLL) {
            let at = (message.partition(), message.offset());
            let value = message.payload().unwrap_or_default().to_vec();
            let mut known = lock(known);
            known.read[member] += 1;
            let before = known.seen.insert(at, value.clone());
            assert!(before.is_none_or(|before| before == value), "another record at {at:?}");
            is_new = true;
        }
        if is_new && last_commit.elapsed() >= COMMIT_PAUSE {
            // One at a time: a client that tries an early one again would undo a later one. One that fails is made
            // good by the next.
            is_new = consumer.commit_consumer_state(CommitMode::Sync).is_err();
            last_commit = Instant::now();
        }
    }
}

/// Asks the hubs again and again: no commit is taken back, and none is of what nobody has read.
fn look(consumer: &BaseConsumer, wanted: &TopicPartitionList, stop: &AtomicBool, known: &Mutex<Known>) {
    while !stop.load(Ordering::Relaxed) {
        // It has no records to take, but librdkafka wants to be polled.
        let _ = consumer.poll(Duration::ZERO);
        // It is asked again whoever does not answer.
        if let Ok(found) = consumer.committed_offsets(wanted.clone(), ANSWER_WITHIN) {
            lock(known).hear(&found);
        }
        wait::pause(LOOK_PAUSE);
    }
}

impl Known {
    fn hear(&mut self, found: &TopicPartitionList) {
        for element in found.elements().iter().filter(|element| element.error().is_ok()) {
            let partition = element.partition();
            let now = if let Offset::Offset(next) = element.offset() { next } else { 0 };
            let before = self.committed.insert(partition, now).unwrap_or(0);
            assert!(now >= before, "partition {partition}: committed {before}, and {now} afterwards");
            let unread = (before..now).find(|offset| !self.seen.contains_key(&(partition, *offset)));
            assert_eq!(unread, None, "partition {partition}: committed up to {now}, but nobody read this");
        }
    }
}
