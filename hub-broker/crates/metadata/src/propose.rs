//! Commands to the metadata group, and their answers.

use bytes::Bytes;
use shards::{ProposeError, Shards};
use tokio::time::Instant;

use crate::command::Command;
use crate::error::Unavailable;
use crate::limits::{PROPOSE_MAX, PROPOSE_RETRY};
use crate::response::{self, Response};

/// Proposes a command and waits until it is applied where the metadata is led.
///
/// When the leader changes meanwhile nobody knows whether the command took effect: it is proposed again. Every command
/// has the same effect when it comes twice, but for producer ids, of which some are then never used.
pub(crate) async fn propose(shards: &Shards, command: &Command) -> Result<Response, Unavailable> {
    let (bytes, deadline) = (Bytes::from(command.encode()), Instant::now() + PROPOSE_MAX);
    loop {
        match shards.propose_metadata(bytes.clone()).await {
            Ok(answer) => return Ok(response::decode(&answer)?),
            Err(ProposeError::NotLeader { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(PROPOSE_RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
