//! A hub on a socket: just enough MQTT 5 to take an agent's batches, with or without TLS.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use edge_agent::uplink::Answer;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, Packet, PingResp, PubAck, PubAckProperties,
    PubAckReason, Publish, SubAck, SubscribeReasonCode,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use schemas::mqtt::{LOG_TOPICS_MAX, desired_topic, log_topic_answer, parse_agent_topic, property};
use schemas::{DeviceId, TopicName};

use super::Hub;

const DEADLINE: Duration = Duration::from_secs(60);
/// A DISCONNECT with its length of properties, which rumqttc leaves out and cannot read without.
const SESSION_TAKEN_OVER: [u8; 4] = [0xe0, 2, 0x8e, 0];
/// How long answers that are held back wait for company.
const HOLD: Duration = Duration::from_millis(50);

pub struct Inner {
    pub hub: Hub,
    pub connections: usize,
    /// Client ids in the order of their connections.
    pub clients: Vec<String>,
    /// When each number of the hub's log came, beside it.
    pub arrivals: Vec<Instant>,
    /// What was published, in bytes.
    pub payload_bytes: usize,
    /// Whether CONNACK says what only a hub says.
    pub is_plain_broker: bool,
    pub time_ms: Option<i64>,
    pub receive_maximum: u16,
    /// Name and password that are asked for.
    pub login: Option<(String, String)>,
    /// Publishes that are stored before the connection is cut; the last of them is not answered.
    pub cut_after: Option<usize>,
    /// So many answers are held back, and then given in the wrong order.
    pub answers_held: usize,
    /// Whether a client that comes takes the session of the one with its id.
    pub takes_over: bool,
    /// Packet ids that were used again before they were answered.
    pub reused_ids: usize,
    pub subscriptions: Vec<String>,
    /// What whoever subscribes to a device's desired state is given.
    pub desired: Option<Bytes>,
    /// What is kept of the commands to it, in the same way.
    pub command: Option<Bytes>,
    /// Whether connections are refused.
    pub is_out: bool,
    /// After so many answers of devices, no more connections are taken.
    pub out_after_answers: Option<usize>,
    /// Client ids whose publishes are neither stored nor answered.
    pub mute: Vec<String>,
    /// What devices answered, and how much of what they were sent they acknowledged.
    pub answers: Vec<Bytes>,
    pub acknowledged: usize,
    sockets: Vec<(String, TcpStream)>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            hub: Hub::default(),
            connections: 0,
            clients: Vec::new(),
            arrivals: Vec::new(),
            payload_bytes: 0,
            is_plain_broker: false,
            time_ms: None,
            receive_maximum: 20,
            login: None,
            cut_after: None,
            answers_held: 0,
            takes_over: false,
            reused_ids: 0,
            subscriptions: Vec::new(),
            desired: None,
            command: None,
            is_out: false,
            out_after_answers: None,
            mute: Vec::new(),
            answers: Vec::new(),
            acknowledged: 0,
            sockets: Vec::new(),
        }
    }
}

#[derive(Clone)]
pub struct FakeHub {
    pub address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<(Mutex<Inner>, Condvar)>,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// What is known of one connection.
#[derive(Default)]
struct Session {
    client: String,
    unanswered: HashSet<u16>,
    held: Vec<Packet>,
}

impl FakeHub {
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// Over TLS.
    pub fn start_tls(config: Arc<ServerConfig>) -> Self {
        Self::listen(Some(config))
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Self { address: listener.local_addr().unwrap(), tls, shared: Arc::default() };
        let accepting = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = accepting.clone();
                std::thread::spawn(move || serving.accept(stream.unwrap()));
            }
        });
        hub
    }

    pub fn url(&self) -> String {
        match self.tls {
            None => format!("mqtt://{}", self.address),
            Some(_) => format!("mqtts://localhost:{}", self.address.port()),
        }
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.0.lock().unwrap()
    }

    /// Waits until something is so.
    pub fn wait(&self, what: &str, mut is_so: impl FnMut(&mut Inner) -> bool) {
        let give_up = Instant::now() + DEADLINE;
        let mut inner = self.inner();
        while !is_so(&mut inner) {
            let left = give_up.checked_duration_since(Instant::now());
            let left = left.unwrap_or_else(|| {
                panic!("{what} has not come: {} records {:?}", inner.hub.log.len(), inner.hub.log.last())
            });
            inner = self.shared.1.wait_timeout(inner, left).unwrap().0;
        }
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        for (_, socket) in self.inner().sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Publishes to whoever is connected without TLS.
    pub fn publish(&self, topic: &str, packet_id: u16, payload: &'static [u8]) {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload, None);
        publish.pkid = packet_id;
        for (_, socket) in &self.inner().sockets {
            send(&mut socket.try_clone().unwrap(), &Packet::Publish(publish.clone()));
        }
    }

    /// Publishes a desired state, also to whoever subscribes later.
    pub fn want(&self, device: &str, payload: &str) {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let publish = wanted(&desired_topic(&DeviceId::try_from(device).unwrap()), payload.clone());
        let mut inner = self.inner();
        inner.desired = Some(payload);
        for (_, socket) in &inner.sockets {
            send(&mut socket.try_clone().unwrap(), &publish);
        }
    }

    fn accept(&self, socket: TcpStream) {
        if self.inner().is_out {
            return;
        }
        let known = socket.try_clone().unwrap();
        match &self.tls {
            None => self.serve(socket, &known),
            Some(config) => {
                let connection = ServerConnection::new(config.clone()).unwrap();
                self.serve(StreamOwned::new(connection, socket), &known);
            }
        }
        let _ = known.shutdown(Shutdown::Both);
    }

    fn serve(&self, mut stream: impl Stream, socket: &TcpStream) {
        let mut input = BytesMut::new();
        let mut chunk = [0; 16 << 10];
        let mut session = Session::default();
        loop {
            while let Ok(packet) = Packet::read(&mut input, None) {
                if let Packet::Connect(connect, ..) = &packet {
                    session.client.clone_from(&connect.client_id);
                    self.take_over(connect, socket);
                }
                let answer = self.answer(packet, &mut session);
                let Ok(answers) = answer else {
                    self.shared.1.notify_all();
                    return;
                };
                // What is told of the publishes comes after they are answered.
                let is_sent = answers.iter().all(|answer| send(&mut stream, answer));
                self.shared.1.notify_all();
                if !is_sent {
                    return;
                }
            }
            let _ = socket.set_read_timeout((!session.held.is_empty()).then_some(HOLD));
            match stream.read(&mut chunk) {
                Ok(read @ 1..) => input.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    for answer in session.release() {
                        if !send(&mut stream, &answer) {
                            return;
                        }
                    }
                }
                _ => return,
            }
        }
    }

    /// Ends the connection of the client with the same id.
    fn take_over(&self, connect: &Connect, socket: &TcpStream) {
        let mut inner = self.inner();
        inner.clients.push(connect.client_id.clone());
        if inner.takes_over {
            for (client, former) in &mut inner.sockets {
                if *client == connect.client_id {
                    let _ = former.write_all(&SESSION_TAKEN_OVER);
                    let _ = former.shutdown(Shutdown::Both);
                }
            }
            inner.sockets.retain(|(client, _)| *client != connect.client_id);
        }
        inner.sockets.push((connect.client_id.clone(), socket.try_clone().unwrap()));
    }

    /// What is to be sent; an error where the connection is to be cut.
    fn answer(&self, packet: Packet, session: &mut Session) -> Result<Vec<Packet>, ()> {
        let mut inner = self.inner();
        let answer = match packet {
            Packet::Connect(connect, _, login) => {
                inner.connections += 1;
                let login = login.map(|login| (login.username, login.password));
                let is_let_in = inner.login.is_none() || inner.login == login;
                Packet::ConnAck(connack(&inner, &connect, is_let_in))
            }
            Packet::Publish(_) if inner.mute.contains(&session.client) => return Ok(Vec::new()),
            Packet::Publish(publish) => {
                inner.reused_ids += usize::from(!session.unanswered.insert(publish.pkid));
                let answer = inner.take(&publish)?;
                session.held.push(Packet::PubAck(puback(publish.pkid, &answer)));
                if session.held.len() < inner.answers_held {
                    return Ok(Vec::new());
                }
                return Ok(session.release());
            }
            Packet::Subscribe(subscribe) => {
                let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
                let paths: Vec<String> = subscribe.filters.into_iter().map(|filter| filter.path).collect();
                let desired = paths.iter().find(|path| path.ends_with("/desired"));
                let desired = desired.and_then(|path| Some(wanted(path, inner.desired.clone()?)));
                let commands = paths.iter().find(|path| path.ends_with("/commands"));
                let command = commands.and_then(|path| Some(wanted(path, inner.command.clone()?)));
                inner.subscriptions.extend(paths);
                let granted = SubAck { pkid: subscribe.pkid, return_codes: codes, properties: None };
                return Ok(std::iter::once(Packet::SubAck(granted)).chain(desired).chain(command).collect());
            }
            Packet::PubAck(_) => {
                inner.acknowledged += 1;
                return Ok(Vec::new());
            }
            Packet::PingReq(_) => Packet::PingResp(PingResp),
            _ => return Err(()),
        };
        Ok(vec![answer])
    }
}

impl Inner {
    /// Stores a publish; an error where the connection is to be cut.
    fn take(&mut self, publish: &Publish) -> Result<Answer, ()> {
        let topic = std::str::from_utf8(&publish.topic).unwrap();
        if topic.ends_with("/answers") {
            self.answers.push(publish.payload.clone());
            self.is_out |= self.out_after_answers.is_some_and(|count| self.answers.len() >= count);
            return Ok(Answer::default());
        }
        let place = parse_agent_topic(topic).unwrap().unwrap();
        self.payload_bytes += publish.payload.len();
        let answer = self.hub.publish(place.partition.0, &publish.payload);
        self.arrivals.resize_with(self.hub.log.len(), Instant::now);
        if let Some(left) = self.cut_after.as_mut() {
            *left -= 1;
            if *left == 0 {
                self.cut_after = None;
                return Err(());
            }
        }
        Ok(answer)
    }
}

impl Session {
    /// The answers that are held back, the last first.
    fn release(&mut self) -> Vec<Packet> {
        self.unanswered.clear();
        self.held.drain(..).rev().collect()
    }
}

fn send(stream: &mut impl Write, packet: &Packet) -> bool {
    let mut output = BytesMut::new();
    packet.write(&mut output, None).unwrap();
    stream.write_all(&output).and_then(|()| stream.flush()).is_ok()
}

fn wanted(topic: &str, payload: Bytes) -> Packet {
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload, None);
    publish.pkid = 7;
    Packet::Publish(publish)
}

fn connack(inner: &Inner, connect: &Connect, is_let_in: bool) -> ConnAck {
    let mut user_properties = Vec::new();
    if !inner.is_plain_broker {
        let asked = connect.properties.iter().flat_map(|properties| &properties.user_properties);
        for (_, topic) in asked.filter(|(name, _)| name == property::LOG_TOPIC) {
            let topic = TopicName::try_from(topic.as_str()).unwrap();
            user_properties.push((property::LOG_TOPIC.to_owned(), log_topic_answer(&topic, 4)));
        }
        user_properties.extend(inner.time_ms.map(|ms| (property::TIME.to_owned(), ms.to_string())));
    }
    let properties = ConnAckProperties {
        session_expiry_interval: None,
        receive_max: Some(inner.receive_maximum),
        max_qos: None,
        retain_available: None,
        max_packet_size: Some(2 << 20),
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties,
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    let named = connect.properties.iter().flat_map(|properties| &properties.user_properties);
    let named = named.filter(|(name, _)| name == property::LOG_TOPIC).count();
    let code = match is_let_in {
        _ if named > LOG_TOPICS_MAX => ConnectReturnCode::QuotaExceeded,
        true => ConnectReturnCode::Success,
        false => ConnectReturnCode::BadUserNamePassword,
    };
    ConnAck { session_present: false, code, properties: Some(properties) }
}

fn puback(pkid: u16, answer: &Answer) -> PubAck {
    let mut user_properties = Vec::new();
    if let Some(expected) = answer.expected {
        user_properties.push((property::EXPECTED_SEQUENCE.to_owned(), expected.to_string()));
    }
    if answer.duplicates > 0 {
        user_properties.push((property::DUPLICATE.to_owned(), answer.duplicates.to_string()));
    }
    let properties =
        (!user_properties.is_empty()).then_some(PubAckProperties { reason_string: None, user_properties });
    let reason = match answer.reason {
        0 => PubAckReason::Success,
        0x99 => PubAckReason::PayloadFormatInvalid,
        _ => PubAckReason::ImplementationSpecificError,
    };
    PubAck { pkid, reason, properties }
}
