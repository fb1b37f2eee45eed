use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::{Membership, MembershipChange, Progress, ProgressState, ReplicaId};
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
}

struct Raft {
    membership: Membership,
    leader: ReplicaId,
}

struct Everyone;

impl Steady for Everyone {
    fn nodes(&self) -> std::collections::BTreeSet<NodeId> {
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
        let inner = Inner { machine, groups, destroyed: Vec::new(), changes_refused: 0 };
        let world = Self(Arc::new(Mutex::new(inner)));
        let incarnation = Uuid::from_u128(1);
        for command in [
            Command::FormCluster { cluster_id: Uuid::from_u128(9), data_shards: SHARDS },
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
                let nodes: std::collections::BTreeSet<_> = view.hubs().map(|hub| hub.node).collect();
                let planned = plan(&view, &Reach { connected: nodes.clone(), lately: nodes });
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
async fn a_replica_that_the_catalog_forgot_is_destroyed_where_it_lies() {
    let (world, views) = World::founded();
    world.apply(&Command::AddReplica { group: 1, node: NodeId(1) }).unwrap();
    // Its record is another number now: the first one was given up.
    world.join(2);
    world.apply(&Command::AddReplica { group: 1, node: NodeId(2) }).unwrap();
    world.apply(&Command::ReplicaJoined { group: 1, number: 2 }).unwrap();
    world.apply(&Command::ReplaceReplica { group: 1, number: 1 }).unwrap();
    let steward = tokio::spawn(Steward::new(world.clone(), &views, Everyone).run());
    let destroyed = async {
        while world.0.lock().destroyed.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), destroyed).await.expect("it is destroyed");
    assert_eq!(world.0.lock().destroyed, [(1, 1)]);
    steward.abort();
}
