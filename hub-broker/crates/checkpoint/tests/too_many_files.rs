//! Too many open files. The limit holds for a whole process, so this test is alone in its program.

use std::collections::BTreeMap;
use std::fs::File;

use bytes::Bytes;
use checkpoint::{Checkpoint, Key, Position, State, Store, WriteError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn checkpoint(applied: u64) -> Checkpoint {
    let state = State::Changed(Bytes::from(format!("state {applied}")));
    Checkpoint {
        position: Position { applied, term: 1, commit: applied },
        membership: Bytes::new(),
        states: BTreeMap::from([(Key(b"a"[..].into()), state)]),
    }
}

#[test]
fn a_checkpoint_whose_files_cannot_be_opened_is_written_later() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).expect("a lower limit");
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _, _) = Store::open(dir.path()).expect("opens");
    store.write(&checkpoint(10)).expect("written");
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    for _ in 0..2 {
        assert!(matches!(store.write(&checkpoint(20)), Err(WriteError::NoSpace { .. })));
    }
    drop(taken);
    store.write(&checkpoint(20)).expect("there are descriptors again");
    drop(store);
    let (_, loaded, damage) = Store::open(dir.path()).expect("opens");
    assert_eq!(loaded.map(|loaded| loaded.position.applied), Some(20));
    assert_eq!(damage, []);
}
