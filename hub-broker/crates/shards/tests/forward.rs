//! What a hub makes of a leader's answers, and of none: the leader is played by the test.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};
use bytes::{Bytes, BytesMut};
use common::*;
use parking_lot::Mutex;
use peers::{Peers, Reply};
use schemas::{NodeId, Offset};
use shards::*;
use tokio::sync::oneshot;
use uuid::Uuid;

const CLUSTER: Uuid = Uuid::from_u128(0x00c1_0573);
const APPEND: u8 = 1;
const COMMAND: u8 = 2;
const METADATA: u8 = 3;
const LEADERS: u8 = 1;

/// A hub that has no replica of anything, and knows the players.
struct Stage {
    shards: Shards,
    peers: Peers,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn new(players: &[&Player]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config { node: NodeId(1), ..config(dir.path()) };
        let mut data = DataDir::open(&config).expect("a directory");
        data.join(CLUSTER, 1).expect("written");
        let peers = bind(1).await;
        let own = peers.clone();
        let start = move || Shards::start(config, data, own, Box::new(Diary::default()));
        let shards = tokio::task::spawn_blocking(start).await.expect("no panic").expect("the shards start");
        for player in players {
            peers.know(player.peers.node(), &player.peers.address().expect("it listens"));
        }
        Self { shards, peers, _dir: dir }
    }

    /// Until this one is known to lead.
    async fn knows(&self, node: u32, term: u64) {
        let mut changes = self.shards.leadership();
        let known = |leader: Leader| leader.node == NodeId(node) && leader.term.0 == term;
        let wait = async {
            while !self.shards.leader(shard(0)).is_some_and(known) {
                changes.changed().await.expect("the shards live");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the notice arrives");
    }

    fn hand_in(&self, count: usize) -> Vec<oneshot::Receiver<Result<Appended, AppendError>>> {
        let (told, requests) = (0..count)
            .map(|_| {
                let (tell, told) = oneshot::channel();
                let done: AppendDone = Box::new(move |result| drop(tell.send(result)));
                (told, (shard(0), append(0, batch(None, 1, 10)), done))
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        self.shards.append_anywhere_all(requests);
        told
    }

    async fn end(self, players: Vec<Player>) {
        assert_eq!(self.shards.stats().queued_bytes, 0, "every permit is given back");
        tokio::task::spawn_blocking(move || drop(self.shards)).await.expect("it ends");
        self.peers.shutdown().await;
        for player in players {
            player.peers.shutdown().await;
        }
    }
}

struct Player {
    peers: Peers,
}

impl Player {
    async fn new(node: u32) -> Self {
        let peers = bind(node).await;
        peers.set_cluster(CLUSTER);
        Self { peers }
    }

    /// Says that it leads the metadata and shard 0; see `gossip` for the layout.
    fn leads(&self, term: u64) {
        let mut notice = vec![1];
        notice.put_u16(2);
        for group in [0, 1] {
            notice.put_u16(group);
            notice.put_u64(term);
            notice.put_u8(1);
            notice.put_u8(1);
            notice.put_u32(self.peers.node().0);
            notice.put_u8(3);
        }
        self.peers.notify(None, LEADERS, notice.into());
    }

    fn answers(&self, kind: u8, handler: impl Fn(Bytes, Reply) + Send + Sync + 'static) {
        self.peers.serve(kind, Arc::new(move |_, body, reply| handler(body, reply)));
    }
}

async fn bind(node: u32) -> Peers {
    Peers::bind(peers::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: None,
        node: NodeId(node),
        incarnation: Uuid::new_v4(),
        seeds: Vec::new(),
        shard_count: 4,
        limits: peers::Limits::default(),
    })
    .await
    .expect("a free port")
}

/// How many batches an append request carries.
fn count(mut body: Bytes) -> u32 {
    body.advance(3);
    body.get_u32()
}

/// All of them are stored from this offset on.
fn stored(count: u32, from: i64) -> Bytes {
    let mut answer = BytesMut::new();
    answer.put_u8(1);
    answer.put_u32(count);
    for at in from..from + i64::from(count) {
        answer.put_u8(0);
        answer.put_slice(&[at, at, 0, 0].map(i64::to_be_bytes).concat());
        answer.put_u8(0);
    }
    answer.freeze()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_handed_in_again_and_keeps_its_order() {
    let player = Player::new(2).await;
    let (asked, next) = (AtomicUsize::new(0), Mutex::new(0));
    player.answers(APPEND, move |body, reply| {
        if asked.fetch_add(1, Ordering::Relaxed) < 2 {
            return reply.refuse(Bytes::from_static(&[1, 1]));
        }
        let count = count(body);
        let mut next = next.lock();
        reply.ok(stored(count, *next));
        *next += i64::from(count);
    });
    player.leads(7);
    let stage = Stage::new(&[&player]).await;
    stage.knows(2, 7).await;
    let mut answers = stage.hand_in(3);
    answers.extend(stage.hand_in(20));
    for (at, answer) in (0..).zip(answers) {
        let stored = answer.await.expect("answered").expect("stored in the end");
        assert_eq!(stored.base_offset, Offset(at));
    }
    stage.end(vec![player]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answer_is_lost_is_in_doubt_and_is_not_sent_again() {
    let player = Player::new(2).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let times = asked.clone();
    player.answers(APPEND, move |body, reply| match times.fetch_add(1, Ordering::Relaxed) {
        // The reply is dropped.
        0 => {}
        _ => reply.ok(stored(count(body), 0)),
    });
    player.leads(7);
    let stage = Stage::new(&[&player]).await;
    stage.knows(2, 7).await;
    for answer in stage.hand_in(5) {
        let lost = answer.await.expect("answered");
        assert_eq!(lost, Err(AppendError::NotLeader { leader: Some(NodeId(2)) }));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    for answer in stage.hand_in(2) {
        answer.await.expect("answered").expect("stored");
    }
    stage.end(vec![player]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_says_nothing_is_not_waited_for_once_another_leads() {
    let (silent, next) = (Player::new(2).await, Player::new(3).await);
    let held = Arc::new(Mutex::new(Vec::new()));
    let (asked, waits) = oneshot::channel();
    let asked = Mutex::new(Some(asked));
    let keep = held.clone();
    silent.answers(APPEND, move |_, reply| {
        keep.lock().push(reply);
        if let Some(asked) = asked.lock().take() {
            asked.send(()).expect("the test waits");
        }
    });
    next.answers(APPEND, |body, reply| reply.ok(stored(count(body), 0)));
    silent.leads(7);
    let stage = Stage::new(&[&silent, &next]).await;
    stage.knows(2, 7).await;
    let first = stage.hand_in(1);
    waits.await.expect("asked");
    let behind = stage.hand_in(1);
    let began = Instant::now();
    next.leads(8);
    for answer in first.into_iter().chain(behind) {
        let lost = answer.await.expect("answered");
        assert!(matches!(lost, Err(AppendError::NotLeader { .. })), "{lost:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    for answer in stage.hand_in(1) {
        answer.await.expect("answered").expect("stored by the next leader");
    }
    held.lock().clear();
    stage.end(vec![silent, next]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_none_leaves_everything_in_doubt() {
    let player = Player::new(2).await;
    player.answers(APPEND, |_, reply| reply.ok(Bytes::from_static(&[9, 9, 9])));
    player.answers(METADATA, |_, reply| reply.ok(Bytes::from_static(&[9, 9, 9])));
    player.leads(7);
    let stage = Stage::new(&[&player]).await;
    stage.knows(2, 7).await;
    for answer in stage.hand_in(2) {
        let lost = answer.await.expect("answered");
        assert!(matches!(lost, Err(AppendError::NotLeader { .. })), "{lost:?}");
    }
    let lost = stage.shards.propose_metadata(Bytes::from_static(b"note")).await;
    assert_eq!(lost, Err(ProposeError::NotLeader { leader: Some(NodeId(2)) }));
    stage.end(vec![player]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_doubt_is_repeated_and_a_metadata_command_is_not() {
    let player = Player::new(2).await;
    let (commands, proposals) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (commanded, proposed) = (commands.clone(), proposals.clone());
    player.answers(COMMAND, move |_, reply| {
        if commanded.fetch_add(1, Ordering::Relaxed) > 0 {
            reply.ok(Bytes::from_static(&[1, 0]));
        }
    });
    player.answers(METADATA, move |_, _| {
        proposed.fetch_add(1, Ordering::Relaxed);
    });
    player.leads(7);
    let stage = Stage::new(&[&player]).await;
    stage.knows(2, 7).await;
    let roll = PartitionCommand::Roll { partition: partition(0) };
    assert_eq!(stage.shards.command(shard(0), roll).await, Ok(()));
    assert_eq!(commands.load(Ordering::Relaxed), 2);
    let lost = stage.shards.propose_metadata(Bytes::from_static(b"note")).await;
    assert_eq!(lost, Err(ProposeError::NotLeader { leader: Some(NodeId(2)) }));
    assert_eq!(proposals.load(Ordering::Relaxed), 1);
    stage.end(vec![player]).await;
}
