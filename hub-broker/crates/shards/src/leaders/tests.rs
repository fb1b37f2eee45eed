use super::*;

const HERE: NodeId = NodeId(1);

fn leaders() -> Leaders {
    Leaders::new(HERE, 3)
}

fn ids(nodes: &[u32]) -> Vec<ReplicaId> {
    nodes.iter().map(|node| ReplicaId::new(*node, 7)).collect()
}

fn nodes(nodes: &[u32]) -> Vec<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn own(term: u64, leader: Option<u32>, serving: bool) -> OwnView {
    let in_sync = if leader == Some(HERE.0) { ids(&[1, 2]) } else { Vec::new() };
    OwnView {
        term,
        leader: leader.map(|node| ReplicaId::new(node, 7)),
        serving,
        voters: ids(&[1, 2, 3]),
        learners: Vec::new(),
        in_sync,
        lost_files: Vec::new(),
    }
}

fn told(term: u64, serving: bool) -> Told {
    let (voters, in_sync) = (ids(&[1, 2, 3]), nodes(&[2, 3]));
    Told { group: 1, term, serving, voters, learners: nodes(&[4]), in_sync }
}

fn leader(node: u32, term: u64, serving: bool) -> Option<Leader> {
    Some(Leader { node: NodeId(node), term: Term(term), serving })
}

#[test]
fn the_newest_term_wins_whoever_speaks() {
    let table = leaders();
    table.update(1, Some(&own(3, Some(1), true)));
    assert_eq!(table.leader(1), leader(1, 3, true));
    table.hear(NodeId(2), [told(2, true)]);
    assert_eq!(table.leader(1), leader(1, 3, true), "an older term changes nothing");
    table.hear(NodeId(2), [told(4, true)]);
    assert_eq!(table.leader(1), leader(2, 4, true));
    assert_eq!((table.view(1).in_sync, table.view(1).learners), (nodes(&[2, 3]), nodes(&[4])));
    table.update(1, Some(&own(3, None, false)));
    assert_eq!(table.leader(1), leader(2, 4, true), "the own replica has not heard yet");
    table.update(1, Some(&own(5, Some(3), false)));
    assert_eq!(table.leader(1), leader(3, 5, false));
}

#[test]
fn a_follower_knows_who_leads_and_the_leader_says_whether_it_serves() {
    let table = leaders();
    table.update(1, Some(&own(3, Some(2), false)));
    assert_eq!(table.leader(1), leader(2, 3, false));
    table.hear(NodeId(2), [told(3, true)]);
    table.update(1, Some(&own(3, Some(2), false)));
    assert_eq!(table.leader(1), leader(2, 3, true));
}

#[test]
fn a_leader_that_steps_down_leaves_nobody_in_its_place() {
    let table = leaders();
    table.update(1, Some(&own(3, Some(1), true)));
    assert_eq!(table.serving(1), Some(Term(3)));
    table.update(1, Some(&own(3, None, false)));
    assert_eq!((table.leader(1), table.serving(1)), (None, None));
}

#[test]
fn it_serves_as_soon_and_as_long_as_its_replica_does() {
    let table = leaders();
    table.update(1, Some(&own(3, Some(1), false)));
    assert_eq!(table.serving(1), None);
    table.update(1, Some(&own(3, Some(1), true)));
    assert_eq!((table.serving(1), table.serving(2)), (Some(Term(3)), None));
    table.hear(NodeId(2), [told(4, true)]);
    assert_eq!(table.serving(1), Some(Term(3)), "raft decides what it may serve, not hearsay");
    table.update(1, None);
    assert_eq!(table.serving(1), None);
    assert_eq!(table.leader(1), leader(2, 4, true));
}

#[test]
fn only_what_is_led_here_is_told() {
    let table = leaders();
    table.update(0, Some(&own(3, Some(2), false)));
    table.update(1, Some(&own(3, Some(1), true)));
    table.update(2, Some(&own(6, Some(1), false)));
    let told = table.led_here();
    let what: Vec<_> = told.iter().map(|told| (told.group, told.term, told.serving)).collect();
    assert_eq!(what, [(1, 3, true), (2, 6, false)]);
    assert_eq!((&told[0].voters, &told[0].in_sync), (&ids(&[1, 2, 3]), &nodes(&[1, 2])));
}

#[test]
fn a_change_is_told_once_and_what_is_known_is_none() {
    let table = leaders();
    let mut changes = table.watch();
    table.update(1, Some(&own(3, Some(2), false)));
    assert!(changes.has_changed().expect("open"));
    changes.mark_unchanged();
    table.update(1, Some(&own(3, Some(2), false)));
    assert!(!changes.has_changed().expect("open"));
    table.hear(NodeId(2), [told(3, true)]);
    assert!(changes.has_changed().expect("open"));
    changes.mark_unchanged();
    table.hear(NodeId(2), [told(3, true)]);
    assert!(!changes.has_changed().expect("open"));
}

#[test]
fn a_group_that_is_not_here_is_passed_over() {
    let table = leaders();
    table.hear(NodeId(2), [Told { group: 99, ..told(3, true) }]);
    table.update(99, Some(&own(3, Some(1), true)));
    assert_eq!((table.leader(99), table.serving(99)), (None, None));
}

#[test]
fn a_file_is_lost_as_long_as_the_replica_says_so_and_no_other_file_is() {
    let table = leaders();
    let kept = OwnView { lost_files: vec!["p-0/7-00.log".into()], ..own(3, Some(1), true) };
    table.update(1, Some(&kept));
    let is_lost = |group, file: &str| table.is_lost(group, Path::new(file));
    assert!(is_lost(1, "p-0/7-00.log") && is_lost(1, "p-0/7-00.index"));
    assert!(!is_lost(1, "p-0/8-00.log") && !is_lost(0, "p-0/7-00.log") && !is_lost(99, "p-0/7-00.log"));
    table.update(1, None);
    assert!(!is_lost(1, "p-0/7-00.log"));
}
