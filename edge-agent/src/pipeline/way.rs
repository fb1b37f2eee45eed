//! The way to one destination: what is handed on there comes to its batcher in order.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::batching::Batching;
use crate::destination::Destination;
use crate::inputs::{NotStored, RowSender, WaitingRoom, queue_within};
use crate::limits::ROW_INBOX;

#[derive(Clone)]
pub struct Way {
    pub rows: RowSender,
    /// What came is durable, and nothing more comes.
    has_ended: CancellationToken,
}

/// The batcher of one destination.
pub struct RunningBatcher {
    pub way: Way,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

impl RunningBatcher {
    pub fn start(batching: Batching, destination: Destination, room: WaitingRoom) -> Self {
        let (rows, inbox) = queue_within(room, ROW_INBOX);
        let waited_for = rows.waited_for();
        let (stop, has_ended) = (CancellationToken::new(), CancellationToken::new());
        let (own_stop, ended) = (stop.clone(), has_ended.clone().drop_guard());
        let task = tokio::spawn(async move {
            let _ended = ended;
            batching.run(destination, inbox, waited_for, own_stop).await;
        });
        Self { way: Way { rows, has_ended }, stop, task }
    }
}

impl Way {
    pub fn is(&self, other: &Self) -> bool {
        self.rows.is(&other.rows)
    }

    pub fn has_ended(&self) -> bool {
        self.has_ended.is_cancelled()
    }

    /// Waits until all that was handed on is durable; nothing of it lingers.
    pub async fn settled(&self) {
        if self.rows.settled(true).await == Err(NotStored::Closed) {
            self.has_ended.cancelled().await;
        }
    }
}
