use super::*;

const MEMBER: ClusterFile = ClusterFile { id: None, founder: false, replica_floor: 5 };
const NODE: NodeId = NodeId(3);

fn load(dir: &Path, cluster: &ClusterFile) -> Replicas {
    Replicas::load(dir.join("replicas"), NODE, cluster).expect("the file can be read")
}

fn record(current: Option<u32>, floor: u32, void: u64) -> ReplicaRecord {
    ReplicaRecord { current, floor, void: Lsn(void) }
}

#[test]
fn the_file_stays_what_it_is() {
    let golden = include_str!("../../tests/golden/replicas-v1.txt");
    let records = BTreeMap::from([(0, record(Some(7), 7, 0)), (3, record(None, 12, 4711))]);
    assert_eq!(encode(&records), golden);
    assert_eq!(decode(Path::new("replicas"), golden.as_bytes()).expect("whole"), records);
}

#[test]
fn a_founder_has_the_first_replica_of_every_group_and_others_have_none() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(load(dir.path(), &ClusterFile::founder()).get(9), record(Some(1), 1, 0));
    assert_eq!(load(dir.path(), &MEMBER).get(9), record(None, 0, 0));
}

#[test]
fn a_number_that_was_used_or_is_not_its_own_is_never_brought_to_life() {
    let dir = tempfile::tempdir().expect("a directory");
    let replicas = load(dir.path(), &MEMBER);
    assert!(!replicas.may_begin(2, 5), "up to the cluster's floor they are others'");
    assert!(replicas.may_begin(2, 8));
    replicas.begin(2, 8).expect("written");
    assert!(!replicas.may_begin(2, 8));
    replicas.give_up(2, 8, Lsn(100)).expect("written");
    let again = load(dir.path(), &MEMBER);
    assert_eq!(again.get(2), record(None, 8, 100));
    assert!(!again.may_begin(2, 8) && again.may_begin(2, 9));
    assert_eq!(again.void(), BTreeMap::from([(2, Lsn(100))]));
}

#[test]
fn giving_up_what_was_never_here_keeps_it_from_ever_being_here() {
    let dir = tempfile::tempdir().expect("a directory");
    let replicas = load(dir.path(), &MEMBER);
    replicas.give_up(2, 8, Lsn(0)).expect("written");
    assert!(!replicas.may_begin(2, 7) && !replicas.may_begin(2, 8));
    replicas.give_up(2, 6, Lsn(0)).expect("written");
    assert_eq!(replicas.get(2).floor, 8, "a floor never sinks");
}

#[test]
fn who_asks_does_not_wait_for_a_change_to_be_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let replicas = load(dir.path(), &MEMBER);
    let _being_written = replicas.changing.lock();
    assert_eq!(replicas.get(2), record(None, 0, 0));
    assert!(replicas.may_begin(2, 8) && replicas.void().is_empty());
}

#[test]
fn what_is_lost_is_told_until_it_is_replaced_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let replicas = load(dir.path(), &MEMBER);
    replicas.begin(2, 8).expect("written");
    assert!(replicas.lost().borrow().is_empty());
    replicas.give_up(2, 8, Lsn(1)).expect("written");
    let lost = vec![(2, ReplicaId::new(3, 8))];
    assert_eq!(*replicas.lost().borrow(), lost);
    let replicas = load(dir.path(), &MEMBER);
    assert_eq!(*replicas.lost().borrow(), lost);
    replicas.confirm_replaced(2, ReplicaId::new(3, 7));
    assert_eq!(*replicas.lost().borrow(), lost, "another one's replacement says nothing");
    replicas.begin(2, 11).expect("written");
    assert!(replicas.lost().borrow().is_empty());
    replicas.give_up(2, 11, Lsn(2)).expect("written");
    replicas.confirm_replaced(2, ReplicaId::new(3, 11));
    assert!(replicas.lost().borrow().is_empty());
}

#[test]
fn a_changed_file_is_refused() {
    let path = Path::new("replicas");
    let text = include_str!("../../tests/golden/replicas-v1.txt");
    let other = text.replace("format 1", "format 3");
    assert!(matches!(decode(path, other.as_bytes()), Err(DataDirError::Version { found: 3, .. })));
    assert!(matches!(decode(path, text.replace("12", "13").as_bytes()), Err(DataDirError::Damaged { .. })));
    let lines = [
        "group 1 current 3 floor 2 void 0\n",
        "group 2 current 3 floor 3 void 0\ngroup 2 current 3 floor 3 void 0\n",
        "group 70000 current 3 floor 3 void 0\n",
        "group 2 current 3 floor 3\n",
        "group 2 current 3 floor 3 void 0 more\n",
        "group 2 floor 3 current 3 void 0\n",
        "\n",
    ];
    for lines in lines {
        let sealed = KIND.seal(lines);
        assert!(matches!(decode(path, sealed.as_bytes()), Err(DataDirError::Damaged { .. })), "{lines}");
    }
}
