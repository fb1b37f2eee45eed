//! The cluster as one hub sees it now, for people and tools.

use std::collections::BTreeSet;

use schemas::NodeId;
use serde::{Deserialize, Serialize};
use shards::{ClockHeld, ClockState, CopyProgress, Levels};

use crate::clocks::Clocks;
use crate::levels::Supported;
use crate::limits::METADATA_GROUP;
use crate::replica::{HubState, ReplicaRecord};
use crate::report::{Reports, leaders_report, own_report};
use crate::topic::Hub;
use crate::upgrade::attainable;
use crate::view::View;

/// Everything that `cluster status` and `/cluster` show. Fields are added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    pub cluster_id: String,
    /// The hub that answers.
    pub answered_by: NodeId,
    /// Data shards; group 0 is the metadata's, shard n is group n + 1.
    pub data_shards: u16,
    pub hubs: Vec<HubStatus>,
    pub groups: Vec<GroupStatus>,
    /// Groups with fewer live replicas than they should have.
    pub under_replicated: Vec<u32>,
    /// Groups of which nobody is known to be the leader.
    pub leaderless: Vec<u32>,
    /// Why nothing can be agreed on, where the metadata has no majority: which hubs are missing, in words.
    #[serde(default)]
    pub no_majority: Option<String>,
    /// Which formats are written; see `shards::feature`.
    #[serde(default)]
    pub feature_level: u16,
    /// What `cluster upgrade` would raise it to, or leave it at; none while that is refused.
    #[serde(default)]
    pub feature_level_attainable: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubStatus {
    pub node: NodeId,
    /// `active` or `draining`.
    pub state: String,
    /// Whether the hub that answers can reach it, with the data directory that the cluster knows; itself it can.
    pub connected: bool,
    pub rack: Option<String>,
    /// `host:port` of the cluster listener.
    pub address: Option<String>,
    /// Groups that it leads.
    pub leaders: usize,
    /// Replicas that it has, the metadata's included.
    pub replicas: usize,
    /// Replicas of data shards that are still to be moved off it; 0 for a hub that is not draining.
    pub to_move: usize,
    /// Bytes that its replicas are behind their leaders', as far as leaders know.
    pub lag_bytes: u64,
    /// Log entries that its replicas are behind their leaders.
    pub lag_entries: u64,
    /// What its clock shows; none of a hub that does not say.
    #[serde(default)]
    pub clock: Option<ClockStatus>,
    /// Which feature levels its release supports; none of a hub that does not say.
    #[serde(default)]
    pub feature_levels: Option<LevelsStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelsStatus {
    pub least: u16,
    pub most: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// The hub's wall clock, ms since 1970.
    pub wall_ms: i64,
    /// The time by which the hub goes; none where it has not heard any.
    pub known_ms: Option<i64>,
    /// Why it does not believe its wall clock and lets nothing expire by time: `unheard`, `jumped` or `outvoted`. None
    /// where it does.
    pub held: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub group: u32,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub replicas: Vec<ReplicaStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub node: NodeId,
    pub number: u32,
    /// `voter`, `learner`, or `absent` while the group does not know it yet.
    pub role: String,
    /// `joining`, `joined` or `leaving`.
    pub state: String,
    pub in_sync: bool,
    /// Entries behind the leader, where it is known.
    pub lag_entries: Option<u64>,
    /// Where a snapshot is being copied for it, how far that is.
    #[serde(default)]
    pub copy: Option<CopyStatus>,
    /// Some of what it has stored is damaged, as far as its hub has found that.
    #[serde(default)]
    pub damaged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyStatus {
    pub received_bytes: u64,
    /// All that the hub did not have when the copy began.
    pub total_bytes: u64,
    /// What has come each second since then.
    pub bytes_per_s: u64,
}

impl ClusterStatus {
    /// Put together from the catalog and what the hubs said of their replicas and clocks.
    pub(crate) fn of(
        view: &View,
        this: NodeId,
        connected: &BTreeSet<NodeId>,
        reports: &Reports,
        clocks: &Clocks,
    ) -> Self {
        let groups: Vec<_> = view.group_numbers().map(|group| group_status(view, group, reports)).collect();
        let lacks = |status: &&GroupStatus| {
            let in_sync = status.replicas.iter().filter(|it| it.in_sync && it.role == VOTER).count();
            in_sync < view.voters(status.group).len().max(view.voters_wanted(status.group))
        };
        let numbers = |groups: Vec<&GroupStatus>| groups.into_iter().map(|status| status.group).collect();
        Self {
            cluster_id: view.cluster_id.clone(),
            answered_by: this,
            data_shards: u16::try_from(view.group_numbers().len().saturating_sub(1)).unwrap_or(u16::MAX),
            under_replicated: numbers(groups.iter().filter(lacks).collect()),
            leaderless: numbers(groups.iter().filter(|status| status.leader.is_none()).collect()),
            hubs: view
                .hubs()
                .map(|hub| HubStatus {
                    clock: clocks.get(&hub.node).map(clock_status),
                    ..hub_status(view, hub, this, connected, reports, &groups)
                })
                .collect(),
            groups,
            no_majority: None,
            feature_level: view.feature_level,
            feature_level_attainable: None,
        }
    }

    pub(crate) fn tell_levels(&mut self, supported: &Supported) {
        self.feature_level_attainable = attainable(self.feature_level, supported).ok();
        for hub in &mut self.hubs {
            let levels = supported.get(&hub.node).copied().flatten();
            hub.feature_levels = levels.map(|Levels { least, most }| LevelsStatus { least, most });
        }
    }
}

const VOTER: &str = "voter";

fn group_status(view: &View, group: u32, reports: &Reports) -> GroupStatus {
    let report = leaders_report(group, reports);
    let replicas = view.replicas(group).iter().map(|record| {
        let members = report.and_then(|(_, report)| report.members.as_ref());
        let member = members.and_then(|members| {
            members.iter().find(|it| (it.node, it.number) == (record.node, record.number))
        });
        let role = member.map_or("absent", |member| if member.is_learner { "learner" } else { VOTER });
        let state = match record {
            ReplicaRecord { leaving: true, .. } => "leaving",
            ReplicaRecord { joined: true, .. } => "joined",
            _ => "joining",
        };
        ReplicaStatus {
            node: record.node,
            number: record.number,
            role: role.to_owned(),
            state: state.to_owned(),
            in_sync: member.is_some_and(|member| member.in_sync),
            lag_entries: report
                .zip(member)
                .map(|((_, report), member)| report.commit.saturating_sub(member.matched)),
            copy: own_report(group, record, reports).and_then(|own| own.copy).map(copy_status),
            damaged: own_report(group, record, reports).is_some_and(|own| own.is_damaged == Some(true)),
        }
    });
    GroupStatus {
        group,
        leader: report.map(|(node, _)| node),
        term: report.map_or(0, |(_, report)| report.term),
        replicas: replicas.collect(),
    }
}

fn copy_status(copy: CopyProgress) -> CopyStatus {
    let CopyProgress { received_bytes, total_bytes, bytes_per_s } = copy;
    CopyStatus { received_bytes, total_bytes, bytes_per_s }
}

fn hub_status(
    view: &View,
    hub: &Hub,
    this: NodeId,
    connected: &BTreeSet<NodeId>,
    reports: &Reports,
    groups: &[GroupStatus],
) -> HubStatus {
    let node = hub.node;
    let is_draining = view.hub_state(node) == Some(HubState::Draining);
    let has_one = |status: &&GroupStatus| status.replicas.iter().any(|replica| replica.node == node);
    let own = groups.iter().flat_map(|status| &status.replicas).filter(|replica| replica.node == node);
    let data = groups.iter().filter(|status| status.group != METADATA_GROUP);
    HubStatus {
        node,
        state: if is_draining { "draining" } else { "active" }.to_owned(),
        connected: node == this || connected.contains(&node),
        rack: hub.rack.clone(),
        address: hub.cluster_address.clone(),
        leaders: groups.iter().filter(|status| status.leader == Some(node)).count(),
        replicas: groups.iter().filter(has_one).count(),
        to_move: if is_draining { data.filter(has_one).count() } else { 0 },
        lag_bytes: groups.iter().filter(has_one).map(|status| lag_bytes(status, node, reports)).sum(),
        lag_entries: own.filter_map(|replica| replica.lag_entries).sum(),
        clock: None,
        feature_levels: None,
    }
}

fn clock_status(clock: &ClockState) -> ClockStatus {
    let held = clock.held.map(|held| match held {
        ClockHeld::Unheard => "unheard",
        ClockHeld::Jumped => "jumped",
        ClockHeld::Outvoted => "outvoted",
    });
    ClockStatus { wall_ms: clock.wall_ms, known_ms: clock.known_ms, held: held.map(str::to_owned) }
}

/// What the hub's replica stores less than the leader's, where it is known to be behind at all.
fn lag_bytes(status: &GroupStatus, node: NodeId, reports: &Reports) -> u64 {
    let is_behind = |replica: &ReplicaStatus| replica.node == node && !replica.in_sync;
    if !status.replicas.iter().any(is_behind) {
        return 0;
    }
    let leaders = leaders_report(status.group, reports).map_or(0, |(_, report)| report.stored_bytes);
    let own = reports.get(&node).into_iter().flatten().find(|report| report.group == status.group);
    leaders.saturating_sub(own.map_or(0, |report| report.stored_bytes))
}

#[cfg(test)]
mod tests;
