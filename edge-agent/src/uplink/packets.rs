//! What a hub's packets and a connection's end mean.

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, DisconnectReasonCode, PubAck, PubAckReason};
use rumqttc::v5::{ConnectionError, StateError};
use schemas::Sequence;
use schemas::mqtt::{LOG_TOPICS_MAX, parse_log_topic_answer, property};

use super::backoff::Ended;
use super::event::{Answer, Facts};
use super::tls;
use crate::limits::REASON_CHARS_MAX;

/// MQTT 5, section 3.2.2.3.3: without the property, 65,535.
const RECEIVE_MAXIMUM_DEFAULT: u16 = u16::MAX;

/// What CONNACK says, and the hub's time in it.
pub(super) fn connected(connack: &ConnAck) -> (Facts, Option<i64>) {
    let properties = connack.properties.as_ref();
    let mut facts = Facts {
        receive_maximum: properties.and_then(|p| p.receive_max).unwrap_or(RECEIVE_MAXIMUM_DEFAULT),
        max_packet_bytes: properties.and_then(|p| p.max_packet_size),
        ..Facts::default()
    };
    let mut hub_time_ms = None;
    for (name, value) in properties.map(|p| p.user_properties.as_slice()).unwrap_or_default() {
        match name.as_str() {
            property::LOG_TOPIC => facts.partitions.extend(parse_log_topic_answer(value)),
            property::TIME => hub_time_ms = value.parse().ok(),
            _ => {}
        }
    }
    (facts, hub_time_ms)
}

pub(super) fn answer(puback: &PubAck) -> Answer {
    let mut answer = Answer { reason: reason_code(puback.reason), ..Answer::default() };
    let text = puback.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
    answer.text = text.map(|text| text.chars().take(REASON_CHARS_MAX).collect());
    for (name, value) in puback.properties.as_ref().map(|p| p.user_properties.as_slice()).unwrap_or_default()
    {
        match name.as_str() {
            property::EXPECTED_SEQUENCE => {
                answer.expected = value.parse().ok().filter(|sequence| *sequence >= 0).map(Sequence);
            }
            property::DUPLICATE => answer.duplicates = value.parse().unwrap_or(0),
            property::FORK => answer.is_fork = true,
            _ => {}
        }
    }
    answer
}

/// MQTT 5, table 3-4.
fn reason_code(reason: PubAckReason) -> u8 {
    match reason {
        PubAckReason::Success => 0x00,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    }
}

/// How a connection ended, and why in words.
pub(super) fn closed(error: &ConnectionError) -> (Ended, String) {
    match error {
        ConnectionError::Timeout(_) => (Ended::Failed, "no answer in time".to_owned()),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            disconnected(*reason_code, reason_string.as_deref())
        }
        ConnectionError::ConnectionRefused(code) => refused(*code),
        other => match io_error(other) {
            Some(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                (Ended::Refused, program::outcome::one_line(other))
            }
            Some(error) => {
                (Ended::Failed, tls::explain(error).unwrap_or_else(|| program::outcome::one_line(other)))
            }
            None => (Ended::Failed, program::outcome::one_line(other)),
        },
    }
}

fn io_error(error: &ConnectionError) -> Option<&std::io::Error> {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::Tls(rumqttc::TlsError::Io(error))
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(PacketError::Io(error)),
        ) => Some(error),
        _ => None,
    }
}

/// MQTT 5, section 3.14.2.1.
fn disconnected(reason: DisconnectReasonCode, text: Option<&str>) -> (Ended, String) {
    use DisconnectReasonCode as Code;
    let ended = match reason {
        Code::SessionTakenOver => Ended::TakenOver,
        Code::ServerBusy | Code::QuotaExceeded | Code::MessageRateTooHigh | Code::ConnectionRateExceeded => {
            Ended::Busy
        }
        _ => Ended::Failed,
    };
    let more = text.map(|text| format!(": {text}")).unwrap_or_default();
    (ended, format!("the hub closed the connection: {reason:?}{more}"))
}

/// MQTT 5, section 3.2.2.2.
fn refused(code: ConnectReturnCode) -> (Ended, String) {
    use ConnectReturnCode as Code;
    match code {
        Code::QuotaExceeded => (
            Ended::Busy,
            format!(
                "the hub takes no connection that names so many log topics (this agent: {LOG_TOPICS_MAX} at most), or no more at all: {code:?}"
            ),
        ),
        Code::ServerBusy | Code::ConnectionRateExceeded => {
            (Ended::Busy, format!("the hub takes no connection now: {code:?}"))
        }
        Code::BadUserNamePassword => {
            (Ended::Busy, "the hub does not take uplink.username with that password".to_owned())
        }
        Code::NotAuthorized
        | Code::Banned
        | Code::BadAuthenticationMethod
        | Code::ClientIdentifierNotValid => {
            (Ended::Busy, format!("the hub does not let this device in: {code:?}"))
        }
        other => (Ended::Failed, format!("the hub refused the connection: {other:?}")),
    }
}
