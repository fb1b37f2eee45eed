//! Work for a shard that another hub leads: it is handed to that hub by request and answered here.
//!
//! What was certainly not begun is tried again with whoever leads then, until [`FORWARD_MAX`] is over. Past that
//! point the rules differ:
//! - an *append* whose answer is lost is in doubt, and so is everything of its shard that waits behind it: all are
//!   answered `NotLeader`. Batches of one shard keep their order: one request of a shard is under way at a time, with
//!   everything in it that had come together.
//! - a *partition command* and *retention* have the same effect when they are carried out twice: they are repeated.
//! - a *metadata command* has not: it is answered `NotLeader`.
//!
//! What waits holds a permit of the hub that it came to, and of the hub that carries it out.

mod failure;
mod lane;
mod route;
mod serve;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use schemas::{Offset, PartitionId, ShardId};
use tokio::time::Instant;

pub(crate) use lane::append_all;
pub(crate) use serve::serve;

use crate::doors::{Doors, METADATA_GROUP, group_of};
use crate::limits::FORWARD_MAX;
use crate::{CommandError, PartitionCommand, ProposeError, Retention};
use route::{AskError, Tried, Way, ask, at_leader};

pub(crate) async fn command(
    doors: &Arc<Doors>,
    shard: ShardId,
    command: PartitionCommand,
) -> Result<(), CommandError> {
    if doors.shared.peers.is_alone() {
        return doors.command(shard, command).await;
    }
    doors.place(shard).ok_or(CommandError::UnknownPartition)?;
    let (group, deadline) = (group_of(shard), Instant::now() + FORWARD_MAX);
    let body = wire::encode_command(shard, &command);
    let attempt = |way| {
        let (doors, command, body) = (doors.clone(), command.clone(), body.clone());
        async move {
            let outcome = match way {
                Way::Here => Ok(doors.command(shard, command).await),
                Way::There(leader) => {
                    let _permit = match doors.permit(0, false) {
                        Ok(permit) => permit,
                        Err(refusal) => return Tried::Done(Err(refusal.into())),
                    };
                    let answer = ask(&doors, group, leader, wire::COMMAND, body, deadline).await;
                    answer.and_then(|body| wire::decode_commanded(body).map_err(|_| AskError::InDoubt))
                }
            };
            repeat_without_leader(outcome)
        }
    };
    at_leader(doors, group, deadline, attempt)
        .await
        .unwrap_or_else(|leader| Err(CommandError::NotLeader { leader }))
}

pub(crate) async fn enforce_retention(
    doors: &Arc<Doors>,
    shard: ShardId,
    partition: PartitionId,
    retention: Retention,
) -> Result<Option<Offset>, CommandError> {
    if doors.shared.peers.is_alone() {
        return doors.enforce_retention(shard, partition, retention).await;
    }
    doors.place(shard).ok_or(CommandError::UnknownPartition)?;
    let (group, deadline) = (group_of(shard), Instant::now() + FORWARD_MAX);
    let body = wire::encode_retain(shard, partition, retention);
    let attempt = |way| {
        let (doors, body) = (doors.clone(), body.clone());
        async move {
            let outcome = match way {
                Way::Here => Ok(doors.enforce_retention(shard, partition, retention).await),
                Way::There(leader) => {
                    let _permit = match doors.permit(0, false) {
                        Ok(permit) => permit,
                        Err(refusal) => return Tried::Done(Err(refusal.into())),
                    };
                    let answer = ask(&doors, group, leader, wire::RETAIN, body, deadline).await;
                    answer.and_then(|body| wire::decode_retained(body).map_err(|_| AskError::InDoubt))
                }
            };
            repeat_without_leader(outcome)
        }
    };
    at_leader(doors, group, deadline, attempt)
        .await
        .unwrap_or_else(|leader| Err(CommandError::NotLeader { leader }))
}

pub(crate) async fn propose_metadata(doors: &Arc<Doors>, command: Bytes) -> Result<Bytes, ProposeError> {
    if doors.shared.peers.is_alone() {
        return doors.propose_metadata(command).await;
    }
    doors.check_metadata(&command)?;
    let (group, deadline) = (METADATA_GROUP, Instant::now() + FORWARD_MAX);
    let body = wire::encode_metadata(&command);
    let attempt = |way| {
        let (doors, command, body) = (doors.clone(), command.clone(), body.clone());
        async move {
            let Way::There(leader) = way else {
                return Tried::Done(doors.propose_metadata(command).await);
            };
            let _permit = match doors.permit(body.len() as u64, false) {
                Ok(permit) => permit,
                Err(refusal) => return Tried::Done(Err(refusal.into())),
            };
            let in_doubt = ProposeError::NotLeader { leader: Some(leader.node) };
            match ask(&doors, group, leader, wire::METADATA, body, deadline).await {
                Ok(body) => Tried::Done(wire::decode_answered(body).unwrap_or(Err(in_doubt))),
                Err(AskError::NothingDone) => Tried::Again,
                Err(AskError::InDoubt) => Tried::Done(Err(in_doubt)),
            }
        }
    };
    at_leader(doors, group, deadline, attempt)
        .await
        .unwrap_or_else(|leader| Err(ProposeError::NotLeader { leader }))
}

/// For what may be carried out twice.
fn repeat_without_leader<T>(
    outcome: Result<Result<T, CommandError>, AskError>,
) -> Tried<Result<T, CommandError>> {
    match outcome {
        Ok(Err(CommandError::NotLeader { .. })) | Err(_) => Tried::Again,
        Ok(outcome) => Tried::Done(outcome),
    }
}
