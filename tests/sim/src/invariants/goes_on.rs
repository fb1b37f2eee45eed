//! A hub whose disk has room again applies what has waited.

use schemas::NodeId;
use shards::{GroupStatus, Standing};

use super::Violation;

pub(super) fn look(node: NodeId, statuses: &[GroupStatus]) -> Result<(), Violation> {
    match statuses.iter().find(|status| status.standing == Standing::Paused) {
        Some(status) => Err(Violation::Stuck(format!("hub {node}: {status:?}"))),
        None => Ok(()),
    }
}
