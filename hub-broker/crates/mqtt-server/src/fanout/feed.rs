//! Tails the log topics of the routes and hands their records to the router.
//!
//! Nothing is read while nobody has subscribed and no message was ever retained: a hub that only takes data in
//! pays nothing for this.
//!
//! A subscription takes effect when everything that was committed before it has been handed on (its [`Barriers`]): it
//! brings nothing that is older, and retained messages as they were at that moment. What devices are told is followed
//! from its beginning, so that they are given the newest of it, and not one after another what it was before.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use bytes::Bytes;
use fetch::{Fetch, Follow, FollowError, FollowFrom, PartitionError};
use metadata::{Metadata, Principal};
use schemas::{Offset, PartitionId, RawBatch, TimestampType};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::barrier::{Barriers, Course, RETRY_AFTER};
use super::router::Router;
use super::steering::{Source, Steering};
use crate::observe::METRICS;

pub(super) struct Feeds {
    fetch: Fetch,
    metadata: Metadata,
    sources: Vec<Source>,
    versions: watch::Receiver<u64>,
    router: Rc<RefCell<Router>>,
    /// Somebody has subscribed.
    wanted: bool,
    /// A message was or may be retained.
    retains: bool,
    feeds: HashMap<PartitionId, Feed>,
    /// When those partitions that could not be followed are tried again.
    retry_at: Option<Instant>,
    /// Raised whenever a position has moved.
    pub progress: Rc<Notify>,
}

struct Feed {
    course: Rc<Course>,
    /// Of what devices are told.
    is_steering: bool,
    /// Where it begins, while it has no position.
    from: FollowFrom,
    task: Option<AbortHandle>,
}

impl Feeds {
    pub fn new(fetch: Fetch, metadata: Metadata, sources: Vec<Source>, router: Rc<RefCell<Router>>) -> Self {
        let versions = metadata.subscribe();
        Self {
            fetch,
            metadata,
            sources,
            versions,
            router,
            wanted: false,
            retains: false,
            feeds: HashMap::new(),
            retry_at: None,
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

    /// What is committed now lies before them: of what clients publish as far as this hub has it, of what devices are
    /// told wherever it lies. MUST come right after [`Self::want`].
    pub fn barriers(&self, of_plain: bool, of_steering: bool) -> Barriers {
        let shards = self.metadata.shards();
        let end = |id| shards.partition(id).map_or(Offset(0), |reader| reader.high_watermark());
        let mut barriers = Barriers::default();
        for (partition, feed) in &self.feeds {
            if feed.is_steering && of_steering {
                barriers.steering.add_asked(&feed.course);
            } else if !feed.is_steering && of_plain {
                barriers.plain.add_known(&feed.course, end(*partition));
            }
        }
        barriers
    }

    /// Nobody is subscribed any more.
    pub fn rest(&mut self) {
        self.wanted = false;
        // Messages with the retain flag come from other hubs too. What is kept of them is only right for as long as
        // it is heard by what they are replaced.
        self.retains |= self.router.borrow().has_retained();
        if !self.is_active() {
            for (_, feed) in self.feeds.drain() {
                feed.stop();
            }
        }
    }

    /// Returns when there may be partitions to follow that are not followed. May be given up and called again.
    pub async fn changed(&mut self) {
        if let Some(retry_at) = self.retry_at {
            tokio::time::sleep_until(retry_at).await;
        } else if self.versions.changed().await.is_err() {
            // The metadata is gone: the hub is stopping.
            std::future::pending::<()>().await;
        }
    }

    /// Looks for new partitions. Those that appear while others are followed are followed from their first record.
    pub fn look(&mut self) {
        if self.is_active() {
            self.follow_all(FollowFrom::At(Offset(0)));
        } else {
            self.retry_at = None;
        }
    }

    /// The tasks are gone: goes on where they were.
    pub fn restart(&mut self) {
        for feed in self.feeds.values_mut() {
            feed.task = None;
        }
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
    }

    fn follow_all(&mut self, from: FollowFrom) {
        self.versions.mark_unchanged();
        self.retry_at = None;
        let view = self.metadata.view();
        let known = |source: &Source| Some((view.topic(&source.topic)?.clone(), source.clone()));
        let topics: Vec<_> = self.sources.iter().filter_map(known).collect();
        self.feeds.retain(|partition, feed| {
            let is_there = topics
                .iter()
                .any(|(topic, _)| topic.id == partition.topic && topic.placement(partition.index).is_some());
            if !is_there {
                feed.stop();
            }
            is_there
        });
        for (topic, source) in topics {
            // What devices are told holds until something newer is said, however old it is.
            let from = if source.steering.is_some() { FollowFrom::At(Offset(0)) } else { from };
            for (partition, _) in topic.placed() {
                self.follow(partition, from, &source);
            }
        }
    }

    fn follow(&mut self, partition: PartitionId, from: FollowFrom, source: &Source) {
        let of = source.steering.map(|steering| (steering, partition.index));
        let new = || Feed { course: Rc::new(Course::of(of)), is_steering: of.is_some(), from, task: None };
        let feed = self.feeds.entry(partition).or_insert_with(new);
        if feed.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let from = feed.course.position.get().map_or(feed.from, FollowFrom::At);
        match self.fetch.follow(&Principal::internal(), partition, from) {
            Ok(follow) => {
                feed.course.position.set(follow.position());
                let (course, progress) = (Rc::clone(&feed.course), Rc::clone(&self.progress));
                let sink = Sink { source: source.clone(), partition, router: Rc::clone(&self.router) };
                let fetch = self.fetch.clone();
                let task = tokio::task::spawn_local(async move {
                    let ask = async || fetch.end(&Principal::internal(), partition).await;
                    tokio::select! {
                        () = run(follow, &course, &progress, sink) => {}
                        () = course.answer(ask, &progress), if of.is_some() => {}
                    }
                });
                feed.task = Some(task.abort_handle());
            }
            Err(error) => {
                // A partition that was never open holds nothing yet, so nothing of it will be missed.
                if matches!(error, PartitionError::NotOpen) {
                    feed.course.position.set(Some(Offset(0)));
                }
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }
}

impl Feed {
    fn stop(&self) {
        self.course.is_over.set(true);
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Where a partition's records go.
struct Sink {
    source: Source,
    partition: PartitionId,
    router: Rc<RefCell<Router>>,
}

async fn run(mut follow: Follow, course: &Course, progress: &Notify, sink: Sink) {
    let position = &course.position;
    // Whoever waits at a barrier must hear where it begins, even if nothing comes.
    let begun = loop {
        match follow.begin().await {
            Ok(begun) => break begun,
            Err(FollowError::Closed) => return,
            Err(error) => {
                tracing::debug!(%error, "a partition on other hubs cannot be followed yet");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    };
    position.set(Some(begun));
    progress.notify_one();
    loop {
        match follow.next().await {
            Ok(records) => {
                sink.deliver(records).await;
                position.set(follow.position());
                progress.notify_one();
            }
            Err(FollowError::Closed) => return,
            Err(error @ (FollowError::Skipped { .. } | FollowError::Lost { .. })) => {
                sink.miss(&error);
                position.set(follow.position());
                progress.notify_one();
            }
            Err(FollowError::Read(error)) => {
                tracing::error!(%error, "cannot read committed messages for subscribers");
                tokio::time::sleep(RETRY_AFTER * 10).await;
            }
        }
    }
}

impl Sink {
    /// Records were passed over that nobody will be given.
    fn miss(&self, error: &FollowError) {
        let (topic, partition) = (&self.source.topic, self.partition.index.0);
        let is_lost = matches!(error, FollowError::Lost { .. });
        METRICS.lost.increment(u64::from(is_lost));
        match self.source.steering {
            // Which devices these records were meant for is not known: any of them may have been told something newer. Where
            // retention was faster there may have been damage among them too, and what came before them is gone anyway.
            Some(Steering::Desired) => {
                let silenced = self.router.borrow_mut().forget_desired(self.partition.index);
                METRICS.silenced.increment(silenced);
                if is_lost || silenced > 0 {
                    tracing::warn!(
                        %topic, partition, silenced, %error,
                        "what devices are to be is lost here, and what was said before may be out of date: whoever \
                         subscribes is told neither; write it again for the devices of this partition"
                    );
                }
            }
            Some(Steering::Commands) if is_lost => tracing::warn!(
                %topic, partition, %error,
                "devices are not given these commands: write them again for those that they were meant for"
            ),
            // They are too old to be carried out.
            Some(Steering::Commands) => {}
            None => tracing::warn!(%topic, partition, %error, "subscribers have missed messages"),
        }
    }

    async fn deliver(&self, mut records: Bytes) {
        while let Ok(Some(batch)) = RawBatch::split_first(&mut records) {
            let delivered = catch_unwind(AssertUnwindSafe(|| self.deliver_batch(&batch)));
            if delivered.is_err() {
                tracing::error!(
                    offset = batch.header().base_offset,
                    "a batch could not be given to subscribers"
                );
            }
            // Others have subscribed meanwhile, or have records too.
            tokio::task::yield_now().await;
        }
    }

    fn deliver_batch(&self, batch: &RawBatch) {
        let header = batch.header();
        if header.attributes.is_control() {
            return;
        }
        let Ok(records) = batch.records() else { return };
        let mut router = self.router.borrow_mut();
        for record in records.map_while(Result::ok) {
            let timestamp_ms = match header.attributes.timestamp_type() {
                TimestampType::Create => header.base_timestamp.saturating_add(record.timestamp_delta),
                TimestampType::LogAppend => header.max_timestamp,
            };
            if let Some(message) = self.source.message(self.partition.index, &record, timestamp_ms) {
                router.publish(&message);
            }
        }
        let counts = router.take_counts();
        METRICS.delivered.increment(counts.delivered);
        METRICS.dropped.increment(counts.dropped);
        METRICS.overflowed.increment(counts.overflowed);
        METRICS.not_retained.increment(counts.not_retained);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schemas::PartitionIndex;
    use shards::{Shards, SyncMode};
    use tokio::time::timeout;

    use super::super::message::Message;
    use super::*;

    /// Feeds without a topic, on a hub of their own.
    async fn feeds(directory: &tempfile::TempDir) -> Feeds {
        let (machine, views) = Metadata::state_machine();
        let mut config = shards::Config::new(directory.path());
        config.sync = SyncMode::Off;
        config.wal_file_bytes = 8 << 20;
        config.reserve_bytes = 1 << 20;
        let shards = Shards::start_alone(config, Box::new(machine)).unwrap();
        let this = metadata::Hub::new(shards.identity().node, shards.identity().incarnation);
        let metadata = Metadata::start(shards, views, metadata::Config::default(), this).await.unwrap();
        let fetch = Fetch::new(metadata.clone(), fetch::Config::default()).unwrap();
        Feeds::new(fetch, metadata, Vec::new(), Rc::default())
    }

    /// Before its directory goes: a write-ahead log that loses its files ends the process.
    async fn stop(feeds: Feeds) {
        let shards = feeds.metadata.shards().clone();
        feeds.metadata.stop();
        shards.shutdown().await;
    }

    #[tokio::test]
    async fn a_retry_is_due_however_often_the_wait_for_it_is_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let mut feeds = feeds(&directory).await;
        feeds.want();
        tokio::time::pause();
        feeds.restart();
        let interrupted = RETRY_AFTER * 2 / 3;
        assert!(timeout(interrupted, feeds.changed()).await.is_err());
        assert!(timeout(interrupted, feeds.changed()).await.is_ok(), "it is due after {RETRY_AFTER:?}");
        feeds.look();
        assert!(timeout(RETRY_AFTER * 10, feeds.changed()).await.is_err(), "nothing is left to be tried");
        stop(feeds).await;
    }

    #[tokio::test]
    async fn what_was_retained_is_kept_up_to_date_without_subscribers() {
        let directory = tempfile::tempdir().unwrap();
        let mut feeds = feeds(&directory).await;
        feeds.want();
        feeds.rest();
        assert!(!feeds.is_active(), "nobody has subscribed and nothing is retained");
        feeds.want();
        let retained = Message { retain: true, ..Message::for_tests("a", "1") };
        feeds.router.borrow_mut().publish(&Arc::new(retained));
        feeds.rest();
        assert!(feeds.is_active(), "another hub may replace or delete it");
        stop(feeds).await;
    }

    #[test]
    fn what_devices_are_to_be_is_not_known_any_more_once_records_were_passed_over() {
        let partition = PartitionId { topic: schemas::TopicId(uuid::Uuid::nil()), index: PartitionIndex(0) };
        let (from, to) = (Offset(3), Offset(9));
        for error in [FollowError::Skipped { log_start: to }, FollowError::Lost { from, to }] {
            for (steering, is_kept) in [(Steering::Desired, false), (Steering::Commands, true)] {
                let router = Rc::new(RefCell::new(Router::default()));
                let told = Message::for_tests("headwater/v1/pump-7/desired", "1");
                let told = Message { retain: true, desired_in: Some(PartitionIndex(0)), ..told };
                router.borrow_mut().publish(&Arc::new(told));
                let source = Source { topic: steering.log_topic(), steering: Some(steering) };
                Sink { source, partition, router: router.clone() }.miss(&error);
                assert_eq!(router.borrow().has_retained(), is_kept, "{steering:?}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_tried_again_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let mut feeds = feeds(&directory).await;
        tokio::time::pause();
        feeds.restart();
        assert!(timeout(RETRY_AFTER * 2, feeds.changed()).await.is_ok());
        feeds.look();
        assert!(timeout(RETRY_AFTER * 10, feeds.changed()).await.is_err());
        stop(feeds).await;
    }
}
