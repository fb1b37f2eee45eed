//! Packets of both versions of MQTT, as far as a listener without subscriptions needs them. rumqttc's codecs read and
//! write them; what those get wrong (DISCONNECT) is done here.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{self, v4};
use rumqttc::v5::mqttbytes::{self as mqttbytes5, v5};
use thiserror::Error;

use crate::limits::{MQTT_PACKET_BYTES_MAX, MQTT_UNACKNOWLEDGED_MAX};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    V4,
    V5,
}

/// What a client sent first.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    pub version: Version,
    pub client_id: String,
    /// Name and password.
    pub login: Option<(String, String)>,
    /// In seconds; 0 for none.
    pub keep_alive: u16,
    pub will: Option<Publish>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    pub topic: String,
    /// None of QoS 0.
    pub packet_id: Option<u16>,
    /// Also of packets with another id, as a will is.
    pub is_exactly_once: bool,
    pub has_alias: bool,
    pub content_type: Option<String>,
    pub payload: Bytes,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    Publish(Publish),
    Subscribe {
        packet_id: u16,
        filters: usize,
    },
    Unsubscribe {
        packet_id: u16,
        filters: usize,
    },
    Ping,
    /// The will is for those that go without this, or ask for it.
    Disconnect {
        with_will: bool,
    },
    /// What only a server sends, or nobody at this time.
    Other,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    #[error("a packet of more than {MQTT_PACKET_BYTES_MAX} bytes")]
    TooLarge,
    #[error("a malformed packet: {0}")]
    Malformed(String),
    #[error("a CONNECT of another version than MQTT 3.1.1 and 5")]
    OtherVersion,
    #[error("its first packet is no CONNECT")]
    NoConnect,
}

/// What is answered to CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Welcome {
        /// Where the client left its name to us.
        assigned_id: Option<String>,
    },
    BadClientId,
    BadLogin,
}

/// What is answered to a PUBLISH of QoS 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stored,
    /// It will never be taken.
    BadTopic,
    BadPayload,
    /// It may be taken later.
    Full,
}

/// Why the listener ends a connection; version 3.1.1 has no words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    Malformed = 0x81,
    Protocol = 0x82,
    ShuttingDown = 0x8b,
    KeepAlive = 0x8d,
    TakenOver = 0x8e,
    TopicAlias = 0x94,
    TooLarge = 0x95,
    QuotaExceeded = 0x97,
    Qos = 0x9b,
}

/// Takes the next whole packet off, if it is there.
pub fn split_packet(buffer: &mut BytesMut) -> Result<Option<BytesMut>, WireError> {
    match mqttbytes::check(buffer.iter(), MQTT_PACKET_BYTES_MAX) {
        Ok(header) => Ok(Some(buffer.split_to(header.frame_length()))),
        Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
        Err(mqttbytes::Error::PayloadSizeLimitExceeded(_)) => Err(WireError::TooLarge),
        Err(error) => Err(malformed(&error)),
    }
}

pub fn read_connect(mut packet: BytesMut) -> Result<Connect, WireError> {
    if packet.first().is_none_or(|first| first >> 4 != 1) {
        return Err(WireError::NoConnect);
    }
    match version(&packet).ok_or(WireError::OtherVersion)? {
        Version::V4 => match read_v4(&mut packet)? {
            v4::Packet::Connect(connect) => Ok(connect_v4(connect)),
            _ => Err(WireError::NoConnect),
        },
        Version::V5 => match read_v5(&mut packet)? {
            v5::Packet::Connect(connect, will, login) => connect_v5(connect, will, login),
            _ => Err(WireError::NoConnect),
        },
    }
}

pub fn read_packet(version: Version, mut packet: BytesMut) -> Result<Packet, WireError> {
    // rumqttc does not know the short forms of version 5, and has no reason in 3.1.1.
    match packet.first().map(|first| first >> 4) {
        Some(14) => return Ok(Packet::Disconnect { with_will: reason(&packet) == Some(4) }),
        Some(15) => return Ok(Packet::Other),
        _ => {}
    }
    match version {
        Version::V4 => Ok(match read_v4(&mut packet)? {
            v4::Packet::Publish(publish) => Packet::Publish(publish_v4(publish)),
            v4::Packet::Subscribe(subscribe) => {
                Packet::Subscribe { packet_id: subscribe.pkid, filters: subscribe.filters.len() }
            }
            v4::Packet::Unsubscribe(unsubscribe) => {
                Packet::Unsubscribe { packet_id: unsubscribe.pkid, filters: unsubscribe.topics.len() }
            }
            v4::Packet::PingReq => Packet::Ping,
            _ => Packet::Other,
        }),
        Version::V5 => Ok(match read_v5(&mut packet)? {
            v5::Packet::Publish(publish) => Packet::Publish(publish_v5(publish)?),
            v5::Packet::Subscribe(subscribe) => {
                Packet::Subscribe { packet_id: subscribe.pkid, filters: subscribe.filters.len() }
            }
            v5::Packet::Unsubscribe(unsubscribe) => {
                Packet::Unsubscribe { packet_id: unsubscribe.pkid, filters: unsubscribe.filters.len() }
            }
            v5::Packet::PingReq(_) => Packet::Ping,
            _ => Packet::Other,
        }),
    }
}

/// The protocol's name and level stand right after the fixed header (MQTT 5 §3.1.2).
fn version(packet: &[u8]) -> Option<Version> {
    let (_, rest) = packet.split_first()?;
    let length_bytes = rest.iter().position(|byte| byte & 0x80 == 0)? + 1;
    match rest.get(length_bytes..length_bytes + 7)? {
        [0, 4, b'M', b'Q', b'T', b'T', 4] => Some(Version::V4),
        [0, 4, b'M', b'Q', b'T', b'T', 5] => Some(Version::V5),
        _ => None,
    }
}

/// The byte after a short packet's fixed header.
fn reason(packet: &[u8]) -> Option<u8> {
    packet.get(2).copied()
}

fn read_v4(packet: &mut BytesMut) -> Result<v4::Packet, WireError> {
    v4::Packet::read(packet, MQTT_PACKET_BYTES_MAX).map_err(|error| malformed(&error))
}

fn read_v5(packet: &mut BytesMut) -> Result<v5::Packet, WireError> {
    v5::Packet::read(packet, Some(MQTT_PACKET_BYTES_MAX as u32)).map_err(|error| malformed(&error))
}

fn malformed(error: &dyn std::fmt::Display) -> WireError {
    WireError::Malformed(error.to_string())
}

fn connect_v4(connect: v4::Connect) -> Connect {
    let will = connect.last_will.map(|will| Publish {
        topic: will.topic,
        packet_id: None,
        is_exactly_once: false,
        has_alias: false,
        content_type: None,
        payload: will.message,
    });
    Connect {
        version: Version::V4,
        client_id: connect.client_id,
        login: connect.login.map(|login| (login.username, login.password)),
        keep_alive: connect.keep_alive,
        will,
    }
}

fn connect_v5(
    connect: v5::Connect,
    will: Option<v5::LastWill>,
    login: Option<v5::Login>,
) -> Result<Connect, WireError> {
    let will = will.map(|will| {
        Ok(Publish {
            topic: text(&will.topic)?,
            packet_id: None,
            is_exactly_once: false,
            has_alias: false,
            content_type: will.properties.and_then(|properties| properties.content_type),
            payload: will.message,
        })
    });
    Ok(Connect {
        version: Version::V5,
        client_id: connect.client_id,
        login: login.map(|login| (login.username, login.password)),
        keep_alive: connect.keep_alive,
        will: will.transpose()?,
    })
}

fn publish_v4(publish: v4::Publish) -> Publish {
    Publish {
        topic: publish.topic,
        packet_id: (publish.qos != mqttbytes::QoS::AtMostOnce).then_some(publish.pkid),
        is_exactly_once: publish.qos == mqttbytes::QoS::ExactlyOnce,
        has_alias: false,
        content_type: None,
        payload: publish.payload,
    }
}

fn publish_v5(publish: v5::Publish) -> Result<Publish, WireError> {
    let properties = publish.properties.unwrap_or_default();
    Ok(Publish {
        topic: text(&publish.topic)?,
        packet_id: (publish.qos != mqttbytes5::QoS::AtMostOnce).then_some(publish.pkid),
        is_exactly_once: publish.qos == mqttbytes5::QoS::ExactlyOnce,
        has_alias: properties.topic_alias.is_some(),
        content_type: properties.content_type,
        payload: publish.payload,
    })
}

fn text(bytes: &Bytes) -> Result<String, WireError> {
    String::from_utf8(bytes.to_vec()).map_err(|error| malformed(&error))
}

/// Writes answers of one version.
impl Version {
    pub fn connack(self, admission: Admission) -> Bytes {
        match self {
            Self::V4 => {
                let code = match admission {
                    Admission::Welcome { .. } => v4::ConnectReturnCode::Success,
                    Admission::BadClientId => v4::ConnectReturnCode::BadClientId,
                    Admission::BadLogin => v4::ConnectReturnCode::BadUserNamePassword,
                };
                written_v4(&v4::Packet::ConnAck(v4::ConnAck::new(code, false)))
            }
            Self::V5 => {
                let (code, properties) = match admission {
                    Admission::Welcome { assigned_id } => {
                        (v5::ConnectReturnCode::Success, Some(abilities(assigned_id)))
                    }
                    Admission::BadClientId => (v5::ConnectReturnCode::ClientIdentifierNotValid, None),
                    Admission::BadLogin => (v5::ConnectReturnCode::BadUserNamePassword, None),
                };
                written_v5(&v5::Packet::ConnAck(v5::ConnAck { session_present: false, code, properties }))
            }
        }
    }

    /// `None` where 3.1.1 has no word for it but the end of the connection: what could be taken later must be sent
    /// again.
    pub fn puback(self, packet_id: u16, verdict: Verdict) -> Option<Bytes> {
        match (self, verdict) {
            (Self::V4, Verdict::Full) => None,
            // What will never be taken is acknowledged: it would come again and again.
            (Self::V4, _) => Some(written_v4(&v4::Packet::PubAck(v4::PubAck::new(packet_id)))),
            (Self::V5, verdict) => {
                let reason = match verdict {
                    Verdict::Stored => v5::PubAckReason::Success,
                    Verdict::BadTopic => v5::PubAckReason::TopicNameInvalid,
                    Verdict::BadPayload => v5::PubAckReason::PayloadFormatInvalid,
                    Verdict::Full => v5::PubAckReason::QuotaExceeded,
                };
                let ack = v5::PubAck { pkid: packet_id, reason, properties: None };
                Some(written_v5(&v5::Packet::PubAck(ack)))
            }
        }
    }

    /// Refuses every filter.
    pub fn suback(self, packet_id: u16, filters: usize) -> Bytes {
        match self {
            Self::V4 => {
                let refused = vec![v4::SubscribeReasonCode::Failure; filters];
                written_v4(&v4::Packet::SubAck(v4::SubAck::new(packet_id, refused)))
            }
            Self::V5 => {
                let return_codes = vec![v5::SubscribeReasonCode::ImplementationSpecific; filters];
                let ack = v5::SubAck { pkid: packet_id, return_codes, properties: None };
                written_v5(&v5::Packet::SubAck(ack))
            }
        }
    }

    pub fn unsuback(self, packet_id: u16, filters: usize) -> Bytes {
        match self {
            Self::V4 => written_v4(&v4::Packet::UnsubAck(v4::UnsubAck::new(packet_id))),
            Self::V5 => {
                let reasons = vec![v5::UnsubAckReason::NoSubscriptionExisted; filters];
                let ack = v5::UnsubAck { pkid: packet_id, reasons, properties: None };
                written_v5(&v5::Packet::UnsubAck(ack))
            }
        }
    }

    pub fn pingresp(self) -> Bytes {
        Bytes::from_static(&[0xd0, 0])
    }

    /// Nothing in 3.1.1: there only clients say it.
    pub fn disconnect(self, why: Goodbye) -> Bytes {
        match self {
            Self::V4 => Bytes::new(),
            Self::V5 => Bytes::copy_from_slice(&[0xe0, 2, why as u8, 0]),
        }
    }
}

/// What a client of version 5 is told of this listener.
fn abilities(assigned_client_identifier: Option<String>) -> v5::ConnAckProperties {
    v5::ConnAckProperties {
        session_expiry_interval: Some(0),
        receive_max: Some(MQTT_UNACKNOWLEDGED_MAX as u16),
        max_qos: Some(1),
        retain_available: None,
        max_packet_size: Some(MQTT_PACKET_BYTES_MAX as u32),
        assigned_client_identifier,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: Some(0),
        subscription_identifiers_available: Some(0),
        shared_subscription_available: Some(0),
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

fn written_v4(packet: &v4::Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    // Ours are small and whole.
    let _ = packet.write(&mut bytes, usize::MAX);
    bytes.freeze()
}

fn written_v5(packet: &v5::Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    let _ = packet.write(&mut bytes, None);
    bytes.freeze()
}
