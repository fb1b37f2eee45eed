use super::*;
use crate::limits::STATE_FILES_MAX;
use bytes::Bytes;
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn key(name: &str) -> Key {
    Key(Bytes::copy_from_slice(name.as_bytes()))
}

fn changed(bytes: &[u8]) -> State {
    State::Changed(Bytes::copy_from_slice(bytes))
}

fn checkpoint(applied: u64, states: &[(&str, State)]) -> Checkpoint {
    let states = states.iter().map(|(name, state)| (key(name), state.clone())).collect();
    let position = Position { applied, term: 3, commit: applied + 1 };
    Checkpoint { position, membership: Bytes::from_static(b"voter 1"), states }
}

fn open(dir: &Path) -> (Store, Option<Loaded>, Vec<Damage>) {
    Store::open(dir).expect("the store opens")
}

fn state<'a>(loaded: &'a Loaded, name: &str) -> Option<&'a [u8]> {
    loaded.states.get(&key(name)).map(|bytes| &bytes[..])
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

/// Two checkpoints: the first holds `a` and `b`, the second changes `a` and adds `c`.
fn two_checkpoints(dir: &Path) {
    let (mut store, _, _) = open(dir);
    store.write(&checkpoint(10, &[("a", changed(b"a1")), ("b", changed(b"b1"))])).expect("writes");
    let second = [("a", changed(b"a2")), ("b", State::Unchanged), ("c", changed(b"c2"))];
    store.write(&checkpoint(20, &second)).expect("writes");
}

#[test]
fn a_new_store_is_empty() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, loaded, damage) = open(&dir.path().join("checkpoint/group-1"));
    assert_eq!((loaded, damage), (None, vec![]));
}

#[test]
fn the_last_checkpoint_is_loaded() {
    let dir = tempfile::tempdir().expect("a directory");
    two_checkpoints(dir.path());
    let (_, loaded, damage) = open(dir.path());
    let loaded = loaded.expect("a checkpoint");
    assert_eq!((loaded.sequence, damage), (2, vec![]));
    assert_eq!(loaded.position, Position { applied: 20, term: 3, commit: 21 });
    assert_eq!(loaded.membership, "voter 1");
    assert_eq!(
        [state(&loaded, "a"), state(&loaded, "b"), state(&loaded, "c")].map(Option::unwrap),
        [b"a2", b"b1", b"c2"]
    );
}

#[test]
fn whoever_only_looks_finds_the_newest_that_is_whole_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("group");
    assert_eq!(newest(&path), None);
    assert!(!path.exists());
    two_checkpoints(&path);
    let before = names(&path);
    let loaded = newest(&path).expect("a checkpoint");
    assert_eq!((loaded.position.applied, state(&loaded, "a")), (20, Some(&b"a2"[..])));
    fs::write(path.join(before.iter().rfind(|name| name.starts_with("manifest")).expect("two")), b"")
        .expect("emptied");
    assert_eq!(newest(&path).map(|loaded| loaded.position.applied), Some(10));
    assert_eq!(names(&path), before);
}

#[test]
fn unchanged_states_are_not_written_again_and_missing_ones_are_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _, _) = open(dir.path());
    store.write(&checkpoint(1, &[("a", changed(b"a")), ("b", changed(b"b"))])).expect("writes");
    store.write(&checkpoint(2, &[("a", State::Unchanged)])).expect("writes");
    let expected = ["manifest-0000000000000001", "manifest-0000000000000002", "states-0000000000000001"];
    assert_eq!(names(dir.path()), expected);
    let error = store.write(&checkpoint(3, &[("b", State::Unchanged)])).expect_err("b is gone");
    assert!(matches!(error, WriteError::UnknownKey(missing) if missing == key("b")));
    let loaded = open(dir.path()).1.expect("a checkpoint");
    assert_eq!((state(&loaded, "a"), state(&loaded, "b")), (Some(&b"a"[..]), None));
}

#[test]
fn the_last_two_are_kept_and_the_log_is_released_up_to_the_older() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _, _) = open(dir.path());
    let mut write = |applied| store.write(&checkpoint(applied, &[("a", changed(b"a"))])).expect("writes");
    assert_eq!(write(10), Written { sequence: 1, release_through: 0 });
    assert_eq!(write(20), Written { sequence: 2, release_through: 10 });
    assert_eq!(write(30), Written { sequence: 3, release_through: 20 });
    let kept = [
        "manifest-0000000000000002",
        "manifest-0000000000000003",
        "states-0000000000000002",
        "states-0000000000000003",
    ];
    assert_eq!(names(dir.path()), kept);
    let (mut store, _, _) = open(dir.path());
    let written = store.write(&checkpoint(40, &[("a", State::Unchanged)])).expect("writes");
    assert_eq!(written, Written { sequence: 4, release_through: 30 });
}

/// What the older of two checkpoints holds, and the damage that made it be used.
fn fallen_back(dir: &Path, file: &str) -> Damage {
    let (_, loaded, damage) = open(dir);
    let loaded = loaded.expect("the older checkpoint");
    assert_eq!((loaded.sequence, loaded.position.applied), (1, 10));
    assert_eq!((state(&loaded, "a"), state(&loaded, "c")), (Some(&b"a1"[..]), None));
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].file, dir.join(file));
    damage[0].clone()
}

#[test]
fn every_flipped_bit_of_the_newer_checkpoint_is_reported_and_the_older_used() {
    let dir = tempfile::tempdir().expect("a directory");
    two_checkpoints(dir.path());
    for file in ["manifest-0000000000000002", "states-0000000000000002"] {
        let path = dir.path().join(file);
        let intact = fs::read(&path).expect("reads");
        for bit in 0..intact.len() * 8 {
            let mut damaged = intact.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).expect("writes");
            fallen_back(dir.path(), file);
        }
        for end in 0..intact.len() {
            fs::write(&path, &intact[..end]).expect("writes");
            fallen_back(dir.path(), file);
        }
        fs::write(&path, intact).expect("writes");
    }
    assert_eq!(open(dir.path()).1.map(|loaded| loaded.sequence), Some(2));
}

#[test]
fn a_missing_state_file_is_reported_with_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    two_checkpoints(dir.path());
    fs::remove_file(dir.path().join("states-0000000000000002")).expect("removes");
    let damage = fallen_back(dir.path(), "states-0000000000000002");
    assert_eq!(damage.kind, DamageKind::Missing);
    assert!(damage.to_string().ends_with("states-0000000000000002 is damaged at 0: the file is missing"));
}

#[test]
fn the_store_goes_on_after_falling_back() {
    let dir = tempfile::tempdir().expect("a directory");
    two_checkpoints(dir.path());
    fs::write(dir.path().join("manifest-0000000000000002"), b"rubbish").expect("writes");
    let (mut store, _, _) = open(dir.path());
    let next = checkpoint(25, &[("a", State::Unchanged), ("b", State::Unchanged)]);
    assert_eq!(store.write(&next).expect("writes"), Written { sequence: 3, release_through: 10 });
    let (_, loaded, damage) = open(dir.path());
    assert_eq!((state(&loaded.expect("a checkpoint"), "a"), damage), (Some(&b"a1"[..]), vec![]));
}

#[test]
fn nothing_is_guessed_when_no_checkpoint_is_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    two_checkpoints(dir.path());
    for sequence in 1..=2 {
        fs::write(dir.path().join(format!("manifest-{sequence:016x}")), b"rubbish").expect("writes");
    }
    let Err(OpenError::Damaged { damage, .. }) = Store::open(dir.path()) else { panic!("it opened") };
    assert_eq!(damage.len(), 2);
}

#[test]
fn what_an_interrupted_write_left_is_ignored_and_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    two_checkpoints(dir.path());
    fs::write(dir.path().join("manifest.new"), b"half a mani").expect("writes");
    fs::write(dir.path().join("states-0000000000000003"), b"half a st").expect("writes");
    let (mut store, loaded, damage) = open(dir.path());
    assert_eq!((loaded.map(|loaded| loaded.sequence), damage), (Some(2), vec![]));
    let written = store.write(&checkpoint(30, &[("a", State::Unchanged)])).expect("writes");
    assert_eq!(written, Written { sequence: 4, release_through: 20 });
    assert!(
        !names(dir.path()).iter().any(|name| name == "manifest.new" || name == "states-0000000000000003")
    );
}

#[test]
fn a_failed_write_is_the_last_one() {
    let dir = tempfile::tempdir().expect("a directory");
    two_checkpoints(dir.path());
    let (mut store, _, _) = open(dir.path());
    fs::create_dir(dir.path().join("manifest.new")).expect("an obstacle");
    let next = checkpoint(30, &[("a", State::Unchanged)]);
    assert!(matches!(store.write(&next), Err(WriteError::Io { .. })));
    fs::remove_dir(dir.path().join("manifest.new")).expect("removes");
    assert!(matches!(store.write(&next), Err(WriteError::Poisoned { .. })));
    assert_eq!(open(dir.path()).1.map(|loaded| loaded.sequence), Some(2));
}

#[test]
fn version_1_is_written_and_read_as_ever() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/v1");
    let dir = tempfile::tempdir().expect("a directory");
    two_checkpoints(dir.path());
    assert_eq!(names(dir.path()), names(&golden));
    for name in names(&golden) {
        let (written, expected) = (fs::read(dir.path().join(&name)), fs::read(golden.join(&name)));
        assert_eq!(written.expect("reads"), expected.expect("reads"), "{name}");
        fs::copy(golden.join(&name), dir.path().join(&name)).expect("copies");
    }
    assert_eq!(open(dir.path()).1.map(|loaded| loaded.position.applied), Some(20));
}

#[derive(Clone, Debug)]
enum Step {
    /// Changes, per key, or leaves, or drops it.
    Write(Vec<Option<Option<Vec<u8>>>>),
    Reopen,
    DamageNewest {
        states: bool,
        at: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let content = prop::collection::vec(any::<u8>(), 0..200);
    let change =
        prop_oneof![2 => Just(None), 2 => content.prop_map(|bytes| Some(Some(bytes))), 1 => Just(Some(None))];
    prop_oneof![
        8 => prop::collection::vec(change, 6).prop_map(Step::Write),
        1 => Just(Step::Reopen),
        1 => (any::<bool>(), any::<usize>()).prop_map(|(states, at)| Step::DamageNewest { states, at }),
    ]
}

type Contents = BTreeMap<Key, Bytes>;

struct Model {
    dir: tempfile::TempDir,
    store: Store,
    /// The checkpoints that are kept, the newest last.
    kept: Vec<(u64, Contents)>,
    /// The file that was damaged since the last write.
    damaged: Option<PathBuf>,
}

impl Model {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open_unsynced(dir.path()).expect("opens").0;
        Model { dir, store, kept: Vec::new(), damaged: None }
    }

    fn write(&mut self, changes: Vec<Option<Option<Vec<u8>>>>) {
        let mut contents = self.kept.last().map(|kept| kept.1.clone()).unwrap_or_default();
        let mut states: BTreeMap<Key, State> =
            contents.keys().map(|key| (key.clone(), State::Unchanged)).collect();
        for (n, change) in changes.into_iter().enumerate() {
            let key = key(&format!("key {n}"));
            match change {
                None => {}
                Some(None) => {
                    contents.remove(&key);
                    states.remove(&key);
                }
                Some(Some(bytes)) => {
                    let bytes = Bytes::from(bytes);
                    contents.insert(key.clone(), bytes.clone());
                    states.insert(key, State::Changed(bytes));
                }
            }
        }
        let checkpoint = Checkpoint { states, ..checkpoint(self.kept.len() as u64, &[]) };
        let written = self.store.write(&checkpoint).expect("writes");
        self.damaged = None;
        self.kept.push((written.sequence, contents));
        if self.kept.len() > 2 {
            self.kept.remove(0);
        }
        let files = names(self.dir.path()).iter().filter(|name| name.starts_with("states-")).count();
        assert!(files <= 2 * STATE_FILES_MAX, "{files} state files");
    }

    fn reopen(&mut self) {
        let (store, loaded, damage) = Store::open_unsynced(self.dir.path()).expect("opens");
        self.store = store;
        assert_eq!(loaded.map(|loaded| (loaded.sequence, loaded.states)), self.kept.last().cloned());
        let damaged: Vec<PathBuf> = damage.into_iter().map(|damage| damage.file).collect();
        assert_eq!(damaged, Vec::from_iter(self.damaged.clone()));
    }

    fn damage_newest(&mut self, states: bool, at: usize) {
        if self.kept.len() < 2 {
            return;
        }
        let (sequence, _) = self.kept.last().expect("two");
        let own_states = self.dir.path().join(format!("states-{sequence:016x}"));
        let manifest = self.dir.path().join(format!("manifest-{sequence:016x}"));
        let path = if states && own_states.exists() { own_states } else { manifest };
        let mut content = fs::read(&path).expect("reads");
        let at = at % content.len().saturating_sub(24).max(1) + 24.min(content.len() - 1);
        content[at] ^= 0x40;
        fs::write(&path, content).expect("writes");
        self.kept.pop();
        self.damaged = Some(path);
        self.reopen();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn the_newest_whole_checkpoint_is_what_is_loaded(steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Write(changes) => model.write(changes),
                Step::Reopen => model.reopen(),
                Step::DamageNewest { states, at } => model.damage_newest(states, at),
            }
        }
        model.reopen();
    }
}

#[test]
fn a_checkpoint_written_alone_takes_those_before_it_back() {
    let dir = tempfile::tempdir().expect("a directory");
    two_checkpoints(dir.path());
    let (mut store, _, _) = open(dir.path());
    let alone = checkpoint(90, &[("z", changed(b"z3"))]);
    assert_eq!(store.write_alone(&alone).expect("writes"), Written { sequence: 3, release_through: 90 });
    assert_eq!(names(dir.path()), ["manifest-0000000000000003", "states-0000000000000003"]);
    let newest = store.newest().expect("readable").expect("a checkpoint");
    assert_eq!(open(dir.path()).1, Some(newest));
    let after = checkpoint(95, &[("z", State::Unchanged)]);
    assert_eq!(store.write(&after).expect("writes"), Written { sequence: 4, release_through: 90 });
    fs::write(dir.path().join("manifest-0000000000000004"), b"damaged").expect("written");
    assert_eq!(open(dir.path()).1.expect("a checkpoint").position.applied, 90);
}

#[test]
fn a_crash_while_a_checkpoint_is_written_alone_leaves_the_old_or_the_new_one() {
    let before = tempfile::tempdir().expect("a directory");
    two_checkpoints(before.path());
    let after = tempfile::tempdir().expect("a directory");
    copy(before.path(), after.path(), &names(before.path()));
    let alone = checkpoint(90, &[("z", changed(b"z3"))]);
    open(after.path()).0.write_alone(&alone).expect("writes");
    let (manifest, states) = ("manifest-0000000000000003", "states-0000000000000003");
    let manifests = ["manifest-0000000000000001", "manifest-0000000000000002"];
    // What is there beside or instead of the old files after each step, and what is then the newest.
    let steps: [(&[&str], &[&str], u64); 5] = [
        (&[], &[], 20),
        (&[states], &[], 20),
        (&[states, manifest], &[], 90),
        (&[states, manifest], &manifests[..1], 90),
        (&[states, manifest], &manifests, 90),
    ];
    for (added, removed, applied) in steps {
        let dir = tempfile::tempdir().expect("a directory");
        copy(before.path(), dir.path(), &names(before.path()));
        copy(after.path(), dir.path(), added);
        removed.iter().for_each(|name| fs::remove_file(dir.path().join(name)).expect("removed"));
        let (mut store, loaded, damage) = open(dir.path());
        assert_eq!((loaded.expect("a checkpoint").position.applied, damage), (applied, vec![]));
        if applied == 90 {
            store.keep_newest_only().expect("removes");
            assert_eq!(names(dir.path()), [manifest, states]);
        }
    }
}

fn copy(from: &Path, to: &Path, names: &[impl AsRef<Path>]) {
    for name in names {
        fs::copy(from.join(name), to.join(name)).expect("copied");
    }
}
