//! Raises the cluster's feature level, when all hubs run a release that supports a higher one.

use schemas::NodeId;

use crate::command::Command;
use crate::error::{Unavailable, UpgradeError};
use crate::handle::Metadata;
use crate::levels::{Supported, gather};
use crate::response::Refusal;

/// What the feature level was, and is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgraded {
    pub from: u16,
    pub to: u16,
}

impl Metadata {
    /// Raises the feature level to the highest that all hubs support. Where it has that already, nothing happens.
    ///
    /// # Errors
    /// A hub of which nobody knows what it supports, one that supports no more than the level that there is while others
    /// do, or the metadata group does not take commands.
    pub async fn upgrade(&self) -> Result<Upgraded, UpgradeError> {
        let view = self.view();
        let from = view.feature_level;
        let supported = gather(self.shards(), &view, self.levels()).await;
        let to = attainable(from, &supported)?;
        if to == from {
            return Ok(Upgraded { from, to });
        }
        match self.propose(&Command::RaiseFeatureLevel { level: to }).await? {
            Ok(_) => {
                tracing::info!("the cluster's feature level was raised from {from} to {to}");
                Ok(Upgraded { from, to })
            }
            Err(Refusal::HubTooOld) => Err(UpgradeError::Changed),
            Err(_) => Err(Unavailable::OtherAnswer.into()),
        }
    }
}

/// The level that a cluster can be raised to.
pub(crate) fn attainable(level: u16, supported: &Supported) -> Result<u16, UpgradeError> {
    let silent: Vec<_> =
        supported.iter().filter(|(_, levels)| levels.is_none()).map(|(node, _)| *node).collect();
    if !silent.is_empty() {
        return Err(UpgradeError::Silent { hubs: named(&silent) });
    }
    let known = || supported.iter().filter_map(|(node, levels)| Some((*node, (*levels)?.most)));
    let to = known().map(|(_, most)| most).min().unwrap_or(level).max(level);
    let highest = known().map(|(_, most)| most).max().unwrap_or(level);
    if to == level && highest > level {
        let holding: Vec<_> = known().filter(|(_, most)| *most <= level).map(|(node, _)| node).collect();
        return Err(UpgradeError::HeldBack { level, highest, hubs: named(&holding) });
    }
    Ok(to)
}

/// `hub 3 supports`, `hubs 2 and 3 support`, `hubs 1, 2 and 3 support`.
fn named(nodes: &[NodeId]) -> String {
    match nodes {
        [only] => format!("hub {only} supports"),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(ToString::to_string).collect();
            format!("hubs {} and {last} support", first.join(", "))
        }
        [] => "no hub supports".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use shards::Levels;

    use super::*;

    fn supported(most: &[Option<u16>]) -> Supported {
        let levels = |most: Option<u16>| most.map(|most| Levels { least: 0, most });
        (1..).map(NodeId).zip(most.iter().copied().map(levels)).collect()
    }

    #[test]
    fn the_level_is_raised_to_what_all_hubs_support() {
        assert_eq!(attainable(0, &supported(&[Some(2), Some(1), Some(3)])), Ok(1));
        assert_eq!(attainable(1, &supported(&[Some(2), Some(2)])), Ok(2));
        assert_eq!(attainable(2, &supported(&[Some(2), Some(2)])), Ok(2), "nothing is to be done");
        assert_eq!(attainable(1, &Supported::new()), Ok(1));
    }

    #[test]
    fn whoever_is_in_the_way_is_named() {
        let said = |level, most: &[Option<u16>]| attainable(level, &supported(most)).unwrap_err().to_string();
        let held = said(1, &[Some(2), Some(1), Some(3)]);
        assert!(held.contains("is 1 and stays so: hub 2 supports no higher one, others support 3"), "{held}");
        let held = said(0, &[Some(0), Some(0), Some(1)]);
        assert!(held.contains("hubs 1 and 2 support no higher one"), "{held}");
        let silent = said(0, &[None, Some(1), None, None]);
        assert!(silent.contains("which feature levels hubs 1, 3 and 4 support"), "{silent}");
    }
}
