//! Appends on their way to the leaders of their shards: one lane a shard, first in first out.
//!
//! A lane that is idle while this hub serves the shard is passed by. Else what arrives waits in the lane, and its
//! runner, a task that lives while there is something in it, takes everything that fits into one request to the
//! leader, and the rest after the answer. So order holds without a window, and what comes while a request is under way
//! shares the next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::{NodeId, ShardId};
use tokio::time::Instant;

use super::route::{AskError, Way, another_look, ask, way};
use super::wire;
use crate::answer::{Answer, Refusal};
use crate::doors::{Doors, group_of};
use crate::limits::{FORWARD_BYTES_TARGET, FORWARD_COUNT_MAX, FORWARD_MAX};
use crate::{Append, AppendDone, AppendError, Appended, Leader, observe};

/// What a batch costs in a request besides its bytes, roughly.
const APPEND_BYTES: usize = 192;

/// All lanes, by shard.
pub(crate) struct Lanes {
    lanes: Vec<Mutex<Lane>>,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<Item>,
    /// A runner lives.
    running: bool,
}

struct Item {
    append: Append,
    answer: Answer,
    deadline: Instant,
}

impl Lanes {
    pub(crate) fn new(shards: u16) -> Self {
        Self { lanes: (0..shards).map(|_| Mutex::default()).collect() }
    }

    fn of(&self, shard: ShardId) -> &Mutex<Lane> {
        &self.lanes[usize::from(shard.0)]
    }

    /// This hub serves the shard, and nothing of it waits that came before.
    fn can_be_passed_by(&self, doors: &Doors, shard: ShardId) -> bool {
        doors.shared.leaders.serving(group_of(shard)).is_some() && !self.of(shard).lock().running
    }
}

/// Hands each batch to its shard here, or into its lane.
pub(crate) fn append_all(
    doors: &Arc<Doors>,
    requests: impl IntoIterator<Item = (ShardId, Append, AppendDone)>,
) {
    if doors.shared.peers.is_alone() {
        return doors.append_all(requests);
    }
    let (mut ways, mut chosen) = (doors.ways(), Chosen::default());
    for (shard, append, done) in requests {
        let here = chosen.passes_by(doors, shard);
        match doors.admit(shard, &append, here) {
            Ok((place, permit)) if here => ways.add(place, append, Answer::append(done, permit)),
            Ok((_, permit)) => {
                let deadline = Instant::now() + FORWARD_MAX;
                wait(doors, shard, Item { append, answer: Answer::append(done, permit), deadline });
            }
            Err(error) => done(Err(error)),
        }
    }
    ways.go();
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
        let choose = || doors.place(shard).is_none() || doors.lanes.can_be_passed_by(doors, shard);
        match *self.first.get_or_insert_with(|| (shard, choose())) {
            (first, here) if first == shard => here,
            _ => *self.others.entry(shard).or_insert_with(choose),
        }
    }
}

/// Puts it into its lane, and sees to it that somebody is at work there.
fn wait(doors: &Arc<Doors>, shard: ShardId, item: Item) {
    let mut lane = doors.lanes.of(shard).lock();
    lane.queue.push_back(item);
    if !std::mem::replace(&mut lane.running, true) {
        let own = doors.clone();
        doors.spawn(async move { run(&own, shard).await });
    }
}

/// Until the lane is empty.
async fn run(doors: &Doors, shard: ShardId) {
    let mut changes = doors.shared.leaders.watch();
    loop {
        changes.mark_unchanged();
        if doors.is_stopping() {
            refuse_all(doors, shard, Refusal::Stopping);
        }
        if !drop_late(doors, shard) {
            return;
        }
        match way(doors, group_of(shard)) {
            Some(Way::Here) if doors.shared.leaders.serving(group_of(shard)).is_some() => {
                hand_in(doors, shard);
            }
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
fn drop_late(doors: &Doors, shard: ShardId) -> bool {
    let leader = doors.shared.leaders.leader(group_of(shard)).map(|leader| leader.node);
    let now = Instant::now();
    let mut late = Vec::new();
    let mut lane = doors.lanes.of(shard).lock();
    while lane.queue.front().is_some_and(|item| item.deadline <= now) {
        late.extend(lane.queue.pop_front());
    }
    lane.running = !lane.queue.is_empty();
    let left = lane.running;
    // Whoever is answered may hand in more, to this lane too.
    drop(lane);
    late.into_iter().for_each(|item| item.answer.refuse(Refusal::NotLeader { leader }));
    left
}

/// This hub serves the shard: everything that waits goes to it.
fn hand_in(doors: &Doors, shard: ShardId) {
    let Some(place) = doors.place(shard) else { return };
    let mut ways = doors.ways();
    let mut lane = doors.lanes.of(shard).lock();
    let mut without_room = Vec::new();
    for Item { append, answer, .. } in lane.queue.drain(..) {
        match doors.shared.space.admit(append.batch.len() as u64) {
            true => ways.add(place, append, answer),
            false => without_room.push(answer),
        }
    }
    // With the lane's lock: nothing that comes later may be there before.
    ways.go();
    drop(lane);
    without_room.into_iter().for_each(|answer| answer.refuse(Refusal::NoSpace));
}

/// One request to the leader. False if nothing of it was done, and it waits again.
async fn send(doors: &Doors, shard: ShardId, leader: Leader) -> bool {
    let items = take(doors, shard);
    let Some(deadline) = items.iter().map(|item| item.deadline).max() else { return true };
    let bytes = items.iter().map(size).sum();
    let body = wire::encode_appends(shard, items.iter().map(|item| &item.append), bytes);
    let held = Held { doors, shard, items };
    match ask(doors, group_of(shard), leader, wire::APPEND, body, deadline).await {
        Ok(body) => held.answer(wire::decode_appended(body).unwrap_or_default(), leader.node),
        Err(AskError::NothingDone) => {
            held.put_back();
            return false;
        }
        Err(AskError::InDoubt) => held.answer(Vec::new(), leader.node),
    }
    true
}

/// As much from the front as goes into one request, and at least one.
fn take(doors: &Doors, shard: ShardId) -> Vec<Item> {
    let mut lane = doors.lanes.of(shard).lock();
    let (mut count, mut bytes) = (0, 0);
    for item in lane.queue.iter().take(FORWARD_COUNT_MAX) {
        bytes += size(item);
        if count > 0 && bytes > FORWARD_BYTES_TARGET {
            break;
        }
        count += 1;
    }
    lane.queue.drain(..count).collect()
}

fn size(item: &Item) -> usize {
    APPEND_BYTES + item.append.batch.len()
}

/// What is in a request.
struct Held<'a> {
    doors: &'a Doors,
    shard: ShardId,
    items: Vec<Item>,
}

impl Held<'_> {
    /// Nothing of it was done: it is at the front again.
    fn put_back(self) {
        let mut lane = self.doors.lanes.of(self.shard).lock();
        for item in self.items.into_iter().rev() {
            lane.queue.push_front(item);
        }
    }

    /// Those without an outcome are in doubt, and so is then what waits behind them.
    fn answer(self, outcomes: Vec<Result<Appended, AppendError>>, leader: NodeId) {
        let in_doubt = Refusal::NotLeader { leader: Some(leader) };
        let lost =
            |outcome: &Result<Appended, AppendError>| matches!(outcome, Err(AppendError::NotLeader { .. }));
        let broken = outcomes.len() < self.items.len() || outcomes.iter().any(lost);
        observe::forwarded(outcomes.iter().filter(|outcome| outcome.is_ok()).count());
        let mut outcomes = outcomes.into_iter();
        for item in self.items {
            match outcomes.next() {
                Some(outcome) => item.answer.appended(outcome),
                None => item.answer.refuse(in_doubt),
            }
        }
        if broken {
            refuse_all(self.doors, self.shard, in_doubt);
        }
    }
}

fn refuse_all(doors: &Doors, shard: ShardId, refusal: Refusal) {
    let waiting = std::mem::take(&mut doors.lanes.of(shard).lock().queue);
    waiting.into_iter().for_each(|item| item.answer.refuse(refusal));
}
