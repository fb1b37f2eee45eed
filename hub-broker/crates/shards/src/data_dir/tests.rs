use super::*;

fn config(path: &Path) -> Config {
    Config { shard_count: 4, ..Config::new(path) }
}

fn refused(config: &Config) -> DataDirError {
    DataDir::open(config).err().expect("refused")
}

#[test]
fn a_directory_keeps_its_identity() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("made/on/the/way");
    let first = DataDir::open(&config(&path)).expect("a new directory").identity();
    let second = DataDir::open(&config(&path)).expect("the same again").identity();
    assert_eq!(first, second);
    let other = DataDir::open(&config(&dir.path().join("other"))).expect("another").identity();
    assert_ne!(first.incarnation, other.incarnation);
}

#[test]
fn one_hub_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let _first = DataDir::open(&config(dir.path())).expect("a new directory");
    assert!(matches!(refused(&config(dir.path())), DataDirError::InUse(_)));
}

#[test]
fn a_file_in_its_place_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("written");
    assert!(matches!(refused(&config(&file)), DataDirError::NotADirectory(path) if path == file));
    assert!(matches!(refused(&config(&file.join("below"))), DataDirError::NotADirectory(_)));
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    // Not even root may make a directory here.
    let path = Path::new("/proc/headwater");
    assert!(matches!(refused(&config(path)), DataDirError::NotWritable { .. }));
}

#[test]
fn anothers_files_are_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("thesis.tex"), "x").expect("written");
    assert!(matches!(refused(&config(dir.path())), DataDirError::Foreign(_)));
}

#[test]
fn another_node_or_shard_count_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(DataDir::open(&config(dir.path())).expect("a new directory"));
    let node = Config { node: NodeId(2), ..config(dir.path()) };
    assert!(matches!(refused(&node), DataDirError::OtherNode { found: 1, configured: 2, .. }));
    let shards = Config { shard_count: 8, ..config(dir.path()) };
    assert!(matches!(refused(&shards), DataDirError::OtherShardCount { found: 4, configured: 8, .. }));
}

#[test]
fn a_changed_identity_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(DataDir::open(&config(dir.path())).expect("a new directory"));
    let file = dir.path().join(IDENTITY_FILE);
    let text = fs::read_to_string(&file).expect("text");
    fs::write(&file, text.replace("node 1", "node 3")).expect("written");
    assert!(matches!(refused(&config(dir.path())), DataDirError::Damaged { .. }));
    fs::write(&file, text.replace("format 1", "format 9")).expect("written");
    assert!(matches!(refused(&config(dir.path())), DataDirError::Version { found: 9, .. }));
    fs::write(&file, [0xff, 0xfe]).expect("written");
    assert!(matches!(refused(&config(dir.path())), DataDirError::Damaged { .. }));
}

#[test]
fn a_new_directory_belongs_to_no_cluster_until_it_is_founded_or_joins_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut founder = DataDir::open(&config(&dir.path().join("1"))).expect("a new directory");
    assert_eq!(founder.cluster(), None);
    founder.found().expect("written");
    founder.found().expect("once more is no matter");
    drop(founder);
    let founder = DataDir::open(&config(&dir.path().join("1"))).expect("the same again");
    assert_eq!(founder.cluster(), Some(ClusterFile::founder()));
    let cluster = Uuid::from_u128(7);
    let mut member = DataDir::open(&config(&dir.path().join("2"))).expect("a new directory");
    member.join(cluster, 9).expect("written");
    member.join(cluster, 12).expect("it is a member");
    member.found().expect("it is a member");
    drop(member);
    let member = DataDir::open(&config(&dir.path().join("2"))).expect("the same again").cluster();
    assert_eq!(member, Some(ClusterFile { id: Some(cluster), founder: false, replica_floor: 9 }));
}

#[test]
fn a_hub_of_one_cluster_joins_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut member = DataDir::open(&config(&dir.path().join("2"))).expect("a new directory");
    member.join(Uuid::from_u128(7), 9).expect("written");
    let other = member.join(Uuid::from_u128(8), 9);
    assert!(matches!(other, Err(DataDirError::OtherCluster { found: Some(_), .. })), "{other:?}");
    let mut founder = DataDir::open(&config(&dir.path().join("1"))).expect("a new directory");
    founder.found().expect("written");
    let joined = founder.join(Uuid::from_u128(8), 9);
    assert!(matches!(joined, Err(DataDirError::OtherCluster { found: None, .. })), "{joined:?}");
    founder.name_cluster(Uuid::from_u128(8)).expect("written");
    founder.name_cluster(Uuid::from_u128(8)).expect("it has that name");
    assert!(founder.name_cluster(Uuid::from_u128(9)).is_err());
    assert_eq!(founder.cluster().and_then(|cluster| cluster.id), Some(Uuid::from_u128(8)));
}

#[test]
fn a_directory_with_a_log_from_before_there_were_clusters_is_a_founders() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(DataDir::open(&config(dir.path())).expect("a new directory"));
    fs::create_dir(dir.path().join("wal")).expect("made");
    let used = DataDir::open(&config(dir.path())).expect("the same again").cluster();
    assert_eq!(used, Some(ClusterFile::founder()));
}

#[test]
fn the_identity_file_stays_what_it_is() {
    let identity = Identity { node: NodeId(3), incarnation: Uuid::from_u128(0xabc) };
    let golden = include_str!("../../tests/golden/identity-v1.txt");
    assert_eq!(identity_text(&identity, 64), golden);
}
