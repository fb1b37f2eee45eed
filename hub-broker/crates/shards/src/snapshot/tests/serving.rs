use std::time::{Duration, Instant};

use consensus::ReplicaId;
use schemas::Offset;

use super::hub::{GROUP, Line, TERM, follower_id, pair, partition};
use crate::PartitionCommand;
use crate::limits::SNAPSHOT_IDLE_MAX;
use crate::snapshot::format::{Close, FileId, Open, Outcome, Read, Refusal};
use crate::snapshot::{Notice, Shelf};

const SECOND: Duration = Duration::from_secs(1);

fn open(index: u64) -> Open {
    Open { group: GROUP, index, term: TERM, to: follower_id() }
}

#[test]
fn files_that_are_read_stay_until_nobody_reads_them_any_more() {
    let (_ours, mut leader, _theirs, follower) = pair(5, 40);
    let start = Instant::now();
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), start);
    let wanted = follower.wanted(&leader);
    let files = || walk(&leader.log);
    let before = files();
    leader.command(PartitionCommand::AdvanceStart { partition: partition(0), to: Offset(12) });
    leader.command(PartitionCommand::Close { partition: partition(2) });
    (0..4).for_each(|_| leader.checkpoint());
    assert!(before.iter().all(|file| walk(&leader.log).contains(file)), "nothing is gone");
    let arrived = follower.copy(&wanted, &mut Line::new(&mut shelf)).expect("copied");
    drop(arrived);
    shelf.expire(start + SNAPSHOT_IDLE_MAX / 2);
    leader.stored.clear_away();
    assert!(before.iter().all(|file| walk(&leader.log).contains(file)), "it may be asked for again");
    shelf.expire(start + SNAPSHOT_IDLE_MAX + SECOND);
    leader.stored.clear_away();
    let after = walk(&leader.log);
    assert!(before.iter().any(|file| !after.contains(file)), "what the partitions need no more is gone");
    let refused = shelf.open(open(wanted.index), start);
    assert_eq!(refused, Err(Refusal::Gone));
}

fn walk(log: &std::path::Path) -> Vec<std::path::PathBuf> {
    let list = |dir: &std::path::Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(dir).expect("readable");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    list(log).iter().flat_map(|dir| list(dir)).collect()
}

#[test]
fn a_session_that_reads_nothing_ends_and_the_group_hears_of_it() {
    let (_ours, mut leader, _theirs, _follower) = pair(5, 10);
    let start = Instant::now();
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), start);
    let index = leader.applied.0;
    let session = shelf.open(open(index), start).expect("opened").session;
    let read = Read { session, file: FileId::LISTING, position: 0, bytes: 4, only_checksum: false };
    let half = SNAPSHOT_IDLE_MAX / 2 + SECOND;
    shelf.read(&read, false, start + half).expect("read");
    assert_eq!(shelf.expire(start + 2 * half - SECOND), []);
    let notices = shelf.expire(start + 3 * half);
    assert_eq!(notices, [Notice::Sent { group: GROUP, to: follower_id(), ok: false }]);
    assert_eq!(shelf.read(&read, false, start + 3 * half), Err(Refusal::Gone));
}

#[test]
fn a_replica_that_was_told_and_never_asks_is_given_up() {
    let (_ours, mut leader, _theirs, _follower) = pair(5, 10);
    let start = Instant::now();
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), start);
    let index = leader.applied.0;
    let silent = ReplicaId::new(3, 11);
    shelf.tell(GROUP, index, silent, start);
    shelf.tell(GROUP, index, follower_id(), start);
    shelf.open(open(index), start + SECOND).expect("opened");
    let notices = shelf.expire(start + SNAPSHOT_IDLE_MAX);
    assert_eq!(notices, [Notice::Sent { group: GROUP, to: silent, ok: false }]);
}

#[test]
fn only_what_there_is_can_be_read() {
    let (_ours, mut leader, _theirs, _follower) = pair(5, 10);
    let now = Instant::now();
    let mut shelf = Shelf::new(&leader.log);
    let offer = leader.offer();
    shelf.offer(offer, now);
    let index = leader.applied.0;
    assert_eq!(shelf.open(Open { term: TERM + 1, ..open(index) }, now), Err(Refusal::Gone));
    assert_eq!(shelf.open(open(index + 1), now), Err(Refusal::Gone));
    let opened = shelf.open(open(index), now).expect("opened");
    let first = FileId { partition: 0, segment: 0 };
    let read = Read { session: opened.session, file: first, position: 0, bytes: 1, only_checksum: false };
    shelf.read(&read, false, now).expect("read");
    let wrong = [
        Read { session: opened.session + 1, ..read },
        Read { file: FileId { partition: 3, segment: 0 }, ..read },
        Read { file: FileId { partition: 0, segment: 900 }, ..read },
        Read { file: first.index(), ..read },
        Read { file: FileId::DAMAGED, position: 5, ..read },
        Read { position: u64::MAX, ..read },
        Read { position: 1 << 20, ..read },
        Read { file: FileId::LISTING, position: opened.listing_bytes, ..read },
    ];
    for read in wrong {
        assert!(matches!(shelf.read(&read, false, now), Err(Refusal::Gone | Refusal::Malformed)), "{read:?}");
    }
}

#[test]
fn a_replica_that_opens_again_has_begun_anew() {
    let (_ours, mut leader, _theirs, _follower) = pair(5, 10);
    let now = Instant::now();
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), now);
    let index = leader.applied.0;
    let first = shelf.open(open(index), now).expect("opened").session;
    let second = shelf.open(open(index), now).expect("opened").session;
    assert_eq!(shelf.close(Close { session: first, outcome: Outcome::GivenUp }), []);
    let notices = shelf.close(Close { session: second, outcome: Outcome::GivenUp });
    assert_eq!(notices, [Notice::Sent { group: GROUP, to: follower_id(), ok: false }]);
}
