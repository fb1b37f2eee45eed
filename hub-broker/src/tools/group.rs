//! `hub-broker group …`

use kafka_protocol::messages::{DescribeGroupsRequest, GroupId, ListGroupsRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use program::outcome::Failure;
use program::output::line;

use super::client::{Client, check};
use super::hubs::{Hubs, Trouble};
use super::{table, topic};
use crate::args::GroupCommand;

const LATEST: i64 = -1;

pub fn run(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List { hub } => list(&mut Hubs::connect(&hub.hub)?),
        GroupCommand::Describe { group, hub } => describe(&mut Hubs::connect(&hub.hub)?, &group),
    }
}

/// Each hub knows the groups that it coordinates. What the others know is listed also where some do not answer.
fn list(hubs: &mut Hubs) -> Result<(), Failure> {
    let reachable = hubs.patiently(Hubs::nodes)?;
    let away = hubs.status()?.hubs.into_iter().filter(|hub| !hub.connected);
    let mut silent: Vec<String> = away.map(|hub| named(hub.node.0, hub.address.as_deref())).collect();
    let mut rows = Vec::new();
    for node in reachable {
        match hubs.patiently(|hubs| listed(hubs, node))? {
            Ok(groups) => rows.extend(groups),
            Err(why) => silent.push(format!("hub {node}: {why}")),
        }
    }
    rows.sort();
    rows.dedup();
    table::print(&["GROUP", "STATE", "TYPE"], &rows);
    match silent.len() {
        0 => Ok(()),
        count => Err(Failure::run(format!(
            "{count} of the cluster's hubs did not answer, and groups that nobody else has taken over from them are not listed: {}",
            silent.join("; ")
        ))),
    }
}

fn named(node: u32, address: Option<&str>) -> String {
    match address {
        Some(address) => format!("hub {node} ({address}) is not connected"),
        None => format!("hub {node} is not connected"),
    }
}

/// What one hub lists, or why it does not answer: it is not waited for, as whoever takes its groups over lists them.
fn listed(hubs: &mut Hubs, node: i32) -> Result<Result<Vec<Vec<String>>, String>, Trouble> {
    let client = match hubs.node(node) {
        Ok(client) => client,
        Err(Trouble::Passing(why) | Trouble::Lasting(why)) => return Ok(Err(why.message().to_owned())),
    };
    let answer = match client.call(&ListGroupsRequest::default(), 4) {
        Ok(answer) => answer,
        Err(why) => return Ok(Err(why.to_string())),
    };
    check("list of groups", answer.error_code, None)?;
    let rows = answer.groups.iter().map(|group| {
        let texts = [group.group_id.as_str(), group.group_state.as_str(), group.protocol_type.as_str()];
        texts.map(str::to_owned).to_vec()
    });
    Ok(Ok(rows.collect()))
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
