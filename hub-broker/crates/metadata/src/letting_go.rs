//! Whether a group goes on without a replica that it has let go, whoever of the others fails next.
//!
//! A change counts for a replica when it has applied it. A leader that has applied it alone and then fails leaves voters
//! behind that still need a majority of the former ones; so the replica that goes is kept until most of those that stay
//! have applied that it does.
//!
//! ```text
//! let go?, kind 40   version u8 (1) | group u32 | replica u32
//!   answer           version u8 (1) | own replica u32, 0 for none | let go u8: 1 it knows who belongs to the group, and
//!                      the replica does not
//! ```
//! Primitives as in [`crate::wire`].

use std::sync::Arc;

use consensus::ReplicaId;
use futures_util::future::join_all;
use peers::Peers;
use schemas::NodeId;
use shards::{GroupStatus, Shards};
use tokio::runtime::Handle;

use crate::limits::REPORT_TIMEOUT;
use crate::wire::{DecodeError, Reader, Writer};

const LET_GO_KIND: u8 = 40;
const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    group: u32,
    number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    own: u32,
    let_go: bool,
}

/// Answers whoever asks from now on.
pub(crate) fn serve(shards: &Shards) {
    let (shards, runtime) = (shards.clone(), Handle::current());
    let peers = shards.peers().clone();
    peers.serve(
        LET_GO_KIND,
        Arc::new(move |_, body, reply| {
            let Ok(question) = Question::decode(&body) else { return };
            let shards = shards.clone();
            runtime.spawn(async move {
                let status = status_of(&shards, question.group).await;
                reply.ok(answer(status.as_ref(), question.number).encode().into());
            });
        }),
    );
}

/// Whether a majority of the group's voters, of whom this hub's replica leads, have applied that the replica of this
/// number is no member.
pub(crate) async fn by_most(shards: &Shards, group: u32, number: u32) -> bool {
    let Some(status) = status_of(shards, group).await else { return false };
    let peers = shards.peers();
    let question = Question { group, number };
    let own = answer(Some(&status), number);
    let asked = status.membership.voters.iter().map(|voter| async move {
        let answer = if status.own == Some(*voter) { Some(own) } else { ask(peers, *voter, question).await };
        answer.is_some_and(|answer| answer.own == voter.number() && answer.let_go)
    });
    let answers = join_all(asked).await;
    answers.iter().filter(|has_let_go| **has_let_go).count() * 2 > answers.len()
}

async fn status_of(shards: &Shards, group: u32) -> Option<GroupStatus> {
    shards.status().await.into_iter().find(|status| status.group == group)
}

fn answer(status: Option<&GroupStatus>, number: u32) -> Answer {
    let is_it = |id: &ReplicaId| id.number() == number;
    let knows = |status: &GroupStatus| !status.membership.is_empty();
    Answer {
        own: status.and_then(|status| status.own).map_or(0, ReplicaId::number),
        let_go: status.is_some_and(|status| knows(status) && !status.membership.replicas().iter().any(is_it)),
    }
}

async fn ask(peers: &Peers, voter: ReplicaId, question: Question) -> Option<Answer> {
    let (node, body) = (NodeId(voter.node()), question.encode().into());
    let answer = peers.request(node, LET_GO_KIND, body, REPORT_TIMEOUT).await.ok()?;
    Answer::decode(&answer).ok()
}

impl Question {
    fn encode(self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION).u32(self.group).u32(self.number);
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new("question about a replica", bytes);
        input.version(VERSION)?;
        let question = Self { group: input.u32()?, number: input.u32()? };
        input.end()?;
        Ok(question)
    }
}

impl Answer {
    fn encode(self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION).u32(self.own).u8(u8::from(self.let_go));
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new("answer about a replica", bytes);
        input.version(VERSION)?;
        let answer = Self { own: input.u32()?, let_go: input.flag()? };
        input.end()?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use consensus::{Membership, Role};
    use schemas::Term;
    use shards::Standing;

    use super::*;

    #[test]
    fn question_and_answer_are_read_again_and_are_what_is_documented() {
        let question = Question { group: 3, number: 9 };
        assert_eq!(question.encode(), [1, 0, 0, 0, 3, 0, 0, 0, 9]);
        assert_eq!(Question::decode(&question.encode()), Ok(question));
        let answer = Answer { own: 4, let_go: true };
        assert_eq!(answer.encode(), [1, 0, 0, 0, 4, 1]);
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        for end in 0..6 {
            assert!(Question::decode(&question.encode()[..end]).is_err());
            assert!(Answer::decode(&answer.encode()[..end]).is_err());
        }
    }

    #[test]
    fn a_replica_has_let_go_when_it_has_applied_that_another_is_no_member_of_any_kind() {
        let (own, other) = (ReplicaId::new(1, 4), ReplicaId::new(2, 9));
        let of = |membership: Membership| GroupStatus {
            group: 3,
            own: Some(own),
            role: Role::Follower,
            term: Term(1),
            leader: None,
            membership,
            applied: 7,
            commit: 7,
            last: 7,
            progress: Vec::new(),
            standing: Standing::Running,
            is_damaged: false,
        };
        let voters = |voters: &[ReplicaId]| Membership { voters: voters.to_vec(), ..Membership::default() };
        assert_eq!(answer(Some(&of(voters(&[own]))), 9), Answer { own: 4, let_go: true });
        for member in [
            voters(&[own, other]),
            Membership { learners: vec![other], ..voters(&[own]) },
            Membership { outgoing: vec![own, other], ..voters(&[own]) },
        ] {
            assert!(!answer(Some(&of(member)), 9).let_go);
        }
        assert!(!answer(Some(&of(Membership::default())), 9).let_go, "it waits for its first snapshot");
        assert_eq!(answer(None, 9), Answer { own: 0, let_go: false });
    }
}
