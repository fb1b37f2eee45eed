//! From an accepted socket to a connection: CONNECT, who it is, its session, CONNACK.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metadata::Principal;
use rumqttd::protocol::{ConnAck, ConnAckProperties, ConnectReturnCode, Packet};
use schemas::mqtt::parse_agent_topic;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::agent;
use super::io::{Io, Step};
use super::signals::Signals;
use super::will::Will;
use super::{Client, Connection, GOODBYE_TIMEOUT, Hub, delivery_window};
use crate::door::Visitor;
use crate::limits::{
    CLIENT_ID_BYTES_MAX, CONNECT_BYTES_MAX, CONNECT_TIMEOUT, PACKET_BYTES_MAX, RECEIVE_MAXIMUM,
    SESSION_EXPIRY_SECONDS_MAX, TOPIC_ALIASES_MAX,
};
use crate::observe::METRICS;
use crate::reason::{Close, ConnectRefusal};
use crate::session::Session;
use crate::session::registry::{Claim, Claimed};
use crate::wire::control::{self, ConnectError, ConnectPacket};
use crate::wire::frame::Frame;
use crate::wire::{Version, WireError};

/// A CONNECT that was accepted, and what its CONNACK says.
struct Accepted {
    client: Client,
    claim: Claim,
    session: Session,
    /// The session was there before.
    is_present: bool,
    will: Option<Will>,
    signals: Arc<Signals>,
    properties: ConnAckProperties,
}

struct Refused {
    /// `None` where nothing is known that could be answered.
    version: Option<Version>,
    client_id: String,
    refusal: ConnectRefusal,
}

/// Reads the CONNECT and answers it. `None` where there is nobody to serve; why has been logged and said.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    hub: Arc<Hub>,
    mut io: Io<S>,
    peer: SocketAddr,
    visitor: &Visitor,
) -> Option<(Connection<S>, Claim)> {
    let first = timeout(CONNECT_TIMEOUT, first_packet(&mut io));
    let Ok(first) = hub.shutdown.run_until_cancelled(first).await? else {
        tracing::debug!(%peer, "no MQTT CONNECT in time");
        return None;
    };
    let answer = match first.transpose()? {
        Ok((frame, bytes)) => answer(&hub, frame, &bytes, peer, visitor).await,
        Err(error) => {
            let refusal = ConnectError::from(error).into();
            Err(Refused { version: None, client_id: String::new(), refusal })
        }
    };
    match answer {
        Ok(accepted) => Some(connect(hub, io, accepted, peer)),
        Err(refused) => {
            refuse(io, refused, peer).await;
            None
        }
    }
}

async fn first_packet<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut Io<S>,
) -> Result<Option<(Frame, Bytes)>, WireError> {
    loop {
        if let Some(packet) = io.take_packet(CONNECT_BYTES_MAX)? {
            return Ok(Some(packet));
        }
        match io.step(true).await {
            Ok(Step::Moved) => {}
            Ok(Step::EndOfStream) | Err(_) => return Ok(None),
        }
    }
}

async fn answer(
    hub: &Arc<Hub>,
    frame: Frame,
    bytes: &Bytes,
    peer: SocketAddr,
    visitor: &Visitor,
) -> Result<Accepted, Refused> {
    let nameless =
        |version, error: ConnectError| Refused { version, client_id: String::new(), refusal: error.into() };
    let version = control::connect_version(frame, bytes).map_err(|error| {
        // A CONNACK in the dialect that such a client is most likely to read.
        let version = match error {
            ConnectError::UnsupportedVersion(6..) => Some(Version::V5),
            ConnectError::UnsupportedVersion(_) => Some(Version::V311),
            ConnectError::Wire(_) | ConnectError::NotMqtt(_) => None,
        };
        nameless(version, error)
    })?;
    let packet = control::read_connect(version, frame, bytes)
        .map_err(|error| nameless(Some(version), error.into()))?;
    let client_id = packet.connect.client_id.clone();
    admit(hub, packet, peer, visitor).await.map_err(|refusal| Refused {
        version: Some(version),
        client_id,
        refusal,
    })
}

async fn admit(
    hub: &Arc<Hub>,
    packet: ConnectPacket,
    peer: SocketAddr,
    visitor: &Visitor,
) -> Result<Accepted, ConnectRefusal> {
    let principal = authenticate(&packet, visitor).await?;
    let (id, is_assigned) = client_id(&packet)?;
    let will = will(&packet)?;
    let mut properties = ConnAckProperties::default();
    let device = agent::introduce(hub, &principal, &packet, &mut properties).await?;
    let expiry = wanted_expiry(&packet);
    let signals = Arc::new(Signals::default());
    let evicted = Arc::clone(&signals);
    let evict = Arc::new(move || evicted.close(Close::TakenOver));
    let claimed = hub.registry.claim(&id, peer, evict).await;
    let Claimed { claim, session: kept, rival } = claimed.map_err(|_busy| ConnectRefusal::SessionBusy)?;
    if let Some(rival) = rival {
        tracing::warn!(
            client = &*id, %peer, %rival,
            "duplicate identity: two connections take this client id from each other; give each device its own"
        );
    }
    let (session, is_present) = session(hub, kept, packet.connect.clean_session).await;
    if packet.version == Version::V5 {
        limits(&mut properties);
        properties.assigned_client_identifier = is_assigned.then(|| id.to_string());
        let wanted = packet.properties.session_expiry_interval.unwrap_or(0);
        let capped = wanted.min(SESSION_EXPIRY_SECONDS_MAX);
        properties.session_expiry_interval = (capped != wanted).then_some(capped);
    }
    let keep_alive = packet.connect.keep_alive;
    let client = Client {
        id,
        version: packet.version,
        principal,
        device,
        // One and a half times what the client says; 0 turns it off (MQTT 5, 3.1.2.10).
        keep_alive: (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1500)),
        packet_bytes_max: packet.properties.max_packet_size.map_or(usize::MAX, |max| max as usize),
        delivery_window: delivery_window(packet.properties.receive_maximum),
        session_expiry: expiry,
    };
    Ok(Accepted { client, claim, session, is_present, will, signals, properties })
}

/// The one place where a client's identity is decided.
async fn authenticate(packet: &ConnectPacket, visitor: &Visitor) -> Result<Principal, ConnectRefusal> {
    match packet.properties.authentication_method {
        Some(_) => Err(ConnectRefusal::AuthenticationMethod),
        None => visitor.identify(packet.login.as_ref()).await,
    }
}

/// The client id, and whether the hub made it up (MQTT 5, 3.1.3.1).
fn client_id(packet: &ConnectPacket) -> Result<(Arc<str>, bool), ConnectRefusal> {
    let given = packet.connect.client_id.as_str();
    match given {
        "" if packet.version == Version::V311 && !packet.connect.clean_session => {
            Err(ConnectRefusal::ClientIdMissing)
        }
        "" => Ok((format!("auto-{}", uuid::Uuid::new_v4().simple()).into(), true)),
        given if given.len() > CLIENT_ID_BYTES_MAX => Err(ConnectRefusal::ClientIdTooLong),
        given => Ok((given.into(), false)),
    }
}

fn will(packet: &ConnectPacket) -> Result<Option<Will>, ConnectRefusal> {
    let Some((will, properties)) = &packet.will else { return Ok(None) };
    let will = Will::new(will, properties.as_ref());
    if will.topic().starts_with('$') || parse_agent_topic(will.topic()).is_some() {
        return Err(ConnectRefusal::WillTopic);
    }
    Ok(Some(will))
}

/// How long the session is kept. 3.1.1 knows only "for the connection" and "for ever", which ends at the cap.
fn wanted_expiry(packet: &ConnectPacket) -> Duration {
    match packet.version {
        Version::V311 if packet.connect.clean_session => Duration::ZERO,
        Version::V311 => session_expiry(u32::MAX),
        Version::V5 => session_expiry(packet.properties.session_expiry_interval.unwrap_or(0)),
    }
}

pub fn session_expiry(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds.min(SESSION_EXPIRY_SECONDS_MAX)))
}

/// The session to go on with, and whether it was there before.
async fn session(hub: &Hub, kept: Option<Session>, clean_start: bool) -> (Session, bool) {
    match kept {
        Some(session) if !clean_start && !session.outbox.overflowed() => {
            session.outbox.set_away(false);
            (session, true)
        }
        kept => {
            if let Some(old) = kept {
                hub.fanout.remove(old.subscriber).await;
            }
            (Session::new(hub.fanout.new_subscriber()), false)
        }
    }
}

fn limits(properties: &mut ConnAckProperties) {
    properties.receive_max = Some(RECEIVE_MAXIMUM);
    properties.max_packet_size = u32::try_from(PACKET_BYTES_MAX).ok();
    properties.topic_alias_max = Some(TOPIC_ALIASES_MAX);
    properties.shared_subscription_available = Some(0);
}

fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    hub: Arc<Hub>,
    mut io: Io<S>,
    accepted: Accepted,
    peer: SocketAddr,
) -> (Connection<S>, Claim) {
    let Accepted { client, claim, session, is_present, will, signals, properties } = accepted;
    let answer = ConnAck { session_present: is_present, code: ConnectReturnCode::Success };
    let properties = (client.version == Version::V5).then_some(properties);
    control::write(client.version, Packet::ConnAck(answer, properties), &mut io.output);
    tracing::debug!(client = &*client.id, version = client.version.name(), %peer, "MQTT client connected");
    (Connection::new(hub, io, client, session, will, signals), claim)
}

async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut io: Io<S>, refused: Refused, peer: SocketAddr) {
    let Refused { version, client_id, refusal } = refused;
    METRICS.connects_refused.increment(1);
    tracing::warn!(client = client_id, %peer, reason = %refusal, "an MQTT CONNECT was refused");
    let code = match version {
        Some(Version::V5) => Some(refusal.v5()),
        Some(Version::V311) => refusal.v311(),
        None => None,
    };
    if let (Some(version), Some(code)) = (version, code) {
        let answer = Packet::ConnAck(ConnAck { session_present: false, code }, None);
        control::write(version, answer, &mut io.output);
        // A client that does not take its refusal in time goes without it.
        let _ = timeout(GOODBYE_TIMEOUT, io.flush()).await;
    }
    let _ = timeout(GOODBYE_TIMEOUT, io.shutdown()).await;
}
