//! How a hub with an empty directory comes by a cluster: it founds one, or joins one.
//!
//! A cluster is founded by one hub alone. Where all seeds can be reached, and each says itself that it is empty and
//! waiting, the hub with the lowest node id founds, and the others join it as they would join any cluster. A single
//! seed that belongs to a cluster means that there is one to join; a seed that cannot be reached may belong to one, so
//! nothing is founded without it.
//!
//! Invariants, said as absences: no hub that has ever been part of a cluster forms another; nothing is founded in the
//! hope that whoever does not answer has nothing.

mod decide;
mod messages;
pub(crate) mod serve;
#[cfg(test)]
mod tests;

use peers::{Peers, RequestError};
use schemas::NodeId;
use shards::{DataDir, DataDirError};
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::error::Unfit;
use crate::levels;
use crate::limits::{FORMING_INTERVAL, FORMING_LOG_AFTER, FORMING_LOG_INTERVAL, JOIN_TIMEOUT};
use crate::topic::Hub;
use decide::{Decision, decide};
use messages::JoinAnswer;

pub use messages::JoinRefusal;
pub(crate) use messages::REPORT_KIND;
use messages::{EMPTY_KIND, JOIN_KIND, JUDGE_KIND, RENEW_KIND};

/// What a hub is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formed {
    /// The cluster began, or begins, with this hub alone.
    Founder,
    /// The hub joined a cluster that was there.
    Member,
}

/// The hub has no cluster.
#[derive(Debug, Error)]
pub enum FormError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Trying again alone does not help.
    #[error("hub {by} refuses this hub: {reason}")]
    Refused { by: NodeId, reason: JoinRefusal },
    /// Nor does it here: another release is needed.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("stopped before a cluster was found")]
    Stopped,
}

/// Finds this hub's cluster, or founds it; returns at once where the directory has one. Waits for as long as it takes,
/// and says in the log what for.
///
/// # Errors
/// A directory that cannot be written, a cluster that refuses this hub, or `stop`.
pub async fn form(
    dir: &mut DataDir,
    peers: &Peers,
    this: &Hub,
    stop: &CancellationToken,
) -> Result<Formed, FormError> {
    if let Some(cluster) = dir.cluster() {
        if let Some(id) = cluster.id {
            peers.set_cluster(id);
        }
        return Ok(if cluster.founder { Formed::Founder } else { Formed::Member });
    }
    if peers.is_alone() {
        dir.found()?;
        return Ok(Formed::Founder);
    }
    messages::answer_that_empty(peers, true);
    let formed = stop.run_until_cancelled(find(dir, peers, this)).await;
    messages::answer_that_empty(peers, false);
    formed.unwrap_or(Err(FormError::Stopped))
}

async fn find(dir: &mut DataDir, peers: &Peers, this: &Hub) -> Result<Formed, FormError> {
    let mut ticks = tokio::time::interval(FORMING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting = Waiting::begin();
    loop {
        ticks.tick().await;
        match decide(peers.node(), &peers.seeds(), &peers.known()) {
            Decision::Join(by) => match introduce(peers, by, this).await {
                Ok(JoinAnswer { cluster, replica_floor }) => {
                    dir.join(cluster, replica_floor)?;
                    peers.set_cluster(cluster);
                    tracing::info!(%cluster, "this hub has joined the cluster of hub {by}");
                    return Ok(Formed::Member);
                }
                Err(Failed::Refused(reason)) if reason.is_final() => {
                    return Err(FormError::Refused { by, reason });
                }
                Err(Failed::Unfit(why)) => return Err(why.into()),
                Err(failed) => waiting.tell(&failed.to_string()),
            },
            Decision::Found { others } => match all_empty(peers, &others).await {
                Ok(()) => {
                    messages::answer_that_empty(peers, false);
                    dir.found()?;
                    tracing::info!("all hubs are empty: this one founds the cluster");
                    return Ok(Formed::Founder);
                }
                Err(why) => waiting.tell(&why),
            },
            Decision::Wait(why) => waiting.tell(&why),
        }
    }
}

#[derive(Debug, Error)]
enum Failed {
    #[error("the cluster does not take this hub yet: {0}")]
    Refused(JoinRefusal),
    #[error("the cluster did not answer: {0}")]
    Request(RequestError),
    #[error("the cluster's answer cannot be read")]
    Answer,
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Asks to join in the form that the cluster reads, where this hub supports what the others may write.
async fn introduce(peers: &Peers, by: NodeId, this: &Hub) -> Result<JoinAnswer, Failed> {
    let level = match levels::of_cluster(peers, by).await {
        Ok(level) => level,
        Err(RequestError::Refused(_)) => return Err(Failed::Refused(JoinRefusal::Unavailable)),
        Err(error) => return Err(Failed::Request(error)),
    };
    if let Some(supported) = this.levels {
        Unfit::check(supported, level)?;
    }
    ask_to_join(peers, by, JOIN_KIND, &this.clone().at_level(level)).await
}

async fn ask_to_join(peers: &Peers, by: NodeId, kind: u8, hub: &Hub) -> Result<JoinAnswer, Failed> {
    let body = messages::encode_join(hub).into();
    match peers.request(by, kind, body, JOIN_TIMEOUT).await {
        Ok(answer) => JoinAnswer::decode(&answer).map_err(|_| Failed::Answer),
        Err(RequestError::Refused(reason)) => {
            Err(JoinRefusal::decode(&reason).map_or(Failed::Answer, Failed::Refused))
        }
        Err(error) => Err(Failed::Request(error)),
    }
}

/// Asks each of them: what the transport knows of a hub may be older than its founding.
async fn all_empty(peers: &Peers, others: &[NodeId]) -> Result<(), String> {
    for node in others {
        match peers.request(*node, EMPTY_KIND, messages::encode_question().into(), JOIN_TIMEOUT).await {
            Ok(answer) if messages::decode_empty(&answer) == Ok(true) => {}
            Ok(_) => return Err(format!("hub {node} is not empty and has no cluster yet")),
            Err(error) => return Err(format!("hub {node} does not say whether it is empty: {error}")),
        }
    }
    Ok(())
}

/// Says what is waited for: when that has held for a while, and again from time to time.
struct Waiting {
    now: String,
    since: Instant,
    told: String,
    told_at: Instant,
}

impl Waiting {
    fn begin() -> Self {
        let at = Instant::now();
        Self { now: String::new(), since: at, told: String::new(), told_at: at }
    }

    fn tell(&mut self, why: &str) {
        if self.now != why {
            (self.now, self.since) = (why.to_owned(), Instant::now());
        }
        let is_news = self.told != why && self.since.elapsed() >= FORMING_LOG_AFTER;
        if is_news || self.told_at.elapsed() >= FORMING_LOG_INTERVAL {
            tracing::info!("waiting for a cluster: {why}");
            (self.told, self.told_at) = (why.to_owned(), Instant::now());
        }
    }
}
