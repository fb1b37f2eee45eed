//! Tails the log topics of the routes and hands their records to the router.
//!
//! Nothing is read while nobody has subscribed and no message was ever retained: a hub that only takes data in
//! pays nothing for this.
//!
//! A subscription takes effect when everything that was committed before it has been handed on (its [`Barrier`]): it
//! brings nothing that is older, and retained messages as they were at that moment.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fetch::{Fetch, Follow, FollowError, FollowFrom, PartitionError};
use metadata::{Metadata, Principal};
use schemas::{Offset, PartitionId, RawBatch, TimestampType, TopicName};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::message::Message;
use super::router::Router;

/// Pause before a partition that could not be read or was not open yet is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub(super) struct Feeds {
    fetch: Fetch,
    metadata: Metadata,
    topics: Vec<TopicName>,
    versions: watch::Receiver<u64>,
    router: Rc<RefCell<Router>>,
    /// Somebody has subscribed.
    wanted: bool,
    /// A message was or may be retained.
    retains: bool,
    feeds: HashMap<PartitionId, Feed>,
    /// A partition could not be followed yet.
    retry: bool,
    /// Raised whenever a position has moved.
    pub progress: Rc<Notify>,
}

/// The ends of all partitions at one moment.
pub(super) struct Barrier(Vec<(Position, Offset)>);

impl Barrier {
    /// Whether everything before it has been handed on.
    pub fn is_passed(&self) -> bool {
        self.0.iter().all(|(position, end)| position.get().unwrap_or(Offset(0)) >= *end)
    }
}

/// The offset after the last batch that was handed on, or `None` before the feed has begun.
type Position = Rc<Cell<Option<Offset>>>;

struct Feed {
    position: Position,
    task: Option<AbortHandle>,
}

impl Feeds {
    pub fn new(
        fetch: Fetch,
        metadata: Metadata,
        topics: Vec<TopicName>,
        router: Rc<RefCell<Router>>,
    ) -> Self {
        let versions = metadata.subscribe();
        Self {
            fetch,
            metadata,
            topics,
            versions,
            router,
            wanted: false,
            retains: false,
            feeds: HashMap::new(),
            retry: false,
            progress: Rc::default(),
        }
    }

    /// Follows what there is: from now on, if it was not followed yet.
    pub fn want(&mut self) {
        let was_active = self.is_active();
        self.wanted = true;
        self.begin(was_active);
    }

    pub fn retain(&mut self) {
        let was_active = self.is_active();
        self.retains = true;
        self.begin(was_active);
    }

    fn begin(&mut self, was_active: bool) {
        if was_active {
            self.look();
        } else {
            self.follow_all(FollowFrom::End);
        }
    }

    fn is_active(&self) -> bool {
        self.wanted || self.retains
    }

    /// What is committed now lies before it. MUST come right after [`Self::want`].
    pub fn barrier(&self) -> Barrier {
        let end = |partition| Some(self.metadata.shards().partition(partition)?.high_watermark());
        let ends = self
            .feeds
            .iter()
            .filter_map(|(partition, feed)| Some((Rc::clone(&feed.position), end(*partition)?)));
        Barrier(ends.collect())
    }

    /// Nobody is subscribed any more.
    pub fn rest(&mut self) {
        self.wanted = false;
        if !self.is_active() {
            for (_, feed) in self.feeds.drain() {
                feed.stop();
            }
        }
    }

    /// Returns when there may be partitions to follow that are not followed.
    pub async fn changed(&mut self) {
        if self.retry {
            tokio::time::sleep(RETRY_AFTER).await;
        } else if self.versions.changed().await.is_err() {
            // The metadata is gone: the hub is stopping.
            std::future::pending::<()>().await;
        }
    }

    /// Looks for new partitions. Those that appear while others are followed are followed from their first record.
    pub fn look(&mut self) {
        if self.is_active() {
            self.follow_all(FollowFrom::At(Offset(0)));
        }
    }

    /// The tasks are gone: goes on where they were.
    pub fn restart(&mut self) {
        for feed in self.feeds.values_mut() {
            feed.task = None;
        }
        self.retry = true;
    }

    fn follow_all(&mut self, from: FollowFrom) {
        self.versions.mark_unchanged();
        self.retry = false;
        let view = self.metadata.view();
        let partitions: Vec<PartitionId> = self
            .topics
            .iter()
            .filter_map(|name| view.topic(name))
            .flat_map(|topic| topic.placed().map(|(partition, _)| partition))
            .collect();
        self.feeds.retain(|partition, feed| {
            let is_there = partitions.contains(partition);
            if !is_there {
                feed.stop();
            }
            is_there
        });
        for partition in partitions {
            self.follow(partition, from);
        }
    }

    fn follow(&mut self, partition: PartitionId, from: FollowFrom) {
        let feed =
            self.feeds.entry(partition).or_insert_with(|| Feed { position: Rc::default(), task: None });
        if feed.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let from = feed.position.get().map_or(from, FollowFrom::At);
        match self.fetch.follow(&Principal::internal(), partition, from) {
            Ok(follow) => {
                feed.position.set(Some(follow.position()));
                let (position, progress) = (Rc::clone(&feed.position), Rc::clone(&self.progress));
                let task = tokio::task::spawn_local(run(follow, position, progress, Rc::clone(&self.router)));
                feed.task = Some(task.abort_handle());
            }
            Err(error) => {
                // A partition that is not open holds nothing yet, so nothing of it will be missed.
                if matches!(error, PartitionError::NotOpen) {
                    feed.position.set(Some(Offset(0)));
                }
                self.retry = true;
            }
        }
    }
}

impl Feed {
    fn stop(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn run(mut follow: Follow, position: Position, progress: Rc<Notify>, router: Rc<RefCell<Router>>) {
    loop {
        match follow.next().await {
            Ok(records) => {
                deliver(records, &router).await;
                position.set(Some(follow.position()));
                progress.notify_one();
            }
            Err(FollowError::Closed) => return,
            Err(error @ FollowError::Skipped { .. }) => {
                tracing::warn!(%error, "subscribers have missed messages");
            }
            Err(FollowError::Read(error)) => {
                tracing::error!(%error, "cannot read committed messages for subscribers");
                tokio::time::sleep(RETRY_AFTER * 10).await;
            }
        }
    }
}

async fn deliver(mut records: Bytes, router: &RefCell<Router>) {
    while let Ok(Some(batch)) = RawBatch::split_first(&mut records) {
        let delivered = catch_unwind(AssertUnwindSafe(|| deliver_batch(&batch, &mut router.borrow_mut())));
        if delivered.is_err() {
            tracing::error!(offset = batch.header().base_offset, "a batch could not be given to subscribers");
        }
        // Others have subscribed meanwhile, or have records too.
        tokio::task::yield_now().await;
    }
}

fn deliver_batch(batch: &RawBatch, router: &mut Router) {
    let header = batch.header();
    if header.attributes.is_control() {
        return;
    }
    let Ok(records) = batch.records() else { return };
    for record in records.map_while(Result::ok) {
        let timestamp_ms = match header.attributes.timestamp_type() {
            TimestampType::Create => header.base_timestamp.saturating_add(record.timestamp_delta),
            TimestampType::LogAppend => header.max_timestamp,
        };
        if let Some(message) = Message::from_record(&record, timestamp_ms) {
            router.publish(&Arc::new(message));
        }
    }
    let counts = router.take_counts();
    metrics::counter!("headwater_mqtt_delivered_total").increment(counts.delivered);
    metrics::counter!("headwater_mqtt_dropped_total").increment(counts.dropped);
    metrics::counter!("headwater_mqtt_overflowed_sessions_total").increment(counts.overflowed);
    metrics::counter!("headwater_mqtt_not_retained_total").increment(counts.not_retained);
}
