//! A hub is asked whether it leads; by then it knows everything that was acknowledged, or read, before it was asked.

use schemas::{NodeId, Offset, Term};
use shards::ReadIndexError;
use tokio::sync::oneshot;

pub type Told = oneshot::Receiver<Result<Term, ReadIndexError>>;

/// At most one question at a time.
#[derive(Default)]
pub struct Question(Option<Asked>);

struct Asked {
    node: NodeId,
    /// Of the hub: another life of it does not answer.
    epoch: u64,
    /// Everything below was acknowledged, or read, before.
    end: Offset,
    told: Told,
}

/// A leader that has said that it knows everything up to `end`.
#[derive(Debug, Clone, Copy)]
pub struct Confirmed {
    pub node: NodeId,
    pub epoch: u64,
    pub end: Offset,
    pub term: Term,
}

impl Question {
    pub fn asked(&mut self, node: NodeId, epoch: u64, end: Offset, told: Told) {
        self.0 = Some(Asked { node, epoch, end, told });
    }

    /// What was answered, if it was a yes. What there is no answer to yet is waited for.
    pub fn answer(&mut self) -> Option<Confirmed> {
        let mut asked = self.0.take()?;
        match asked.told.try_recv() {
            Ok(Ok(term)) => {
                let Asked { node, epoch, end, .. } = asked;
                Some(Confirmed { node, epoch, end, term })
            }
            Err(oneshot::error::TryRecvError::Empty) => {
                self.0 = Some(asked);
                None
            }
            Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => None,
        }
    }

    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }
}
