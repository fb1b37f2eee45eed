//! `hub-broker group …`

use kafka_protocol::messages::{DescribeGroupsRequest, GroupId, ListGroupsRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use program::outcome::Failure;

use super::client::{Client, check};
use super::{table, topic};
use crate::args::GroupCommand;

const LATEST: i64 = -1;

pub fn run(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List { hub } => list(&mut Client::connect(&hub.hub).map_err(Failure::run)?),
        GroupCommand::Describe { group, hub } => {
            describe(&mut Client::connect(&hub.hub).map_err(Failure::run)?, &group)
        }
    }
}

fn list(client: &mut Client) -> Result<(), Failure> {
    let answer = client.call(&ListGroupsRequest::default(), 4).map_err(Failure::run)?;
    check("list of groups", answer.error_code, None).map_err(Failure::run)?;
    let mut rows: Vec<Vec<String>> = answer
        .groups
        .iter()
        .map(|group| {
            vec![group.group_id.to_string(), group.group_state.to_string(), group.protocol_type.to_string()]
        })
        .collect();
    rows.sort();
    table::print(&["GROUP", "STATE", "TYPE"], &rows);
    Ok(())
}

fn describe(client: &mut Client, group: &str) -> Result<(), Failure> {
    let id = GroupId(StrBytes::from_string(group.to_owned()));
    let request = DescribeGroupsRequest::default().with_groups(vec![id.clone()]);
    let answer = client.call(&request, 4).map_err(Failure::run)?;
    let committed = committed(client, id)?;
    for described in &answer.groups {
        check(group, described.error_code, described.error_message.as_ref()).map_err(Failure::run)?;
        let state = described.group_state.to_string();
        if state == "Dead" && committed.is_empty() {
            return Err(Failure::run(format!(
                "there is no group {group}; `hub-broker group list` shows those there are"
            )));
        }
        println!("state: {state}");
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
            println!();
            table::print(&["MEMBER", "CLIENT", "HOST"], &members);
        }
    }
    if !committed.is_empty() {
        println!();
        table::print(&["TOPIC", "PARTITION", "COMMITTED", "NEXT OFFSET", "LAG"], &lags(client, &committed)?);
    }
    Ok(())
}

/// Topic, partition and committed offset of all partitions that the group has committed.
fn committed(client: &mut Client, group: GroupId) -> Result<Vec<(String, i32, i64)>, Failure> {
    let name = group.to_string();
    let request = OffsetFetchRequest::default().with_group_id(group).with_topics(None);
    let answer = client.call(&request, 6).map_err(Failure::run)?;
    check(&name, answer.error_code, None).map_err(Failure::run)?;
    let mut found = Vec::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            found.push((topic.name.to_string(), partition.partition_index, partition.committed_offset));
        }
    }
    found.sort();
    Ok(found)
}

fn lags(client: &mut Client, committed: &[(String, i32, i64)]) -> Result<Vec<Vec<String>>, Failure> {
    let mut rows = Vec::new();
    for (name, partition, offset) in committed {
        let next = topic::offsets(client, name, &[*partition], LATEST)?.first().copied().unwrap_or(*offset);
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
