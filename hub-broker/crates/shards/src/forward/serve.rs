//! The leader's side of what other hubs forward.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use peers::Reply;

use super::wire::{self, Refused, Unknown};
use crate::doors::{Doors, METADATA_GROUP, group_of};
use crate::{AppendDone, AppendError, Appended};

type Handler = fn(&Arc<Doors>, Bytes, Reply);

/// Answers the requests of other hubs from now on.
pub(crate) fn serve(doors: &Arc<Doors>) {
    let kinds: [(u8, Handler); 4] = [
        (wire::APPEND, append),
        (wire::COMMAND, command),
        (wire::METADATA, metadata),
        (wire::RETAIN, retain),
    ];
    for (kind, handler) in kinds {
        let held: Weak<Doors> = Arc::downgrade(doors);
        let handle = move |_, body, reply| {
            // Without the shards the reply is dropped: the peer hears that nobody answers.
            if let Some(doors) = held.upgrade() {
                handler(&doors, body, reply);
            }
        };
        doors.shared.peers.serve(kind, Arc::new(handle));
    }
}

/// What was asked, if it was understood and this hub serves the group. Else the refusal is sent: nothing is done.
fn accept<T>(
    doors: &Doors,
    decoded: Result<T, Unknown>,
    group: impl FnOnce(&T) -> u32,
    reply: Reply,
) -> Option<(T, Reply)> {
    let refused = match decoded {
        Ok(asked) if doors.shared.leaders.serving(group(&asked)).is_some() => return Some((asked, reply)),
        Ok(_) => Refused::NotServed,
        Err(Unknown) => Refused::NotUnderstood,
    };
    reply.refuse(refused.encode());
    None
}

fn append(doors: &Arc<Doors>, body: Bytes, reply: Reply) {
    let decoded = wire::decode_appends(body);
    let Some(((shard, appends), reply)) = accept(doors, decoded, |(shard, _)| group_of(*shard), reply) else {
        return;
    };
    let join = Arc::new(Mutex::new(Join::new(appends.len(), reply)));
    if appends.is_empty() {
        return Join::finish(&join);
    }
    let requests = appends.into_iter().enumerate().map(|(at, append)| {
        let join = join.clone();
        let done: AppendDone = Box::new(move |outcome| {
            let is_last = join.lock().put(at, outcome);
            if is_last {
                Join::finish(&join);
            }
        });
        (shard, append, done)
    });
    doors.append_all(requests);
}

/// The outcomes of one request, until there is one for each batch.
struct Join {
    outcomes: Vec<Option<Result<Appended, AppendError>>>,
    missing: usize,
    reply: Option<Reply>,
}

impl Join {
    fn new(count: usize, reply: Reply) -> Self {
        Self { outcomes: vec![None; count], missing: count, reply: Some(reply) }
    }

    /// True with the last one.
    fn put(&mut self, at: usize, outcome: Result<Appended, AppendError>) -> bool {
        self.outcomes[at] = Some(outcome);
        self.missing -= 1;
        self.missing == 0
    }

    fn finish(join: &Mutex<Self>) {
        let mut join = join.lock();
        let outcomes: Vec<_> = std::mem::take(&mut join.outcomes).into_iter().flatten().collect();
        if let Some(reply) = join.reply.take() {
            drop(join);
            reply.ok(wire::encode_appended(&outcomes));
        }
    }
}

fn command(doors: &Arc<Doors>, body: Bytes, reply: Reply) {
    let decoded = wire::decode_command(body);
    let Some(((shard, command), reply)) = accept(doors, decoded, |(shard, _)| group_of(*shard), reply) else {
        return;
    };
    let own = doors.clone();
    doors.spawn(async move { reply.ok(wire::encode_commanded(&own.command(shard, command).await)) });
}

fn metadata(doors: &Arc<Doors>, body: Bytes, reply: Reply) {
    let decoded = wire::decode_metadata(body);
    let Some((command, reply)) = accept(doors, decoded, |_| METADATA_GROUP, reply) else { return };
    let own = doors.clone();
    doors.spawn(async move { reply.ok(wire::encode_answered(&own.propose_metadata(command).await)) });
}

fn retain(doors: &Arc<Doors>, body: Bytes, reply: Reply) {
    let decoded = wire::decode_retain(body);
    let Some(((shard, partition, retention), reply)) =
        accept(doors, decoded, |(shard, ..)| group_of(*shard), reply)
    else {
        return;
    };
    let own = doors.clone();
    doors.spawn(async move {
        let outcome = own.enforce_retention(shard, partition, retention).await;
        reply.ok(wire::encode_retained(&outcome));
    });
}
