//! Makes the raft groups that this hub leads what the catalog says, and gives up replicas of its own that the catalog
//! no longer knows: one that votes, as far as it knows itself, only when its group's leader says that it is out.

mod groups;
mod refusals;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use consensus::{Membership, ReplicaId, Role};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use schemas::Term;
use shards::GroupStatus;
use tokio::time::{Instant, MissedTickBehavior};

use crate::command::Command;
use crate::limits::{
    CONFIRM_REST, HAND_BACK_AFTER, STEWARD_INTERVAL, STEWARD_REST, TRANSFER_DOUBLINGS_MAX, TRANSFER_REST,
};
use crate::neighbours::Steady;
use crate::view::{View, ViewSource};
pub(crate) use groups::Groups;
use refusals::{Complaint, Refusals};
use step::{Led, Step, Wish, next_step};

type Running = Pin<Box<dyn Future<Output = Done> + Send>>;

/// A group's step is over, and its rest after it.
struct Done {
    group: u32,
    /// Why it was refused.
    refused: Option<String>,
}

/// What is to be done with a group.
#[derive(Debug)]
enum Task {
    Step(Step),
    /// The hub's own replica of this number is nobody's any more.
    Destroy(u32),
    /// The catalog does not know the hub's own replica, which counts itself as a voter: only its group's leader can
    /// tell that its vote is not counted any more.
    Confirm(ReplicaId, Term),
}

pub(crate) struct Steward<G, S> {
    groups: G,
    views: ViewSource,
    steady: S,
    /// Since when this hub has led a group, and in which term.
    led: HashMap<u32, (Term, Instant)>,
    /// Whom a group was to be handed to in this term, and how often already: one who did not take it is asked less and
    /// less often.
    handed: HashMap<u32, (Term, ReplicaId, u32)>,
    /// Groups with a step under way, or resting after one.
    busy: HashSet<u32>,
    refusals: Refusals,
    running: FuturesUnordered<Running>,
}

impl<G: Groups, S: Steady> Steward<G, S> {
    pub(crate) fn new(groups: G, views: &ViewSource, steady: S) -> Self {
        Self {
            groups,
            views: views.clone(),
            steady,
            led: HashMap::new(),
            handed: HashMap::new(),
            busy: HashSet::new(),
            refusals: Refusals::default(),
            running: FuturesUnordered::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut versions = self.views.subscribe();
        let mut ticks = tokio::time::interval(STEWARD_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            versions.mark_unchanged();
            self.look().await;
            tokio::select! {
                _ = ticks.tick() => {}
                Some(done) = self.running.next() => self.finish(done),
                changed = versions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Begins what is due for every group that has nothing under way.
    async fn look(&mut self) {
        let groups = self.groups.status().await;
        let view = self.views.load();
        for status in groups {
            self.note_leadership(&status);
            if self.busy.contains(&status.group) {
                continue;
            }
            if let Some(task) = self.task(&view, status.clone()) {
                let rest = self.rest_after(&status, &task);
                self.begin(status.group, task, rest);
            }
        }
    }

    fn note_leadership(&mut self, status: &GroupStatus) {
        if status.role != Role::Leader {
            self.led.remove(&status.group);
            self.handed.remove(&status.group);
            return;
        }
        let led = self.led.entry(status.group).or_insert_with(|| (status.term, Instant::now()));
        if led.0 != status.term {
            *led = (status.term, Instant::now());
        }
    }

    fn task(&self, view: &View, status: GroupStatus) -> Option<Task> {
        let (group, own) = (status.group, status.own?);
        if is_forgotten(view, group, own) {
            let Membership { voters, outgoing, .. } = &status.membership;
            if !voters.contains(&own) && !outgoing.contains(&own) {
                return Some(Task::Destroy(own.number()));
            }
            if status.role != Role::Leader {
                return Some(Task::Confirm(own, status.term));
            }
        }
        let (_, since) = self.led.get(&group)?;
        let may_hand_back = since.elapsed() >= HAND_BACK_AFTER;
        let steady = if may_hand_back { self.steady.nodes() } else { Default::default() };
        let GroupStatus { membership, commit, progress, .. } = status;
        next_step(&Wish::of(view, group, &steady), &Led { own, membership, commit, progress }).map(Task::Step)
    }

    fn begin(&mut self, group: u32, task: Task, rest: Duration) {
        self.busy.insert(group);
        let groups = self.groups.clone();
        self.running.push(Box::pin(async move {
            let (min_rest, refused) = match carry_out(&groups, group, task).await {
                Ok(rest) => (rest, None),
                Err(error) => (STEWARD_REST, Some(error)),
            };
            tokio::time::sleep(rest.max(min_rest)).await;
            Done { group, refused }
        }));
    }

    fn finish(&mut self, Done { group, refused }: Done) {
        self.busy.remove(&group);
        let Some(error) = refused else { return self.refusals.taken(group) };
        tracing::debug!(group, error, "a step of the group is tried again");
        if let Some(Complaint { lasting, groups }) = self.refusals.refused(group, Instant::now()) {
            tracing::warn!(
                group,
                error,
                lasting_s = lasting.as_secs(),
                groups,
                "replicas cannot be moved, removed or added; it is tried on: hub-broker cluster status names hubs that are away, full or damaged, which have to come back or be removed first"
            );
        }
    }

    /// How long the group is left alone after it was asked to hand over: it takes no writes while it tries.
    fn rest_after(&mut self, status: &GroupStatus, task: &Task) -> Duration {
        let Task::Step(Step::Transfer(to)) = task else { return Duration::ZERO };
        let handed = self.handed.entry(status.group).or_insert((status.term, *to, 0));
        if (handed.0, handed.1) != (status.term, *to) {
            *handed = (status.term, *to, 0);
        }
        let rest = TRANSFER_REST * (1 << handed.2.min(TRANSFER_DOUBLINGS_MAX));
        handed.2 += 1;
        rest
    }
}

/// Whether the catalog has known the replica and knows it no more.
fn is_forgotten(view: &View, group: u32, own: ReplicaId) -> bool {
    let records = view.replicas(group);
    let is_known = records.iter().any(|record| record.id() == own);
    !records.is_empty() && own.number() < view.next_replica && !is_known
}

/// Returns how long the group is to be left alone.
async fn carry_out<G: Groups>(groups: &G, group: u32, task: Task) -> Result<Duration, String> {
    match task {
        Task::Destroy(number) => destroy(groups, group, number).await?,
        Task::Confirm(own, term) => {
            if !groups.is_let_go(group, own, term).await {
                return Ok(CONFIRM_REST);
            }
            destroy(groups, group, own.number()).await?;
        }
        Task::Step(Step::Change(change)) => {
            tracing::debug!(group, %change, "the group's replicas change");
            groups.change(group, change).await.map_err(|error| error.to_string())?;
        }
        Task::Step(Step::Transfer(to)) => {
            tracing::debug!(group, to = to.node(), "leadership is handed over");
            // Asking twice would begin it anew: it is given time, whatever comes of it.
            let asked = groups.transfer(group, to).await;
            if let Err(error) = asked {
                tracing::debug!(group, %error, "leadership was not handed over");
            }
        }
        Task::Step(Step::Joined(number)) => tell(groups, Command::ReplicaJoined { group, number }).await?,
        Task::Step(Step::Removed(number)) => {
            // The replica's hub destroys it when the catalog has forgotten it.
            if !groups.have_let_go(group, number).await {
                return Ok(STEWARD_REST);
            }
            tell(groups, Command::RemoveReplica { group, number }).await?;
        }
    }
    Ok(Duration::ZERO)
}

async fn destroy<G: Groups>(groups: &G, group: u32, number: u32) -> Result<(), String> {
    tracing::debug!(group, number, "this hub's replica is not wanted any more and is removed");
    groups.destroy(group, number).await.map_err(|error| error.to_string())
}

async fn tell<G: Groups>(groups: &G, command: Command) -> Result<(), String> {
    match groups.propose(&command).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(refusal)) => Err(refusal.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
