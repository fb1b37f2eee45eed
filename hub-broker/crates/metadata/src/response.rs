//! What the metadata group answers to a command, and its encoding.
//!
//! ```text
//! response = version u8 (1) | kind u8 | body
//!   1 Done         metadata version u64
//!   2 ProducerIds  first i64 | count i64
//!   3 Registered   metadata version u64 | replica floor u32
//!  16 … refusals, without a body
//! ```

use thiserror::Error;

use crate::wire::{DecodeError, Reader, Writer};

const VERSION: u8 = 1;
const WHAT: &str = "metadata response";

/// What a command led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The metadata is, at this version, as the command wanted it.
    Done { version: u64 },
    /// Ids that nobody else has been given.
    ProducerIds { first: i64, count: i64 },
    /// The hub is known; replica numbers up to the floor are not its, a founder's first ones excepted.
    Registered { version: u64, replica_floor: u32 },
}

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the cluster has not been formed yet")]
    NotFormed,
    #[error("a topic of that name exists")]
    TopicExists,
    #[error("there is no such topic")]
    UnknownTopic,
    #[error(
        "a topic needs at least one partition and may have at most {}",
        crate::limits::PARTITIONS_PER_TOPIC_MAX
    )]
    PartitionCount,
    #[error("the cluster has as many topics as it may have")]
    TooManyTopics,
    #[error("the cluster has as many partitions as it may have")]
    TooManyPartitions,
    #[error("the cluster has as many hubs as it may have")]
    TooManyHubs,
    #[error("agents cannot feed a compacted topic, nor can one that they feed be compacted")]
    AgentsAndCompaction,
    #[error("no producer ids are left")]
    NoProducerIds,
    #[error("the cluster has no such hub")]
    UnknownHub,
    #[error("the cluster has no such group")]
    UnknownGroup,
    #[error("the hub still has replicas")]
    HubHasReplicas,
    #[error("no other hub could take over")]
    LastHub,
    #[error("the group has no other replica that has joined")]
    LastReplica,
    #[error("no replica numbers are left")]
    NoReplicaNumbers,
    #[error("another hub has just been given the node id")]
    NodeTaken,
    #[error("a hub does not support the feature level")]
    HubTooOld,
}

const REFUSALS: [(u8, Refusal); 17] = [
    (16, Refusal::NotFormed),
    (17, Refusal::TopicExists),
    (18, Refusal::UnknownTopic),
    (19, Refusal::PartitionCount),
    (20, Refusal::TooManyTopics),
    (21, Refusal::TooManyPartitions),
    (22, Refusal::TooManyHubs),
    (23, Refusal::AgentsAndCompaction),
    (24, Refusal::NoProducerIds),
    (25, Refusal::UnknownHub),
    (26, Refusal::UnknownGroup),
    (27, Refusal::HubHasReplicas),
    (28, Refusal::LastHub),
    (29, Refusal::LastReplica),
    (30, Refusal::NoReplicaNumbers),
    (31, Refusal::NodeTaken),
    (32, Refusal::HubTooOld),
];

/// A command's result.
pub type Response = Result<Outcome, Refusal>;

pub(crate) fn encode(response: Response) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(VERSION);
    match response {
        Ok(Outcome::Done { version }) => out.u8(1).u64(version),
        Ok(Outcome::ProducerIds { first, count }) => out.u8(2).i64(first).i64(count),
        Ok(Outcome::Registered { version, replica_floor }) => out.u8(3).u64(version).u32(replica_floor),
        Err(refusal) => {
            let known = REFUSALS.iter().find(|(_, known)| *known == refusal);
            out.u8(known.expect("every refusal is in the table").0)
        }
    };
    out.finish()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Response, DecodeError> {
    let mut input = Reader::new(WHAT, bytes);
    input.version(VERSION)?;
    let response = match input.u8()? {
        1 => Ok(Outcome::Done { version: input.u64()? }),
        2 => Ok(Outcome::ProducerIds { first: input.i64()?, count: input.i64()? }),
        3 => Ok(Outcome::Registered { version: input.u64()?, replica_floor: input.u32()? }),
        kind => match REFUSALS.iter().find(|(known, _)| *known == kind) {
            Some((_, refusal)) => Err(*refusal),
            None => return Err(input.unknown_kind(kind)),
        },
    };
    input.end()?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_response_is_read_again() {
        let refusals = REFUSALS.iter().map(|(_, refusal)| Err(*refusal));
        let outcomes = [
            Outcome::Done { version: 7 },
            Outcome::ProducerIds { first: 1, count: 1_000 },
            Outcome::Registered { version: 7, replica_floor: 66 },
        ];
        for response in refusals.chain(outcomes.map(Ok)) {
            assert_eq!(decode(&encode(response)), Ok(response));
        }
    }
}
