//! What a hub tells another about its replicas, so that any hub can show the whole cluster.
//!
//! ```text
//! report request, kind 34   version u8 (2)
//!   answer                  version u8 (2, or 1 where that was asked for) | groups list of group
//! group = number u32 | own replica u32 | term u64 | commit u64 | stored bytes u64
//!   | led option of (members list of (node u32, number u32, flags u8 (1 learner, 2 in sync), matched u64))
//!   | since 2: damaged u8 (1 known to be, 2 all was read since its hub's start) | copy option of (received u64, total u64, bytes per second u64)
//! ```
//! Primitives as in [`crate::wire`]. Only groups with a replica on the hub are in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::{ProgressState, ReplicaId, Role};
use futures_util::future::join_all;
use peers::Peers;
use schemas::{NodeId, Term};
use shards::{CopyProgress, GroupStatus, Shards};
use tokio::runtime::Handle;

use crate::forming::REPORT_KIND;
use crate::limits::{CAUGHT_UP_ENTRIES, METADATA_GROUP, REPORT_TIMEOUT};
use crate::planner::{Sight, Sights};
use crate::replica::ReplicaRecord;
use crate::view::{View, ViewSource};
use crate::wire::{DecodeError, Reader, Writer};

const VERSION: u8 = 2;
const WHAT: &str = "report of a hub";
const LEARNER: u8 = 1;
const IN_SYNC: u8 = 2;
const DAMAGED: u8 = 1;
const READ_THROUGH: u8 = 2;

/// A hub's replica of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupReport {
    pub(crate) group: u32,
    pub(crate) number: u32,
    pub(crate) term: u64,
    pub(crate) commit: u64,
    /// Bytes of records that it stores.
    pub(crate) stored_bytes: u64,
    /// Where the hub leads the group.
    pub(crate) members: Option<Vec<MemberReport>>,
    /// Something of the replica is known to be damaged; none where its hub does not say.
    pub(crate) is_damaged: Option<bool>,
    /// And whatever of it was damaged at its hub's start is known to be.
    pub(crate) is_read_through: bool,
    /// Where a snapshot is being copied for the replica.
    pub(crate) copy: Option<CopyProgress>,
}

/// A replica as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberReport {
    pub(crate) node: NodeId,
    pub(crate) number: u32,
    pub(crate) is_learner: bool,
    pub(crate) in_sync: bool,
    pub(crate) matched: u64,
}

/// What each hub that answered said, by node.
pub(crate) type Reports = BTreeMap<NodeId, Vec<GroupReport>>;

/// Answers whoever asks from now on.
pub(crate) fn serve(shards: &Shards, views: &ViewSource) {
    let (shards, views, runtime) = (shards.clone(), views.clone(), Handle::current());
    let peers = shards.peers().clone();
    peers.serve(
        REPORT_KIND,
        Arc::new(move |_, body, reply| {
            let (shards, view) = (shards.clone(), views.load());
            let version = body.first().map_or(1, |asked| (*asked).clamp(1, VERSION));
            runtime.spawn(async move { reply.ok(encode(&own(&shards, &view).await, version).into()) });
        }),
    );
}

/// Asks every hub that is connected, and this one. Whoever does not answer in time is not in it.
pub(crate) async fn gather(shards: &Shards, view: &View) -> Reports {
    let peers = shards.peers();
    let others = view.hubs().map(|hub| hub.node).filter(|node| peers.is_connected(*node));
    let asked = others.map(|node| ask(peers, node));
    let mut reports: Reports = join_all(asked).await.into_iter().flatten().collect();
    reports.insert(peers.node(), own(shards, view).await);
    reports
}

/// The leader's report of a group: of several that think they lead, the one with the newest term.
pub(crate) fn leaders_report(group: u32, reports: &Reports) -> Option<(NodeId, &GroupReport)> {
    let all = reports.iter().flat_map(|(node, groups)| groups.iter().map(|report| (*node, report)));
    all.filter(|(_, report)| report.group == group && report.members.is_some())
        .max_by_key(|(_, report)| report.term)
}

/// What a replica's own hub says of it.
pub(crate) fn own_report<'a>(
    group: u32,
    record: &ReplicaRecord,
    reports: &'a Reports,
) -> Option<&'a GroupReport> {
    let own = reports.get(&record.node).into_iter().flatten();
    own.into_iter().find(|own| (own.group, own.number) == (group, record.number))
}

/// What the reports say of the replicas of data shards that are joining.
pub(crate) fn sights(view: &View, reports: &Reports) -> Sights {
    let mut sights = Sights::new();
    for group in view.group_numbers() {
        let leader = leaders_report(group, reports).map(|(_, report)| report);
        for record in view.replicas(group).iter().filter(|record| !record.joined) {
            let is_it = |member: &&MemberReport| (member.node, member.number) == (record.node, record.number);
            let member = leader.and_then(|report| report.members.iter().flatten().find(is_it));
            let own = own_report(group, record, reports);
            let sight = Sight {
                matched: member.map(|member| member.matched),
                stored_bytes: own.map_or(0, |own| own.stored_bytes),
                to_copy_bytes: leader.map_or(0, |report| report.stored_bytes),
            };
            sights.insert((group, record.number), sight);
        }
    }
    sights
}

/// Whether a hub that leads the group, in `term` or a later one, says that `replica` is not in it.
pub(crate) async fn is_let_go(shards: &Shards, group: u32, replica: ReplicaId, term: Term) -> bool {
    let peers = shards.peers();
    let others = peers.known().into_iter().filter(|peer| peer.connected_since.is_some());
    let asked = others.map(|peer| ask(peers, peer.node));
    let reports = join_all(asked).await.into_iter().flatten();
    reports.flat_map(|(_, groups)| groups).any(|report| says_let_go(&report, group, replica, term))
}

fn says_let_go(report: &GroupReport, group: u32, replica: ReplicaId, term: Term) -> bool {
    let is_newest = report.group == group && report.term >= term.0;
    let is_in = |member: &MemberReport| member.number == replica.number();
    let says_so = |members: &Vec<MemberReport>| !members.is_empty() && !members.iter().any(is_in);
    is_newest && report.members.as_ref().is_some_and(says_so)
}

async fn ask(peers: &Peers, node: NodeId) -> Option<(NodeId, Vec<GroupReport>)> {
    let answer = peers.request(node, REPORT_KIND, vec![VERSION].into(), REPORT_TIMEOUT).await.ok()?;
    Some((node, decode(&answer).ok()?))
}

async fn own(shards: &Shards, view: &View) -> Vec<GroupReport> {
    let (stored, copies) = (stored_bytes(shards, view), shards.copies());
    // Before the groups say what they know.
    let is_read_through = shards.is_read_through();
    let report = |status: GroupStatus| {
        let bytes = stored.get(&status.group).copied().unwrap_or(0);
        let copy = copies.get(&status.group).copied();
        Some(GroupReport { copy, is_read_through, ..group_report(&status, bytes)? })
    };
    shards.status().await.into_iter().filter_map(report).collect()
}

/// By group, of all partitions that are open here.
fn stored_bytes(shards: &Shards, view: &View) -> BTreeMap<u32, u64> {
    let mut stored = BTreeMap::new();
    for (partition, shard) in view.topics().flat_map(|topic| topic.placed()) {
        if let Some(reader) = shards.partition(partition) {
            *stored.entry(METADATA_GROUP + 1 + u32::from(shard.0)).or_default() += reader.size_bytes();
        }
    }
    stored
}

fn group_report(status: &GroupStatus, stored_bytes: u64) -> Option<GroupReport> {
    let own = status.own?;
    let is_close = |matched: u64| matched.saturating_add(CAUGHT_UP_ENTRIES) >= status.commit;
    let members = status.progress.iter().map(|progress| MemberReport {
        node: NodeId(progress.id.node()),
        number: progress.id.number(),
        is_learner: progress.is_learner,
        in_sync: progress.id == own
            || progress.recently_active
                && progress.state == ProgressState::Replicate
                && is_close(progress.matched),
        matched: if progress.id == own { status.commit } else { progress.matched },
    });
    Some(GroupReport {
        group: status.group,
        number: own.number(),
        term: status.term.0,
        commit: status.commit,
        stored_bytes,
        members: (status.role == Role::Leader).then(|| members.collect()),
        is_damaged: Some(status.is_damaged),
        is_read_through: false,
        copy: None,
    })
}

fn encode(groups: &[GroupReport], version: u8) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(version);
    out.list(groups.iter(), |out, group| {
        out.u32(group.group).u32(group.number).u64(group.term).u64(group.commit).u64(group.stored_bytes);
        out.option(group.members.as_ref(), |out, members| {
            out.list(members.iter(), |out, member| {
                let learner = if member.is_learner { LEARNER } else { 0 };
                let flags = learner | if member.in_sync { IN_SYNC } else { 0 };
                out.u32(member.node.0).u32(member.number).u8(flags).u64(member.matched);
            });
        });
        if version > 1 {
            let damaged = if group.is_damaged == Some(false) { 0 } else { DAMAGED };
            out.u8(damaged | if group.is_read_through { READ_THROUGH } else { 0 });
            out.option(group.copy, |out, copy| {
                out.u64(copy.received_bytes).u64(copy.total_bytes).u64(copy.bytes_per_s);
            });
        }
    });
    out.finish()
}

fn decode(bytes: &[u8]) -> Result<Vec<GroupReport>, DecodeError> {
    let mut input = Reader::new(WHAT, bytes);
    let version = input.version_up_to(VERSION)?;
    let groups = input.list(|input| {
        let mut group = GroupReport {
            group: input.u32()?,
            number: input.u32()?,
            term: input.u64()?,
            commit: input.u64()?,
            stored_bytes: input.u64()?,
            members: input.option(|input| input.list(read_member))?,
            is_damaged: None,
            is_read_through: false,
            copy: None,
        };
        if version > 1 {
            let damaged = input.u8()?;
            group.is_damaged = Some(damaged & DAMAGED != 0);
            group.is_read_through = damaged & READ_THROUGH != 0;
            group.copy = input.option(read_copy)?;
        }
        Ok(group)
    })?;
    input.end()?;
    Ok(groups)
}

fn read_copy(input: &mut Reader<'_>) -> Result<CopyProgress, DecodeError> {
    let (received_bytes, total_bytes, bytes_per_s) = (input.u64()?, input.u64()?, input.u64()?);
    Ok(CopyProgress { received_bytes, total_bytes, bytes_per_s })
}

fn read_member(input: &mut Reader<'_>) -> Result<MemberReport, DecodeError> {
    let (node, number, flags) = (input.node()?, input.u32()?, input.u8()?);
    Ok(MemberReport {
        node,
        number,
        is_learner: flags & LEARNER != 0,
        in_sync: flags & IN_SYNC != 0,
        matched: input.u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leader_of_the_same_term_or_later_says_that_a_replica_is_let_go() {
        let member =
            MemberReport { node: NodeId(2), number: 7, is_learner: false, in_sync: true, matched: 5 };
        let members = Some(vec![member]);
        let led = GroupReport {
            group: 3,
            number: 7,
            term: 4,
            commit: 6,
            stored_bytes: 9,
            members,
            is_damaged: Some(false),
            is_read_through: true,
            copy: None,
        };
        let says = |report: &GroupReport, number, term| {
            says_let_go(report, 3, ReplicaId::new(1, number), Term(term))
        };
        assert!(says(&led, 6, 4));
        assert!(!says(&led, 7, 4), "it is a member");
        assert!(!says(&led, 6, 5), "a later leader may have taken it in");
        assert!(!says(&GroupReport { group: 2, ..led.clone() }, 6, 4));
        assert!(!says(&GroupReport { members: None, ..led }, 6, 4), "a follower may be behind");
    }

    #[test]
    fn a_report_is_read_again_and_is_what_is_documented() {
        let member = MemberReport { node: NodeId(2), number: 7, is_learner: true, in_sync: true, matched: 5 };
        let led = GroupReport {
            group: 3,
            number: 1,
            term: 4,
            commit: 6,
            stored_bytes: 9,
            members: Some(vec![member]),
            is_damaged: Some(true),
            is_read_through: false,
            copy: None,
        };
        let copy = CopyProgress { received_bytes: 4, total_bytes: 6, bytes_per_s: 2 };
        let follows = GroupReport {
            members: None,
            is_damaged: Some(false),
            is_read_through: true,
            copy: Some(copy),
            ..led
        };
        let groups = vec![led, follows];
        let bytes = encode(&groups, VERSION);
        assert_eq!(decode(&bytes), Ok(groups.clone()));
        assert_eq!(bytes[..13], [2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1]);
        assert_eq!(bytes[37..42], [1, 0, 0, 0, 1]);
        assert_eq!(bytes[42..59], [0, 0, 0, 2, 0, 0, 0, 7, 3, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(bytes[59..61], [1, 0]);
        assert_eq!(bytes[bytes.len() - 26..][..10], [2, 1, 0, 0, 0, 0, 0, 0, 0, 4]);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err());
        }
        let old = |it| GroupReport { is_damaged: None, is_read_through: false, copy: None, ..it };
        let old: Vec<_> = groups.into_iter().map(old).collect();
        let bytes = encode(&old, 1);
        assert_eq!((bytes[0], decode(&bytes)), (1, Ok(old)), "a hub of before says nothing of damage");
    }
}
