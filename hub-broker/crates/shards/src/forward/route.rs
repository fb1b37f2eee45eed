//! Finding the leader of a group, asking it, and finding the next one.

use std::time::Duration;

use bytes::Bytes;
use peers::RequestError;
use schemas::NodeId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::Leader;
use crate::doors::Doors;
use crate::limits::SUPERSEDED_MAX;

/// Not every reason to try again is told: a connection may have come back.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Where to go with something for a group.
pub(super) enum Way {
    Here,
    There(Leader),
}

/// What became of an attempt.
pub(super) enum Tried<T> {
    Done(T),
    Again,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskError {
    NothingDone,
    /// It may have been done, or may still be.
    InDoubt,
}

/// `None` while nobody who leads the group can be reached.
pub(super) fn way(doors: &Doors, group: u32) -> Option<Way> {
    let leader = doors.shared.leaders.leader(group)?;
    if leader.node == doors.identity.node {
        return Some(Way::Here);
    }
    doors.shared.peers.is_connected(leader.node).then_some(Way::There(leader))
}

/// Attempts it with the leader, and with the next one, until it is done. `Err`: nobody has done it in time; with the
/// leader that was known last.
pub(super) async fn at_leader<T, F: Future<Output = Tried<T>>>(
    doors: &Doors,
    group: u32,
    deadline: Instant,
    mut attempt: impl FnMut(Way) -> F,
) -> Result<T, Option<NodeId>> {
    let mut changes = doors.shared.leaders.watch();
    loop {
        changes.mark_unchanged();
        if let Some(way) = way(doors, group)
            && let Tried::Done(done) = attempt(way).await
        {
            return Ok(done);
        }
        if Instant::now() >= deadline || doors.is_stopping() {
            return Err(doors.shared.leaders.leader(group).map(|leader| leader.node));
        }
        another_look(&mut changes).await;
    }
}

/// Until something has changed, or may have.
pub(super) async fn another_look(changes: &mut watch::Receiver<u64>) {
    // An error says that the shards are gone; whoever looks again finds that out.
    if timeout(LOOK_AGAIN, changes.changed()).await.is_ok_and(|changed| changed.is_err()) {
        sleep(LOOK_AGAIN).await;
    }
}

/// Asks `leader`. Its answer is not waited for much longer once another leads.
pub(super) async fn ask(
    doors: &Doors,
    group: u32,
    leader: Leader,
    kind: u8,
    body: Bytes,
    deadline: Instant,
) -> Result<Bytes, AskError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let request = doors.shared.peers.request(leader.node, kind, body, left);
    let superseded = async {
        superseded(doors, group, leader).await;
        sleep(SUPERSEDED_MAX).await;
    };
    let answer = tokio::select! {
        answer = request => answer,
        () = superseded => Err(RequestError::Lost),
    };
    answer.map_err(|error| match error {
        RequestError::NotConnected
        | RequestError::Refused(_)
        | RequestError::UnknownKind
        | RequestError::Overloaded
        | RequestError::TooLarge => AskError::NothingDone,
        RequestError::Timeout | RequestError::Lost => AskError::InDoubt,
    })
}

/// Until a later term has a leader.
async fn superseded(doors: &Doors, group: u32, asked: Leader) {
    let mut changes = doors.shared.leaders.watch();
    let is_later = |leader: Leader| leader.term > asked.term;
    while !doors.shared.leaders.leader(group).is_some_and(is_later) {
        if changes.changed().await.is_err() {
            return;
        }
    }
}
