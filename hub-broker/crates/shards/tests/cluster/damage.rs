//! A hub that finds damage in what it has stored gives its replica up where the others surely have everything, and
//! keeps it where they may not.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::*;
use crate::hubs::*;
use consensus::{MembershipChange, ReplicaId};
use schemas::NodeId;
use shards::{Config, PartitionCommand, Salvage, StartError};

const GROUP: u32 = 1;

/// Flips a bit in the first file whose name ends like this and that holds 500 of these bytes.
fn flip(dir: &Path, end: &str, byte: u8) {
    let place =
        files(dir).into_iter().filter(|path| path.to_string_lossy().ends_with(end)).find_map(|path| {
            let bytes = fs::read(&path).expect("a file");
            let at = bytes.windows(500).position(|window| window == [byte; 500])?;
            Some((path, bytes, at))
        });
    let (path, mut bytes, at) = place.expect("the batch is there");
    bytes[at + 100] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Until the checkpoints of the replicas on this hub name three voters.
async fn checkpoints_name_three(cluster: &Cluster, node: u32) {
    for group in 0..GROUPS {
        checkpoint_names_three(&cluster.dir(node).join("checkpoint").join(group.to_string())).await;
    }
}

async fn checkpoint_names_three(dir: &Path) {
    // Their count, and the founder's replica: the first of hub 1.
    let three = [0, 3, 0, 0, 0, 1, 0, 0, 0, 1];
    let names =
        |path: &Path| fs::read(path).unwrap_or_default().windows(three.len()).any(|window| window == three);
    let manifests = || files(dir).into_iter().filter(|path| path.to_string_lossy().contains("manifest"));
    eventually("the checkpoint names the voters", || async {
        dir.is_dir() && manifests().any(|path| names(&path))
    })
    .await;
}

/// One hub of three has stored these two, and is down.
async fn of_three_with(cluster: &mut Cluster, orderly: bool) -> u32 {
    open(cluster.shards(1), 0).await;
    // Records are filled with the letter of their place.
    for first in [0, 2] {
        append_surely(cluster.shards(1), 0, batch(Some((7, first)), 2, 1_000)).await;
    }
    cluster.agreed(0, 2).await;
    let node = cluster.other_than_leader(0).await;
    checkpoints_name_three(cluster, node).await;
    match orderly {
        true => cluster.stop(node).await,
        false => cluster.kill(node).await,
    }
    node
}

/// The shard's replica is lost, and only that one; it is replaced, and everything is there again.
async fn is_given_up_and_replaced(cluster: Cluster, node: u32, batches: usize) {
    are_given_up_and_replaced(cluster, node, &[GROUP], batches).await;
}

/// The same with the replicas of several groups.
async fn are_given_up_and_replaced(mut cluster: Cluster, node: u32, groups: &[u32], batches: usize) {
    let lost = cluster.shards(node).lost_replicas();
    eventually("the replica is given up", || async { !lost.borrow().is_empty() }).await;
    let lost = lost.borrow().clone();
    assert_eq!(lost.iter().map(|(group, _)| *group).collect::<Vec<_>>(), groups);
    append_surely(cluster.shards(node), 0, batch(Some((7, 4)), 1, 50)).await;
    for (group, replica) in lost {
        cluster.replace(group, replica).await;
    }
    cluster.agreed(0, batches).await;
    assert!(cluster.shards(node).lost_replicas().borrow().is_empty());
    let aside = cluster.dir(node).join("given-up");
    eventually("what it had is kept no more", || async { !aside.exists() }).await;
    cluster.stop_all().await;
}

/// A bit of the batch of these bytes changes in the hub's write-ahead log. Returns the groups that this concerns: the
/// shard, and those that had something to write at the same moment.
fn flip_in_wal(cluster: &Cluster, node: u32, byte: u8) -> Vec<u32> {
    flip(&cluster.dir(node).join("wal"), "", byte);
    let salvage = Salvage::examine(cluster.dir(node)).expect("readable").expect("it is damaged");
    assert!(salvage.groups.is_empty(), "no group is this hub's alone: {:?}", salvage.groups);
    assert!(salvage.given_up.contains(&GROUP), "{:?}", salvage.given_up);
    salvage.given_up
}

/// What the replica had that was given up at the start, with this among it.
async fn is_set_aside(cluster: &Cluster, node: u32, end: &str) {
    let aside = cluster.dir(node).join("given-up");
    let is_there = |path: PathBuf| path.to_string_lossy().contains(end);
    eventually("it is set aside", || async {
        aside.join(GROUP.to_string()).join("checkpoint").is_dir() && files(&aside).into_iter().any(is_there)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_frame_of_the_wal_that_is_damaged_costs_the_replica_that_wrote_it() {
    let mut cluster = Cluster::of_three().await;
    let node = of_three_with(&mut cluster, false).await;
    let groups = flip_in_wal(&cluster, node, b'a');
    cluster.start(node).await;
    assert!(cluster.dir(node).join("wal-damaged-1").is_dir(), "the damaged log is set aside");
    is_set_aside(&cluster, node, "manifest").await;
    are_given_up_and_replaced(cluster, node, &groups, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_of_the_last_checkpoints_costs_the_replica_that_has_it() {
    let mut cluster = Cluster::of_three().await;
    let node = of_three_with(&mut cluster, true).await;
    // Two checkpoints name states, each with the end of a life.
    cluster.start(node).await;
    cluster.agreed(0, 2).await;
    append_surely(cluster.shards(node), 0, batch(Some((8, 0)), 1, 70)).await;
    cluster.agreed(0, 3).await;
    cluster.stop(node).await;
    damage_states(&cluster, node);
    cluster.start(node).await;
    is_set_aside(&cluster, node, ".log").await;
    is_given_up_and_replaced(cluster, node, 4).await;
}

/// No checkpoint of the replica is whole any more.
fn damage_states(cluster: &Cluster, node: u32) {
    let checkpoints = cluster.dir(node).join("checkpoint").join(GROUP.to_string());
    for path in files(&checkpoints).into_iter().filter(|path| path.to_string_lossy().contains("states-")) {
        let mut bytes = fs::read(&path).expect("readable");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_whose_log_and_checkpoints_are_damaged_gives_its_replica_up() {
    let mut cluster = Cluster::of_three().await;
    open(cluster.shards(1), 0).await;
    for first in [0, 2] {
        append_surely(cluster.shards(1), 0, batch(Some((7, first)), 2, 1_000)).await;
    }
    cluster.agreed(0, 2).await;
    checkpoints_name_three(&cluster, 1).await;
    // Two checkpoints name states, each with the end of a life; only the log has the one batch with three records.
    for (first, records, batches) in [(0, 1, 3), (1, 3, 4)] {
        cluster.stop(1).await;
        cluster.start(1).await;
        append_surely(cluster.shards(1), 0, batch(Some((8, first)), records, 1_000)).await;
        cluster.agreed(0, batches).await;
    }
    cluster.kill(1).await;
    damage_states(&cluster, 1);
    let groups = flip_in_wal(&cluster, 1, b'c');
    cluster.start(1).await;
    is_set_aside(&cluster, 1, ".log").await;
    are_given_up_and_replaced(cluster, 1, &groups, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_costs_the_replica_when_it_is_read() {
    let mut cluster = Cluster::of_three().await;
    let node = of_three_with(&mut cluster, true).await;
    flip(&cluster.dir(node).join("log"), ".log", b'a');
    cluster.start(node).await;
    let lost = cluster.shards(node).lost_replicas();
    assert!(lost.borrow().is_empty(), "nobody has read it yet");
    let reader = cluster.shards(node).partition(partition(0)).expect("an open partition");
    reader.read(reader.log_start(), 1).expect_err("it is damaged");
    is_given_up_and_replaced(cluster, node, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_found_cut_short_is_fetched_from_another_hub_and_costs_no_replica() {
    let mut cluster = Cluster::of_three().await;
    let node = of_three_with(&mut cluster, true).await;
    let log = files(&cluster.dir(node).join("log"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "log"));
    let log = fs::File::options().write(true).open(log.expect("a segment")).expect("opened");
    log.set_len(700).expect("cut");
    cluster.start(node).await;
    is_made_whole(&cluster, node).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_cannot_be_read_now_costs_a_start_and_no_replica() {
    let mut cluster = Cluster::of_three().await;
    let node = of_three_with(&mut cluster, true).await;
    let log = files(&cluster.dir(node).join("log"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "log"))
        .expect("a segment");
    let aside = cluster.dir(node).join("aside");
    fs::rename(&log, &aside).expect("renamed");
    fs::create_dir(&log).expect("made");
    let config = Config { node: NodeId(node), ..config(cluster.dir(node)) };
    let error = try_start(config).err().expect("refused");
    assert!(matches!(error, StartError::Partition { .. }), "{error}");
    fs::remove_dir(&log).expect("removed");
    fs::rename(&aside, &log).expect("renamed");
    cluster.start(node).await;
    cluster.agreed(0, 2).await;
    assert!(cluster.shards(node).lost_replicas().borrow().is_empty());
    cluster.stop_all().await;
}

/// Hub 1 has stored two batches and is down; hub 2 has a learner, or a voter as well.
async fn of_two_with(is_voter: bool) -> Cluster {
    let mut cluster = Cluster::found().await;
    open(cluster.shards(1), 0).await;
    for first in [0, 2] {
        append_surely(cluster.shards(1), 0, batch(Some((7, first)), 2, 1_000)).await;
    }
    if is_voter {
        cluster.join(2).await;
    } else {
        cluster.start(2).await;
        let learner = ReplicaId::new(2, 9);
        let change = MembershipChange { add_learners: vec![learner], ..Default::default() };
        cluster.change(GROUP, change).await;
        cluster.caught_up(GROUP, learner).await;
    }
    cluster.stop(1).await;
    cluster
}

/// The damage is not served, and the replica goes on with what is whole.
async fn is_kept(cluster: Cluster) {
    let reader = cluster.shards(1).partition(partition(0)).expect("an open partition");
    reader.read(reader.log_start(), 1).expect_err("it is damaged");
    append_surely(cluster.shards(1), 0, batch(Some((7, 4)), 1, 50)).await;
    eventually("the replica has it", || async { reader.high_watermark().0 == 5 }).await;
    reader.read(schemas::Offset(4), 1).expect("it is whole");
    assert!(cluster.shards(1).lost_replicas().borrow().is_empty());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_does_not_cost_the_only_voter_its_replica() {
    let mut cluster = of_two_with(false).await;
    flip(&cluster.dir(1).join("log"), ".log", b'a');
    cluster.start(1).await;
    is_kept(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_does_not_cost_one_of_two_voters_its_replica() {
    let mut cluster = of_two_with(true).await;
    flip(&cluster.dir(1).join("log"), ".log", b'a');
    cluster.start(1).await;
    is_kept(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_cut_short_does_not_cost_one_of_two_voters_its_replica() {
    let mut cluster = of_two_with(true).await;
    let segments = || files(&cluster.dir(1).join("log")).into_iter();
    let log = segments().find(|path| path.extension().is_some_and(|it| it == "log"));
    fs::File::options().write(true).open(log.expect("a segment")).expect("opened").set_len(700).expect("cut");
    cluster.start(1).await;
    is_made_whole(&cluster, 1).await;
    cluster.stop_all().await;
}

/// What the hub lacks of partition 0 is fetched from another, and no replica is lost by that.
async fn is_made_whole(cluster: &Cluster, node: u32) {
    let reader = cluster.shards(node).partition(partition(0)).expect("an open partition");
    eventually("the segment is whole again", || async { reader.read(reader.log_start(), 1).is_ok() }).await;
    assert!(cluster.shards(node).lost_replicas().borrow().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_segment_that_is_damaged_is_fetched_from_another_hub_and_costs_no_replica() {
    let mut cluster = Cluster::of_three().await;
    open(cluster.shards(1), 0).await;
    for first in [0, 2] {
        append_surely(cluster.shards(1), 0, batch(Some((7, first)), 2, 1_000)).await;
    }
    let roll = PartitionCommand::Roll { partition: partition(0) };
    eventually("the segment is closed", || async {
        cluster.shards(cluster.leader_of(0).await).command(shard(0), roll.clone()).await.is_ok()
    })
    .await;
    append_surely(cluster.shards(1), 0, batch(Some((7, 4)), 1, 50)).await;
    cluster.agreed(0, 3).await;
    let node = cluster.other_than_leader(0).await;
    checkpoints_name_three(&cluster, node).await;
    cluster.stop(node).await;
    flip(&cluster.dir(node).join("log"), ".log", b'a');
    cluster.start(node).await;
    is_made_whole(&cluster, node).await;
    cluster.agreed(0, 3).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_wal_keeps_a_hub_from_starting_that_has_one_of_two_voters() {
    let mut cluster = of_two_with(true).await;
    cluster.start(1).await;
    append_surely(cluster.shards(1), 0, batch(Some((8, 0)), 9, 1_000)).await;
    cluster.agreed(0, 3).await;
    cluster.kill(1).await;
    flip(&cluster.dir(1).join("wal"), "", b'i');
    let config = Config { node: NodeId(1), ..config(cluster.dir(1)) };
    let error = try_start(config).err().expect("refused");
    assert!(matches!(error, StartError::Wal(_)), "{error}");
    let salvage = Salvage::examine(cluster.dir(1)).expect("readable").expect("it is damaged");
    assert!(salvage.given_up.is_empty());
    drop(salvage);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn salvage_keeps_nothing_of_a_group_that_others_have_whole() {
    let mut cluster = Cluster::of_three().await;
    let node = of_three_with(&mut cluster, false).await;
    let groups = flip_in_wal(&cluster, node, b'a');
    let salvage = Salvage::examine(cluster.dir(node)).expect("readable").expect("it is damaged");
    salvage.carry_out().expect("carried out");
    assert!(Salvage::examine(cluster.dir(node)).expect("readable").is_none());
    cluster.start(node).await;
    are_given_up_and_replaced(cluster, node, &groups, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_knows_from_its_checkpoint_that_others_have_what_it_lost() {
    let mut cluster = Cluster::of_three().await;
    checkpoints_name_three(&cluster, 1).await;
    open(cluster.shards(1), 0).await;
    append_surely(cluster.shards(1), 0, batch(Some((7, 0)), 2, 1_000)).await;
    append_surely(cluster.shards(1), 0, batch(Some((7, 2)), 2, 1_000)).await;
    cluster.agreed(0, 2).await;
    cluster.kill(1).await;
    let groups = flip_in_wal(&cluster, 1, b'a');
    cluster.start(1).await;
    are_given_up_and_replaced(cluster, 1, &groups, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_running_hash_differs_is_found_and_fetched_again() {
    let mut cluster = Cluster::of_three().await;
    let node = of_three_with(&mut cluster, true).await;
    let dir = cluster.dir(node).join("checkpoint").join(GROUP.to_string());
    let (mut store, loaded, _) = checkpoint::Store::open(&dir).expect("readable");
    let checkpoint::Loaded { position, membership, states, .. } = loaded.expect("a checkpoint");
    let differ = |(key, bytes): (checkpoint::Key, bytes::Bytes)| {
        let mut state = partition_log::PartitionState::decode(&bytes).expect("a state");
        state.running_hash ^= 1;
        (key, checkpoint::State::Changed(state.encode().into()))
    };
    let states = states.into_iter().map(differ).collect();
    store.write(&checkpoint::Checkpoint { position, membership, states }).expect("written");
    drop(store);
    cluster.start(node).await;
    let lost = cluster.shards(node).lost_replicas();
    assert!(lost.borrow().is_empty(), "nobody has compared it yet");
    cluster.agreed(0, 2).await;
    // A change of the members has a checkpoint made, and that a comparison.
    let stranger = consensus::ReplicaId::new(9, 9_999);
    for change in [
        consensus::MembershipChange { add_learners: vec![stranger], ..Default::default() },
        consensus::MembershipChange { remove: vec![stranger], ..Default::default() },
    ] {
        cluster.change(GROUP, change).await;
    }
    is_given_up_and_replaced(cluster, node, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_that_only_one_hub_has_goes_to_those_that_join_with_all_that_is_whole() {
    let mut cluster = Cluster::found().await;
    open(cluster.shards(1), 0).await;
    for first in [0, 2] {
        append_surely(cluster.shards(1), 0, batch(Some((7, first)), 2, 1_000)).await;
    }
    let roll = PartitionCommand::Roll { partition: partition(0) };
    cluster.shards(1).command(shard(0), roll).await.expect("carried out");
    append_surely(cluster.shards(1), 0, batch(Some((7, 4)), 1, 50)).await;
    cluster.stop(1).await;
    flip(&cluster.dir(1).join("log"), ".log", b'a');
    cluster.start(1).await;
    cluster.join(2).await;
    cluster.join(3).await;
    for node in [1, 2, 3] {
        let status = cluster.shards(node).status().await;
        assert!(status[GROUP as usize].is_damaged, "hub {node}: {status:?}");
        assert!(!status[GROUP as usize + 1].is_damaged);
        let list = cluster.dir(node).join(format!("checkpoint/{GROUP}.damaged"));
        let names_one = || fs::read_to_string(&list).is_ok_and(|list| list.matches("file ").count() == 1);
        eventually("the next start knows it", || async { names_one() }).await;
    }
    cluster.kill(1).await;
    let leader = cluster.leader_of(0).await;
    append_surely(cluster.shards(leader), 0, batch(Some((7, 5)), 1, 50)).await;
    for node in [2, 3] {
        let reader = cluster.shards(node).partition(partition(0)).expect("an open partition");
        eventually("the replica has it", || async { reader.high_watermark().0 == 6 }).await;
        let unread: Vec<_> = (0..6).filter(|at| reader.read(schemas::Offset(*at), 1).is_err()).collect();
        assert_eq!(unread, [0, 1], "the batch with the damage");
        assert!(cluster.shards(node).lost_replicas().borrow().is_empty());
    }
    cluster.stop_all().await;
}
