//! Which Kafka code stands for which refusal. No other file names one.
//!
//! Clients act on the code alone: a retriable code makes them try again, some after they have asked for
//! metadata, the rest goes up to the application. So each refusal of ours gets the code whose reaction helps.

use fetch::{FetchError, PartitionError};
use groups::{CommitPartitionError, CoordinatorError, DeleteGroupError, MemberError};
use ingest::ProduceError;
use kafka_protocol::error::ResponseError as Code;
use metadata::{CreateTopicError, DeleteTopicError, EnsureTopicError, ProducerIdError, Unavailable};
use schemas::BatchError;
use shards::{AppendError, SequenceError};

use crate::answer::Head;
use crate::topics::TopicRef;

/// Not counted: the client only learns which versions it may use.
pub(crate) const UNSUPPORTED_VERSION: i16 = Code::UnsupportedVersion.code();
/// Not counted: a partition's state rather than a refusal.
pub(crate) const LEADER_NOT_AVAILABLE: i16 = Code::LeaderNotAvailable.code();

/// Whether a client that is told this was wrong about the leader, and is helped by hearing who it is (KIP-951).
pub(crate) fn is_about_leader(code: i16) -> bool {
    code == Code::NotLeaderOrFollower.code() || code == Code::FencedLeaderEpoch.code()
}

/// A refusal that has a Kafka code.
pub(crate) trait Refusal {
    fn kafka(&self) -> Code;
}

/// The code of `error`, counted under the API that it answers.
pub(crate) fn code(head: &Head, error: &impl Refusal) -> i16 {
    count(head, error.kafka())
}

fn count(head: &Head, code: Code) -> i16 {
    let number = code.code();
    metrics::counter!("headwater_kafka_errors_total", "api" => head.api, "code" => number.to_string())
        .increment(1);
    number
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident => $code:ident;)*) => {
        $($(#[$doc])* pub(crate) fn $name(head: &Head) -> i16 {
            count(head, Code::$code)
        })*
    };
}

refusals! {
    unknown_topic => UnknownTopicOrPartition;
    unknown_topic_id => UnknownTopicId;
    unknown_group => GroupIdNotFound;
    no_coordinator => CoordinatorNotAvailable;
    invalid_topic => InvalidTopicException;
    invalid_request => InvalidRequest;
    invalid_replica_assignment => InvalidReplicaAssignment;
    invalid_acks => InvalidRequiredAcks;
    unsupported_version => UnsupportedVersion;
    unsupported_endpoint => UnsupportedEndpointType;
    /// KIP-110: the client cannot read what is stored.
    unsupported_compression => UnsupportedCompressionType;
    unknown_fetch_session => FetchSessionIdNotFound;
    invalid_fetch_session_epoch => InvalidFetchSessionEpoch;
    timed_out => RequestTimedOut;
    /// Retriable, and clients know that the batch was not stored.
    not_yet => NotEnoughReplicas;
    /// The client asks for metadata and goes on at another hub, or at this one after its restart.
    stopping => NotLeaderOrFollower;
    /// The code that both Java clients and librdkafka take as final where they look for transactions; they
    /// would go on asking after most others.
    no_transactions => TransactionalIdAuthorizationFailed;
}

pub(crate) fn no_such_topic(head: &Head, topic: &TopicRef) -> i16 {
    match topic {
        TopicRef::Name(_) => unknown_topic(head),
        TopicRef::Id(_) => unknown_topic_id(head),
    }
}

impl Refusal for ProduceError {
    fn kafka(&self) -> Code {
        match self {
            Self::Denied(_) => Code::TopicAuthorizationFailed,
            Self::UnknownPartition => Code::UnknownTopicOrPartition,
            Self::Invalid(error) => error.kafka(),
            Self::NotOneBatch { .. } => Code::InvalidRecord,
            Self::NotLeader { .. } => Code::NotLeaderOrFollower,
            Self::Append(error) => error.kafka(),
        }
    }
}

impl Refusal for BatchError {
    fn kafka(&self) -> Code {
        match self {
            Self::Magic { .. } => Code::UnsupportedForMessageFormat,
            // Retriable: what arrived may not be what was sent.
            Self::Crc { .. }
            | Self::Truncated { .. }
            | Self::LengthField { .. }
            | Self::TrailingBytes { .. } => Code::CorruptMessage,
            Self::TooLarge { .. } | Self::DecompressedTooLarge { .. } | Self::RecordTooLarge { .. } => {
                Code::MessageTooLarge
            }
            Self::UnknownCompression { .. } => Code::UnsupportedCompressionType,
            Self::LogAppendTime | Self::Timestamp { .. } => Code::InvalidTimestamp,
            _ => Code::InvalidRecord,
        }
    }
}

impl Refusal for AppendError {
    fn kafka(&self) -> Code {
        match self {
            Self::UnknownPartition | Self::NotLeader { .. } | Self::Stopping => Code::NotLeaderOrFollower,
            Self::Sequence(error) => error.kafka(),
            Self::NoSpace | Self::Stopped => Code::KafkaStorageError,
            // Retriable, and clients know that the batch was not stored.
            Self::Overloaded => Code::NotEnoughReplicas,
            Self::TooLarge { .. } => Code::MessageTooLarge,
            Self::Malformed => Code::InvalidRecord,
        }
    }
}

impl Refusal for SequenceError {
    fn kafka(&self) -> Code {
        match self {
            Self::OutOfOrder { .. } => Code::OutOfOrderSequenceNumber,
            // Clients begin anew under a higher epoch. They would after `OutOfOrder`, too, save librdkafka, for which a
            // hole in front of the batch that is due is fatal.
            Self::UnknownStream | Self::ProducerExpired { .. } => Code::UnknownProducerId,
            Self::ProducerFenced => Code::InvalidProducerEpoch,
            Self::Fork { .. } | Self::WrongProducerId | Self::EmptyRange => Code::InvalidRecord,
        }
    }
}

impl Refusal for PartitionError {
    fn kafka(&self) -> Code {
        match self {
            Self::UnknownTopic | Self::UnknownPartition => Code::UnknownTopicOrPartition,
            Self::NotOpen | Self::NewLeader => Code::OffsetNotAvailable,
            Self::NotLeader { .. } => Code::NotLeaderOrFollower,
            Self::FencedEpoch { .. } => Code::FencedLeaderEpoch,
            Self::UnknownEpoch { .. } => Code::UnknownLeaderEpoch,
        }
    }
}

impl Refusal for FetchError {
    fn kafka(&self) -> Code {
        match self {
            Self::Partition(error) => error.kafka(),
            Self::OutOfRange { .. } => Code::OffsetOutOfRange,
            Self::NotYetHere { .. } => Code::OffsetNotAvailable,
            // Clients try again in silence after a storage error, for ever; what is damaged does not get better, and
            // this one they hand to the application.
            Self::Damaged { .. } => Code::CorruptMessage,
            Self::Disk(_) => Code::KafkaStorageError,
            Self::Stopped => Code::NotLeaderOrFollower,
            Self::TooManyPartitions => Code::InvalidRequest,
        }
    }
}

impl Refusal for Unavailable {
    fn kafka(&self) -> Code {
        match self {
            Self::NotSettled => Code::RequestTimedOut,
            Self::Propose(_) | Self::NoMajority(_) | Self::NoLeader | Self::Answer(_) | Self::OtherAnswer => {
                Code::NotController
            }
        }
    }
}

impl Refusal for CreateTopicError {
    fn kafka(&self) -> Code {
        match self {
            Self::Exists(_) => Code::TopicAlreadyExists,
            Self::Internal(_) => Code::InvalidTopicException,
            Self::InvalidPartitions { .. } => Code::InvalidPartitions,
            Self::InvalidReplicationFactor { .. } => Code::InvalidReplicationFactor,
            Self::InvalidConfig(_) => Code::InvalidConfig,
            Self::Limit { .. } => Code::PolicyViolation,
            Self::DeletedMeanwhile(_) => Code::UnknownTopicOrPartition,
            Self::Unavailable(error) => error.kafka(),
        }
    }
}

/// Told to clients that only named a topic and wait for it, so what passes must be retriable for them.
impl Refusal for EnsureTopicError {
    fn kafka(&self) -> Code {
        match self {
            Self::Unknown(_) => Code::UnknownTopicOrPartition,
            Self::Create(CreateTopicError::Unavailable(_) | CreateTopicError::DeletedMeanwhile(_)) => {
                Code::LeaderNotAvailable
            }
            Self::Create(error) => error.kafka(),
        }
    }
}

impl Refusal for DeleteTopicError {
    fn kafka(&self) -> Code {
        match self {
            Self::Unknown(_) => Code::UnknownTopicOrPartition,
            Self::Internal(_) => Code::TopicAuthorizationFailed,
            Self::Unavailable(error) => error.kafka(),
        }
    }
}

impl Refusal for ProducerIdError {
    fn kafka(&self) -> Code {
        match self {
            Self::Exhausted => Code::UnknownServerError,
            Self::Unavailable(_) => Code::CoordinatorLoadInProgress,
        }
    }
}

impl Refusal for CoordinatorError {
    fn kafka(&self) -> Code {
        match self {
            Self::LoadInProgress => Code::CoordinatorLoadInProgress,
            Self::NotAvailable => Code::CoordinatorNotAvailable,
            Self::NotCoordinator => Code::NotCoordinator,
            Self::InvalidGroupId { .. } => Code::InvalidGroupId,
            Self::TooManyGroups => Code::GroupMaxSizeReached,
        }
    }
}

impl Refusal for MemberError {
    fn kafka(&self) -> Code {
        match self {
            Self::Coordinator(error) => error.kafka(),
            Self::MemberIdRequired { .. } => Code::MemberIdRequired,
            Self::UnknownMember => Code::UnknownMemberId,
            Self::IllegalGeneration => Code::IllegalGeneration,
            Self::RebalanceInProgress => Code::RebalanceInProgress,
            Self::InconsistentProtocol => Code::InconsistentGroupProtocol,
            Self::InvalidSessionTimeout { .. } => Code::InvalidSessionTimeout,
            Self::FencedInstance => Code::FencedInstanceId,
            Self::GroupFull => Code::GroupMaxSizeReached,
            Self::InvalidName { .. } => Code::InvalidRequest,
        }
    }
}

impl Refusal for CommitPartitionError {
    fn kafka(&self) -> Code {
        match self {
            Self::UnknownPartition => Code::UnknownTopicOrPartition,
            Self::MetadataTooLarge { .. } => Code::OffsetMetadataTooLarge,
            Self::TooManyOffsets => Code::InvalidCommitOffsetSize,
            Self::NotStored => Code::CoordinatorNotAvailable,
        }
    }
}

impl Refusal for DeleteGroupError {
    fn kafka(&self) -> Code {
        match self {
            Self::Coordinator(error) => error.kafka(),
            Self::NotEmpty => Code::NonEmptyGroup,
            Self::UnknownGroup => Code::GroupIdNotFound,
        }
    }
}
