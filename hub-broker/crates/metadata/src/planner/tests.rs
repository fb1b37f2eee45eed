use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::NodeId;
use uuid::Uuid;

use super::layout::Change;
use super::*;
use crate::catalog::Catalog;
use crate::limits::{METADATA_VOTERS_MAX, MOVES_MAX};
use crate::replica::{HubState, ReplicaRecord};
use crate::response::Refusal;
use crate::topic::Hub;

const SHARDS: u16 = 24;

/// A cluster whose groups do at once, one at a time, what the catalog wants of them.
struct World {
    catalog: Catalog,
    connected: BTreeSet<NodeId>,
    /// Hubs on which no join ever ends.
    deaf: BTreeSet<NodeId>,
    /// Of which the planner knows that a join does not end.
    stuck: BTreeSet<(u32, NodeId)>,
    incarnations: u128,
}

fn node(number: u32) -> NodeId {
    NodeId(number)
}

impl World {
    fn founded() -> Self {
        let mut world = Self {
            catalog: Catalog::default(),
            connected: BTreeSet::new(),
            deaf: BTreeSet::new(),
            stuck: BTreeSet::new(),
            incarnations: 0,
        };
        world.apply(Command::FormCluster {
            cluster_id: Uuid::from_u128(1),
            data_shards: SHARDS,
            feature_level: 0,
        });
        world.join(node(1), None);
        world.apply(Command::AdoptFounder { node: node(1), incarnation: Uuid::from_u128(1) });
        world
    }

    fn of(hubs: &[(u32, Option<&str>)]) -> Self {
        let mut world = Self::founded();
        for (number, rack) in hubs {
            let incarnation = Uuid::from_u128(if *number == 1 { 1 } else { 100 + u128::from(*number) });
            let rack = rack.map(str::to_owned);
            world.apply(Command::RegisterHub(Hub { rack, ..Hub::new(node(*number), incarnation) }));
            world.connected.insert(node(*number));
        }
        world
    }

    fn apply(&mut self, command: Command) {
        let _ = self.catalog.apply(command);
    }

    fn join(&mut self, node: NodeId, rack: Option<String>) {
        self.incarnations += 1;
        let incarnation = Uuid::from_u128(self.incarnations);
        self.apply(Command::RegisterHub(Hub { rack, ..Hub::new(node, incarnation) }));
        self.connected.insert(node);
    }

    fn view(&self) -> View {
        self.catalog.view()
    }

    fn plan(&self) -> Vec<Command> {
        plan(&self.view(), &self.reach())
    }

    fn reach(&self) -> Reach {
        let (connected, stuck) = (self.connected.clone(), self.stuck.clone());
        Reach { lately: connected.clone(), connected, stuck }
    }

    /// The replicas whose votes count. Of the metadata those that are to vote, once any of them has joined.
    fn voting(view: &View, group: u32) -> Vec<ReplicaRecord> {
        let voters = view.voters(group);
        let joined: Vec<_> =
            view.replicas(group).iter().filter(|it| it.joined && !it.leaving).copied().collect();
        let chosen: Vec<_> = joined.iter().filter(|it| voters.contains(&it.number)).copied().collect();
        if chosen.is_empty() { joined } else { chosen }
    }

    /// Whether the group can agree on anything.
    fn is_live(&self, view: &View, group: u32) -> bool {
        let voting = Self::voting(view, group);
        let connected = voting.iter().filter(|record| self.connected.contains(&record.node));
        connected.count() * 2 > voting.len()
    }

    fn live(&self) -> BTreeSet<u32> {
        let view = self.view();
        view.group_numbers().filter(|group| self.is_live(&view, *group)).collect()
    }

    /// Groups of which something changes, by what it is.
    fn changing(&self, change: Change) -> usize {
        let (view, reach) = (self.view(), self.reach());
        let layout = Layout::new(&view, &reach);
        let is_such = |group: &u32| layout.change(*group) == Some(change);
        // One that cannot agree on anything cannot end its change either, and holds up no other.
        view.group_numbers().skip(1).filter(is_such).filter(|group| self.is_live(&view, *group)).count()
    }

    /// What the groups' leaders would do next, each one thing.
    fn carried_out(&self) -> Vec<Command> {
        let view = self.view();
        let next = |group: u32| {
            let records = view.replicas(group);
            let hears = |node| self.connected.contains(&node) && !self.deaf.contains(&node);
            let joins = |it: &&ReplicaRecord| !it.joined && !it.leaving && hears(it.node);
            let joined =
                records.iter().find(joins).map(|it| Command::ReplicaJoined { group, number: it.number });
            let leaves = || records.iter().find(|it| it.leaving);
            joined.or_else(|| leaves().map(|it| Command::RemoveReplica { group, number: it.number }))
        };
        view.group_numbers().filter(|group| self.is_live(&view, *group)).filter_map(next).collect()
    }

    /// One round of planning, checked.
    fn round(&mut self) -> usize {
        let commands = self.plan();
        for command in &commands {
            let live = self.live();
            let bounded = self.bounded(command);
            let before: Vec<_> = bounded.iter().map(|change| self.changing(*change)).collect();
            if let Command::LeaveReplica { group, number } = command {
                self.check_that_others_have_joined(*group, *number);
            }
            self.catalog.apply(command.clone()).expect("what is planned is never refused");
            assert!(self.live().is_superset(&live), "{command:?} leaves a group without a majority");
            for (change, before) in bounded.into_iter().zip(before) {
                let after = self.changing(change);
                assert!(after <= before.max(change.allowance()), "too much at once: {change:?}");
            }
        }
        commands.len()
    }

    /// Of which changes the command may not begin too many. What is given up is bounded by what was begun.
    fn bounded(&self, command: &Command) -> Vec<Change> {
        match command {
            Command::AddReplica { node, .. } => vec![Change::Move, Change::Repair(*node)],
            Command::LeaveReplica { group, number } => {
                let view = self.view();
                let has_joined = view.replicas(*group).iter().any(|it| it.number == *number && it.joined);
                if has_joined { vec![Change::Leave] } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }

    fn check_that_others_have_joined(&self, group: u32, number: u32) {
        let view = self.view();
        let is_leaving = |it: &&ReplicaRecord| it.number == number;
        if view.replicas(group).iter().find(is_leaving).is_some_and(|it| !it.joined) {
            return;
        }
        let stay =
            |it: &&ReplicaRecord| it.number != number && it.joined && !it.leaving && view.is_active(it.node);
        let staying = view.replicas(group).iter().filter(stay).count();
        assert!(staying >= view.active_hub_count().min(3), "group {group} loses {number} too early");
    }

    /// Plans and carries out until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..5_000 {
            let planned = self.round();
            let carried_out = self.carried_out();
            if planned == 0 && carried_out.is_empty() {
                return;
            }
            for command in carried_out {
                let live = self.live();
                self.catalog.apply(command).expect("the groups do what they may");
                assert!(self.live().is_superset(&live));
            }
        }
        panic!("it does not come to an end");
    }

    fn load(&self) -> BTreeMap<NodeId, usize> {
        let view = self.view();
        let active = view.hubs().map(|hub| hub.node).filter(|node| view.is_active(*node));
        let mut load: BTreeMap<_, _> = active.map(|node| (node, 0)).collect();
        for group in view.group_numbers().skip(1) {
            for record in view.replicas(group) {
                *load.get_mut(&record.node).expect("nothing lies on a drained hub") += 1;
            }
        }
        load
    }

    fn led(&self) -> BTreeMap<NodeId, usize> {
        let view = self.view();
        let active = view.hubs().map(|hub| hub.node).filter(|node| view.is_active(*node));
        let mut led: BTreeMap<_, _> = active.map(|node| (node, 0)).collect();
        for group in view.group_numbers() {
            *led.entry(view.leaders(group)[0].node).or_default() += 1;
        }
        led
    }

    fn check_settled(&self) {
        let view = self.view();
        let wanted = view.active_hub_count().min(3);
        let mut racks: BTreeMap<_, usize> = BTreeMap::new();
        for hub in view.hubs().filter(|hub| view.is_active(hub.node)) {
            *racks.entry(view.rack(hub.node)).or_default() += 1;
        }
        for group in view.group_numbers().skip(1) {
            let records = view.replicas(group);
            assert!(records.iter().all(|record| record.joined && !record.leaving));
            assert_eq!(records.len(), wanted);
            let used: BTreeSet<_> = records.iter().map(|record| view.rack(record.node)).collect();
            assert_eq!(used.len(), wanted.min(racks.len()), "group {group} is not spread over the racks");
        }
        assert_eq!(view.replicas(0).len(), view.hubs().count());
        assert_eq!(view.voters(0).len(), view.active_hub_count().min(METADATA_VOTERS_MAX));
        if racks.values().all(|hubs| *hubs == 1) {
            assert!(spread_of(&self.load()) <= 1, "{:?}", self.load());
            assert!(spread_of(&self.led()) <= 1, "{:?}", self.led());
        }
    }

    /// Whether a group could agree on nothing without what the hub has.
    fn needs(&self, node: NodeId) -> bool {
        let view = self.view();
        view.group_numbers().any(|group| {
            let records = view.replicas(group);
            let is_other = |it: &&ReplicaRecord| it.node != node && it.joined && !it.leaving;
            records.iter().any(|it| it.node == node) && records.iter().filter(is_other).count() <= 1
        })
    }

    /// Whether no group loses its majority without the replicas that `is_lost` says.
    fn survives(&self, is_lost: impl Fn(u32, &ReplicaRecord) -> bool) -> bool {
        let view = self.view();
        view.group_numbers().all(|group| {
            let voting = Self::voting(&view, group);
            let left = voting.iter().filter(|it| !is_lost(group, it)).count();
            left * 2 > voting.len()
        })
    }
}

fn spread_of(counts: &BTreeMap<NodeId, usize>) -> usize {
    counts.values().max().unwrap_or(&0) - counts.values().min().unwrap_or(&0)
}

#[test]
fn a_hub_that_is_alone_has_nothing_to_plan() {
    assert_eq!(World::founded().plan(), []);
}

#[test]
fn three_hubs_get_everything_and_lead_a_third_each() {
    let mut world = World::of(&[(2, None), (3, None)]);
    world.settle();
    world.check_settled();
    assert_eq!(world.load().into_values().collect::<Vec<_>>(), [24, 24, 24]);
    assert_eq!(world.plan(), []);
}

#[test]
fn a_fourth_hub_takes_its_share_and_gives_it_back() {
    let mut world = World::of(&[(2, None), (3, None)]);
    world.settle();
    world.join(node(4), None);
    world.settle();
    world.check_settled();
    assert_eq!(world.load().into_values().collect::<Vec<_>>(), [18; 4]);
    world.apply(Command::DrainHub { node: node(2), draining: true });
    world.settle();
    world.check_settled();
    assert!(!world.load().contains_key(&node(2)));
    world.connected.remove(&node(2));
    world.catalog.apply(Command::RemoveHub { node: node(2) }).unwrap();
    world.settle();
    world.check_settled();
}

#[test]
fn a_new_hub_is_not_filled_beyond_its_share_while_the_old_replicas_are_still_leaving() {
    let mut world = World::of(&[(2, None), (3, None)]);
    world.settle();
    world.join(node(4), None);
    let mut added = 0;
    for _ in 0..500 {
        for command in world.plan() {
            added += usize::from(matches!(command, Command::AddReplica { group, .. } if group > 0));
            world.apply(command);
        }
        // One group at a time makes its step: all others stay in the middle of theirs.
        let Some(command) = world.carried_out().pop() else { break };
        world.apply(command);
    }
    assert_eq!(added, 18);
    world.check_settled();
}

#[test]
fn a_hub_that_is_away_loses_nothing() {
    let mut world = World::of(&[(2, None), (3, None), (4, None)]);
    world.settle();
    world.connected.remove(&node(3));
    assert_eq!(world.plan(), []);
}

#[test]
fn nothing_leaves_a_group_that_would_then_be_cut_off() {
    let mut world = World::of(&[(2, None), (3, None)]);
    world.settle();
    world.connected.remove(&node(2));
    world.apply(Command::DrainHub { node: node(3), draining: true });
    let leaves = |command: &Command| matches!(command, Command::LeaveReplica { .. });
    assert!(!world.plan().iter().any(leaves), "hubs 1 and 2 are not enough while 2 is away");
    world.connected.insert(node(2));
    world.settle();
    world.check_settled();
}

#[test]
fn a_replica_that_cannot_join_is_given_up_and_another_takes_its_place() {
    let mut world = World::of(&[(2, None), (3, None)]);
    world.settle();
    world.join(node(4), None);
    world.round();
    assert_eq!(world.changing(Change::Move), MOVES_MAX);
    world.connected.remove(&node(4));
    let planned = world.plan();
    let removes = |command: &Command| matches!(command, Command::RemoveReplica { .. });
    assert!(!planned.iter().any(removes), "its group may count its vote, and lets it go first");
    world.settle();
    assert!(world.view().groups.iter().flatten().all(|record| record.joined && !record.leaving));
    assert!(world.view().group_numbers().all(|group| world.view().replicas(group).len() == 3));
}

/// Three hubs that have everything, and a fourth on which as many moves as may be have begun and do not end.
fn with_a_deaf_hub() -> World {
    let mut world = World::of(&[(2, None), (3, None)]);
    world.settle();
    world.join(node(4), None);
    world.deaf.insert(node(4));
    for _ in 0..10 {
        world.round();
        for command in world.carried_out() {
            world.apply(command);
        }
    }
    assert_eq!(world.changing(Change::Move), MOVES_MAX);
    world
}

#[test]
fn joins_that_do_not_end_hold_up_no_repair() {
    let mut world = with_a_deaf_hub();
    let view = world.view();
    let quiet = view.group_numbers().skip(1).find(|group| view.replicas(*group).len() == 3);
    let group = quiet.expect("not every group is on the move");
    let number = view.replicas(group).iter().find(|it| it.node == node(3)).unwrap().number;
    world.apply(Command::ReplaceReplica { group, number });
    // Hub 4 has the least, so that is where it is tried.
    assert!(world.plan().contains(&Command::AddReplica { group, node: node(4) }));
    world.stuck.insert((group, node(4)));
    assert!(world.plan().contains(&Command::AddReplica { group, node: node(3) }));
}

#[test]
fn joins_that_do_not_end_hold_up_no_drain_and_those_given_up_come_to_lie_elsewhere() {
    let mut world = with_a_deaf_hub();
    world.join(node(5), None);
    world.apply(Command::DrainHub { node: node(2), draining: true });
    let on = |world: &World, hub| {
        let view = world.view();
        let has_one = |group: &u32| view.replicas(*group).iter().any(|it| it.node == hub);
        view.group_numbers().skip(1).filter(has_one).count()
    };
    for _ in 0..20 {
        world.round();
        for command in world.carried_out() {
            world.apply(command);
        }
    }
    assert_eq!(
        on(&world, node(2)),
        MOVES_MAX,
        "only those are left that wait for the hub that takes nothing in"
    );
    world.stuck = world.view().group_numbers().map(|group| (group, node(4))).collect();
    world.settle();
    assert_eq!((on(&world, node(2)), on(&world, node(4))), (0, 0));
    assert!([1, 3, 5].iter().all(|hub| on(&world, node(*hub)) == usize::from(SHARDS)));
    (world.deaf, world.stuck) = Default::default();
    world.settle();
    world.check_settled();
}

#[test]
fn a_wiped_hub_gets_new_replicas_in_all_groups() {
    let mut world = World::of(&[(2, None), (3, None)]);
    world.settle();
    let highest = world.view().next_replica;
    world.join(node(2), None);
    world.settle();
    world.check_settled();
    let view = world.view();
    let of_hub_2 = |group| view.replicas(group).iter().find(|it| it.node == node(2)).unwrap().number;
    assert!(view.group_numbers().all(|group| of_hub_2(group) >= highest));
}

#[test]
fn the_metadata_votes_on_five_hubs_in_as_many_racks_as_there_are() {
    let racks = ["a", "a", "a", "b", "b", "b", "c", "c", "c"];
    let hubs: Vec<_> = (1..).zip(racks.map(Some)).collect();
    let mut world = World::of(&hubs);
    world.settle();
    world.check_settled();
    let view = world.view();
    let voters = view.voters(0);
    let voting = view.replicas(0).iter().filter(|record| voters.contains(&record.number));
    let mut in_rack: BTreeMap<_, usize> = BTreeMap::new();
    for record in voting {
        *in_rack.entry(view.rack(record.node)).or_default() += 1;
    }
    assert_eq!(in_rack.into_values().collect::<Vec<_>>(), [2, 2, 1]);
}

#[test]
fn in_equal_racks_the_load_is_even_too() {
    let racks = ["a", "b", "c", "a", "b", "c"];
    let hubs: Vec<_> = (1..).zip(racks.map(Some)).collect();
    let mut world = World::of(&hubs);
    world.settle();
    world.check_settled();
    assert!(spread_of(&world.load()) <= 1, "{:?}", world.load());
    assert!(spread_of(&world.led()) <= 1, "{:?}", world.led());
}

#[derive(Clone, Debug)]
enum Turn {
    Join(u32, u8),
    Drain(u32, bool),
    Remove(u32),
    Wipe(u32),
    Lose(u32, u32),
    Away(u32),
    Back(u32),
    Stuck(u32, u32),
    Plan,
    CarryOut(usize),
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let hub = || 1..8_u32;
    prop_oneof![
        3 => (hub(), 0..4_u8).prop_map(|(hub, rack)| Turn::Join(hub, rack)),
        2 => (hub(), any::<bool>()).prop_map(|(hub, draining)| Turn::Drain(hub, draining)),
        1 => hub().prop_map(Turn::Remove),
        1 => hub().prop_map(Turn::Wipe),
        2 => (0..25_u32, hub()).prop_map(|(group, hub)| Turn::Lose(group, hub)),
        1 => hub().prop_map(Turn::Away),
        2 => hub().prop_map(Turn::Back),
        1 => (1..25_u32, hub()).prop_map(|(group, hub)| Turn::Stuck(group, hub)),
        4 => Just(Turn::Plan),
        4 => (0..40_usize).prop_map(Turn::CarryOut),
    ]
}

impl World {
    fn turn(&mut self, turn: &Turn, with_racks: bool) {
        match *turn {
            Turn::Join(hub, rack) => {
                if self.view().hub(node(hub)).is_none() {
                    self.join(node(hub), (with_racks && rack > 0).then(|| format!("rack {rack}")));
                }
            }
            Turn::Drain(hub, draining) => self.apply(Command::DrainHub { node: node(hub), draining }),
            Turn::Remove(hub) => {
                let is_drained = self.view().hub_state(node(hub)) == Some(HubState::Draining);
                if is_drained && self.survives(|_, it| it.node == node(hub)) {
                    self.apply(Command::RemoveHub { node: node(hub) });
                }
            }
            Turn::Wipe(hub) => {
                let Some(rack) = self.view().hub(node(hub)).map(|hub| hub.rack.clone()) else { return };
                if self.needs(node(hub)) {
                    let wiped = Hub::new(node(hub), Uuid::from_u128(u128::MAX));
                    let refused = self.catalog.apply(Command::RegisterHub(wiped));
                    assert_eq!(refused, Err(Refusal::LastReplica));
                } else if self.survives(|_, it| it.node == node(hub)) {
                    self.join(node(hub), rack);
                }
            }
            Turn::Lose(group, hub) => {
                if self.survives(|of, it| of == group && it.node == node(hub)) {
                    let view = self.view();
                    let lost = view.replicas(group).iter().find(|it| it.node == node(hub));
                    if let Some(number) = lost.map(|it| it.number) {
                        self.apply(Command::ReplaceReplica { group, number });
                    }
                }
            }
            Turn::Away(hub) => {
                self.connected.remove(&node(hub));
            }
            Turn::Back(hub) => {
                if self.view().hub(node(hub)).is_some() {
                    self.connected.insert(node(hub));
                }
            }
            Turn::Stuck(group, hub) => {
                self.stuck.insert((group, node(hub)));
            }
            Turn::Plan => drop(self.round()),
            Turn::CarryOut(count) => {
                for command in self.carried_out().into_iter().take(count) {
                    self.apply(command);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_it_comes_to_an_even_state(
        turns in proptest::collection::vec(any_turn(), 0..60),
        with_racks in any::<bool>(),
    ) {
        let mut world = World::founded();
        let mut highest: u32 = 1;
        for turn in &turns {
            world.turn(turn, with_racks);
            let view = world.view();
            prop_assert!(view.next_replica > highest);
            highest = view.next_replica - 1;
            let mut numbers = BTreeSet::new();
            for (group, record) in
                view.group_numbers().flat_map(|group| view.replicas(group).iter().map(move |it| (group, it)))
            {
                prop_assert!(record.number <= highest);
                prop_assert!(record.number == 1 || numbers.insert(record.number), "{group}: {record:?} has no number of its own");
            }
        }
        world.connected = world.view().hubs().map(|hub| hub.node).collect();
        world.settle();
        world.stuck.clear();
        world.settle();
        world.check_settled();
    }
}
