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
fn the_identity_file_stays_what_it_is() {
    let identity = Identity { node: NodeId(3), incarnation: Uuid::from_u128(0xabc) };
    let golden = include_str!("../../tests/golden/identity-v1.txt");
    assert_eq!(identity_text(&identity, 64), golden);
}
