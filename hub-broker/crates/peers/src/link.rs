//! One connection with a peer.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use schemas::NodeId;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::{
    Limits, Parcel, RequestError,
    lanes::Lanes,
    limits::LOOK_KIND,
    looks::Looks,
    observe::Figures,
    outlet::{Outlet, Pause},
    requests::{Asked, Served},
    wire::{Hello, ProtocolError, Status},
};

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By the other side: its end, or a reset.
    Closed,
    /// Nothing was heard.
    Silent,
    /// It took nothing of what waits.
    Stalled,
    Protocol(ProtocolError),
    /// The other side refused it, in its words.
    Refused(String),
    /// By this hub: another connection takes its place, or it is not wanted any more.
    Unwanted(&'static str),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other side ended it"),
            Self::Silent => f.write_str("nothing was heard for too long"),
            Self::Stalled => f.write_str("the other side takes nothing"),
            Self::Protocol(error) => write!(f, "{error}"),
            Self::Refused(text) => f.write_str(text),
            Self::Unwanted(why) => f.write_str(why),
        }
    }
}

pub(crate) struct Link {
    /// Of this process, rising.
    pub id: u64,
    /// What the other side said at its beginning.
    pub hello: Hello,
    /// Which hub dialled.
    pub dialler: NodeId,
    /// The connection's task holds it: it is closed when that ends, whoever else holds the link.
    stream: Weak<TcpStream>,
    pub since: Instant,
    pub asked: Asked,
    pub served: Arc<Served>,
    pub looks: Looks,
    /// Both sides are part of the same cluster.
    is_kin: AtomicBool,
    /// The peer is the hub that this hub's cluster means by its node id.
    is_meant: AtomicBool,
    outlet: Outlet,
    limits: Limits,
    closing: CancellationToken,
    end: Mutex<Option<End>>,
    figures: Arc<Figures>,
}

impl Link {
    /// `greeting` goes to the peer first.
    pub fn new(
        id: u64,
        hello: Hello,
        dialler: NodeId,
        stream: Weak<TcpStream>,
        greeting: Bytes,
        limits: Limits,
        figures: Arc<Figures>,
    ) -> Self {
        let outlet = Outlet::new(limits.clone(), greeting, Arc::clone(&figures));
        Self {
            id,
            hello,
            dialler,
            stream,
            since: Instant::now(),
            asked: Asked::default(),
            served: Arc::default(),
            looks: Looks::default(),
            is_kin: AtomicBool::new(false),
            is_meant: AtomicBool::new(true),
            outlet,
            limits,
            closing: CancellationToken::new(),
            end: Mutex::new(None),
            figures,
        }
    }

    pub fn node(&self) -> NodeId {
        self.hello.node
    }

    /// Parcels and notices may flow.
    pub fn is_joined(&self) -> bool {
        self.is_kin() && self.is_meant.load(Ordering::Acquire)
    }

    pub fn is_kin(&self) -> bool {
        self.is_kin.load(Ordering::Acquire)
    }

    pub fn join(&self) {
        self.is_kin.store(true, Ordering::Release);
    }

    pub fn set_meant(&self, is_meant: bool) {
        self.is_meant.store(is_meant, Ordering::Release);
    }

    /// Adds something to what waits to be sent.
    pub fn put<R>(&self, put: impl FnOnce(&mut Lanes) -> R) -> R {
        self.outlet.put(&self.stream, put)
    }

    /// How many of `parcels` found no room.
    pub fn send(&self, parcels: Vec<Parcel>) -> usize {
        let dropped = self.put(|lanes| {
            parcels.into_iter().map(|parcel| lanes.parcel(parcel)).filter(Result::is_err).count()
        });
        if dropped > 0 {
            self.figures.dropped(dropped);
        }
        dropped
    }

    pub async fn request(&self, kind: u8, body: Bytes, timeout: Duration) -> Result<Bytes, RequestError> {
        let (id, answered) = self.asked.begin(self.limits.requests_out_max)?;
        let _given_up = GiveUp { asked: &self.asked, id };
        self.put(|lanes| lanes.request(id, kind, body)).map_err(|_| RequestError::Overloaded)?;
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(RequestError::Lost),
            Err(_) => Err(RequestError::Timeout),
        }
    }

    /// Looks whether somebody is there, for as long as anybody wants to know. Whatever is answered, even that nobody
    /// serves such requests, somebody is.
    pub async fn look(self: Arc<Self>) {
        loop {
            // Where there is no answer the connection ends soon.
            let _ = self.request(LOOK_KIND, Bytes::new(), self.limits.silence_max).await;
            if !self.looks.end() {
                return;
            }
        }
    }

    pub fn answer(&self, id: u64, kind: u8, status: Status, body: Bytes) {
        self.put(|lanes| lanes.answer(id, kind, status, body));
    }

    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Sets the metrics, and pings when nothing was sent for a while; why the connection must end, if it must.
    pub fn look_after(&self, now: Instant, heard_at: Instant) -> Option<End> {
        self.figures.queued(self.outlet.queued_bytes());
        if now.saturating_duration_since(heard_at) >= self.limits.silence_max {
            return Some(End::Silent);
        }
        match self.outlet.pause(now) {
            Pause::Stalled(pause) if pause >= self.limits.stall_max => return Some(End::Stalled),
            Pause::Idle(pause) if pause >= self.limits.ping_interval => self.put(Lanes::ping),
            _ => {}
        }
        None
    }

    /// Ends the connection. The first reason counts.
    pub fn close(&self, end: End) {
        self.end.lock().get_or_insert(end);
        self.closing.cancel();
    }

    /// Until somebody closes it.
    pub async fn closed(&self) -> End {
        self.closing.cancelled().await;
        self.end.lock().clone().unwrap_or(End::Closed)
    }
}

/// A request whose future is dropped is not waited for.
struct GiveUp<'a> {
    asked: &'a Asked,
    id: u64,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.asked.give_up(self.id);
    }
}
