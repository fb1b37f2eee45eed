//! A hub on a socket: just enough MQTT 5 to take an agent's batches.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use edge_agent::uplink::Answer;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Packet, PingResp, PubAck, PubAckProperties, PubAckReason,
};
use schemas::mqtt::{log_topic_answer, parse_agent_topic, property};

use super::{Hub, topic};

const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Inner {
    pub hub: Hub,
    pub connections: usize,
    /// Whether CONNACK says what only a hub says.
    pub is_plain_broker: bool,
    pub time_ms: Option<i64>,
    /// Publishes that are stored before the connection is cut; the last of them is not answered.
    pub cut_after: Option<usize>,
    sockets: Vec<TcpStream>,
}

#[derive(Clone)]
pub struct FakeHub {
    pub address: SocketAddr,
    shared: Arc<(Mutex<Inner>, Condvar)>,
}

impl FakeHub {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Self { address: listener.local_addr().unwrap(), shared: Arc::default() };
        let accepting = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = accepting.clone();
                std::thread::spawn(move || serving.serve(stream.unwrap()));
            }
        });
        hub
    }

    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
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
            let left = left.unwrap_or_else(|| panic!("{what} has not come: {:?}", inner.hub.log));
            inner = self.shared.1.wait_timeout(inner, left).unwrap().0;
        }
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        for socket in self.inner().sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, mut stream: TcpStream) {
        self.inner().sockets.push(stream.try_clone().unwrap());
        let mut input = BytesMut::new();
        let mut chunk = [0; 16 << 10];
        loop {
            while let Ok(packet) = Packet::read(&mut input, None) {
                let answer = self.answer(packet);
                self.shared.1.notify_all();
                let Some(answer) = answer else {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                };
                let mut output = BytesMut::new();
                answer.write(&mut output, None).unwrap();
                if stream.write_all(&output).is_err() {
                    return;
                }
            }
            match stream.read(&mut chunk) {
                Ok(read @ 1..) => input.extend_from_slice(&chunk[..read]),
                _ => return,
            }
        }
    }

    fn answer(&self, packet: Packet) -> Option<Packet> {
        let mut inner = self.inner();
        match packet {
            Packet::Connect(..) => {
                inner.connections += 1;
                Some(Packet::ConnAck(connack(&inner)))
            }
            Packet::Publish(publish) => {
                let place = parse_agent_topic(std::str::from_utf8(&publish.topic).unwrap()).unwrap().unwrap();
                let answer = inner.hub.publish(place.partition.0, &publish.payload);
                if let Some(left) = inner.cut_after.as_mut() {
                    *left -= 1;
                    if *left == 0 {
                        inner.cut_after = None;
                        return None;
                    }
                }
                Some(Packet::PubAck(puback(publish.pkid, &answer)))
            }
            Packet::PingReq(_) => Some(Packet::PingResp(PingResp)),
            _ => None,
        }
    }
}

fn connack(inner: &Inner) -> ConnAck {
    let mut user_properties = Vec::new();
    if !inner.is_plain_broker {
        user_properties.push((property::LOG_TOPIC.to_owned(), log_topic_answer(&topic(), 4)));
        user_properties.extend(inner.time_ms.map(|ms| (property::TIME.to_owned(), ms.to_string())));
    }
    let properties = ConnAckProperties {
        session_expiry_interval: None,
        receive_max: Some(20),
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
    ConnAck { session_present: false, code: ConnectReturnCode::Success, properties: Some(properties) }
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
