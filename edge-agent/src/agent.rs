//! A running agent: its inputs, its connections and its socket, and what may change while it runs.

mod pulse;
mod remote;

use std::sync::Arc;
use std::time::Duration;

use program::Failure;
use schemas::DeviceId;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::buffer::Buffer;
use crate::config::{Config, InputConfig, InputKind, RemoteSettings, Settings, StatusConfig};
use crate::control::Server;
use crate::data_dir::DataDir;
use crate::desired::Standing;
use crate::destination::Destination;
use crate::inputs::Roster;
use crate::inputs::report::Reporter;
use crate::operations::{Answer, Answered, Known, Notify, Order, OrderError, What, report};
use crate::pipeline::{Batching, Supervisor, Tuning};
use crate::status::Status;
use crate::time::Clock;
use crate::uplink::{
    Desk, Inbound, InboundKind, Mailbox, Outbound, UplinkConfig, UplinkError, UplinkStatus, Uplinks, Usage,
    mailbox,
};

use pulse::Pulse;
pub use remote::Remote;

/// How long inputs and batchers may take to end.
const STOP_MAX: Duration = Duration::from_secs(8);
/// The input that stands for the agent itself.
const OWN_INPUT: &str = "agent";

/// Reads the configuration as it was read at the start, and checks it.
pub type Load = Box<dyn Fn() -> Result<Settings, Failure>>;

/// What stays while an agent runs.
pub struct Ground {
    pub dir: DataDir,
    pub device: DeviceId,
    pub buffer: Buffer,
    pub clock: Arc<Clock>,
    /// How the inputs fare.
    pub roster: Roster,
}

/// What an agent begins with.
pub struct Setup {
    /// The device's own configuration.
    pub file: Settings,
    /// What is in force of it, with what a hub has set over it.
    pub config: Config,
    pub load: Load,
    pub remote: Remote,
}

pub struct Agent {
    ground: Arc<Ground>,
    file: Settings,
    config: Config,
    remote: Remote,
    load: Load,
    hangups: Signal,
    notify: Notify,
    tuning: Arc<Tuning>,
    supervisor: Supervisor,
    status: watch::Sender<UplinkStatus>,
    /// Of every connection, the former ones too.
    usage: Arc<Usage>,
    uplink: Shipping,
    desk: Desk,
    answered: Answered,
    server_stop: CancellationToken,
    /// The connections could not be made as the configuration says: they are the former ones.
    is_uplink_former: bool,
}

/// The uplink's task.
struct Shipping {
    stop: CancellationToken,
    task: JoinHandle<Result<(), UplinkError>>,
}

impl Agent {
    /// Starts everything; the caller holds the data directory's lock.
    pub async fn start(ground: Ground, setup: Setup) -> Result<Self, Failure> {
        let Setup { file, config, load, remote } = setup;
        let ground = Arc::new(ground);
        let hangups = program::signals::hangup().map_err(Failure::run)?;
        let (status, statuses) = watch::channel(UplinkStatus::default());
        let (mailbox, desk) = mailbox();
        let usage = Usage::open(ground.dir.sent());
        let uplink = Shipping::run(Shipping::prepare(&ground, &config, &status, &usage, mailbox)?);
        let standing = remote.standing();
        let (device, buffer, roster) = (ground.device.clone(), ground.buffer.clone(), ground.roster.clone());
        let (clock, standing_of_server) = (ground.clock.clone(), standing.clone());
        let server = Server::bind(&ground.dir, device, buffer, clock, statuses, roster, standing_of_server);
        let server_stop = CancellationToken::new();
        tokio::spawn(server.map_err(Failure::usage)?.run(server_stop.clone()));
        let tuning = Tuning::new(config.linger);
        let batching = Batching {
            device: ground.device.clone(),
            boot: ground.clock.boot(),
            tuning: tuning.clone(),
            buffer: ground.buffer.clone(),
        };
        let agent = Self {
            supervisor: Supervisor::new(batching, ground.clock.clone())
                .listing(ground.roster.clone())
                .keeping_in(ground.dir.clone())
                .reporting(reporter(&ground, &status, standing)),
            answered: Answered::open(ground.dir.answered()),
            notify: Notify::from_environment(),
            ground,
            file,
            config,
            remote,
            load,
            hangups,
            tuning,
            status,
            usage,
            uplink,
            desk,
            server_stop,
            is_uplink_former: false,
        };
        Ok(agent.with_inputs().await)
    }

    async fn with_inputs(mut self) -> Self {
        self.apply_inputs().await;
        self.remote.connected_anew(0);
        self.settle_remote();
        self.notify.ready();
        self
    }

    async fn apply_inputs(&mut self) {
        let own = self.config.status.as_ref().map(own_input);
        let inputs = self.config.inputs.iter().cloned().chain(own).collect();
        self.supervisor.apply(inputs, &self.config.sensors).await;
    }

    /// Runs until the signal, or until the buffer fails; then stops what reads before what ships.
    pub async fn until(mut self, terminated: impl Future<Output = &'static str>) -> Result<(), Failure> {
        tokio::pin!(terminated);
        let mut alive = self.notify.interval().map(tokio::time::interval);
        let mut pulse = Pulse::new(self.ground.buffer.clone());
        let ended = loop {
            tokio::select! {
                signal = &mut terminated => {
                    tracing::info!(signal, "stopping");
                    self.remote.stopped();
                    break None;
                }
                ended = &mut self.uplink.task => break Some(ended),
                _ = self.hangups.recv() => self.reload().await?,
                Some(inbound) = self.desk.inbound.recv() => self.obey(inbound).await?,
                Some(Outbound(told)) = self.desk.told.recv() => {
                    self.told(&told);
                    // There is room for what waits to be told.
                    self.tell_waiting();
                }
                occasion = self.remote.next() => self.look(occasion).await?,
                () = next(&mut alive) => if pulse.beats() { self.notify.alive() },
            }
        };
        self.notify.stopping();
        if tokio::time::timeout(STOP_MAX, self.supervisor.stop()).await.is_err() {
            tracing::warn!("an input did not end in time");
        }
        self.uplink.stop.cancel();
        let ended = match ended {
            Some(ended) => ended,
            None => self.uplink.task.await,
        };
        self.server_stop.cancel();
        ended.map_err(Failure::run)?.map_err(Failure::run)
    }

    /// Reads the configuration again and goes over to it; one that cannot be used changes nothing.
    async fn reload(&mut self) -> Result<(), Failure> {
        self.file = match (self.load)() {
            Ok(file) => file,
            Err(error) => {
                let error = error.message();
                tracing::error!(error, "the configuration cannot be used; everything stays as it was");
                return Ok(());
            }
        };
        self.remote.set(&self.file.remote);
        let config = self.remote.over(&self.file).map_err(Failure::run)?;
        let fixed = fixed_at_start(&self.config, &config);
        if !fixed.is_empty() {
            tracing::warn!(
                settings = fixed.join(", "),
                "these settings change only when the agent is restarted"
            );
        }
        self.go_over_to(config, false).await?;
        self.settle_remote();
        tracing::info!("the configuration was read again");
        Ok(())
    }

    /// Puts another configuration in force. `anew`: with new connections in any case.
    async fn go_over_to(&mut self, config: Config, anew: bool) -> Result<(), Failure> {
        let other_uplink =
            uplink_config(&self.config) != uplink_config(&config) || self.config.remote != config.remote;
        if self.config.buffer != config.buffer {
            let retention = config.buffer.retention(config.buffer_bytes);
            let retained = self.ground.buffer.retain(retention, config.buffer.flash_bytes_per_day_max);
            retained.await.map_err(Failure::run)?;
        }
        self.config = config;
        self.tuning.set_linger(self.config.linger);
        self.apply_inputs().await;
        if anew || other_uplink || self.is_uplink_former {
            self.restart_uplink().await?;
        }
        Ok(())
    }

    /// Nothing is lost by it: what was not acknowledged is sent again.
    async fn restart_uplink(&mut self) -> Result<(), Failure> {
        let (mailbox, desk) = mailbox();
        let begun = match Shipping::prepare(&self.ground, &self.config, &self.status, &self.usage, mailbox) {
            Ok(begun) => begun,
            Err(error) => {
                let error = error.message();
                tracing::error!(error, "the connection goes on as it was; SIGHUP tries again");
                self.is_uplink_former = true;
                self.remote.not_connected_anew();
                return Ok(());
            }
        };
        self.uplink.stop.cancel();
        (&mut self.uplink.task).await.map_err(Failure::run)?.map_err(Failure::run)?;
        while let Ok(Outbound(told)) = self.desk.told.try_recv() {
            self.told(&told);
        }
        self.remote.connected_anew(self.status.borrow().main.acknowledged);
        (self.uplink, self.desk, self.is_uplink_former) = (Shipping::run(begun), desk, false);
        Ok(())
    }

    /// The hub has an answer of the device.
    fn told(&mut self, answer: &[u8]) {
        self.answered.told(answer);
        self.remote.told(answer);
    }

    async fn obey(&mut self, inbound: Inbound) -> Result<(), Failure> {
        match inbound.kind {
            InboundKind::Desired => return self.desired(inbound.payload).await,
            InboundKind::Command => self.command(&inbound.payload).await,
        }
        Ok(())
    }

    /// Carries out a command, once, and answers it until the hub has the answer.
    async fn command(&mut self, payload: &[u8]) {
        let (id, order) = match Order::parse(payload) {
            Ok(Order { id, what }) => (id, Ok(what)),
            Err(OrderError::What { id, what }) => (id, Err(what)),
            Err(error @ OrderError::Id) => {
                tracing::warn!(%error, "a command from the hub is left out");
                return;
            }
        };
        let answer = match self.answered.find(&id) {
            Some(Known::Told) => return,
            Some(Known::Untold(answer)) => answer.to_owned(),
            None => {
                let answer = match order {
                    Ok(what) => text(&self.carry_out(id.clone(), what)),
                    Err(what) => text(&Answer::failed(id.clone(), what)),
                };
                self.answered.remember(id, answer.clone());
                answer
            }
        };
        // The uplink keeps it until the hub has it. Whoever asks again is answered again.
        if self.desk.outbound.try_send(Outbound(answer.into())).is_err() {
            tracing::warn!("too many answers wait for a hub: one to a command is left out");
        }
    }

    fn carry_out(&mut self, id: String, what: What) -> Answer {
        tracing::info!(id, command = ?what, "a command from the hub");
        match what {
            What::RestartInput { input } | What::SampleNow { input: Some(input) } => self.restart(id, &input),
            What::SampleNow { input: None } => {
                self.supervisor.sample_now();
                Answer::done(id)
            }
            What::Flush {} => {
                self.tuning.flush();
                Answer::done(id)
            }
            What::Status {} => {
                let status = status_of(&self.ground, &self.status, &self.remote.standing());
                Answer { status: Some(Box::new(status)), ..Answer::done(id) }
            }
        }
    }

    fn restart(&self, id: String, input: &str) -> Answer {
        if self.supervisor.restart(input) {
            return Answer::done(id);
        }
        let known = self.input_names().join(", ");
        Answer::failed(id, format!("there is no input {input:?}; there are {known}"))
    }

    fn input_names(&self) -> Vec<String> {
        self.supervisor.names().map(str::to_owned).collect()
    }
}

impl Shipping {
    /// Reads what lies in files; connects nowhere yet.
    fn prepare(
        ground: &Ground,
        config: &Config,
        status: &watch::Sender<UplinkStatus>,
        usage: &Arc<Usage>,
        mailbox: Mailbox,
    ) -> Result<Uplinks, Failure> {
        let (device, buffer) = (ground.device.clone(), ground.buffer.clone());
        let (clock, usage) = (ground.clock.clone(), usage.clone());
        let uplinks = Uplinks::new(uplink_config(config), device, buffer, clock, status.clone(), usage);
        let uplinks = uplinks.map_err(Failure::usage)?;
        let kinds = kinds(&config.remote);
        Ok(if kinds.is_empty() { uplinks } else { uplinks.with_mailbox(mailbox.of(kinds)) })
    }

    fn run(uplinks: Uplinks) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(uplinks.run(stop.clone())), stop }
    }
}

/// What of a hub's messages is taken.
fn kinds(remote: &RemoteSettings) -> Vec<InboundKind> {
    let kinds = [(remote.settings, InboundKind::Desired), (remote.commands, InboundKind::Command)];
    kinds.into_iter().filter(|(is_taken, _)| *is_taken).map(|(_, kind)| kind).collect()
}

fn own_input(status: &StatusConfig) -> InputConfig {
    InputConfig {
        name: OWN_INPUT.to_owned(),
        destination: Destination::from(status.topic.clone()),
        tags: Vec::new(),
        kind: InputKind::Report(status.interval),
    }
}

fn uplink_config(config: &Config) -> UplinkConfig {
    let inputs = config.inputs.iter().map(|input| input.destination.clone());
    UplinkConfig {
        hubs: config.hubs.clone(),
        destinations: std::iter::once(Destination::from(config.topic.clone())).chain(inputs).collect(),
        trust_hub_time: config.trust_hub_time,
        options: config.uplink.clone(),
    }
}

/// What differs of that which a running agent cannot change.
fn fixed_at_start(now: &Config, wanted: &Config) -> Vec<&'static str> {
    let differs = [
        ("data_dir", now.data_dir != wanted.data_dir),
        ("device_id", now.device_id != wanted.device_id),
        ("buffer_bytes", now.buffer_bytes != wanted.buffer_bytes),
        ("buffer.durability and buffer.preallocate", !now.buffer.is_opened_like(&wanted.buffer)),
    ];
    differs.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect()
}

fn status_of(
    ground: &Ground,
    uplink: &watch::Sender<UplinkStatus>,
    standing: &watch::Receiver<Option<Standing>>,
) -> Status {
    let status = Status::of(&ground.device, &ground.buffer, &ground.clock, Some(uplink.borrow().clone()));
    status.with_inputs(ground.roster.health()).with_desired(standing.borrow().clone())
}

fn reporter(
    ground: &Arc<Ground>,
    uplink: &watch::Sender<UplinkStatus>,
    standing: watch::Receiver<Option<Standing>>,
) -> Reporter {
    let (ground, uplink) = (ground.clone(), uplink.clone());
    Reporter::new(move || report(&status_of(&ground, &uplink, &standing)))
}

fn text(answer: &Answer) -> String {
    serde_json::to_string(answer).unwrap_or_default()
}

async fn next(ticks: &mut Option<tokio::time::Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}
