//! The ways of appends to the leaders of their shards.
//!
//! A lane that is idle while this hub serves the shard is passed by. Else what arrives waits in the lane, and its
//! runner, a task that lives while there is something in it, takes everything that fits into one request to the
//! leader, and the rest after the answer. So order holds without a window, and what comes while a request is under way
//! shares the next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use schemas::{NodeId, ShardId};
use tokio::time::Instant;

use super::route::{AskError, Way, another_look, ask, way};
use super::wire;
use crate::answer::{Answer, Refusal};
use crate::doors::{Doors, group_of};
use crate::lanes::{Item, Lane};
use crate::limits::FORWARD_MAX;
use crate::{Append, AppendDone, AppendError, Appended, Leader, observe};

/// Hands each batch to its shard here, or into its lane.
pub(crate) fn append_all(
    doors: &Arc<Doors>,
    requests: impl IntoIterator<Item = (ShardId, Append, AppendDone)>,
) {
    if doors.shared.peers.is_alone() {
        return doors.append_all(requests);
    }
    let (mut ways, mut chosen) = (doors.ways(), Chosen::default());
    let mut behind: BTreeMap<ShardId, Vec<Item>> = BTreeMap::new();
    for (shard, append, done) in requests {
        let here = chosen.passes_by(doors, shard);
        match doors.admit(shard, &append, here) {
            Ok((place, permit)) if here => ways.add(place, append, Answer::append(done, permit)),
            Ok((_, permit)) => {
                let deadline = Instant::now() + FORWARD_MAX;
                let item = Item { append, answer: Answer::append(done, permit), deadline };
                behind.entry(shard).or_default().push(item);
            }
            Err(error) => done(Err(error)),
        }
    }
    ways.go();
    behind.into_iter().for_each(|(shard, items)| wait(doors, shard, items));
}

/// Which shards' batches pass their lanes by. Those of one call all go one way, so that none passes another.
#[derive(Default)]
struct Chosen {
    /// Most calls are about one shard: that costs no memory.
    first: Option<(ShardId, bool)>,
    others: BTreeMap<ShardId, bool>,
}

impl Chosen {
    fn passes_by(&mut self, doors: &Doors, shard: ShardId) -> bool {
        let choose = || match doors.place(shard) {
            Some(_) => serves(doors, shard) && doors.lanes.of(shard).is_idle(),
            // It is refused in any case.
            None => true,
        };
        match *self.first.get_or_insert_with(|| (shard, choose())) {
            (first, here) if first == shard => here,
            _ => *self.others.entry(shard).or_insert_with(choose),
        }
    }
}

fn serves(doors: &Doors, shard: ShardId) -> bool {
    doors.shared.leaders.serving(group_of(shard)).is_some()
}

/// Puts them into their lane at once, so that none of them goes where an earlier one was lost, and sees to it that
/// somebody is at work there.
fn wait(doors: &Arc<Doors>, shard: ShardId, items: Vec<Item>) {
    if doors.lanes.of(shard).push(items) {
        let own = doors.clone();
        doors.spawn(async move { run(&own, shard).await });
    }
}

/// Until the lane is empty.
async fn run(doors: &Doors, shard: ShardId) {
    let mut changes = doors.shared.leaders.watch();
    let lane = doors.lanes.of(shard);
    loop {
        changes.mark_unchanged();
        if doors.is_stopping() {
            refuse_all(lane, Refusal::Stopping);
        }
        if !refuse_late(doors, shard) {
            return;
        }
        match way(doors, group_of(shard)) {
            Some(Way::Here) if serves(doors, shard) => hand_in(doors, shard),
            Some(Way::There(leader)) if leader.serving => {
                if !send(doors, shard, leader).await {
                    another_look(&mut changes).await;
                }
            }
            _ => another_look(&mut changes).await,
        }
    }
}

/// Answers what has waited too long. False if nothing is left: then no runner lives any more.
fn refuse_late(doors: &Doors, shard: ShardId) -> bool {
    let leader = doors.shared.leaders.leader(group_of(shard)).map(|leader| leader.node);
    let (late, left) = doors.lanes.of(shard).take_late(Instant::now());
    late.into_iter().for_each(|item| item.answer.refuse(Refusal::NotLeader { leader }));
    left
}

/// This hub serves the shard: everything that waits goes to it.
fn hand_in(doors: &Doors, shard: ShardId) {
    let Some(place) = doors.place(shard) else { return };
    let without_room = doors.lanes.of(shard).take_all_and(|items| {
        let (mut ways, mut without_room) = (doors.ways(), Vec::new());
        for Item { append, answer, .. } in items {
            match doors.shared.space.admit(append.batch.len() as u64) {
                true => ways.add(place, append, answer),
                false => without_room.push(answer),
            }
        }
        ways.go();
        without_room
    });
    // Whoever is answered may hand in more, to this lane too.
    without_room.into_iter().for_each(|answer| answer.refuse(Refusal::NoSpace));
}

/// One request to the leader. False if nothing of it was done, and it waits again.
async fn send(doors: &Doors, shard: ShardId, leader: Leader) -> bool {
    let lane = doors.lanes.of(shard);
    let items = lane.take_request();
    let Some(deadline) = items.iter().map(|item| item.deadline).max() else { return true };
    let bytes = items.iter().map(Item::bytes).sum();
    let body = wire::encode_appends(shard, items.iter().map(|item| &item.append), bytes);
    match ask(doors, group_of(shard), leader, wire::APPEND, body, deadline).await {
        Ok(body) => answer(lane, items, wire::decode_appended(body).unwrap_or_default(), leader.node),
        Err(AskError::InDoubt) => answer(lane, items, Vec::new(), leader.node),
        Err(AskError::NothingDone) => {
            lane.put_back(items);
            return false;
        }
    }
    true
}

/// Those without an outcome are in doubt, and so is then what waits behind them.
fn answer(lane: &Lane, items: Vec<Item>, outcomes: Vec<Result<Appended, AppendError>>, leader: NodeId) {
    let in_doubt = Refusal::NotLeader { leader: Some(leader) };
    let lost =
        |outcome: &Result<Appended, AppendError>| matches!(outcome, Err(AppendError::NotLeader { .. }));
    let broken = outcomes.len() < items.len() || outcomes.iter().any(lost);
    // Taken before anyone is told: whoever hears of it may hand in more, and that waits behind nothing that was lost.
    let behind = if broken { lane.take_all() } else { VecDeque::new() };
    observe::forwarded(outcomes.iter().filter(|outcome| outcome.is_ok()).count());
    let mut outcomes = outcomes.into_iter();
    for item in items {
        match outcomes.next() {
            Some(outcome) => item.answer.appended(outcome),
            None => item.answer.refuse(in_doubt),
        }
    }
    behind.into_iter().for_each(|item| item.answer.refuse(in_doubt));
}

fn refuse_all(lane: &Lane, refusal: Refusal) {
    lane.take_all().into_iter().for_each(|item| item.answer.refuse(refusal));
}
