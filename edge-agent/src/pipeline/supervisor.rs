//! Keeps inputs running: one that fails is started again after a moment, and none of the others notices.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::batching::Batching;
use super::build::build;
use super::way::{RunningBatcher, Way};
use crate::config::{InputConfig, SensorRule};
use crate::data_dir::DataDir;
use crate::destination::Destination;
use crate::inputs::report::Reporter;
use crate::inputs::{Filter, Health, InputError, Progress, Roster, RowSink, Source, WaitingRoom};
use crate::limits::INPUTS_MAX;
use crate::time::Clock;

/// How long an input may take to end when it is asked to.
const END_MAX: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The inputs of an agent by their names, and what they feed.
pub struct Supervisor {
    clock: Arc<Clock>,
    batching: Batching,
    reporter: Option<Reporter>,
    roster: Roster,
    inputs: BTreeMap<String, Supervised>,
    /// Of the inputs, and of ended ones whose rows may not be durable yet, or of which files stay that were read.
    past: BTreeMap<String, Past>,
    batchers: HashMap<Destination, RunningBatcher>,
    /// For the rows that wait for all of them.
    room: WaitingRoom,
    /// Where inputs keep what the buffer does not.
    dir: Option<DataDir>,
}

/// What is remembered of an input over its lives.
struct Past {
    progress: Arc<Progress>,
    /// Where its rows went that may not be durable yet.
    ways: Vec<Way>,
}

struct Supervised {
    config: InputConfig,
    rules: Vec<SensorRule>,
    sink: RowSink,
    stop: CancellationToken,
    again: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Supervisor {
    pub fn new(batching: Batching, clock: Arc<Clock>) -> Self {
        let (reporter, roster) = (None, Roster::default());
        let (inputs, past, batchers) = (BTreeMap::new(), BTreeMap::new(), HashMap::new());
        let room = WaitingRoom::default();
        Self { clock, batching, reporter, roster, inputs, past, batchers, room, dir: None }
    }

    /// Its inputs keep there what the buffer does not.
    #[must_use]
    pub fn keeping_in(self, dir: DataDir) -> Self {
        Self { dir: Some(dir), ..self }
    }

    /// The input that stands for the agent itself tells this.
    #[must_use]
    pub fn reporting(self, reporter: Reporter) -> Self {
        Self { reporter: Some(reporter), ..self }
    }

    /// Its inputs are listed here.
    #[must_use]
    pub fn listing(self, roster: Roster) -> Self {
        Self { roster, ..self }
    }

    /// Makes these the inputs that run: those that are as they were go on undisturbed, the others are ended
    /// or started.
    pub async fn apply(&mut self, inputs: Vec<InputConfig>, rules: &[SensorRule]) {
        let mut former = std::mem::take(&mut self.inputs);
        let mut starting = Vec::new();
        let mut ending = Vec::new();
        for config in inputs {
            let rules: Vec<SensorRule> =
                rules.iter().filter(|rule| rule.concerns(&config.name)).cloned().collect();
            match former.remove(&config.name) {
                Some(same) if same.config == config && same.rules == rules => {
                    self.inputs.insert(config.name.clone(), same);
                }
                Some(changed) => {
                    ending.push(changed);
                    starting.push((config, rules));
                }
                None => starting.push((config, rules)),
            }
        }
        ending.extend(former.into_values());
        end_all(ending).await;
        for (config, rules) in starting {
            self.start(config, rules);
        }
        self.forget_ended();
        let source = |(name, input): (&String, &Supervised)| (name.clone(), input.sink.source().clone());
        self.roster.replace(self.inputs.iter().map(source).collect());
        self.end_idle_batchers().await;
    }

    fn start(&mut self, config: InputConfig, rules: Vec<SensorRule>) {
        let source = Source {
            name: config.name.clone(),
            destination: config.destination.clone(),
            tags: config.tags.clone(),
            health: Health::default(),
            is_trial: false,
        };
        let way = self.way(&config.destination);
        let (progress, former) = self.turn_to(&config.name, &way);
        let (filter, clock) = (Filter::new(rules.clone()), self.clock.clone());
        let sink = RowSink::new(source, filter, clock, way.rows, progress);
        let (stop, again) = (CancellationToken::new(), Arc::new(Notify::new()));
        let (reporter, own_sink) = (self.reporter.clone(), sink.clone());
        let watched = Watched { config: config.clone(), reporter, sink: own_sink, former };
        let task = tokio::spawn(watched.keep_running(stop.clone(), again.clone()));
        let name = config.name.clone();
        self.inputs.insert(name, Supervised { config, rules, sink, stop, again, task });
    }

    /// How far an input has read: in this run of the agent, or else in an earlier one with what that stored. And where
    /// rows of it went before that may not be durable yet.
    fn turn_to(&mut self, input: &str, way: &Way) -> (Arc<Progress>, Vec<Way>) {
        let snapshot = self.batching.buffer.snapshot();
        let past = self.past.entry(input.to_owned()).or_insert_with(|| {
            let durable = snapshot.marks.get(input).and_then(|mark| mark.parse().ok());
            let progress = Progress::from(durable);
            let progress = match &self.dir {
                Some(dir) => progress.keeping(dir.stuck_files(input)),
                None => progress,
            };
            Past { progress: Arc::new(progress), ways: Vec::new() }
        });
        past.ways.retain(|known| !known.has_ended() && !known.is(way));
        // The marks of what goes two ways would become durable in any order.
        let former = if past.progress.mark().is_some() { past.ways.clone() } else { Vec::new() };
        past.ways.push(way.clone());
        (past.progress.clone(), former)
    }

    /// How far ended inputs have read is forgotten when all of it stands in the buffer, or when there are too many of them.
    fn forget_ended(&mut self) {
        let (snapshot, inputs) = (self.batching.buffer.snapshot(), &self.inputs);
        let mut ended = 0;
        self.past.retain(|name, Past { progress, .. }| {
            let is_durable = || {
                let mark = progress.mark().map(|mark| mark.to_string());
                mark.as_ref() == snapshot.marks.get(name) && !progress.has_aside()
            };
            let is_running = inputs.contains_key(name);
            let is_kept = is_running || (!is_durable() && ended < INPUTS_MAX);
            ended += usize::from(is_kept && !is_running);
            is_kept
        });
    }

    /// Where rows for a destination go.
    fn way(&mut self, destination: &Destination) -> Way {
        let (batching, room) = (self.batching.clone(), self.room.clone());
        let start = || RunningBatcher::start(batching, destination.clone(), room);
        self.batchers.entry(destination.clone()).or_insert_with(start).way.clone()
    }

    /// Those of destinations that no input has any more make their last batch durable.
    async fn end_idle_batchers(&mut self) {
        let is_used = |destination: &Destination| {
            self.inputs.values().any(|input| input.config.destination == *destination)
        };
        let idle: Vec<_> =
            self.batchers.keys().filter(|destination| !is_used(destination)).cloned().collect();
        for destination in idle {
            if let Some(batcher) = self.batchers.remove(&destination) {
                batcher.stop.cancel();
                if timeout(END_MAX, batcher.task).await.is_err() {
                    let topic = &destination.topic;
                    tracing::warn!(%topic, "rows wait for room in the buffer, and go there when there is some");
                }
            }
        }
    }

    /// Ends an input and starts it anew at once, which also makes one with an interval measure now; false where
    /// there is none of this name.
    pub fn restart(&self, name: &str) -> bool {
        self.inputs.get(name).inspect(|input| input.again.notify_one()).is_some()
    }

    /// Has the inputs with an interval measure now.
    pub fn sample_now(&self) {
        let with_interval = self.inputs.values().filter(|input| input.config.kind.has_interval());
        with_interval.for_each(|input| input.again.notify_one());
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.inputs.keys().map(String::as_str)
    }

    /// Ends the inputs, and returns when all that they read is durable.
    pub async fn stop(mut self) {
        end_all(std::mem::take(&mut self.inputs).into_values().collect()).await;
        self.end_idle_batchers().await;
    }
}

/// Ends them all at once. One that is left behind hands nothing on any more.
async fn end_all(inputs: Vec<Supervised>) {
    inputs.iter().for_each(|input| input.stop.cancel());
    for Supervised { sink, task, .. } in inputs {
        let _ = task.await;
        sink.progress().next_life();
    }
}

/// An input as its keeper sees it.
struct Watched {
    config: InputConfig,
    reporter: Option<Reporter>,
    sink: RowSink,
    former: Vec<Way>,
}

impl Watched {
    async fn keep_running(self, stop: CancellationToken, again: Arc<Notify>) {
        let input = self.config.name.as_str();
        for way in &self.former {
            tracing::info!(input, "the input goes on when what it read before is durable");
            if stop.run_until_cancelled(way.settled()).await.is_none() {
                return;
            }
        }
        let mut backoff = BACKOFF_MIN;
        loop {
            let started = Instant::now();
            let ended = self.run_once(&stop, &again).await;
            if stop.is_cancelled() {
                return;
            }
            if started.elapsed() >= BACKOFF_MAX {
                backoff = BACKOFF_MIN;
            }
            match ended {
                Ended::Asked => tracing::info!(input, "the input is started again, as asked"),
                Ended::ForGood => {
                    tracing::info!(input, "the input has ended");
                    self.sink.source().health.note_ended(true);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = again.notified() => {}
                    }
                    self.sink.source().health.note_ended(false);
                }
                Ended::Failed(error) => {
                    let seconds = backoff.as_secs();
                    tracing::warn!(input, %error, "the input failed; it is started again in {seconds} s");
                    self.sink.source().health.note_restart(error.to_string());
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = again.notified() => {}
                        () = sleep(backoff) => {}
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// Runs the input as a task of its own, so that not even a panic in it is anyone else's; but in the profile `edge`,
    /// which does not unwind, it ends the agent.
    async fn run_once(&self, stop: &CancellationToken, again: &Notify) -> Ended {
        let own = stop.child_token();
        let input = build(&self.config, self.reporter.as_ref());
        let mut task = tokio::spawn(input.run(self.sink.next_life(), own.clone()));
        let ended = tokio::select! {
            ended = &mut task => ended,
            asked = async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = again.notified() => {}
                }
            } => {
                let () = asked;
                own.cancel();
                if timeout(END_MAX, &mut task).await.is_err() {
                    tracing::warn!(input = self.config.name, "the input does not end; it is left behind");
                    task.abort();
                }
                return Ended::Asked;
            }
        };
        match ended {
            Ok(Ok(())) => Ended::ForGood,
            Ok(Err(error)) => Ended::Failed(error),
            Err(error) => Ended::Failed(InputError::new(error)),
        }
    }
}

enum Ended {
    Asked,
    ForGood,
    Failed(InputError),
}
