//! Which shards are not as they should be, and what each lacks; those that lack the same stand in one row.

use std::collections::{BTreeMap, BTreeSet};

use metadata::limits::METADATA_GROUP;
use metadata::{ClusterStatus, CopyStatus, GroupStatus, ReplicaStatus};

/// Something that a group lacks, with the entries that a replica is behind.
type Lack = (String, u64);

/// Groups that lack the same.
struct Row {
    groups: Vec<u32>,
    lacks: Vec<String>,
    /// Of each of these, the smallest and the largest lag.
    lags: Vec<(u64, u64)>,
}

/// Every group that is not as it should be, those alike together, the metadata by itself and first.
pub fn unsettled(status: &ClusterStatus) -> Vec<Vec<String>> {
    let mut rows: BTreeMap<(bool, Vec<String>), Row> = BTreeMap::new();
    for group in status.groups.iter().filter(|group| !lacks(status, group).is_empty()) {
        let (lacks, lags): (Vec<_>, Vec<_>) = lacks(status, group).into_iter().unzip();
        let row = rows.entry((group.group != METADATA_GROUP, lacks.clone())).or_insert_with(|| Row {
            groups: Vec::new(),
            lags: lags.iter().map(|lag| (*lag, *lag)).collect(),
            lacks,
        });
        row.groups.push(group.group);
        for (range, lag) in row.lags.iter_mut().zip(lags) {
            *range = (range.0.min(lag), range.1.max(lag));
        }
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| row.groups.first().copied());
    rows.iter().map(|row| vec![names(&row.groups), row.what()]).collect()
}

/// What stands above those rows; `None` where there are none.
pub fn summary(status: &ClusterStatus) -> Option<String> {
    let unsettled = |group: &&GroupStatus| !lacks(status, group).is_empty();
    let (mut shards, mut metadata) = (0, false);
    for group in status.groups.iter().filter(unsettled) {
        match group.group {
            METADATA_GROUP => metadata = true,
            _ => shards += 1,
        }
    }
    let all = status.data_shards;
    match (shards, metadata) {
        (0, false) => None,
        (0, true) => Some("The metadata is not as it should be:".to_owned()),
        (_, false) => Some(format!("{shards} of {all} shards are not as they should be:")),
        (_, true) => Some(format!("{shards} of {all} shards and the metadata are not as they should be:")),
    }
}

/// Every group in a row of its own.
pub fn all(status: &ClusterStatus) -> Vec<Vec<String>> {
    let row = |group: &GroupStatus| {
        let leader = group.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
        let on: Vec<_> = group.replicas.iter().map(|replica| replica.node.to_string()).collect();
        let what = lacks(status, group).into_iter();
        let what: Vec<_> = what.map(|(lack, lag)| in_words(&lack, (lag, lag))).collect();
        let what = if what.is_empty() { "-".to_owned() } else { what.join("; ") };
        vec![names(&[group.group]), leader, group.term.to_string(), on.join(" "), what]
    };
    status.groups.iter().map(row).collect()
}

/// The gravest first.
fn lacks(status: &ClusterStatus, group: &GroupStatus) -> Vec<Lack> {
    let mut found = Vec::new();
    let is_led = !status.leaderless.contains(&group.group);
    if !is_led {
        found.push(("no leader".to_owned(), 0));
    } else if status.under_replicated.contains(&group.group) {
        found.push(("too few replicas".to_owned(), 0));
    }
    // How far the replicas are, only a leader knows.
    let lacks = |replica: &&ReplicaStatus| !is_in_place(replica) && (is_led || replica.state != "joined");
    let mut replicas: Vec<_> = group.replicas.iter().filter(lacks).collect();
    replicas.sort_by_key(|replica| replica.node);
    for replica in replicas {
        let state = if replica.state == "joined" { "not in sync" } else { replica.state.as_str() };
        let copy = replica.copy.map_or_else(String::new, |copy| format!(", {}", copied(copy)));
        found.push((format!("hub {} {state}{copy}", replica.node), replica.lag_entries.unwrap_or(0)));
    }
    let damaged: BTreeSet<_> = group.replicas.iter().filter(|it| it.damaged).map(|it| it.node).collect();
    found.extend(damaged.into_iter().map(|node| (format!("hub {node} damaged"), 0)));
    found
}

/// How far a copy is: `12.5 of 50.0 MiB copied (25 %), 4.0 MiB/s`.
fn copied(copy: CopyStatus) -> String {
    let CopyStatus { received_bytes, total_bytes, bytes_per_s } = copy;
    let percent = received_bytes.saturating_mul(100).checked_div(total_bytes).unwrap_or(100).min(100);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (received, total, rate) = (mib(received_bytes), mib(total_bytes), mib(bytes_per_s));
    format!("{received:.1} of {total:.1} MiB copied ({percent} %), {rate:.1} MiB/s")
}

pub fn is_in_place(replica: &ReplicaStatus) -> bool {
    replica.in_sync && replica.state == "joined"
}

impl Row {
    fn what(&self) -> String {
        let lacks = self.lacks.iter().zip(&self.lags);
        lacks.map(|(lack, range)| in_words(lack, *range)).collect::<Vec<_>>().join("; ")
    }
}

fn in_words(what: &str, (least, most): (u64, u64)) -> String {
    match (least, most) {
        (_, 0) => what.to_owned(),
        (0, _) => format!("{what}, up to {most} entries behind"),
        _ if least == most => format!("{what}, {most} entries behind"),
        _ => format!("{what}, {least} to {most} entries behind"),
    }
}

/// Groups that rise, as people count shards: `0-3, 7`.
fn names(groups: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for shard in groups.iter().filter(|group| **group != METADATA_GROUP).map(|group| group - 1) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == shard => *last = shard,
            _ => ranges.push((shard, shard)),
        }
    }
    let metadata = groups.contains(&METADATA_GROUP).then(|| "metadata".to_owned());
    let range = |(first, last): (u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    metadata.into_iter().chain(ranges.into_iter().map(range)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use schemas::NodeId;

    use super::*;

    fn replica(node: u32, lag: u64) -> ReplicaStatus {
        ReplicaStatus {
            node: NodeId(node),
            number: node,
            role: "voter".to_owned(),
            state: "joined".to_owned(),
            in_sync: lag == 0,
            lag_entries: Some(lag),
            copy: None,
            damaged: false,
        }
    }

    fn group(group: u32, leader: u32, replicas: Vec<ReplicaStatus>) -> GroupStatus {
        GroupStatus { group, leader: Some(NodeId(leader)), term: u64::from(group), replicas }
    }

    /// 64 shards on hubs 1 to 3, of which hub 3 is `lag` of the shard behind.
    fn status(lag: impl Fn(u32) -> u64) -> ClusterStatus {
        let groups = (0..=64).map(|number| {
            let others = if number % 2 == 0 { [1, 2] } else { [2, 1] };
            let [one, two] = others.map(|node| replica(node, 0));
            group(number, others[0], vec![one, replica(3, lag(number)), two])
        });
        let groups: Vec<_> = groups.collect();
        let behind = groups.iter().filter(|group| !group.replicas.iter().all(is_in_place));
        ClusterStatus {
            cluster_id: "c".to_owned(),
            answered_by: NodeId(1),
            data_shards: 64,
            hubs: Vec::new(),
            under_replicated: behind.map(|group| group.group).collect(),
            leaderless: Vec::new(),
            no_majority: None,
            feature_level: 1,
            feature_level_attainable: Some(1),
            groups,
        }
    }

    #[test]
    fn shards_that_lack_the_same_stand_in_one_row_whoever_leads_them() {
        let behind = status(|group| if group == 0 { 2 } else { u64::from(group) });
        let metadata = ["metadata", "too few replicas; hub 3 not in sync, 2 entries behind"];
        let shards = ["0-63", "too few replicas; hub 3 not in sync, 1 to 64 entries behind"];
        assert_eq!(unsettled(&behind), [metadata, shards]);
        let said = "64 of 64 shards and the metadata are not as they should be:";
        assert_eq!(summary(&behind).as_deref(), Some(said));
        let mut away = status(|group| u64::from(group % 3));
        let replicas = away.groups.iter_mut().flat_map(|group| &mut group.replicas);
        replicas.filter(|replica| replica.node == NodeId(3)).for_each(|replica| replica.in_sync = false);
        away.under_replicated = (0..=64).collect();
        let shards = ["0-63", "too few replicas; hub 3 not in sync, up to 2 entries behind"];
        assert_eq!(unsettled(&away)[1], shards, "whether it is behind makes no difference");
    }

    #[test]
    fn a_replica_that_copies_says_how_far_it_is() {
        let mut status = status(|group| u64::from([5, 6].contains(&group)) * 9);
        let mib = |count: u64| count << 20;
        let copy = CopyStatus { received_bytes: mib(12), total_bytes: mib(50), bytes_per_s: mib(4) };
        for replica in status.groups[5..7].iter_mut().flat_map(|group| &mut group.replicas) {
            if replica.node == NodeId(3) {
                (replica.copy, replica.state) = (Some(copy), "joining".to_owned());
            }
        }
        let said =
            "too few replicas; hub 3 joining, 12.0 of 50.0 MiB copied (24 %), 4.0 MiB/s, 9 entries behind";
        assert_eq!(unsettled(&status), [["4-5", said]]);
        status.groups[6].replicas.iter_mut().for_each(|replica| replica.copy = None);
        let waits = "too few replicas; hub 3 joining, 9 entries behind";
        assert_eq!(unsettled(&status), [["4", said], ["5", waits]]);
        let nothing = CopyStatus { received_bytes: 0, total_bytes: 0, bytes_per_s: 0 };
        assert_eq!(copied(nothing), "0.0 of 0.0 MiB copied (100 %), 0.0 MiB/s");
    }

    #[test]
    fn shards_that_differ_stand_apart() {
        let mut status = status(|group| u64::from([1, 2, 3, 5].contains(&group)) * 7);
        status.leaderless = vec![2];
        let behind = "too few replicas; hub 3 not in sync, 7 entries behind";
        let rows = [["0, 2, 4".to_owned(), behind.to_owned()], ["1".to_owned(), "no leader".to_owned()]];
        assert_eq!(unsettled(&status), rows);
        assert_eq!(summary(&status).as_deref(), Some("4 of 64 shards are not as they should be:"));
    }

    #[test]
    fn damaged_replicas_are_named_though_they_have_everything() {
        let mut status = status(|_| 0);
        for replica in status.groups[4].replicas.iter_mut().filter(|replica| replica.node != NodeId(1)) {
            replica.damaged = true;
        }
        assert_eq!(unsettled(&status), [["3", "hub 2 damaged; hub 3 damaged"]]);
    }

    #[test]
    fn a_cluster_in_order_has_nothing_to_list_and_all_of_it_can_be_listed() {
        let status = status(|_| 0);
        assert!(unsettled(&status).is_empty() && summary(&status).is_none());
        let all = all(&status);
        assert_eq!(all.len(), 65);
        assert_eq!(all[0], ["metadata", "1", "0", "1 3 2", "-"]);
        assert_eq!(all[64], ["63", "1", "64", "1 3 2", "-"]);
    }
}
