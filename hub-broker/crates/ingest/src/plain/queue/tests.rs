use super::*;
use schemas::RawBatch;
use std::sync::mpsc::{Receiver, Sender, channel};

const ID: ProducerId = ProducerId(7);
const MAX: usize = 1024 * 1024;
const LEADERLESS: Result<i64, AppendError> = Err(AppendError::NotLeader { leader: None });

type Heard = (&'static str, Result<i64, PlainError>);

struct Bench {
    queue: Queue,
    sender: Sender<Heard>,
    heard: Receiver<Heard>,
}

impl Bench {
    fn new() -> Self {
        let (sender, heard) = channel();
        Self { queue: Queue::default(), sender, heard }
    }

    fn with_producer() -> Self {
        let mut bench = Self::new();
        bench.queue.set_producer(ID);
        bench
    }

    fn add(&mut self, name: &'static str, values: &[&[u8]]) {
        let messages: Vec<_> = values.iter().map(|value| message(value)).collect();
        let sender = self.sender.clone();
        let done = Box::new(move |stored: Result<PlainStored, PlainError>| {
            sender.send((name, stored.map(|stored| stored.base_offset.0))).unwrap();
        });
        if let Some((done, error)) = self.queue.add(&messages, MAX, None, done) {
            done(Err(error));
        }
    }

    fn append(&mut self) -> RawBatch {
        match self.queue.next() {
            Action::Append(batch) => RawBatch::parse(batch).unwrap(),
            Action::Wait => panic!("nothing to append"),
            Action::GetProducer => panic!("no producer"),
        }
    }

    fn waits(&mut self) -> bool {
        matches!(self.queue.next(), Action::Wait)
    }

    fn answer(&mut self, outcome: Result<i64, AppendError>) {
        let outcome = outcome.map(|offset| Appended {
            base_offset: Offset(offset),
            last_offset: Offset(offset),
            log_start: Offset(0),
            append_time_ms: 0,
            duplicate: false,
        });
        if let After::Tell(answered) = self.queue.answered(outcome) {
            answered.tell();
        }
    }

    /// The lead moves until the batch is given up.
    fn exhaust(&mut self) {
        for _ in 0..=PLAIN_RETRIES_MAX {
            assert_eq!(self.heard(), []);
            self.answer(LEADERLESS);
        }
    }

    fn again(&self) -> RawBatch {
        match self.queue.again() {
            Action::Append(batch) => RawBatch::parse(batch).unwrap(),
            Action::Wait | Action::GetProducer => panic!("nothing is on its way"),
        }
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.try_iter().collect()
    }
}

fn message(value: &[u8]) -> PlainMessage<'_> {
    PlainMessage { timestamp_ms: 5, key: b"key", value, headers: &[("h", b"v")] }
}

fn values(batch: &RawBatch) -> Vec<String> {
    batch.verify_crc().unwrap();
    let text = |value: Option<bytes::Bytes>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    batch.records().unwrap().map(|record| text(record.unwrap().value)).collect()
}

fn producer(batch: &RawBatch) -> (i64, i32) {
    (batch.header().producer_id, batch.header().base_sequence)
}

#[test]
fn what_comes_while_a_batch_is_on_its_way_fills_the_next() {
    let mut bench = Bench::with_producer();
    bench.add("a", &[b"1"]);
    let first = bench.append();
    bench.add("b", &[b"2", b"3"]);
    bench.add("c", &[b"4"]);
    assert!(bench.waits());
    bench.answer(Ok(100));
    assert_eq!(bench.heard(), [("a", Ok(100))]);
    let second = bench.append();
    bench.answer(Ok(101));
    assert_eq!(bench.heard(), [("b", Ok(101)), ("c", Ok(103))]);
    assert_eq!(
        (values(&first), values(&second)),
        (vec!["1".to_owned()], ["2", "3", "4"].map(str::to_owned).to_vec())
    );
    assert_eq!((producer(&first), producer(&second)), ((7, 0), (7, 1)));
    assert!(bench.waits());
    assert_eq!(bench.queue.pending_bytes, 0);
}

#[test]
fn nothing_is_proposed_before_there_is_a_producer_id() {
    let mut bench = Bench::new();
    bench.add("a", &[b"1"]);
    assert!(matches!(bench.queue.next(), Action::GetProducer));
    assert!(bench.waits());
    bench.queue.set_producer(ID);
    assert_eq!(producer(&bench.append()), (7, 0));
}

#[test]
fn without_a_producer_id_everything_that_waits_is_answered() {
    let mut bench = Bench::new();
    bench.add("a", &[b"1"]);
    assert!(matches!(bench.queue.next(), Action::GetProducer));
    bench.add("b", &[b"2"]);
    bench.queue.give_up(PlainError::Unavailable).into_iter().for_each(Answered::tell);
    assert_eq!(bench.heard(), [("a", Err(PlainError::Unavailable)), ("b", Err(PlainError::Unavailable))]);
    bench.add("c", &[b"3"]);
    assert!(matches!(bench.queue.next(), Action::GetProducer));
}

#[test]
fn an_overloaded_shard_leaves_the_sequence_to_the_next_batch() {
    let mut bench = Bench::with_producer();
    bench.add("a", &[b"1"]);
    bench.append();
    bench.answer(Err(AppendError::Overloaded));
    assert_eq!(bench.heard(), [("a", Err(PlainError::Overloaded))]);
    bench.add("b", &[b"2"]);
    assert_eq!(producer(&bench.append()), (7, 0));
}

#[test]
fn a_batch_that_was_given_up_ends_its_producer_id() {
    let mut bench = Bench::with_producer();
    bench.add("a", &[b"1"]);
    bench.append();
    bench.add("b", &[b"2"]);
    bench.exhaust();
    assert_eq!(bench.heard(), [("a", Err(PlainError::Unavailable))]);
    assert!(matches!(bench.queue.next(), Action::GetProducer));
    bench.queue.set_producer(ProducerId(8));
    let next = bench.append();
    assert_eq!((producer(&next), values(&next)), ((8, 0), vec!["2".to_owned()]));
}

#[test]
fn a_batch_whose_leader_is_lost_is_sent_again_as_it_was_and_nothing_overtakes_it() {
    let mut bench = Bench::with_producer();
    bench.add("a", &[b"1"]);
    let first = bench.append();
    bench.add("b", &[b"2"]);
    bench.answer(LEADERLESS);
    assert!(bench.waits());
    assert_eq!(bench.again().bytes(), first.bytes());
    bench.answer(LEADERLESS);
    assert!(bench.waits());
    assert_eq!(bench.again().bytes(), first.bytes());
    bench.answer(Ok(7));
    assert_eq!(bench.heard(), [("a", Ok(7))]);
    assert_eq!(producer(&bench.append()), (7, 1));
}

#[test]
fn a_batch_in_doubt_that_the_next_leader_cannot_take_yet_stays_in_doubt() {
    let mut bench = Bench::with_producer();
    bench.add("a", &[b"1"]);
    bench.append();
    bench.answer(LEADERLESS);
    bench.answer(Err(AppendError::Overloaded));
    assert_eq!(bench.heard(), []);
    assert_eq!(producer(&bench.again()), (7, 0));
    bench.answer(Err(AppendError::NoSpace));
    assert_eq!(bench.heard(), [("a", Err(PlainError::NoSpace))]);
    bench.add("b", &[b"2"]);
    assert!(matches!(bench.queue.next(), Action::GetProducer), "its sequences are not used again");
}

#[test]
fn a_forgotten_producer_id_costs_nobody_a_message() {
    let mut bench = Bench::with_producer();
    bench.add("a", &[b"1"]);
    bench.append();
    bench.answer(Ok(0));
    bench.heard();
    bench.add("b", &[b"2"]);
    bench.append();
    bench.answer(Err(AppendError::Sequence(shards::SequenceError::OutOfOrder { expected: Sequence::ZERO })));
    assert_eq!(bench.heard(), []);
    assert!(matches!(bench.queue.next(), Action::GetProducer));
    bench.queue.set_producer(ProducerId(8));
    let again = bench.append();
    assert_eq!((producer(&again), values(&again)), ((8, 0), vec!["2".to_owned()]));
    bench.answer(Ok(1));
    assert_eq!(bench.heard(), [("b", Ok(1))]);
}

#[test]
fn a_batch_is_refused_for_its_sequence_only_so_often() {
    let mut bench = Bench::with_producer();
    bench.add("a", &[b"1"]);
    for id in 8..=8 + i64::from(PLAIN_ATTEMPTS_MAX) {
        if bench.heard.try_recv().is_ok() {
            assert_eq!(id, 8 + i64::from(PLAIN_ATTEMPTS_MAX));
            return;
        }
        bench.append();
        bench.answer(Err(AppendError::Sequence(shards::SequenceError::OutOfOrder {
            expected: Sequence::ZERO,
        })));
        bench.queue.next();
        bench.queue.set_producer(ProducerId(id));
    }
    panic!("the batch was never given up");
}

#[test]
fn a_queue_that_is_full_says_so_and_stays_bounded() {
    let mut bench = Bench::with_producer();
    let large = vec![b'x'; 200 * 1024];
    let mut taken = 0;
    while bench.heard.try_recv().is_err() {
        bench.add("large", &[&large]);
        taken += 1;
        assert!(taken < 1000);
    }
    assert!(bench.queue.pending_bytes <= PLAIN_PENDING_BYTES_MAX);
    for offset in 0..taken - 1 {
        let batch = bench.append();
        assert!(batch.bytes().len() <= PLAIN_BATCH_BYTES_TARGET + large.len());
        bench.answer(Ok(offset));
    }
    assert!(bench.waits());
    assert_eq!(bench.queue.pending_bytes, 0);
    assert_eq!(bench.heard().len() as i64, taken - 1);
}

#[test]
fn what_the_topic_does_not_take_is_refused_alone() {
    let mut bench = Bench::with_producer();
    bench.add("too large", &[&vec![b'x'; MAX]]);
    assert_eq!(bench.heard(), [("too large", Err(PlainError::TooLarge))]);
    assert!(bench.waits());
}

#[test]
fn a_message_may_be_as_large_as_the_topics_batches() {
    let mut bench = Bench::with_producer();
    let large = vec![b'x'; MAX - 256];
    bench.add("large", &[&large]);
    let batch = bench.append();
    assert!(batch.bytes().len() <= MAX);
    assert_eq!(values(&batch)[0].len(), large.len());
    bench.answer(Ok(0));
    assert_eq!(bench.heard(), [("large", Ok(0))]);
}

#[test]
fn log_append_time_is_stamped_when_the_batch_is_closed() {
    let mut queue = Queue::default();
    queue.set_producer(ID);
    let done: PlainDone = Box::new(|_| {});
    assert!(queue.add(&[message(b"1")], MAX, Some(99), done).is_none());
    let Action::Append(batch) = queue.next() else { panic!("nothing to append") };
    let batch = RawBatch::parse(batch).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!(batch.header().max_timestamp, 99);
    assert_eq!(batch.header().attributes.timestamp_type(), schemas::TimestampType::LogAppend);
}
