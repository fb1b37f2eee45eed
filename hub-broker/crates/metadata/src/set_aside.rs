//! What a hub has set aside of a replica that it gave up at a start goes when nobody can need it any more.
//!
//! Where the replica's successor lies on the same hub, the shards see to it when they have everything again. Where it
//! lies on another, or has come with damage, this hub asks how the group is: all the replicas that it should have have
//! joined it, keep up with their leader, and know of no damage, when all that they have was read since their hubs started.

use shards::Shards;
use tokio::time::{MissedTickBehavior, interval};

use crate::limits::{METADATA_GROUP, SET_ASIDE_INTERVAL};
use crate::report::{self, Reports};
use crate::view::{View, ViewSource};

/// Looks from time to time whether anything is set aside and can go.
pub(crate) async fn clear(shards: Shards, views: ViewSource) {
    let mut looks = interval(SET_ASIDE_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match shards.set_aside() {
            Ok(groups) if groups.is_empty() => {}
            Ok(groups) => look(&shards, &views.load(), &groups).await,
            Err(error) => tracing::warn!(%error, "what is set aside in given-up/ cannot be looked at"),
        }
    }
}

async fn look(shards: &Shards, view: &View, groups: &[u32]) {
    let reports = report::gather(shards, view).await;
    for group in groups.iter().copied().filter(|group| is_whole(view, *group, &reports)) {
        let shards = shards.clone();
        match tokio::task::spawn_blocking(move || shards.delete_set_aside(group)).await {
            Ok(Ok(())) => {
                tracing::info!(
                    group,
                    "all of the group is whole again: what was set aside of it in given-up/ is deleted"
                );
            }
            Ok(Err(error)) => {
                tracing::warn!(group, %error, "its directory in given-up/ could not be deleted; it is tried again");
            }
            // The hub stops.
            Err(_) => return,
        }
    }
}

fn is_whole(view: &View, group: u32, reports: &Reports) -> bool {
    let Some((_, leader)) = report::leaders_report(group, reports) else { return false };
    let members = leader.members.as_deref().unwrap_or_default();
    let records = view.replicas(group);
    records.len() >= view.replication_factor()
        && records.iter().all(|record| {
            let is_it = |node, number| (node, number) == (record.node, record.number);
            let keeps_up = members.iter().any(|member| {
                // Not every hub has a vote in the metadata.
                let has_its_part = !member.is_learner || group == METADATA_GROUP;
                is_it(member.node, member.number) && member.in_sync && has_its_part
            });
            let own = report::own_report(group, record, reports);
            record.joined
                && !record.leaving
                && keeps_up
                && own.is_some_and(|own| own.is_damaged == Some(false) && own.is_read_through)
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schemas::NodeId;

    use super::*;
    use crate::replica::{HubState, ReplicaRecord};
    use crate::report::{GroupReport, MemberReport};

    const GROUP: u32 = 1;

    /// Four hubs; the group has replicas on hubs 2 to 4, hub 2 leads.
    fn world() -> (View, Reports) {
        let nodes = [1, 2, 3, 4].map(NodeId);
        let records: Vec<_> = nodes[1..]
            .iter()
            .map(|node| ReplicaRecord { joined: true, ..ReplicaRecord::new(*node, node.0) })
            .collect();
        let members = records.iter().map(|record| MemberReport {
            node: record.node,
            number: record.number,
            is_learner: false,
            in_sync: true,
            matched: 9,
        });
        let members: Vec<_> = members.collect();
        let report = |node: NodeId| GroupReport {
            group: GROUP,
            number: node.0,
            term: 3,
            commit: 9,
            stored_bytes: 7,
            members: (node.0 == 2).then(|| members.clone()),
            is_damaged: Some(false),
            is_read_through: true,
            copy: None,
        };
        let reports = nodes[1..].iter().map(|node| (*node, vec![report(*node)])).collect();
        let view = View {
            states: nodes.into_iter().map(|node| (node, HubState::Active)).collect(),
            groups: Arc::new(vec![Vec::new(), records]),
            ..View::default()
        };
        (view, reports)
    }

    fn records(view: &mut View) -> &mut Vec<ReplicaRecord> {
        &mut Arc::make_mut(&mut view.groups)[GROUP as usize]
    }

    fn own(reports: &mut Reports, node: u32) -> &mut GroupReport {
        &mut reports.get_mut(&NodeId(node)).unwrap()[0]
    }

    #[test]
    fn what_is_set_aside_goes_when_all_replicas_are_elsewhere_and_whole_and_not_before() {
        let (view, reports) = world();
        assert!(is_whole(&view, GROUP, &reports));
        let is_whole_after = |change: &dyn Fn(&mut View, &mut Reports)| {
            let (mut view, mut reports) = (view.clone(), reports.clone());
            change(&mut view, &mut reports);
            is_whole(&view, GROUP, &reports)
        };
        assert!(!is_whole_after(&|view, _| records(view).truncate(2)), "one is missing");
        assert!(!is_whole_after(&|view, _| records(view)[1].joined = false));
        assert!(!is_whole_after(&|view, _| records(view)[1].leaving = true));
        assert!(!is_whole_after(&|_, reports| own(reports, 3).is_damaged = Some(true)));
        assert!(!is_whole_after(&|_, reports| own(reports, 3).is_read_through = false), "it may be damaged");
        assert!(!is_whole_after(&|_, reports| own(reports, 3).number = 17), "it is another replica");
        assert!(!is_whole_after(&|_, reports| drop(reports.remove(&NodeId(4)))), "it does not answer");
        assert!(!is_whole_after(&|_, reports| own(reports, 2).members = None), "nobody leads");
        let member = |reports: &mut Reports, change: &dyn Fn(&mut MemberReport)| {
            own(reports, 2).members.iter_mut().flatten().for_each(change);
        };
        assert!(!is_whole_after(&|_, reports| member(reports, &|it| it.in_sync = it.node != NodeId(3))));
        assert!(!is_whole_after(&|_, reports| member(reports, &|it| it.is_learner = it.node == NodeId(3))));
    }
}
