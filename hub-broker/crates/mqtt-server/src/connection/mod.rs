//! One client's connection: a task that owns its socket, its buffers and its session.

mod agent;
mod answers;
mod calls;
mod handshake;
mod intake;
mod io;
mod signals;
mod will;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ingest::Ingest;
use metadata::{Metadata, Principal, Topic};
use schemas::DeviceId;
use schemas::mqtt::{is_of_device, is_reserved};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::door::Visitor;
use crate::fanout::FanoutHandle;
use crate::limits::{
    DELIVERY_WINDOW_MAX, DRAIN_TIMEOUT, IN_FLIGHT_BYTES_MAX, IN_FLIGHT_BYTES_TOTAL, RECEIVE_MAXIMUM,
    WRITE_PENDING_BYTES_MAX, WRITE_STALL_MAX,
};
use crate::observe::{Agent, METRICS, Publishes};
use crate::reason::Close;
use crate::refusals::Refusals;
use crate::routes::Routes;
use crate::session::Session;
use crate::session::acks::{AckWindow, CallId, Outcome};
use crate::session::registry::{Claim, Registry};
use crate::wire::{Version, ack};
use io::{Io, Step};
use signals::Signals;
use will::Will;

/// What all connections share.
pub struct Hub {
    pub ingest: Ingest,
    pub metadata: Metadata,
    pub fanout: FanoutHandle,
    pub registry: Arc<Registry>,
    pub routes: Routes,
    pub refusals: Arc<Refusals>,
    /// How many connections share what may be in flight.
    pub connections: AtomicUsize,
    /// Connections are to let go of their clients.
    pub shutdown: CancellationToken,
}

/// Who a client is, and what it asked for in its CONNECT.
struct Client {
    id: Arc<str>,
    version: Version,
    principal: Principal,
    /// The agent's device, where it named one.
    device: Option<DeviceId>,
    keep_alive: Option<Duration>,
    packet_bytes_max: usize,
    delivery_window: usize,
    /// How long the session is kept when the client goes; zero ends it.
    session_expiry: Duration,
}

impl Client {
    /// The device that it is: the one that it named, or whose name it has proved.
    fn named(&self) -> Option<DeviceId> {
        let proved = || DeviceId::try_from(&*self.principal.name).ok();
        self.device.clone().or_else(|| if self.principal.is_anonymous() { None } else { proved() })
    }

    /// Whether it may subscribe to a filter: what is below `headwater/` a device reads for itself alone.
    fn may_read(&self, filter: &str) -> bool {
        let is_others = |device: &DeviceId| !is_of_device(filter, device);
        !(is_reserved(filter) && self.named().is_some_and(|device| is_others(&device)))
    }
}

struct Connection<S> {
    hub: Arc<Hub>,
    io: Io<S>,
    client: Client,
    session: Session,
    will: Option<Will>,
    signals: Arc<Signals>,
    window: AckWindow,
    /// Scratch for what the signals bring.
    settled: Vec<(CallId, Outcome)>,
    intake: Intake,
    is_draining: bool,
}

/// What the intake remembers between packets.
#[derive(Default)]
struct Intake {
    aliases: Vec<Option<Arc<str>>>,
    /// By route, the log topic as the view of `view_version` has it.
    topics: Vec<Option<Arc<Topic>>>,
    view_version: u64,
    /// The fan-out looks at every record: retained messages may be published.
    may_retain: bool,
    /// The client has a no-local subscription, so its publishes carry its name.
    has_no_local: bool,
    publishes: Publishes,
    /// The route whose log topic could not be had just now.
    closed_route: Option<usize>,
}

/// Serves one accepted socket from its CONNECT to its end.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    hub: Arc<Hub>,
    stream: S,
    peer: SocketAddr,
    visitor: Visitor,
) {
    let _counted = Counted::new(&hub);
    if let Some((connection, claim)) = handshake::accept(hub, Io::new(stream), peer, &visitor).await {
        connection.run(claim, peer).await;
    }
}

/// One of the connections, for as long as it lives and however it ends.
struct Counted(Arc<Hub>);

impl Counted {
    fn new(hub: &Arc<Hub>) -> Self {
        hub.connections.fetch_add(1, Ordering::Relaxed);
        METRICS.connections.increment(1.0);
        Self(Arc::clone(hub))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        METRICS.connections.decrement(1.0);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(
        hub: Arc<Hub>,
        io: Io<S>,
        client: Client,
        session: Session,
        will: Option<Will>,
        signals: Arc<Signals>,
    ) -> Self {
        Self {
            hub,
            io,
            client,
            session,
            will,
            signals,
            window: AckWindow::default(),
            settled: Vec::new(),
            intake: Intake::default(),
            is_draining: false,
        }
    }

    async fn run(mut self, claim: Claim, peer: SocketAddr) {
        let _counted = self.client.device.is_some().then(Agent::connected);
        let reason = match self.serve().await {
            Ok(never) => match never {},
            Err(reason) => reason,
        };
        log_end(&self.client, peer, reason);
        self.finish(claim, reason).await;
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Close> {
        self.resend();
        let hub = Arc::clone(&self.hub);
        let timer = tokio::time::sleep_until(self.deadline());
        tokio::pin!(timer);
        loop {
            self.hear_signals()?;
            self.deliver()?;
            if self.is_draining && self.window.is_idle() {
                return Err(Close::Shutdown);
            }
            let may_read = self.may_read();
            let (signals, outbox) = (Arc::clone(&self.signals), Arc::clone(&self.session.outbox));
            tokio::select! {
                step = self.io.step(may_read) => match step {
                    Ok(Step::Moved) => self.take_packets().await?,
                    Ok(Step::EndOfStream) => return Err(Close::EndOfStream),
                    Err(error) => return Err(Close::Io(error.kind())),
                },
                () = signals.raised() => {}
                () = outbox.filled() => {}
                () = &mut timer => {
                    self.check_time(may_read)?;
                    timer.as_mut().reset(self.deadline());
                }
                () = hub.shutdown.cancelled(), if !self.is_draining => {
                    self.is_draining = true;
                    timer.as_mut().reset(Instant::now() + DRAIN_TIMEOUT);
                }
            }
        }
    }

    /// Above the bounds the socket is not read: the client's own window fills, and it waits. In 5 the Receive Maximum
    /// bounds the number, so only the bytes do this.
    fn may_read(&self) -> bool {
        let has_room = match self.client.version {
            Version::V311 => self.window.acks_waiting() < usize::from(RECEIVE_MAXIMUM),
            Version::V5 => true,
        };
        let share = IN_FLIGHT_BYTES_TOTAL / self.hub.connections.load(Ordering::Relaxed).max(1);
        has_room
            && !self.is_draining
            && self.window.in_flight_bytes() < share.clamp(1, IN_FLIGHT_BYTES_MAX)
            && self.io.pending_output() < WRITE_PENDING_BYTES_MAX
    }

    fn deadline(&self) -> Instant {
        let stalled = self.io.wrote + WRITE_STALL_MAX;
        self.client.keep_alive.map_or(stalled, |keep_alive| stalled.min(self.io.heard + keep_alive))
    }

    /// The timer has run out: for good, or only because it was set before the client was last heard.
    fn check_time(&mut self, may_read: bool) -> Result<(), Close> {
        if self.is_draining {
            return Err(Close::Shutdown);
        }
        let now = Instant::now();
        if self.io.pending_output() == 0 {
            self.io.wrote = now;
        } else if now >= self.io.wrote + WRITE_STALL_MAX {
            return Err(Close::WriteStalled);
        }
        if !may_read {
            // Nobody listens to the client, so its silence says nothing.
            self.io.heard = now;
        }
        match self.client.keep_alive {
            Some(keep_alive) if now >= self.io.heard + keep_alive => Err(Close::KeepAlive),
            _ => Ok(()),
        }
    }

    async fn finish(mut self, claim: Claim, reason: Close) {
        self.say_goodbye(reason).await;
        if let Some(will) = self.will.take().filter(|_| reason.publishes_will()) {
            will.publish(&self.hub, &self.client).await;
        }
        let is_kept = !self.client.session_expiry.is_zero() && !matches!(reason, Close::TooSlow);
        if !is_kept {
            self.hub.fanout.remove(self.session.subscriber).await;
            return;
        }
        self.session.outbox.set_away(true);
        self.settle_rest().await;
        let expiry = Some(self.client.session_expiry);
        if let Err(session) = claim.keep(self.session, expiry, std::time::Instant::now()) {
            tracing::warn!(client = &*self.client.id, "too many sessions are kept; this one ends");
            self.hub.fanout.remove(session.subscriber).await;
        }
    }

    async fn say_goodbye(&mut self, reason: Close) {
        if let (Version::V5, Some(code)) = (self.client.version, reason.code()) {
            ack::write_disconnect(&mut self.io.output, code, &reason.to_string());
        }
        if !matches!(reason, Close::EndOfStream | Close::Io(_) | Close::WriteStalled) {
            // A client that does not take its last words in time goes without them.
            let _ = timeout(GOODBYE_TIMEOUT, self.io.flush()).await;
            let _ = timeout(GOODBYE_TIMEOUT, self.io.shutdown()).await;
        }
    }

    /// The next connection has to know which QoS 2 publishes were stored.
    async fn settle_rest(&mut self) {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        loop {
            self.signals.take(&mut self.settled);
            for (call, outcome) in self.settled.drain(..) {
                self.window.settle(call, outcome);
            }
            while let Some(due) = self.window.pop() {
                self.note_qos_2(due);
            }
            if self.window.is_idle() {
                return;
            }
            if tokio::time::timeout_at(deadline, self.signals.raised()).await.is_err() {
                tracing::warn!(
                    client = &*self.client.id,
                    "publishes are still on their way: QoS 2 may repeat"
                );
                self.session.received.forget_in_flight();
                return;
            }
        }
    }
}

/// How long the last packet may take to be written.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

fn log_end(client: &Client, peer: SocketAddr, reason: Close) {
    let (id, version) = (&*client.id, client.version.name());
    match reason {
        Close::Client { .. } | Close::EndOfStream | Close::Io(_) | Close::Shutdown => {
            tracing::debug!(client = id, version, %peer, %reason, "MQTT client gone");
        }
        _ => {
            METRICS.disconnects.increment(1);
            tracing::warn!(client = id, version, %peer, %reason, "MQTT client disconnected");
        }
    }
}

/// The window for deliveries: what the client takes, as far as the hub goes.
fn delivery_window(receive_maximum: Option<u16>) -> usize {
    usize::from(receive_maximum.unwrap_or(u16::MAX)).min(DELIVERY_WINDOW_MAX)
}
