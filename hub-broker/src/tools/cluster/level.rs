//! `hub-broker cluster upgrade`, and what `cluster status` says of the feature level.

use kafka_server::cluster::{Question, Reply};
use metadata::ClusterStatus;
use program::outcome::Failure;
use program::output::line;

use super::order_for;
use crate::tools::hubs::{Hubs, OTHER_ANSWER};

/// Raises the feature level to the highest that all hubs support.
pub fn upgrade(hubs: &mut Hubs) -> Result<(), Failure> {
    let status = hubs.status()?;
    if !knows_levels(&status) {
        return Err(Failure::run(format!(
            "hub {} runs a release that knows of no feature levels: install this program's release on all hubs first",
            status.answered_by
        )));
    }
    match order_for(hubs.any(), &Question::Upgrade)? {
        Reply::Upgraded { from, to } => line(told(from, to)),
        _ => return Err(Failure::run(OTHER_ANSWER)),
    }
    Ok(())
}

/// Whether the hub that answered does: each says of itself which it supports.
pub fn knows_levels(status: &ClusterStatus) -> bool {
    let answering = status.hubs.iter().find(|hub| hub.node == status.answered_by);
    answering.is_none_or(|hub| hub.feature_levels.is_some())
}

pub fn told(from: u16, to: u16) -> String {
    if from == to {
        format!("feature level {to}, as before: no hub supports a higher one")
    } else {
        format!("feature level {from} -> {to}")
    }
}

/// The level, whether it can be raised, and else which hubs are in the way.
pub fn summary(status: &ClusterStatus) -> String {
    let level = status.feature_level;
    let levels = |least_most: Option<metadata::LevelsStatus>| match least_most {
        None => "not known".to_owned(),
        Some(it) if it.least == it.most => it.most.to_string(),
        Some(it) => format!("{} to {}", it.least, it.most),
    };
    let most = status.hubs.iter().filter_map(|hub| Some(hub.feature_levels?.most)).max().unwrap_or(level);
    match status.feature_level_attainable {
        Some(to) if to > level => {
            format!("feature level {level}; all hubs support {to}: hub-broker cluster upgrade")
        }
        None if most > level => {
            let each =
                status.hubs.iter().map(|hub| format!("hub {}: {}", hub.node, levels(hub.feature_levels)));
            let each: Vec<_> = each.collect();
            format!("feature level {level}; what the hubs' releases support: {}", each.join(", "))
        }
        _ => format!("feature level {level}"),
    }
}
