use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use consensus::{MembershipChange, Progress, ProgressState};
use parking_lot::Mutex;
use schemas::NodeId;
use shards::{AppliedAt, ChangeError, Standing, StateMachine};
use uuid::Uuid;

use super::*;
use crate::error::Unavailable;
use crate::machine::MetadataMachine;
use crate::planner::{Reach, plan};
use crate::response::{self, Response};
use crate::topic::Hub;

const SHARDS: u16 = 4;
const COMMIT: u64 = 50;

/// The groups of a whole cluster, all led by hub 1 at first, which do at once what they are told.
#[derive(Clone)]
struct World(Arc<Mutex<Inner>>);

struct Inner {
    machine: MetadataMachine,
    groups: BTreeMap<u32, Raft>,
    destroyed: Vec<(u32, u32)>,
    changes_refused: usize,
    /// Groups whose leader says that hub 1 is no member.
    let_go: BTreeSet<u32>,
    asked: usize,
    /// Replicas of which only the leader has applied that they are no members.
    not_applied: BTreeSet<u32>,
    asked_for: BTreeSet<u32>,
}

struct Raft {
    membership: Membership,
    leader: ReplicaId,
}

struct Everyone;

impl Steady for Everyone {
    fn nodes(&self) -> BTreeSet<NodeId> {
        (1..10).map(NodeId).collect()
    }
}

impl World {
    fn founded() -> (Self, ViewSource) {
        let (machine, views) = MetadataMachine::new();
        let raft = || {
            let leader = ReplicaId::new(1, 1);
            Raft { membership: Membership { voters: vec![leader], ..Membership::default() }, leader }
        };
        let groups = (0..=u32::from(SHARDS)).map(|group| (group, raft())).collect();
        let inner = Inner {
            machine,
            groups,
            destroyed: Vec::new(),
            changes_refused: 0,
            let_go: BTreeSet::new(),
            asked: 0,
            not_applied: BTreeSet::new(),
            asked_for: BTreeSet::new(),
        };
        let world = Self(Arc::new(Mutex::new(inner)));
        let incarnation = Uuid::from_u128(1);
        for command in [
            Command::FormCluster { cluster_id: Uuid::from_u128(9), data_shards: SHARDS, feature_level: 0 },
            Command::RegisterHub(Hub::new(NodeId(1), incarnation)),
            Command::AdoptFounder { node: NodeId(1), incarnation },
        ] {
            world.apply(&command).unwrap();
        }
        (world, views)
    }

    fn join(&self, node: u32) {
        let hub = Hub::new(NodeId(node), Uuid::from_u128(u128::from(node)));
        self.apply(&Command::RegisterHub(hub)).unwrap();
    }

    fn apply(&self, command: &Command) -> Response {
        let at = AppliedAt { index: 1, term: 1, stamp_ms: 0 };
        let answer = self.0.lock().machine.apply(at, &command.encode().into()).unwrap();
        response::decode(&answer).unwrap()
    }

    /// Plans until the catalog has what it wants, while the steward carries it out.
    async fn settle(&self, views: &ViewSource) {
        let settle = async {
            let mut versions = views.subscribe();
            loop {
                versions.mark_unchanged();
                let view = views.load();
                let nodes: BTreeSet<_> = view.hubs().map(|hub| hub.node).collect();
                let planned =
                    plan(&view, &Reach { connected: nodes.clone(), lately: nodes, ..Reach::default() });
                let is_settled = view.groups.iter().flatten().all(|it| it.joined && !it.leaving);
                if planned.is_empty() && is_settled {
                    return;
                }
                for command in &planned {
                    self.apply(command).unwrap();
                }
                if planned.is_empty() {
                    versions.changed().await.unwrap();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), settle).await.expect("it settles in time");
    }

    fn members(&self, group: u32) -> Vec<ReplicaId> {
        self.0.lock().groups[&group].membership.replicas()
    }
}

impl Groups for World {
    async fn status(&self) -> Vec<GroupStatus> {
        let inner = self.0.lock();
        let status = |(group, raft): (&u32, &Raft)| {
            let caught_up = |id: ReplicaId| Progress {
                id,
                matched: COMMIT,
                next: COMMIT + 1,
                state: ProgressState::Replicate,
                recently_active: true,
                is_learner: raft.membership.learners.contains(&id),
            };
            let own = raft.membership.replicas().into_iter().find(|id| id.node() == 1);
            let leads = own == Some(raft.leader);
            GroupStatus {
                group: *group,
                own,
                role: if leads { Role::Leader } else { Role::Follower },
                term: Term(1),
                leader: Some(raft.leader),
                membership: raft.membership.clone(),
                applied: COMMIT,
                commit: COMMIT,
                last: COMMIT,
                progress: raft.membership.replicas().into_iter().map(caught_up).collect(),
                standing: Standing::Running,
                is_damaged: false,
            }
        };
        inner.groups.iter().map(status).collect()
    }

    async fn change(&self, group: u32, change: MembershipChange) -> Result<(), ChangeError> {
        let mut inner = self.0.lock();
        // The first one is refused, as if another were under way.
        inner.changes_refused += 1;
        if inner.changes_refused == 1 {
            return Err(ChangeError::Pending);
        }
        let raft = inner.groups.get_mut(&group).unwrap();
        let Membership { voters, learners, .. } = &mut raft.membership;
        learners.extend(&change.add_learners);
        learners.retain(|id| !change.promote.contains(id) && !change.remove.contains(id));
        voters.retain(|id| !change.remove.contains(id));
        voters.extend(&change.promote);
        Ok(())
    }

    async fn transfer(&self, group: u32, to: ReplicaId) -> Result<(), ChangeError> {
        self.0.lock().groups.get_mut(&group).unwrap().leader = to;
        Ok(())
    }

    async fn is_let_go(&self, group: u32, _: ReplicaId, _: Term) -> bool {
        let mut inner = self.0.lock();
        inner.asked += 1;
        inner.let_go.contains(&group)
    }

    async fn have_let_go(&self, _: u32, number: u32) -> bool {
        let mut inner = self.0.lock();
        inner.asked_for.insert(number);
        !inner.not_applied.contains(&number)
    }

    async fn destroy(&self, group: u32, number: u32) -> Result<(), ChangeError> {
        let mut inner = self.0.lock();
        inner.destroyed.push((group, number));
        inner.groups.remove(&group);
        Ok(())
    }

    async fn propose(&self, command: &Command) -> Result<Response, Unavailable> {
        Ok(self.apply(command))
    }
}

#[tokio::test]
async fn groups_become_what_the_planner_wants() {
    let (world, views) = World::founded();
    let steward = tokio::spawn(Steward::new(world.clone(), &views, Everyone).run());
    for node in [2, 3] {
        world.join(node);
    }
    world.settle(&views).await;
    let view = views.load();
    for group in view.group_numbers() {
        let mut records: Vec<_> = view.replicas(group).iter().map(|record| record.id()).collect();
        records.sort_unstable();
        assert_eq!(world.members(group), records);
        assert_eq!(records.len(), 3);
    }
    steward.abort();
}

#[tokio::test]
async fn a_replica_that_was_let_go_is_forgotten_when_most_of_the_others_have_applied_that() {
    let (world, views) = World::founded();
    world.join(2);
    for command in [
        Command::AddReplica { group: 1, node: NodeId(2) },
        Command::ReplicaJoined { group: 1, number: 2 },
        Command::LeaveReplica { group: 1, number: 2 },
    ] {
        world.apply(&command).unwrap();
    }
    world.0.lock().not_applied.insert(2);
    let steward = tokio::spawn(Steward::new(world.clone(), &views, Everyone).run());
    until(&world, |inner| inner.asked_for.contains(&2)).await;
    let is_known = || views.load().replicas(1).iter().any(|record| record.number == 2);
    assert!(is_known(), "its hub would destroy it now");
    world.0.lock().not_applied.clear();
    until(&world, |_| !is_known()).await;
    steward.abort();
}

/// Group 1 has two replicas, led by hub 2. The catalog does not know hub 1's any more.
fn forgotten(world: &World) {
    world.join(2);
    world.apply(&Command::AddReplica { group: 1, node: NodeId(2) }).unwrap();
    world.apply(&Command::ReplicaJoined { group: 1, number: 2 }).unwrap();
    world.apply(&Command::ReplaceReplica { group: 1, number: 1 }).unwrap();
    let mut inner = world.0.lock();
    let raft = inner.groups.get_mut(&1).unwrap();
    raft.leader = ReplicaId::new(2, 2);
    raft.membership.voters.push(raft.leader);
}

async fn until(world: &World, holds: impl Fn(&Inner) -> bool) {
    let waiting = async {
        while !holds(&world.0.lock()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it comes to that in time");
}

#[tokio::test]
async fn a_voter_that_the_catalog_forgot_is_destroyed_when_its_leader_says_that_it_is_out() {
    let (world, views) = World::founded();
    forgotten(&world);
    let steward = tokio::spawn(Steward::new(world.clone(), &views, Everyone).run());
    until(&world, |inner| inner.asked > 0).await;
    assert_eq!(world.0.lock().destroyed, [], "its vote may be counted");
    world.0.lock().let_go.insert(1);
    until(&world, |inner| inner.destroyed == [(1, 1)]).await;
    steward.abort();
}

#[tokio::test]
async fn a_learner_that_the_catalog_forgot_is_destroyed_where_it_lies() {
    let (world, views) = World::founded();
    forgotten(&world);
    let own = ReplicaId::new(1, 1);
    world.0.lock().groups.get_mut(&1).unwrap().membership.voters.retain(|id| *id != own);
    world.0.lock().groups.get_mut(&1).unwrap().membership.learners.push(own);
    let steward = tokio::spawn(Steward::new(world.clone(), &views, Everyone).run());
    until(&world, |inner| inner.destroyed == [(1, 1)]).await;
    assert_eq!(world.0.lock().asked, 0);
    steward.abort();
}

#[tokio::test]
async fn who_does_not_take_the_lead_is_asked_less_and_less_often() {
    let (world, views) = World::founded();
    let mut steward = Steward::new(world.clone(), &views, Everyone);
    let mut status = world.status().await.remove(0);
    let to = |node| Task::Step(Step::Transfer(ReplicaId::new(node, 2)));
    let rests: Vec<_> = (0..4).map(|_| steward.rest_after(&status, &to(2))).collect();
    assert_eq!(rests, [1, 2, 4, 8].map(|times| TRANSFER_REST * times));
    assert_eq!(steward.rest_after(&status, &to(3)), TRANSFER_REST, "it is another");
    assert_eq!(steward.rest_after(&status, &to(3)), TRANSFER_REST * 2);
    status.term = Term(2);
    assert_eq!(steward.rest_after(&status, &to(3)), TRANSFER_REST, "it led meanwhile, or somebody else did");
}
