//! `hub-broker cluster …`

mod clock;
mod drain;
mod init;
mod level;
mod shards;
mod status;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use kafka_server::cluster::{Question, Reply};
use metadata::{ClusterStatus, HubStatus};
use program::outcome::Failure;
use program::output::line;
use schemas::NodeId;

use super::client::Client;
use super::hubs::{Hubs, OTHER_ANSWER};
use crate::args::{ClockCommand, ClusterCommand};

/// How often a drain that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A cluster may be without a leader of its metadata for a moment; an order is repeated for so long.
const ORDER_WITHIN: Duration = Duration::from_secs(15);

pub fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status { json, all, hub } => status::run(&mut Hubs::connect(&hub.hub)?, json, all),
        ClusterCommand::Drain { node, no_wait, cancel, hub } => {
            let node = NodeId(node);
            let mut hubs = beside(&hub.hub, node)?;
            let status = hubs.status()?;
            check_known(&status, node)?;
            if !cancel && let Some(consequence) = drain::consequence(&status, node) {
                line(consequence);
            }
            order(hubs.any(), &Question::Drain { node, draining: !cancel })?;
            match (cancel, no_wait) {
                (true, _) => line(format!("hub {node} is not drained any more and gets its share again")),
                (false, true) => {
                    line(format!("hub {node} is being drained; cluster status shows how far it is"));
                }
                (false, false) => watch_drain(&mut hubs, node)?,
            }
            Ok(())
        }
        ClusterCommand::Remove { node, hub } => {
            let node = NodeId(node);
            let mut hubs = beside(&hub.hub, node)?;
            check_known(&hubs.status()?, node)?;
            order(hubs.any(), &Question::Remove { node })?;
            line(format!("hub {node} is no part of the cluster any more; its data directory can be deleted"));
            Ok(())
        }
        ClusterCommand::Upgrade { hub } => level::upgrade(&mut Hubs::connect(&hub.hub)?),
        ClusterCommand::Clock(ClockCommand::Accept { node, hub }) => {
            clock::accept(&mut Hubs::connect(&hub.hub)?, node.map(NodeId))
        }
        ClusterCommand::Init { data_dir, node_id } => init::run(&data_dir, NodeId(node_id)),
    }
}

/// Whoever types a number that no hub has wants to know which there are.
fn check_known(status: &ClusterStatus, node: NodeId) -> Result<(), Failure> {
    if status.hubs.iter().any(|hub| hub.node == node) {
        return Ok(());
    }
    let known: Vec<_> = status.hubs.iter().map(|hub| hub.node.to_string()).collect();
    Err(Failure::run(format!("the cluster has no hub {node}; it has {}", known.join(", "))))
}

fn order(client: &mut Client, question: &Question) -> Result<(), Failure> {
    match order_for(client, question)? {
        Reply::Done => Ok(()),
        _ => Err(Failure::run(OTHER_ANSWER)),
    }
}

/// Repeats what may be taken in a moment.
fn order_for(client: &mut Client, question: &Question) -> Result<Reply, Failure> {
    let until = Instant::now() + ORDER_WITHIN;
    loop {
        match client.be_patient().ask(question).map_err(Failure::run)? {
            Reply::Refused { retry: true, .. } if Instant::now() < until => pause(),
            Reply::Refused { message, .. } => return Err(Failure::run(message)),
            reply => return Ok(reply),
        }
    }
}

/// Says how far it is whenever that has changed, and what holds it up where it does not change.
fn watch_drain(hubs: &mut Hubs, node: NodeId) -> Result<(), Failure> {
    let (began, mut progress) = (Instant::now(), drain::Progress::default());
    loop {
        let status = hubs.status()?;
        let Some(hub) = status.hubs.iter().find(|hub| hub.node == node) else {
            return Err(Failure::run(format!("hub {node} was removed meanwhile")));
        };
        if is_drained(hub) {
            line(format!("hub {node} is empty: stop it, then cluster remove {node}"));
            return Ok(());
        }
        if let Some(news) = progress.look(&status, hub, began.elapsed()) {
            line(news);
        }
        pause();
    }
}

/// It keeps its replica of the metadata, by which it knows where to forward what it is sent, until it is removed.
fn is_drained(hub: &HubStatus) -> bool {
    hub.state == "draining" && hub.to_move == 0 && hub.leaders == 0
}

#[expect(
    clippy::disallowed_methods,
    reason = "the hub tells nobody when a replica has moved: it is asked again"
)]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

/// A hub that is emptied hears less and less of the cluster: another one is asked how far it is.
fn beside(hub: &str, node: NodeId) -> Result<Hubs, Failure> {
    let mut hubs = Hubs::connect(hub)?;
    hubs.turn_to_another_than(i32::try_from(node.0).unwrap_or(i32::MAX))?;
    Ok(hubs)
}
