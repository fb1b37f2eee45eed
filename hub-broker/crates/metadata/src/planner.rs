//! Where replicas should lie: the catalog's next commands, from nothing but the catalog and who is connected.
//!
//! ```text
//!  AddReplica ──> joins (steward) ──> ReplicaJoined ──> LeaveReplica ──> leaves (steward) ──> RemoveReplica
//! ```
//!
//! A group is changed in one place at a time, and a replica leaves only when its replacement has joined. What is
//! begun is ended before more is begun, and only so many groups are in transition at once: so many on each hub that get a
//! replica they lack there, so many that lose one, and so many that are only moved. Every command strictly improves one of these, and
//! worsens none before it: replicas that are missing, that are on hubs to be drained, that share a rack; the hubs' uneven
//! load. So it comes to an end. A replica that does not get on with joining is given up after a while ([`Patience`]).
//!
//! Invariants, said as absences: no replica is moved because its hub is away for a while; nothing is taken from a
//! group whose remaining replicas would not be a connected majority; no record goes before the group's leader has let its
//! replica go.

mod layout;
mod leaders;
mod patience;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use schemas::NodeId;

use crate::command::Command;
use crate::view::View;
use layout::Layout;
pub(crate) use patience::{Patience, Sight, Sights};

/// What is known of the hubs apart from the catalog.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) connected: BTreeSet<NodeId>,
    /// Connected, or only just lost.
    pub(crate) lately: BTreeSet<NodeId>,
    /// Groups and hubs with which they do not get on: a replica that is joining there is given up, and none begins.
    pub(crate) stuck: BTreeSet<(u32, NodeId)>,
}

/// The commands that are due, in this order. Those that follow a refused one are still right, or refused as well.
pub(crate) fn plan(view: &View, reach: &Reach) -> Vec<Command> {
    let mut layout = Layout::new(view, reach);
    let mut commands: Vec<_> = view.group_numbers().filter_map(|group| layout.give_up(group)).collect();
    commands.extend(view.group_numbers().filter_map(|group| layout.let_go(group)));
    commands.extend(view.group_numbers().filter_map(|group| layout.add_missing(group)));
    while let Some(command) = layout.even_out() {
        commands.push(command);
    }
    commands.extend(leaders::spread(view));
    commands
}
