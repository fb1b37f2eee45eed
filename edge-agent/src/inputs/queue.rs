//! The way from inputs into one batcher, bounded by the number of the rows that wait in it, and by the bytes of those
//! that wait on all ways.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use super::receipt::{NotStored, Receipt};
use super::sink::{Closed, Measured};
use crate::limits::ROWS_WAITING_BYTES_MAX;

/// What room is counted in; the smallest row takes one.
const UNIT_BYTES: usize = 1 << 10;
const UNITS: usize = ROWS_WAITING_BYTES_MAX / UNIT_BYTES;

/// [`ROWS_WAITING_BYTES_MAX`], for all queues that share it.
#[derive(Clone, Debug)]
pub struct WaitingRoom(Arc<Semaphore>);

impl Default for WaitingRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UNITS)))
    }
}

/// The room that a row takes up until it is in a batch.
pub type Room = OwnedSemaphorePermit;

/// What comes to a batcher, one after another.
#[derive(Debug)]
pub enum Handed {
    Row(Measured),
    /// Answered when all that came before is on the disk; of that nothing lingers where it is to be `at_once`.
    End {
        receipt: Receipt,
        at_once: bool,
    },
}

/// Where rows are handed on.
#[derive(Clone, Debug)]
pub struct RowSender {
    rows: mpsc::Sender<Handed>,
    room: WaitingRoom,
    /// For one row, whatever the others take up: one way that is held up holds up no other.
    spare: Arc<Semaphore>,
    /// What came is waited for: by somebody, or by what finds no room behind it.
    waited_for: Arc<Notify>,
}

/// A place for one row.
pub struct Place<'a> {
    place: mpsc::Permit<'a, Handed>,
    room: Room,
    waited_for: &'a Notify,
}

/// For so many rows, with a room of its own.
pub fn queue(rows_max: usize) -> (RowSender, mpsc::Receiver<Handed>) {
    queue_within(WaitingRoom::default(), rows_max)
}

pub fn queue_within(room: WaitingRoom, rows_max: usize) -> (RowSender, mpsc::Receiver<Handed>) {
    let (rows, inbox) = mpsc::channel(rows_max);
    let (spare, waited_for) = (Arc::new(Semaphore::new(1)), Arc::default());
    (RowSender { rows, room, spare, waited_for }, inbox)
}

impl RowSender {
    pub fn is(&self, other: &Self) -> bool {
        self.rows.same_channel(&other.rows)
    }

    /// Told when what came is waited for, so that whoever takes rows may else let some come together.
    pub fn waited_for(&self) -> Arc<Notify> {
        self.waited_for.clone()
    }

    /// Waits for room for a row of so many bytes. One that is larger than the bound takes all of it.
    pub async fn place(&self, bytes: usize) -> Result<Place<'_>, Closed> {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, UNITS) as u32;
        if 2 * self.rows.capacity() < self.rows.max_capacity() || 2 * self.room.0.available_permits() < UNITS
        {
            self.waited_for.notify_one();
        }
        let room = tokio::select! {
            biased;
            spare = self.spare.clone().acquire_owned() => spare,
            room = self.room.0.clone().acquire_many_owned(units) => room,
        };
        let room = room.map_err(|_| Closed)?;
        let place = self.rows.reserve().await.map_err(|_| Closed)?;
        Ok(Place { place, room, waited_for: &self.waited_for })
    }

    /// Waits until all that was handed on is on the disk, or known not to be: at once, or for as long as it lingers.
    /// The answer tells of the last of it.
    pub async fn settled(&self, at_once: bool) -> Result<(), NotStored> {
        let (receipt, stored) = Receipt::pair();
        let end = Handed::End { receipt, at_once };
        self.rows.send(end).await.map_err(|_| NotStored::Closed)?;
        self.waited_for.notify_one();
        stored.wait().await
    }
}

impl Place<'_> {
    /// Puts the row there that is made with its room.
    pub fn put(self, make: impl FnOnce(Room) -> Measured) {
        let Self { place, room, waited_for } = self;
        let row = make(room);
        let is_waited_for = row.receipt.is_some();
        place.send(Handed::Row(row));
        if is_waited_for {
            waited_for.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use schemas::{Measurement, TopicName, Value};
    use tokio::time::timeout;

    use super::*;
    use crate::destination::Destination;
    use crate::inputs::{Filter, Health, Row, RowSink, Source};
    use crate::time::Clock;

    fn sink(rows: RowSender) -> RowSink {
        let destination = Destination::from(TopicName::try_from("t").unwrap());
        let (name, health) = ("test".to_owned(), Health::default());
        let source = Source { name, destination, tags: Vec::new(), health, is_trial: false };
        RowSink::new(source, Filter::default(), Arc::new(Clock::of_this_machine()), rows, Arc::default())
    }

    #[tokio::test]
    async fn only_what_somebody_waits_for_or_finds_little_room_is_waited_for() {
        let (rows, _inbox) = queue(8);
        let is_waited_for = || {
            let told = rows.waited_for();
            std::future::poll_fn(move |context| {
                let mut told = std::pin::pin!(told.notified());
                std::task::Poll::Ready(told.as_mut().poll(context).is_ready())
            })
        };
        let (input, row) = (sink(rows.clone()), || {
            Row::now(vec![Measurement { name: "n".into(), unit: None, value: 1.into() }])
        });
        input.send(row()).await.unwrap();
        assert!(!is_waited_for().await);
        let (receipt, _stored) = Receipt::pair();
        input.send_with(row(), Some(&receipt), None).await.unwrap();
        assert!(is_waited_for().await);
        assert!(timeout(Duration::from_millis(1), rows.settled(false)).await.is_err());
        assert!(is_waited_for().await);
        input.send(row()).await.unwrap();
        input.send(row()).await.unwrap();
        assert!(!is_waited_for().await, "half of it is free");
        input.send(row()).await.unwrap();
        input.send(row()).await.unwrap();
        assert!(is_waited_for().await);
    }

    /// False where it has to wait.
    async fn is_taken(sink: &RowSink, bytes: usize) -> bool {
        let value = Value::Bytes(vec![0; bytes]);
        let row = Row::now(vec![Measurement { name: "n".into(), unit: None, value }]);
        timeout(Duration::from_secs(1), sink.send(row)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_wait_are_bounded_by_their_bytes() {
        let (rows, mut inbox) = queue(64);
        let sink = sink(rows);
        for _ in 0..4 {
            assert!(is_taken(&sink, 300 << 10).await);
        }
        assert!(!is_taken(&sink, 300 << 10).await, "three beside the first are all that 1 MiB holds");
        let first = inbox.recv().await.unwrap();
        assert!(!is_taken(&sink, 300 << 10).await, "the first is still in hand");
        drop(first);
        assert!(is_taken(&sink, 300 << 10).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_larger_than_the_bound_takes_all_room() {
        let (rows, mut inbox) = queue(64);
        let sink = sink(rows);
        assert!(is_taken(&sink, 1).await);
        assert!(is_taken(&sink, 2 * ROWS_WAITING_BYTES_MAX).await);
        assert!(!is_taken(&sink, 1).await);
        drop(inbox.recv().await);
        assert!(is_taken(&sink, 1).await);
        assert!(!is_taken(&sink, 1).await);
        drop(inbox.recv().await);
        assert!(is_taken(&sink, 1).await);
        assert!(!is_taken(&sink, 2 * ROWS_WAITING_BYTES_MAX).await, "not beside others");
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_is_held_up_leaves_room_for_a_row_at_a_time_on_each_other() {
        let room = WaitingRoom::default();
        let (held_up, _inbox) = queue_within(room.clone(), 64);
        let held_up = sink(held_up);
        while is_taken(&held_up, 100 << 10).await {}
        let (rows, mut inbox) = queue_within(room, 64);
        let other = sink(rows);
        for _ in 0..20 {
            assert!(is_taken(&other, 100 << 10).await);
            assert!(!is_taken(&other, 100 << 10).await, "all of them have 1 MiB together");
            drop(inbox.recv().await);
        }
    }
}
