//! One error per operation; each says by its variant whether trying again can help.

use schemas::{NodeId, TopicName};
use shards::{DataDirError, Levels, ProposeError};
use thiserror::Error;
use uuid::Uuid;

use crate::config::ConfigError;
use crate::majority::NoMajority;
use crate::response::Refusal;
use crate::wire::DecodeError;

/// The metadata group did not take the command, or nobody knows whether it did: what is in a leader's log may still be
/// agreed on. Trying again helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    #[error("the metadata did not take the command: {0}")]
    Propose(#[from] ProposeError),
    #[error(
        "the metadata may not have taken the command: {0}; start the hubs that are missing, or mend the network to them, and look whether it was carried out before you give it again"
    )]
    NoMajority(Box<NoMajority>),
    /// An election takes a moment.
    #[error(
        "the metadata may not have taken the command: nobody leads it now; look in a moment whether it was carried out before you give it again"
    )]
    NoLeader,
    #[error("the metadata's answer cannot be read: {0}")]
    Answer(#[from] DecodeError),
    #[error("the metadata gave another answer than the command has")]
    OtherAnswer,
    /// The command is committed and will be carried out, but not within the time that one waits for it.
    #[error("agreed on, but not carried out everywhere yet")]
    NotSettled,
}

/// The metadata could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the cluster could not be formed: {0}")]
    Refused(#[from] Refusal),
    #[error("the metadata names no cluster")]
    NoCluster,
    #[error(transparent)]
    Ousted(#[from] Ousted),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

/// Why a hub is no part of its cluster any more. Its data directory is never taken back, except with another release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Ousted {
    #[error(
        "the node id {node} was given to another hub, with the data directory {by}: give this hub a --node-id of its own and an empty data directory, and it joins as a new hub"
    )]
    Displaced { node: NodeId, by: Uuid },
    #[error(
        "hub {node} was removed from its cluster (hub-broker cluster remove {node}), which does not take its data directory back; everything in it is on the other hubs: delete the data directory and start the hub again, and it joins as a new hub"
    )]
    Removed { node: NodeId },
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// The cluster's level is none that this hub's release supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    #[error(
        "the cluster is at feature level {level}, and this release of hub-broker supports {supported}: install one that supports level {level}, as the other hubs have; the data directory stays as it is"
    )]
    TooOld { level: u16, supported: Levels },
    #[error(
        "the cluster is at feature level {level}, and this release of hub-broker supports {supported}: it is too new. Run a release that supports both on all hubs, the one before this, then hub-broker cluster upgrade; this one after that. The data directory stays as it is"
    )]
    TooNew { level: u16, supported: Levels },
}

impl Unfit {
    /// # Errors
    /// The level is not supported.
    pub(crate) fn check(supported: Levels, level: u16) -> Result<(), Self> {
        match supported {
            it if it.contains(level) => Ok(()),
            it if level > it.most => Err(Self::TooOld { level, supported }),
            _ => Err(Self::TooNew { level, supported }),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CreateTopicError {
    #[error("topic {0} exists")]
    Exists(TopicName),
    #[error("names that begin with __ are the hub's own: {0}")]
    Internal(TopicName),
    #[error("{given} partitions: a topic has 1 to {max}")]
    InvalidPartitions { given: i32, max: i32 },
    #[error("replication factor {given}: -1 or 1 to {hubs}, the number of hubs")]
    InvalidReplicationFactor { given: i16, hubs: usize },
    #[error(transparent)]
    InvalidConfig(#[from] ConfigError),
    /// The cluster holds as much as it may.
    #[error("topic {name}: {reason}")]
    Limit { name: TopicName, reason: Refusal },
    /// Somebody deleted it again before it was ready.
    #[error("topic {0} was deleted while it was being created")]
    DeletedMeanwhile(TopicName),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnsureTopicError {
    /// It does not exist, and topics are not created by being named.
    #[error("there is no topic {0}")]
    Unknown(TopicName),
    #[error(transparent)]
    Create(#[from] CreateTopicError),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AdmitAgentsError {
    #[error(transparent)]
    Ensure(#[from] EnsureTopicError),
    #[error("topic {0} is compacted: agents' gaps and streams cannot live there")]
    Compacted(TopicName),
    #[error("topic {0} was deleted meanwhile")]
    DeletedMeanwhile(TopicName),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigureTopicError {
    #[error("there is no topic {0}")]
    Unknown(TopicName),
    #[error("topic {0} is the hub's own")]
    Internal(TopicName),
    #[error(transparent)]
    InvalidConfig(#[from] ConfigError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeleteTopicError {
    #[error("there is no topic {0}")]
    Unknown(TopicName),
    #[error("topic {0} is the hub's own")]
    Internal(TopicName),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProducerIdError {
    #[error("no producer ids are left")]
    Exhausted,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegisterHubError {
    #[error("a name, host or rack of a hub has at most {max} bytes")]
    TooLong { max: usize },
    #[error("the cluster has as many hubs as it may have")]
    TooManyHubs,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClusterStatusError {
    #[error("this hub does not know its cluster yet")]
    NotFormed,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DrainError {
    #[error("the cluster has no hub {0}")]
    UnknownHub(NodeId),
    #[error("hub {0} is the last one that is not draining: nobody could take over")]
    LastHub(NodeId),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RemoveHubError {
    #[error("the cluster has no hub {0}")]
    UnknownHub(NodeId),
    #[error("hub {node} still has {replicas} replicas: drain it first")]
    HasReplicas { node: NodeId, replicas: usize },
    #[error("hub {0} is running: stop it first")]
    Connected(NodeId),
    #[error("nothing would remain without hub {0}")]
    LastHub(NodeId),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AcceptClockError {
    #[error("the cluster has no hub {0}")]
    UnknownHub(NodeId),
    #[error("hub {0} does not answer: its clock stays as it is")]
    NoAnswer(NodeId),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpgradeError {
    #[error(
        "the feature level is {level} and stays so: {hubs} no higher one, others support {highest}; install their release there, restart, and upgrade again"
    )]
    HeldBack { level: u16, highest: u16, hubs: String },
    #[error(
        "nobody knows which feature levels {hubs}: start what is not running, or take it out of the cluster (hub-broker cluster remove N), and upgrade again"
    )]
    Silent { hubs: String },
    /// A hub was restarted with another release in between, or has not registered since the level was raised last.
    #[error("a hub of the cluster is registered with a release that does not support that feature level")]
    Changed,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_does_not_fit_says_whether_an_older_or_a_newer_one_would() {
        let supported = Levels { least: 2, most: 3 };
        let said = |level| Unfit::check(supported, level).map_err(|unfit| unfit.to_string());
        assert_eq!((said(2), said(3)), (Ok(()), Ok(())));
        let old = said(4).unwrap_err();
        assert!(
            old.contains("supports 2 to 3") && old.contains("install one that supports level 4"),
            "{old}"
        );
        let new = said(1).unwrap_err();
        assert!(new.contains("at feature level 1") && new.contains("hub-broker cluster upgrade"), "{new}");
    }
}
