//! The fan-out thread and the handle by which connections speak to it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fetch::Fetch;
use metadata::Metadata;
use schemas::TopicName;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::SubscriberId;
use super::feed::Feeds;
use super::queue::Queue;
use super::request::{SubscribeRefusal, SubscribeRequest};
use super::router::Router;
use super::steering::Source;
use crate::limits::FANOUT_COMMANDS_MAX;
use crate::wire::Qos;

pub(super) enum Command {
    Subscribe(SubscribeRequest, oneshot::Sender<Vec<Result<Qos, SubscribeRefusal>>>),
    Unsubscribe(SubscriberId, Vec<String>, oneshot::Sender<Vec<bool>>),
    Remove(SubscriberId),
    Retain(oneshot::Sender<()>),
}

/// The fan-out thread is gone or failed at this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the fan-out does not answer")]
pub struct NoAnswer;

/// A cheap handle to the fan-out thread.
#[derive(Clone)]
pub struct FanoutHandle {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    retains: AtomicBool,
    last_subscriber: AtomicU64,
}

impl FanoutHandle {
    /// An id that no session has had since the hub started.
    #[must_use]
    pub fn new_subscriber(&self) -> SubscriberId {
        SubscriberId(self.shared.last_subscriber.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Subscribes, one outcome for each filter. What is committed after this returns is delivered.
    pub async fn subscribe(
        &self,
        request: SubscribeRequest,
    ) -> Result<Vec<Result<Qos, SubscribeRefusal>>, NoAnswer> {
        self.ask(|answer| Command::Subscribe(request, answer)).await
    }

    /// For each filter, whether there was a subscription.
    pub async fn unsubscribe(&self, id: SubscriberId, filters: Vec<String>) -> Result<Vec<bool>, NoAnswer> {
        self.ask(|answer| Command::Unsubscribe(id, filters, answer)).await
    }

    /// Ends a session's subscriptions.
    pub async fn remove(&self, id: SubscriberId) {
        // A thread that has ended has no subscriptions any more.
        let _ = self.commands.send(Command::Remove(id)).await;
    }

    /// MUST return before a publish with the retain flag goes into the log: from then on every record is looked at,
    /// with or without subscribers.
    pub async fn expect_retained(&self) -> Result<(), NoAnswer> {
        if !self.shared.retains.load(Ordering::Acquire) {
            self.ask(Command::Retain).await?;
            self.shared.retains.store(true, Ordering::Release);
        }
        Ok(())
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| NoAnswer)?;
        answered.await.map_err(|_| NoAnswer)
    }
}

/// What the thread runs.
pub struct Fanout {
    fetch: Fetch,
    metadata: Metadata,
    sources: Vec<Source>,
    shutdown: CancellationToken,
}

impl Fanout {
    /// Starts the thread. It ends with `shutdown`.
    pub fn start(
        fetch: Fetch,
        metadata: Metadata,
        routes: Vec<TopicName>,
        shutdown: CancellationToken,
    ) -> std::io::Result<FanoutHandle> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (commands, received) = mpsc::channel(FANOUT_COMMANDS_MAX);
        let fanout = Self { fetch, metadata, sources: Source::all(routes), shutdown };
        std::thread::Builder::new()
            .name("mqtt-fanout".to_owned())
            .spawn(move || fanout.run(&runtime, received))?;
        Ok(FanoutHandle { commands, shared: Arc::default() })
    }

    fn run(self, runtime: &tokio::runtime::Runtime, mut commands: mpsc::Receiver<Command>) {
        let router = Rc::new(RefCell::new(Router::default()));
        let mut feeds = Feeds::new(self.fetch, self.metadata, self.sources, Rc::clone(&router));
        let mut queue = Queue::default();
        while !self.shutdown.is_cancelled() {
            let local = LocalSet::new();
            let serve =
                self.shutdown.run_until_cancelled(serve(&router, &mut feeds, &mut queue, &mut commands));
            let served = catch_unwind(AssertUnwindSafe(|| runtime.block_on(local.run_until(serve))));
            match served {
                Ok(_) => return,
                // The tasks of the old set are gone with it; subscriptions and positions are not.
                Err(_panic) => {
                    tracing::error!("the MQTT fan-out failed and goes on");
                    feeds.restart();
                }
            }
        }
    }
}

async fn serve(
    router: &RefCell<Router>,
    feeds: &mut Feeds,
    queue: &mut Queue,
    commands: &mut mpsc::Receiver<Command>,
) {
    let progress = Rc::clone(&feeds.progress);
    loop {
        queue.settle(&mut router.borrow_mut());
        let deadline = queue.deadline();
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => carry_out(router, feeds, queue, command),
                None => return,
            },
            () = feeds.changed() => feeds.look(),
            () = progress.notified(), if !queue.is_empty() => {}
            () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
        }
    }
}

fn carry_out(router: &RefCell<Router>, feeds: &mut Feeds, queue: &mut Queue, command: Command) {
    match command {
        Command::Subscribe(request, answer) => {
            feeds.want();
            let barriers = feeds.barriers(request.is_plain(), request.is_steering());
            queue.push(request, barriers, answer);
        }
        Command::Unsubscribe(id, filters, answer) => {
            let mut router = router.borrow_mut();
            let existed = filters.iter().map(|filter| router.unsubscribe(id, filter)).collect();
            let _ = answer.send(existed);
        }
        Command::Remove(id) => router.borrow_mut().remove(id),
        Command::Retain(answer) => {
            feeds.retain();
            let _ = answer.send(());
        }
    }
    let subscriptions = router.borrow().subscription_count();
    crate::observe::METRICS.subscriptions.set(subscriptions as f64);
    if subscriptions == 0 && queue.is_empty() {
        feeds.rest();
    }
}
