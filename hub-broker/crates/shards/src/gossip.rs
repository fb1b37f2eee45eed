//! What this hub leads, told to all others on every change and every second; and what they tell.
//!
//! ```text
//! leaders   version u8 = 2, or 1 | count u16 | group × count                                    all big-endian
//! group     group u16 | term u64 | flags u8 (1 serving) | members u8 | (node u32 | number u32 | role u8) × members
//! role      1 voter   2 learner   3 voter in sync
//! ```
//! Number: the replica's; 0 for a learner, whose number nobody needs. Version 1 has none; it is told below the feature
//! level at which every hub reads version 2.
//!
//! The notice names only what is led by its sender: what it names no more is led in a newer term, by whom that one
//! will tell.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::{Buf, BufMut, Bytes, TryGetError};
use consensus::ReplicaId;
use schemas::NodeId;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::doors::Doors;
use crate::feature::REPLICA_NUMBERS;
use crate::leaders::Told;
use crate::limits::{GOSSIP_INTERVAL, SHARD_COUNT_MAX};

/// The notice's kind.
pub(crate) const LEADERS: u8 = 1;

const VERSION: u8 = 2;
const SERVING: u8 = 1;
const VOTER: u8 = 1;
const LEARNER: u8 = 2;
const IN_SYNC: u8 = 3;
const GROUP_BYTES: usize = 2 + 8 + 1 + 1;
const MEMBER_BYTES: usize = 4 + 4 + 1;
/// Members of each group that fit if one hub leads all groups of the largest cluster.
const MEMBERS_FIT: usize = 5;

const _: () = assert!(
    3 + (SHARD_COUNT_MAX as usize + 1) * (GROUP_BYTES + MEMBERS_FIT * MEMBER_BYTES) < peers::NOTICE_BYTES_MAX
);

/// Tells and hears from now on.
pub(crate) fn connect(doors: &Arc<Doors>) {
    let held = Arc::downgrade(doors);
    doors.shared.peers.on_notice(
        LEADERS,
        Arc::new(move |from, notice| {
            let Some(doors) = held.upgrade() else { return };
            match decode(notice) {
                Ok(told) => doors.shared.leaders.hear(from, told),
                Err(Unknown) => tracing::debug!(%from, "a notice of leaders of an unknown form"),
            }
        }),
    );
    let (changes, held) = (doors.shared.leaders.watch(), Arc::downgrade(doors));
    doors.spawn(tell(changes, held));
}

/// Until the shards are gone. Changes that come while one is told are told together.
async fn tell(mut changes: watch::Receiver<u64>, doors: Weak<Doors>) {
    loop {
        if timeout(GOSSIP_INTERVAL, changes.changed()).await.is_ok_and(|changed| changed.is_err()) {
            return;
        }
        let Some(doors) = doors.upgrade() else { return };
        let version = version_at(doors.shared.feature_level.load(Ordering::Relaxed));
        let notice = encode(&doors.shared.leaders.led_here(), version);
        doors.shared.peers.notify(None, LEADERS, notice);
        crate::room::tell(&doors);
    }
}

/// The version that every hub reads at a feature level.
fn version_at(level: u16) -> u8 {
    if level >= REPLICA_NUMBERS { VERSION } else { 1 }
}

fn encode(told: &[Told], version: u8) -> Bytes {
    let mut out = Vec::with_capacity(3 + told.len() * (GROUP_BYTES + 3 * MEMBER_BYTES));
    out.put_u8(version);
    out.put_u16(u16::try_from(told.len()).expect("there are at most 1025 groups"));
    for Told { group, term, serving, voters, learners, in_sync } in told {
        out.put_u16(u16::try_from(*group).expect("there are at most 1025 groups"));
        out.put_u64(*term);
        out.put_u8(if *serving { SERVING } else { 0 });
        let role = |node| if in_sync.contains(&NodeId(node)) { IN_SYNC } else { VOTER };
        let voters = voters.iter().map(|id| (*id, role(id.node())));
        let learners = learners.iter().map(|node| (ReplicaId::new(node.0, 0), LEARNER));
        let members: Vec<_> = voters.chain(learners).take(usize::from(u8::MAX)).collect();
        out.put_u8(u8::try_from(members.len()).unwrap_or(u8::MAX));
        for (id, role) in members {
            out.put_u32(id.node());
            if version > 1 {
                out.put_u32(id.number());
            }
            out.put_u8(role);
        }
    }
    out.into()
}

/// The bytes are no such notice, or of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unknown;

impl From<TryGetError> for Unknown {
    fn from(_: TryGetError) -> Self {
        Self
    }
}

fn decode(mut notice: Bytes) -> Result<Vec<Told>, Unknown> {
    let version = notice.try_get_u8()?;
    if version == 0 || version > VERSION {
        return Err(Unknown);
    }
    let count = notice.try_get_u16()?;
    let told = (0..count).map(|_| decode_group(&mut notice, version)).collect::<Result<_, _>>()?;
    if notice.is_empty() { Ok(told) } else { Err(Unknown) }
}

fn decode_group(notice: &mut Bytes, version: u8) -> Result<Told, Unknown> {
    let group = u32::from(notice.try_get_u16()?);
    let term = notice.try_get_u64()?;
    let serving = notice.try_get_u8()? & SERVING != 0;
    let (mut voters, mut learners, mut in_sync) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..notice.try_get_u8()? {
        let node = NodeId(notice.try_get_u32()?);
        let number = if version > 1 { notice.try_get_u32()? } else { 0 };
        let id = ReplicaId::new(node.0, number);
        match notice.try_get_u8()? {
            VOTER => voters.push(id),
            LEARNER => learners.push(node),
            IN_SYNC => {
                voters.push(id);
                in_sync.push(node);
            }
            _ => return Err(Unknown),
        }
    }
    Ok(Told { group, term, serving, voters, learners, in_sync })
}

#[cfg(test)]
mod tests;
