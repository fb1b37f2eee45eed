//! The one place where reasons become MQTT's codes (MQTT 5, 2.4; MQTT 3.1.1, 3.2.2.3).

use ingest::{AgentError, AgentRefusal, AppendError, PlainError, Reason};
use metadata::Topic;
use metadata::limits::METADATA_GROUP;
use rumqttd::protocol::{ConnectReturnCode, SubscribeReasonCode, UnsubAckReason};
use schemas::mqtt::LOG_TOPICS_MAX;
use schemas::{BatchError, PartitionIndex, Sequence};

use crate::fanout::SubscribeRefusal;
use crate::wire::control::ConnectError;
use crate::wire::text::FilterError;
use crate::wire::{Qos, WireError};

/// Codes that publishes, connections and their ends are answered with.
pub mod code {
    pub const SUCCESS: u8 = 0x00;
    pub const DISCONNECT_WITH_WILL: u8 = 0x04;
    pub const UNSPECIFIED: u8 = 0x80;
    pub const MALFORMED: u8 = 0x81;
    pub const PROTOCOL_ERROR: u8 = 0x82;
    pub const IMPLEMENTATION_SPECIFIC: u8 = 0x83;
    pub const NOT_AUTHORIZED: u8 = 0x87;
    pub const SERVER_SHUTTING_DOWN: u8 = 0x8b;
    pub const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
    pub const SESSION_TAKEN_OVER: u8 = 0x8e;
    pub const TOPIC_NAME_INVALID: u8 = 0x90;
    pub const PACKET_ID_NOT_FOUND: u8 = 0x92;
    pub const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
    pub const TOPIC_ALIAS_INVALID: u8 = 0x94;
    pub const PACKET_TOO_LARGE: u8 = 0x95;
    pub const QUOTA_EXCEEDED: u8 = 0x97;
    pub const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
}

/// Why a publish was not stored, and what its sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub code: u8,
    pub reason: &'static str,
    /// What it is counted as.
    pub kind: Reason,
    /// What an agent is told beside the code.
    pub agent: Option<AgentFacts>,
    /// The group that would have had to take it.
    pub group: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentFacts {
    /// Index of the refused batch within the publish.
    pub batch: usize,
    pub expected: Option<Sequence>,
    pub is_fork: bool,
}

impl Refusal {
    const fn new(kind: Reason, code: u8, reason: &'static str) -> Self {
        Self { code, reason, kind, agent: None, group: None }
    }

    const fn topic(reason: &'static str) -> Self {
        Self::new(Reason::UnknownTopic, code::TOPIC_NAME_INVALID, reason)
    }

    pub const RESERVED_TOPIC: Self = Self::topic("the topic is reserved");
    pub const NO_SUCH_TOPIC: Self = Self::topic("the log topic was not named at CONNECT or does not exist");
    pub const NO_ROUTE: Self = Self::topic("no route takes this topic");
    pub const OTHER_DEVICE: Self =
        Self::new(Reason::NotAllowed, code::NOT_AUTHORIZED, "the topic's device is not the connection's");
    pub const ROUTE_CLOSED: Self = Self {
        group: Some(METADATA_GROUP),
        ..Self::new(Reason::Unavailable, code::QUOTA_EXCEEDED, "the route's log topic cannot be had now")
    };
    pub const PAYLOAD_FORMAT: Self =
        Self::new(Reason::Invalid, code::PAYLOAD_FORMAT_INVALID, "the payload is not what it says it is");
}

/// The group that takes what is meant for this partition.
#[must_use]
pub fn group_of(topic: &Topic, partition: PartitionIndex) -> Option<u32> {
    topic.placement(partition).map(|placement| u32::from(placement.shard().0) + 1)
}

impl From<PlainError> for Refusal {
    fn from(error: PlainError) -> Self {
        let (code, reason) = match error {
            PlainError::Denied(_) => (code::NOT_AUTHORIZED, "not authorised"),
            PlainError::UnknownPartition => (code::TOPIC_NAME_INVALID, "the log topic is gone"),
            // No PUBACK may say "packet too large" (MQTT 5, 3.4.2.1); this one is for limits of the hub's own.
            PlainError::TooLarge => (code::QUOTA_EXCEEDED, "larger than the log topic takes"),
            PlainError::Overloaded => (code::QUOTA_EXCEEDED, "the hub is overloaded"),
            PlainError::NoSpace => (code::QUOTA_EXCEEDED, "the disk is full"),
            PlainError::Unavailable => (code::QUOTA_EXCEEDED, "the shard is not available"),
            PlainError::Stopping => (code::QUOTA_EXCEEDED, "the hub is stopping"),
        };
        Self::new(error.reason(), code, reason)
    }
}

impl From<&AgentRefusal> for Refusal {
    fn from(refusal: &AgentRefusal) -> Self {
        let (code, reason) = agent_error(&refusal.error);
        let (batch, expected, is_fork) = (refusal.batch, refusal.expected(), refusal.is_fork());
        let kind = refusal.error.reason();
        Self { code, reason, kind, agent: Some(AgentFacts { batch, expected, is_fork }), group: None }
    }
}

fn agent_error(error: &AgentError) -> (u8, &'static str) {
    match error {
        AgentError::Denied(_) => (code::NOT_AUTHORIZED, "not authorised"),
        AgentError::UnknownPartition => (code::TOPIC_NAME_INVALID, "no such partition"),
        AgentError::NotAdmitted => (code::TOPIC_NAME_INVALID, "the log topic was not named at CONNECT"),
        AgentError::Empty => (code::PAYLOAD_FORMAT_INVALID, "no batch"),
        AgentError::TooManyBatches(_) => (code::PAYLOAD_FORMAT_INVALID, "too many batches in one publish"),
        AgentError::MixedStreams => (code::PAYLOAD_FORMAT_INVALID, "batches of more than one stream"),
        AgentError::TopicTakesLess { .. } => (code::TOPIC_NAME_INVALID, "larger than the log topic takes"),
        // The key is right for another device: the batch is sound, its sender is not.
        AgentError::Invalid(BatchError::KeyNotAllowed { .. }) => {
            (code::NOT_AUTHORIZED, "a record's key is another device's")
        }
        AgentError::Invalid(_) => (code::PAYLOAD_FORMAT_INVALID, "the batch breaks a rule"),
        AgentError::Append(error) => append_error(error),
    }
}

fn append_error(error: &AppendError) -> (u8, &'static str) {
    match error {
        AppendError::UnknownPartition => (code::TOPIC_NAME_INVALID, "no such partition"),
        AppendError::Sequence(_) => (code::IMPLEMENTATION_SPECIFIC, "another sequence is expected"),
        AppendError::NotLeader { .. } => (code::QUOTA_EXCEEDED, "the shard has no leader here"),
        AppendError::NoSpace => (code::QUOTA_EXCEEDED, "the disk is full"),
        AppendError::Overloaded => (code::QUOTA_EXCEEDED, "the hub is overloaded"),
        AppendError::Stopping => (code::QUOTA_EXCEEDED, "the hub is stopping"),
        AppendError::TooLarge { .. } => (code::PAYLOAD_FORMAT_INVALID, "the batch is too large"),
        AppendError::Malformed => (code::PAYLOAD_FORMAT_INVALID, "not one batch"),
        AppendError::Stopped => (code::QUOTA_EXCEEDED, "the shard stands still"),
    }
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The client said DISCONNECT. Its reason says whether the will is to be published.
    #[error("the client disconnected")]
    Client { reason: u8 },
    #[error("the client closed the socket")]
    EndOfStream,
    #[error("the socket failed: {0:?}")]
    Io(std::io::ErrorKind),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("nothing was heard for one and a half keep-alive intervals")]
    KeepAlive,
    #[error("the client takes nothing of what is written to it")]
    WriteStalled,
    #[error("another connection has taken the session over")]
    TakenOver,
    #[error("more unacknowledged publishes than the Receive Maximum allows")]
    ReceiveMaximum,
    /// 3.1.1 has no way to refuse a publish, so it must not be acknowledged.
    #[error("a publish could not be stored: {0}")]
    NotStored(&'static str),
    #[error("the client is too slow for what it has subscribed to")]
    TooSlow,
    #[error("the hub is stopping")]
    Shutdown,
    #[error("a fault of the hub's own")]
    Internal,
}

impl Close {
    /// The code of the DISCONNECT that tells a client of 5, where one is due.
    #[must_use]
    pub fn code(self) -> Option<u8> {
        match self {
            Self::Client { .. } | Self::EndOfStream | Self::Io(_) | Self::WriteStalled => None,
            Self::Wire(error) => Some(wire_code(error)),
            Self::KeepAlive => Some(code::KEEP_ALIVE_TIMEOUT),
            Self::TakenOver => Some(code::SESSION_TAKEN_OVER),
            Self::ReceiveMaximum => Some(code::RECEIVE_MAXIMUM_EXCEEDED),
            Self::NotStored(_) | Self::Internal => Some(code::UNSPECIFIED),
            Self::TooSlow => Some(code::QUOTA_EXCEEDED),
            Self::Shutdown => Some(code::SERVER_SHUTTING_DOWN),
        }
    }

    /// Whether the will is published (MQTT 5, 3.1.2.5). At a stop of the hub's own it stays unsaid: the client
    /// will be back before anybody has missed it.
    #[must_use]
    pub fn publishes_will(self) -> bool {
        match self {
            Self::Client { reason } => reason == code::DISCONNECT_WITH_WILL,
            Self::Shutdown => false,
            _ => true,
        }
    }
}

fn wire_code(error: WireError) -> u8 {
    match error {
        WireError::Malformed(_) => code::MALFORMED,
        WireError::Protocol(_) => code::PROTOCOL_ERROR,
        WireError::TooLarge { .. } => code::PACKET_TOO_LARGE,
        WireError::TopicName(_) => code::TOPIC_NAME_INVALID,
        WireError::PayloadFormat => code::PAYLOAD_FORMAT_INVALID,
        WireError::TopicAlias(_) => code::TOPIC_ALIAS_INVALID,
    }
}

/// Why a CONNECT was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectRefusal {
    #[error(transparent)]
    Packet(#[from] ConnectError),
    #[error("an empty client id with a session that is to be kept")]
    ClientIdMissing,
    #[error("the client id is too long")]
    ClientIdTooLong,
    #[error("not a device id")]
    DeviceId,
    #[error("neither a certificate nor a right name and password")]
    Unidentified,
    #[error("the device is not the one that the certificate or the password is of")]
    OtherDevice,
    #[error("authentication methods are not served")]
    AuthenticationMethod,
    #[error("the will's topic is reserved")]
    WillTopic,
    #[error("more log topics are named than {LOG_TOPICS_MAX}")]
    TooManyTopics,
    #[error("the session is held by another connection that does not let go")]
    SessionBusy,
}

impl ConnectRefusal {
    /// The code in a CONNACK of 5.
    #[must_use]
    pub fn v5(self) -> ConnectReturnCode {
        match self {
            Self::Packet(ConnectError::Wire(error)) => match wire_code(error) {
                code::PROTOCOL_ERROR => ConnectReturnCode::ProtocolError,
                code::PACKET_TOO_LARGE => ConnectReturnCode::PacketTooLarge,
                code::TOPIC_NAME_INVALID => ConnectReturnCode::TopicNameInvalid,
                _ => ConnectReturnCode::MalformedPacket,
            },
            Self::Packet(ConnectError::NotMqtt(_)) => ConnectReturnCode::MalformedPacket,
            Self::Packet(ConnectError::UnsupportedVersion(_)) => {
                ConnectReturnCode::UnsupportedProtocolVersion
            }
            Self::ClientIdMissing | Self::ClientIdTooLong | Self::DeviceId => {
                ConnectReturnCode::ClientIdentifierNotValid
            }
            Self::Unidentified => ConnectReturnCode::BadUserNamePassword,
            Self::OtherDevice => ConnectReturnCode::NotAuthorized,
            Self::AuthenticationMethod => ConnectReturnCode::BadAuthenticationMethod,
            Self::WillTopic => ConnectReturnCode::TopicNameInvalid,
            Self::TooManyTopics => ConnectReturnCode::QuotaExceeded,
            Self::SessionBusy => ConnectReturnCode::ServerBusy,
        }
    }

    /// The code in a CONNACK of 3.1.1, where it has one: otherwise the socket is just closed.
    #[must_use]
    pub fn v311(self) -> Option<ConnectReturnCode> {
        match self {
            Self::Packet(ConnectError::UnsupportedVersion(_)) => {
                Some(ConnectReturnCode::RefusedProtocolVersion)
            }
            Self::ClientIdMissing | Self::ClientIdTooLong | Self::DeviceId => {
                Some(ConnectReturnCode::ClientIdentifierNotValid)
            }
            Self::SessionBusy => Some(ConnectReturnCode::ServiceUnavailable),
            Self::Unidentified => Some(ConnectReturnCode::BadUserNamePassword),
            Self::WillTopic | Self::OtherDevice => Some(ConnectReturnCode::NotAuthorized),
            Self::Packet(_) | Self::AuthenticationMethod | Self::TooManyTopics => None,
        }
    }
}

/// The code for one filter of a SUBSCRIBE.
#[must_use]
pub fn subscribe_code(outcome: Result<Qos, SubscribeRefusal>, is_v5: bool) -> SubscribeReasonCode {
    match outcome {
        Ok(Qos::AtMostOnce) => SubscribeReasonCode::QoS0,
        Ok(Qos::AtLeastOnce) => SubscribeReasonCode::QoS1,
        Ok(Qos::ExactlyOnce) => SubscribeReasonCode::QoS2,
        Err(_) if !is_v5 => SubscribeReasonCode::Failure,
        Err(SubscribeRefusal::Filter(FilterError::Invalid)) => SubscribeReasonCode::TopicFilterInvalid,
        Err(SubscribeRefusal::Filter(FilterError::Shared)) => {
            SubscribeReasonCode::SharedSubscriptionsNotSupported
        }
        Err(SubscribeRefusal::NotAuthorized) => SubscribeReasonCode::NotAuthorized,
        Err(SubscribeRefusal::Filter(FilterError::TooLong) | SubscribeRefusal::TooMany) => {
            SubscribeReasonCode::QuotaExceeded
        }
    }
}

/// The code for one filter of an UNSUBSCRIBE.
#[must_use]
pub fn unsubscribe_code(existed: bool) -> UnsubAckReason {
    if existed { UnsubAckReason::Success } else { UnsubAckReason::NoSubscriptionExisted }
}
