//! `hub-broker group …`

use kafka_protocol::messages::{DescribeGroupsRequest, GroupId, ListGroupsRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use program::outcome::Failure;

use super::client::{Client, check};
use super::hubs::{Hubs, Trouble};
use super::output::line;
use super::{table, topic};
use crate::args::GroupCommand;

const LATEST: i64 = -1;

pub fn run(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List { hub } => list(&mut Hubs::connect(&hub.hub)?),
        GroupCommand::Describe { group, hub } => describe(&mut Hubs::connect(&hub.hub)?, &group),
    }
}

/// Each hub knows the groups that it coordinates.
fn list(hubs: &mut Hubs) -> Result<(), Failure> {
    let mut rows = hubs.patiently(|hubs| {
        let mut rows = Vec::new();
        for node in hubs.nodes()? {
            let answer = hubs.node(node)?.call(&ListGroupsRequest::default(), 4)?;
            check("list of groups", answer.error_code, None)?;
            rows.extend(answer.groups.iter().map(|group| {
                let texts =
                    [group.group_id.as_str(), group.group_state.as_str(), group.protocol_type.as_str()];
                texts.map(str::to_owned).to_vec()
            }));
        }
        Ok(rows)
    })?;
    rows.sort();
    table::print(&["GROUP", "STATE", "TYPE"], &rows);
    Ok(())
}

fn describe(hubs: &mut Hubs, group: &str) -> Result<(), Failure> {
    let id = GroupId(StrBytes::from_string(group.to_owned()));
    let request = DescribeGroupsRequest::default().with_groups(vec![id.clone()]);
    let (answer, committed) = hubs.patiently(|hubs| {
        let coordinator = hubs.coordinator(group)?;
        let answer = coordinator.call(&request, 4)?;
        for described in &answer.groups {
            check(group, described.error_code, described.error_message.as_ref())?;
        }
        Ok((answer, committed(coordinator, id.clone())?))
    })?;
    for described in &answer.groups {
        let state = described.group_state.to_string();
        if state == "Dead" && committed.is_empty() {
            return Err(Failure::run(format!(
                "there is no group {group}; `hub-broker group list` shows those there are"
            )));
        }
        line(format!("state: {state}"));
        let members: Vec<Vec<String>> = described
            .members
            .iter()
            .map(|member| {
                vec![
                    member.member_id.to_string(),
                    member.client_id.to_string(),
                    member.client_host.to_string(),
                ]
            })
            .collect();
        if !members.is_empty() {
            line("");
            table::print(&["MEMBER", "CLIENT", "HOST"], &members);
        }
    }
    if !committed.is_empty() {
        line("");
        table::print(&["TOPIC", "PARTITION", "COMMITTED", "NEXT OFFSET", "LAG"], &lags(hubs, &committed)?);
    }
    Ok(())
}

/// Topic, partition and committed offset of all partitions that the group has committed.
fn committed(client: &mut Client, group: GroupId) -> Result<Vec<(String, i32, i64)>, Trouble> {
    let name = group.to_string();
    let request = OffsetFetchRequest::default().with_group_id(group).with_topics(None);
    let answer = client.call(&request, 6)?;
    check(&name, answer.error_code, None)?;
    let mut found = Vec::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            found.push((topic.name.to_string(), partition.partition_index, partition.committed_offset));
        }
    }
    found.sort();
    Ok(found)
}

fn lags(hubs: &mut Hubs, committed: &[(String, i32, i64)]) -> Result<Vec<Vec<String>>, Failure> {
    let mut rows = Vec::new();
    for (name, partition, offset) in committed {
        let next = topic::offsets(hubs, name, &[*partition], LATEST)?.first().copied().unwrap_or(*offset);
        let lag = next.saturating_sub(*offset);
        rows.push(vec![
            name.clone(),
            partition.to_string(),
            offset.to_string(),
            next.to_string(),
            lag.to_string(),
        ]);
    }
    Ok(rows)
}
