//! Commands to the metadata group, and their answers.

use bytes::Bytes;
use shards::Shards;

use crate::command::Command;
use crate::error::Unavailable;
use crate::response::{self, Response};

/// Proposes a command and waits until it is applied here.
pub(crate) async fn propose(shards: &Shards, command: &Command) -> Result<Response, Unavailable> {
    let answer = shards.propose_metadata(Bytes::from(command.encode())).await?;
    Ok(response::decode(&answer)?)
}
