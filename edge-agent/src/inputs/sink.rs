//! Where an input's rows go: the only thing that it knows of what comes after it.

use std::fmt::Display;
use std::sync::Arc;

use thiserror::Error;
use tokio::runtime::Handle;

use super::filter::{Filter, SharedFilter};
use super::health::Health;
use super::mark::Mark;
use super::progress::{Life, Progress};
use super::queue::{Room, RowSender};
use super::receipt::{NotStored, Receipt, Stored};
use super::row::{Bad, Row};
use crate::destination::Destination;
use crate::time::{Clock, Stamp};

/// Whose rows they are, and where they are to go.
#[derive(Debug)]
pub struct Source {
    /// The input's name.
    pub name: String,
    pub destination: Destination,
    /// Every row gets these; a row's own tag of the same name stays.
    pub tags: Vec<(String, String)>,
    pub health: Health,
    /// Its rows are looked at and forgotten: nothing is to be changed where they come from.
    pub is_trial: bool,
}

/// A row on its way to the batcher.
#[derive(Debug)]
pub struct Measured {
    pub source: Arc<Source>,
    pub row: Row,
    /// When it was read.
    pub at: Stamp,
    /// Whoever waits for it to be durable.
    pub receipt: Option<Receipt>,
    /// How far its source was read with it; made durable together with it.
    pub mark: Option<Mark>,
    /// What let it through.
    pub filter: SharedFilter,
    /// Given back with the row, when it is in a batch.
    pub room: Room,
}

/// The agent stops, or the input's life is over.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the agent takes no more rows")]
pub struct Closed;

/// The way of one input's rows: filters, tags, then the batcher. Waits where there is no room, which is how
/// pressure travels back to the source.
#[derive(Clone)]
pub struct RowSink {
    source: Arc<Source>,
    clock: Arc<Clock>,
    filter: SharedFilter,
    progress: Arc<Progress>,
    /// None takes rows whatever becomes of the input.
    life: Option<Life>,
    rows: RowSender,
}

impl RowSink {
    /// `progress` is the input's, also from before.
    pub fn new(
        source: Source,
        filter: Filter,
        clock: Arc<Clock>,
        rows: RowSender,
        progress: Arc<Progress>,
    ) -> Self {
        let filter = SharedFilter::new(filter);
        Self { source: Arc::new(source), clock, filter, progress, life: None, rows }
    }

    /// For a new life of the input; those of earlier ones take nothing any more.
    #[must_use]
    pub fn next_life(&self) -> Self {
        Self { life: Some(self.progress.next_life()), ..self.clone() }
    }

    /// For a source that goes on where its reader is, and not where a new life of the input begins.
    #[must_use]
    pub fn of_no_life(self) -> Self {
        Self { life: None, ..self }
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Where an input that is started goes on.
    pub fn mark(&self) -> Option<Mark> {
        self.progress.mark()
    }

    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Now, as well as it is known.
    pub fn stamp(&self) -> Stamp {
        self.clock.stamp()
    }

    /// Hands a row on; waits for room.
    pub async fn send(&self, row: Row) -> Result<(), Closed> {
        self.send_with(row, None, None).await
    }

    /// The same for a row that somebody waits for, or with how far the source was read: where the row is
    /// durable, so is that.
    pub async fn send_with(
        &self,
        row: Row,
        receipt: Option<&Receipt>,
        mark: Option<Mark>,
    ) -> Result<(), Closed> {
        let at = self.stamp().earlier(row.age_ms);
        let place = self.rows.place(row.bytes()).await?;
        // Only now: a filter remembers what is handed on, and this row may be given up while it waits for room.
        self.progress.pass(self.life, mark, || {
            if let Some(row) = self.prepared(row, at) {
                let (source, filter) = (self.source.clone(), self.filter.clone());
                let receipt = receipt.cloned();
                place.put(|room| Measured { source, row, at, receipt, mark, filter, room });
            }
        })
    }

    /// The same for the runtime's threads that may block.
    pub fn blocking_send(&self, row: Row) -> Result<(), Closed> {
        Handle::current().block_on(self.send(row))
    }

    /// Hands rows on and waits until all are durable, which takes as long as batches linger. Rows that the
    /// filters leave out count as stored.
    pub async fn store(&self, rows: impl IntoIterator<Item = Row>) -> Result<(), NotStored> {
        self.hand_over(rows).await.map_err(|Closed| NotStored::Closed)?.wait().await
    }

    /// The same in two steps, for inputs that go on meanwhile.
    pub async fn hand_over(&self, rows: impl IntoIterator<Item = Row>) -> Result<Stored, Closed> {
        let (receipt, stored) = Receipt::pair();
        let stored = stored.passed_by(self.filter.clone());
        for row in rows {
            self.send_with(row, Some(&receipt), None).await?;
        }
        // This one stands for no row.
        receipt.stored();
        Ok(stored)
    }

    /// Waits until all that was handed on is on the disk, also by earlier lives: at once, or for as long as it lingers.
    pub async fn settled(&self, at_once: bool) -> Result<(), NotStored> {
        self.rows.settled(at_once).await
    }

    /// Counts something that is no row or no value, and logs it at a limited rate.
    pub fn bad(&self, what: &dyn Display) {
        self.source.health.bad(&self.source.name, what);
    }

    /// The row of what a parser said; what is bad is counted.
    pub fn good(&self, said: Result<Row, Bad>) -> Option<Row> {
        said.inspect_err(|bad| self.bad(bad)).ok()
    }

    /// The row as it goes on; `None` where the filters leave nothing of it. It was read at `at`.
    fn prepared(&self, mut row: Row, at: Stamp) -> Option<Row> {
        let when = row.time_ms.map_or(at, Stamp::Wall);
        self.filter.apply(&mut row, when);
        if row.measurements.is_empty() {
            self.source.health.count_filtered();
            return None;
        }
        for (name, value) in &self.source.tags {
            if !row.tags.iter().any(|(own, _)| own == name) {
                row.tags.push((name.clone(), value.clone()));
            }
        }
        self.source.health.count_row();
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use schemas::{Measurement, TopicName};
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::config::Settings;
    use crate::inputs::{Handed, queue};

    /// Lets a sensor through once a minute.
    fn thinning(rows_max: usize) -> (RowSink, mpsc::Receiver<Handed>) {
        let settings = "[[inputs]]\nkind = \"host\"\n[[sensors]]\nmatch = \"*\"\ninterval_min_ms = 60000\n";
        let rules = toml::from_str::<Settings>(settings).unwrap().validate().unwrap().sensors;
        let destination = Destination::from(TopicName::try_from("t").unwrap());
        let (name, health) = ("test".to_owned(), Health::default());
        let source = Source { name, destination, tags: Vec::new(), health, is_trial: false };
        let (rows, inbox) = queue(rows_max);
        let clock = Arc::new(Clock::of_this_machine());
        (RowSink::new(source, Filter::new(rules), clock, rows, Arc::default()), inbox)
    }

    fn row(name: &str) -> Row {
        Row::now(vec![Measurement { name: name.into(), unit: None, value: 20.into() }])
    }

    fn came(inbox: &mut mpsc::Receiver<Handed>) -> Vec<Measured> {
        let rows = std::iter::from_fn(|| inbox.try_recv().ok());
        rows.filter_map(|handed| if let Handed::Row(row) = handed { Some(row) } else { None }).collect()
    }

    fn names(inbox: &mut mpsc::Receiver<Handed>) -> Vec<String> {
        came(inbox).into_iter().map(|measured| measured.row.measurements[0].name.clone()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_is_given_up_while_it_waits_for_room_is_let_through_by_the_next_life() {
        let (sink, mut inbox) = thinning(1);
        let life = sink.next_life();
        life.send(row("before")).await.unwrap();
        assert!(timeout(Duration::from_secs(9), life.send(row("waits"))).await.is_err());
        let next = life.next_life();
        assert_eq!(names(&mut inbox), ["before"]);
        next.send(row("waits")).await.unwrap();
        assert_eq!(names(&mut inbox), ["waits"]);
        next.send(row("waits")).await.unwrap();
        assert!(came(&mut inbox).is_empty(), "within the minute");
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_may_send_the_same_again() {
        let (sink, mut inbox) = thinning(4);
        drop(sink.hand_over(vec![row("a")]).await.unwrap());
        let stored = sink.hand_over(vec![row("a")]).await.unwrap();
        let handed_on = came(&mut inbox);
        assert_eq!(handed_on.len(), 2);
        handed_on.into_iter().filter_map(|measured| measured.receipt).for_each(Receipt::stored);
        assert_eq!(stored.wait().await, Ok(()));
        sink.send(row("a")).await.unwrap();
        assert!(came(&mut inbox).is_empty(), "it is stored");
    }
}
