//! `hub-broker cluster status`

use metadata::limits::METADATA_GROUP;
use metadata::{ClusterStatus, HubStatus};
use program::outcome::Failure;
use program::output::line;
use serde::Serialize;

use super::{clock, level, shards};
use crate::tools::hubs::Hubs;
use crate::tools::table;

pub fn run(hubs: &mut Hubs, json: bool, all: bool) -> Result<(), Failure> {
    let status = hubs.status()?;
    if json {
        let everything = Everything { settled: is_settled(&status), status: &status };
        line(serde_json::to_string_pretty(&everything).map_err(Failure::run)?);
    } else {
        print(&status, all);
    }
    Ok(())
}

/// What a script wants to wait for, and all the rest.
#[derive(Serialize)]
struct Everything<'a> {
    settled: bool,
    #[serde(flatten)]
    status: &'a ClusterStatus,
}

/// Every group has a leader and all its replicas, which have everything, and nothing is on its way elsewhere.
pub fn is_settled(status: &ClusterStatus) -> bool {
    status.leaderless.is_empty()
        && status.under_replicated.is_empty()
        && status.groups.iter().all(|it| it.leader.is_some() && it.replicas.iter().all(shards::is_in_place))
}

fn print(status: &ClusterStatus, all: bool) {
    line(format!(
        "cluster {}, {} shards; answered by hub {}",
        status.cluster_id, status.data_shards, status.answered_by
    ));
    line(level::summary(status));
    if let Some(cause) = &status.no_majority {
        line(format!("nothing can be written or changed: {cause}"));
    }
    line("");
    let headings = [
        "HUB",
        "STATE",
        "RACK",
        "CLUSTER ADDRESS",
        "SHARDS",
        "LEADS",
        "METADATA",
        "TO MOVE",
        "LAG ENTRIES",
        "LAG BYTES",
    ];
    let rows: Vec<_> = status.hubs.iter().map(|hub| hub_row(status, hub)).collect();
    table::print(&headings, &rows);
    line("");
    for warning in clock::warnings(status) {
        line(warning);
        line("");
    }
    if all {
        table::print(&["SHARD", "LEADER", "TERM", "REPLICAS ON", "WHAT"], &shards::all(status));
        return;
    }
    match shards::summary(status) {
        None => line("Every shard has a leader, and all its replicas have everything."),
        Some(summary) => {
            line(summary);
            line("");
            table::print(&["SHARDS", "WHAT"], &shards::unsettled(status));
            line("");
            line("--all shows each shard by itself.");
        }
    }
}

/// Data shards and the metadata are counted apart: people know how many shards they have.
pub fn hub_row(status: &ClusterStatus, hub: &HubStatus) -> Vec<String> {
    let state = if hub.connected { hub.state.clone() } else { format!("{}, not connected", hub.state) };
    let data = || status.groups.iter().filter(|group| group.group != METADATA_GROUP);
    let leads = data().filter(|group| group.leader == Some(hub.node)).count();
    let holds = data().filter(|group| group.replicas.iter().any(|it| it.node == hub.node)).count();
    let metadata = status.groups.iter().find(|group| group.group == METADATA_GROUP);
    let metadata = match metadata {
        Some(group) if group.leader == Some(hub.node) => "leads",
        Some(group) if group.replicas.iter().any(|it| it.node == hub.node) => "replica",
        _ => "-",
    };
    vec![
        hub.node.to_string(),
        state,
        hub.rack.clone().unwrap_or_else(|| "-".to_owned()),
        hub.address.clone().unwrap_or_else(|| "-".to_owned()),
        holds.to_string(),
        leads.to_string(),
        metadata.to_owned(),
        hub.to_move.to_string(),
        hub.lag_entries.to_string(),
        hub.lag_bytes.to_string(),
    ]
}
