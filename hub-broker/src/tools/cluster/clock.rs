//! `hub-broker cluster clock accept`, and what `cluster status` says of clocks.

use jiff::Timestamp;
use kafka_server::cluster::Question;
use metadata::{ClockStatus, ClusterStatus, HubStatus};
use program::outcome::Failure;
use program::output::line;
use schemas::NodeId;
use shards::limits::CLOCK_AGREEMENT_MS;

use super::{check_known, order};
use crate::tools::hubs::Hubs;

/// Has hubs take their clocks as they are: the one that is named, or all that do not believe theirs.
pub fn accept(hubs: &mut Hubs, node: Option<NodeId>) -> Result<(), Failure> {
    let chosen = chosen(&hubs.status()?, node)?;
    if chosen.is_empty() {
        line("no hub's clock is held: there is nothing to accept");
    }
    for (node, wall_ms) in chosen {
        order(hubs.any(), &Question::AcceptClock { node })?;
        line(format!("hub {node}'s clock is accepted as it is: {}", time(wall_ms)));
    }
    Ok(())
}

/// The hubs, each with what its clock shows. Nobody is to accept two times at once.
pub fn chosen(status: &ClusterStatus, node: Option<NodeId>) -> Result<Vec<(NodeId, i64)>, Failure> {
    if let Some(node) = node {
        check_known(status, node)?;
        let named = status.hubs.iter().find(|hub| hub.node == node).and_then(|hub| hub.clock.as_ref());
        let silent = || Failure::run(format!("hub {node} does not say what its clock shows: is it running?"));
        return named.map(|clock| vec![(node, clock.wall_ms)]).ok_or_else(silent);
    }
    let held: Vec<_> = held(status).map(|(hub, clock)| (hub.node, clock.wall_ms)).collect();
    let walls = || held.iter().map(|(_, wall_ms)| *wall_ms);
    let spread_ms = walls().max().zip(walls().min()).map_or(0, |(last, first)| last.saturating_sub(first));
    if spread_ms <= CLOCK_AGREEMENT_MS {
        return Ok(held);
    }
    let shown: Vec<_> =
        held.iter().map(|(node, wall_ms)| format!("hub {node}'s shows {}", time(*wall_ms))).collect();
    Err(Failure::run(format!(
        "the clocks that are held do not agree: {}; set them right, or name the one that is: hub-broker cluster clock accept N",
        shown.join(", ")
    )))
}

/// A line for each hub that does not believe its clock.
pub fn warnings(status: &ClusterStatus) -> Vec<String> {
    let warning = |(hub, clock): (&HubStatus, &ClockStatus)| {
        let node = hub.node;
        let why = match clock.held.as_deref() {
            Some("unheard") => "it has not heard the cluster's time yet".to_owned(),
            Some("outvoted") => format!("the clocks of most hubs agree on {}", known(clock)),
            _ => format!("by its last stamps and its uptime it is {}", known(clock)),
        };
        format!(
            "hub {node}'s clock is held, and nothing expires there by time: it shows {}, and {why}. Set it right, or, where it is right: hub-broker cluster clock accept {node}",
            time(clock.wall_ms)
        )
    };
    held(status).map(warning).collect()
}

fn held(status: &ClusterStatus) -> impl Iterator<Item = (&HubStatus, &ClockStatus)> {
    let clocks = status.hubs.iter().filter_map(|hub| Some((hub, hub.clock.as_ref()?)));
    clocks.filter(|(_, clock)| clock.held.is_some())
}

fn known(clock: &ClockStatus) -> String {
    clock.known_ms.map_or_else(|| "another time".to_owned(), time)
}

fn time(ms: i64) -> String {
    // Seconds are enough for people; what lies beyond the calendar is shown as it is.
    Timestamp::from_second(ms.div_euclid(1_000)).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::cluster::tests::{draining, status};

    const HOUR_MS: i64 = 3_600_000;

    fn hub(node: u32) -> HubStatus {
        HubStatus { node: NodeId(node), ..draining() }
    }

    fn with(clocks: &[(u32, i64, Option<&str>)]) -> ClusterStatus {
        let hubs = clocks.iter().map(|(node, wall_ms, held)| HubStatus {
            clock: Some(ClockStatus { wall_ms: *wall_ms, known_ms: Some(0), held: held.map(str::to_owned) }),
            ..hub(*node)
        });
        ClusterStatus { hubs: hubs.collect(), ..status(Vec::new()) }
    }

    #[test]
    fn clocks_that_are_held_are_accepted_together_only_where_they_agree() {
        let jumped = Some("jumped");
        let nodes = |status: &ClusterStatus, node: Option<u32>| {
            let chosen = chosen(status, node.map(NodeId)).map_err(|failure| failure.message().to_owned())?;
            Ok::<_, String>(chosen.into_iter().map(|(node, _)| node.0).collect::<Vec<_>>())
        };
        let two = with(&[(1, 0, None), (2, HOUR_MS, jumped), (3, HOUR_MS + 900, jumped)]);
        assert_eq!(nodes(&two, None), Ok(vec![2, 3]));
        assert_eq!(nodes(&two, Some(3)), Ok(vec![3]));
        assert_eq!(nodes(&with(&[(1, 0, None)]), None), Ok(Vec::new()));
        let apart = with(&[(2, HOUR_MS, jumped), (3, 9 * HOUR_MS, jumped)]);
        let said = nodes(&apart, None).unwrap_err();
        assert!(said.contains("hub 2's shows 1970-01-01T01:00:00Z") && said.contains("accept N"), "{said}");
        assert_eq!(nodes(&apart, Some(2)), Ok(vec![2]), "whoever names it has looked at it");
        assert!(nodes(&apart, Some(7)).unwrap_err().contains("no hub 7"));
        let silent = ClusterStatus { hubs: vec![hub(2)], ..status(Vec::new()) };
        assert!(nodes(&silent, Some(2)).unwrap_err().contains("is it running?"));
    }

    #[test]
    fn a_clock_that_is_held_is_shown_with_what_to_do() {
        assert_eq!(warnings(&with(&[(1, 0, None)])), [""; 0]);
        let said = warnings(&with(&[(1, 0, None), (2, 9 * HOUR_MS, Some("outvoted"))]));
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("hub 2's clock is held"), "{said:?}");
        assert!(said[0].contains("shows 1970-01-01T09:00:00Z"), "{said:?}");
        assert!(said[0].contains("most hubs agree on 1970-01-01T00:00:00Z"), "{said:?}");
        assert!(said[0].ends_with("hub-broker cluster clock accept 2"), "{said:?}");
    }
}
