use std::fs;

use partition_log::{FileCache, LogOptions, Origin, PartitionLog};
use schemas::{BatchBuilder, BuilderOptions, LeaderEpoch, PartitionId, PartitionIndex, RawBatch, TopicId};
use uuid::Uuid;

use super::*;

const HUBS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// Each hub of the round in turn.
fn hear(doubt: &mut Doubt, said: [Option<i64>; 3]) {
    for said in said {
        let node = doubt.whom(&HUBS).unwrap();
        doubt.hear(node, Said::lost(said.map(Offset)));
    }
}

fn keepers(hubs: &[NodeId]) -> Keepers {
    Keepers { hubs: hubs.to_vec(), joining: Vec::new() }
}

#[test]
fn a_batch_is_lost_only_when_every_hub_has_said_so() {
    let mut doubt = Doubt::at(Offset(5));
    hear(&mut doubt, [Some(9), Some(7), None]);
    assert_eq!(doubt.verdict(&keepers(&HUBS)), None, "the third is away, and may have it");
    hear(&mut doubt, [Some(9), None, Some(8)]);
    assert_eq!(
        doubt.verdict(&keepers(&HUBS)),
        None,
        "the second is away now, and may be mended when it comes back"
    );
    hear(&mut doubt, [Some(9), Some(7), Some(8)]);
    assert_eq!(doubt.verdict(&keepers(&HUBS)), Some(Offset(7)), "what one of them has is not passed over");
    assert_eq!(
        doubt.verdict(&keepers(&[HUBS[0], HUBS[1], HUBS[2], NodeId(4)])),
        None,
        "another has it by now"
    );
    assert_eq!((doubt.verdict(&keepers(&[])), doubt.whom(&[])), (None, None), "it is not known who has it");
}

#[test]
fn a_hub_that_is_to_get_the_partition_is_waited_for_unless_it_has_nothing_of_it() {
    let joined = keepers(&HUBS);
    let joining = Keepers { joining: vec![HUBS[2]], ..joined.clone() };
    let mut doubt = Doubt::at(Offset(5));
    hear(&mut doubt, [Some(9), Some(7), None]);
    assert_eq!(doubt.verdict(&joining), None, "it may have set it aside");
    doubt.hear(HUBS[2], Said::Nothing);
    assert_eq!(doubt.verdict(&joining), Some(Offset(7)));
    assert_eq!(doubt.verdict(&joined), None, "by now it may have it");
    doubt.hear(HUBS[2], Said::Unknown);
    assert_eq!(doubt.verdict(&joining), None);
    let nobody_else = Keepers { hubs: vec![HUBS[2]], ..joining };
    doubt.hear(HUBS[2], Said::Nothing);
    assert_eq!(doubt.verdict(&nobody_else), None);
}

#[test]
fn one_that_goes_on_where_it_is_has_lost_nothing() {
    let mut doubt = Doubt::at(Offset(5));
    hear(&mut doubt, [Some(9), Some(5), Some(9)]);
    assert_eq!(doubt.verdict(&keepers(&HUBS)), None);
}

#[test]
fn the_turn_comes_round_to_every_hub() {
    let mut doubt = Doubt::at(Offset(5));
    let mut asked = Vec::new();
    for _ in 0..4 {
        let node = doubt.whom(&HUBS).unwrap();
        doubt.hear(node, Said::Unknown);
        asked.push((node.0, doubt.rounds(&HUBS)));
    }
    assert_eq!(asked, [(1, None), (2, None), (3, Some(1)), (1, None)]);
}

/// Six batches of one record each.
fn log(dir: &tempfile::TempDir) -> PartitionLog {
    let id = PartitionId { topic: TopicId(Uuid::nil()), index: PartitionIndex(0) };
    let files = FileCache::new(16);
    let mut log = PartitionLog::create(&dir.path().join("p"), id, LogOptions::default(), &files).unwrap();
    for _ in 0..6 {
        let mut builder = BatchBuilder::new(BuilderOptions::default());
        builder.push(1, None, Some(&[b'x'; 100]), &[]).unwrap();
        let batch = RawBatch::parse(builder.finish().unwrap()).unwrap();
        log.append(&batch, &Origin::Kafka, LeaderEpoch(0), 1).unwrap();
        log.publish().unwrap();
    }
    log
}

/// Flips a bit of each of these batches.
fn spoil(dir: &tempfile::TempDir, batches: &[usize]) {
    let files = fs::read_dir(dir.path().join("p")).unwrap().map(|entry| entry.unwrap().path());
    let path = files.into_iter().find(|path| path.extension().is_some_and(|it| it == "log")).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let size = bytes.len() / 6;
    batches.iter().for_each(|batch| bytes[batch * size + size - 1] ^= 1);
    fs::write(&path, bytes).unwrap();
}

#[test]
fn reading_goes_on_with_the_first_batch_that_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(&dir);
    spoil(&dir, &[1, 2, 5]);
    let past = |from| past_damage(&log.reader(), Offset(from)).unwrap();
    assert_eq!([0, 1, 2, 3, 4, 5].map(past), [0, 3, 3, 3, 4, 6].map(Offset));
}
