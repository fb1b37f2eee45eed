//! Runs pipelines: a thread of its own for each consumer, tasks for what is at the sinks.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use program::outcome::Failure;
use program::{logging, signals};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::flow::{Flow, Limits};
use crate::record::{Batch, Carried, Partition};
use crate::settings::{BridgeSettings, PipelineSettings};
use crate::sinks;
use crate::source::{self, Context, Shared};

/// Records of one partition that wait for its sink, in bytes.
const PARTITION_BYTES_MAX: usize = 8 << 20;
/// How long a poll waits; a sink that is ready waits no longer for its next batch.
const POLL: Duration = Duration::from_millis(20);
/// Records taken between two looks at the sinks.
const POLLED_MAX: usize = 1000;
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const STOP_WITHIN: Duration = Duration::from_secs(20);
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Runs all pipelines until the program is asked to stop.
pub fn run(settings: &BridgeSettings) -> Result<(), Failure> {
    logging::start();
    let runtime =
        Builder::new_multi_thread().enable_all().thread_name("sink").build().map_err(Failure::run)?;
    let asked_to_stop = runtime.block_on(async { signals::termination() }).map_err(Failure::run)?;
    let shutdown = CancellationToken::new();
    let (ended, ends) = mpsc::channel();
    let mut threads = Vec::new();
    for pipeline in &settings.pipelines {
        let worker = Worker::open(&settings.hub, pipeline, runtime.handle(), &shutdown)?;
        let (ended, shutdown) = (ended.clone(), shutdown.clone());
        let thread = thread::Builder::new().name(pipeline.name.clone()).spawn(move || {
            let result = worker.run();
            // Whoever ends first ends the others; the receiver outlives all of them.
            let _ = ended.send(result);
            shutdown.cancel();
        });
        threads.push(thread.map_err(Failure::run)?);
    }
    info!(hub = settings.hub, pipelines = settings.pipelines.len(), "the bridge is running");
    runtime.block_on(async {
        tokio::select! {
            signal = asked_to_stop => info!(signal, "stopping"),
            () = shutdown.cancelled() => {}
        }
    });
    shutdown.cancel();
    for thread in threads {
        thread.join().map_err(|_| Failure::run("a pipeline panicked"))?;
    }
    drop(ended);
    ends.into_iter().collect::<Result<(), KafkaError>>().map_err(Failure::run)
}

struct Worker {
    name: String,
    consumer: BaseConsumer<Context>,
    shared: Arc<Shared>,
    runtime: Handle,
    resume: mpsc::Receiver<Partition>,
    resumed: mpsc::Sender<Partition>,
}

impl Worker {
    fn open(
        hub: &str,
        pipeline: &PipelineSettings,
        runtime: &Handle,
        shutdown: &CancellationToken,
    ) -> Result<Self, Failure> {
        let sink = sinks::open(hub, pipeline)
            .map_err(|error| Failure::usage(format!("pipeline {:?}: {error}", pipeline.name)))?;
        let limits =
            Limits { batch_records_max: sink.batch_records_max(), partition_bytes_max: PARTITION_BYTES_MAX };
        let shared = Arc::new(Shared::new(Flow::new(limits), sink, runtime.clone(), shutdown.clone()));
        let consumer = source::subscribe(hub, pipeline, &shared).map_err(Failure::run)?;
        let (resumed, resume) = mpsc::channel();
        Ok(Self { name: pipeline.name.clone(), consumer, shared, runtime: runtime.clone(), resume, resumed })
    }

    fn run(self) -> Result<(), KafkaError> {
        let mut committed = Instant::now();
        while !self.shared.shutdown().is_cancelled() {
            self.take_records()?;
            self.start_batches();
            let resumed: Vec<Partition> = self.resume.try_iter().collect();
            if !resumed.is_empty() {
                self.consumer.resume(&source::offsets(resumed.iter().map(|p| (p, Offset::Invalid)))?)?;
            }
            if committed.elapsed() >= COMMIT_INTERVAL {
                self.commit();
                committed = Instant::now();
            }
        }
        if !self.shared.wait_idle(STOP_WITHIN) {
            warn!(
                pipeline = self.name,
                "the sink takes too long; what it was given is offered again at the next start"
            );
        }
        self.commit();
        Ok(())
    }

    /// Takes what librdkafka has fetched; waits a moment where it has nothing.
    fn take_records(&self) -> Result<(), KafkaError> {
        let mut timeout = POLL;
        for _ in 0..POLLED_MAX {
            match self.consumer.poll(timeout) {
                None => return Ok(()),
                Some(Ok(message)) => {
                    let partition =
                        Partition { topic: message.topic().to_owned(), index: message.partition() };
                    let record = Carried::from_message(&message);
                    if self.shared.change(|flow| flow.received(&partition, record)) {
                        debug!(%partition, "paused: the sink is behind");
                        self.consumer
                            .pause(&source::offsets(std::iter::once((&partition, Offset::Invalid)))?)?;
                    }
                }
                Some(Err(error)) => self.tolerate(error)?,
            }
            timeout = Duration::ZERO;
        }
        Ok(())
    }

    /// What goes away by itself is logged; what does not ends the bridge.
    fn tolerate(&self, error: KafkaError) -> Result<(), KafkaError> {
        let code = error.rdkafka_error_code();
        if matches!(code, Some(RDKafkaErrorCode::Fatal)) {
            return Err(error);
        }
        warn!(pipeline = self.name, %error, "the source is not readable now; it is tried again");
        Ok(())
    }

    fn start_batches(&self) {
        for batch in self.shared.change(Flow::ready) {
            let (shared, resumed) = (Arc::clone(&self.shared), self.resumed.clone());
            self.runtime.spawn(carry(shared, batch, resumed));
        }
    }

    fn commit(&self) {
        if let Err(error) = source::commit(&self.consumer, &self.shared) {
            warn!(pipeline = self.name, %error, "could not commit; the next commit covers it");
        }
    }
}

/// Gives a batch to its sink until it is taken, its partition is given up, or the bridge stops.
async fn carry(shared: Arc<Shared>, batch: Batch, resumed: mpsc::Sender<Partition>) {
    let (partition, life) = (batch.partition.clone(), batch.life);
    if !is_taken(&shared, batch).await {
        shared.change(|flow| flow.given_up(&partition, life));
    } else if shared.change(|flow| flow.stored(&partition, life)) {
        // The worker is gone only when the bridge stops, and then nothing is resumed.
        let _ = resumed.send(partition);
    }
}

async fn is_taken(shared: &Shared, mut batch: Batch) -> bool {
    let mut backoff = BACKOFF_MIN;
    loop {
        let Err(error) = shared.sink().write(&batch).await else { return true };
        warn!(partition = %batch.partition, %error, again_in = ?backoff, "the sink did not take a batch");
        // It may have taken a part of it, so nothing is offered again before it has said what it has.
        let from = loop {
            if !shared.may_retry(&batch.partition, batch.life, backoff).await {
                return false;
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
            match shared.sink().resume_from(&batch.partition).await {
                Ok(from) => break from,
                Err(error) => warn!(partition = %batch.partition, %error, "cannot tell what the sink has"),
            }
        };
        batch.records.retain(|record| from.is_none_or(|from| record.offset >= from));
        if batch.records.is_empty() {
            return true;
        }
    }
}
