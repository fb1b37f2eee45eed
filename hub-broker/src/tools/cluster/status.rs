//! `hub-broker cluster status`

use metadata::{ClusterStatus, GroupStatus, HubStatus, ReplicaStatus};
use program::outcome::Failure;
use serde::Serialize;

use super::status_of;
use crate::tools::client::Client;
use crate::tools::output::line;
use crate::tools::table;

const METADATA_GROUP: u32 = 0;

pub fn run(client: &mut Client, json: bool) -> Result<(), Failure> {
    let status = status_of(client)?;
    if json {
        let everything = Everything { settled: is_settled(&status), status: &status };
        line(serde_json::to_string_pretty(&everything).map_err(Failure::run)?);
    } else {
        print(&status);
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
        && status.groups.iter().all(|group| group.leader.is_some() && group.replicas.iter().all(is_in_place))
}

fn is_in_place(replica: &ReplicaStatus) -> bool {
    replica.in_sync && replica.state == "joined"
}

fn print(status: &ClusterStatus) {
    line(format!(
        "cluster {}, {} shards; answered by hub {}",
        status.cluster_id, status.data_shards, status.answered_by
    ));
    line("");
    let headings = [
        "HUB",
        "STATE",
        "RACK",
        "CLUSTER ADDRESS",
        "LEADS",
        "REPLICAS",
        "TO MOVE",
        "LAG ENTRIES",
        "LAG BYTES",
    ];
    table::print(&headings, &status.hubs.iter().map(hub_row).collect::<Vec<_>>());
    line("");
    let unsettled: Vec<_> = status.groups.iter().filter(|group| needs_attention(status, group)).collect();
    if unsettled.is_empty() {
        line("Every shard has a leader, and all its replicas have everything.");
        return;
    }
    line(format!("{} of {} shards are not as they should be:", unsettled.len(), status.groups.len()));
    line("");
    let rows: Vec<_> = unsettled.into_iter().map(|group| group_row(status, group)).collect();
    table::print(&["SHARD", "LEADER", "TERM", "REPLICAS ON", "WHAT"], &rows);
}

fn hub_row(hub: &HubStatus) -> Vec<String> {
    let state = if hub.connected { hub.state.clone() } else { format!("{}, not connected", hub.state) };
    vec![
        hub.node.to_string(),
        state,
        hub.rack.clone().unwrap_or_else(|| "-".to_owned()),
        hub.address.clone().unwrap_or_else(|| "-".to_owned()),
        hub.leaders.to_string(),
        hub.replicas.to_string(),
        hub.to_move.to_string(),
        hub.lag_entries.to_string(),
        hub.lag_bytes.to_string(),
    ]
}

fn needs_attention(status: &ClusterStatus, group: &GroupStatus) -> bool {
    status.under_replicated.contains(&group.group)
        || status.leaderless.contains(&group.group)
        || !group.replicas.iter().all(is_in_place)
}

pub fn group_row(status: &ClusterStatus, group: &GroupStatus) -> Vec<String> {
    let shard = match group.group {
        METADATA_GROUP => "metadata".to_owned(),
        group => (group - 1).to_string(),
    };
    let leader = group.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
    let on: Vec<_> = group.replicas.iter().map(|replica| replica.node.to_string()).collect();
    vec![shard, leader, group.term.to_string(), on.join(" "), what(status, group)]
}

/// In words, the gravest first.
fn what(status: &ClusterStatus, group: &GroupStatus) -> String {
    let mut said = Vec::new();
    if status.leaderless.contains(&group.group) {
        said.push("no leader".to_owned());
    }
    if status.under_replicated.contains(&group.group) {
        said.push("too few replicas".to_owned());
    }
    for replica in group.replicas.iter().filter(|replica| !is_in_place(replica)) {
        let lag = replica.lag_entries.filter(|lag| *lag > 0);
        let lag = lag.map(|lag| format!(", {lag} entries behind")).unwrap_or_default();
        let state = if replica.state == "joined" { "not in sync" } else { replica.state.as_str() };
        said.push(format!("hub {} {state}{lag}", replica.node));
    }
    said.join("; ")
}
