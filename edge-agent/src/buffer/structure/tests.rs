use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::buffer::environment::{DATA_FILE, Durability, Environment, Key};

const CAP: u64 = 64 << 20;

fn environment(folder: &Path) -> (Environment, PathBuf) {
    (Environment::open(folder, CAP, Durability::Off).unwrap(), folder.join(DATA_FILE))
}

/// A commit puts these values (number and length) or deletes those of length 0.
fn commit(environment: &Environment, values: &[(u64, usize)]) {
    let mut txn = environment.write().unwrap();
    for (number, bytes) in values {
        let key = Key { lane: 1, number: *number };
        if *bytes == 0 {
            environment.delete(&mut txn, key).unwrap();
        } else {
            environment.put(&mut txn, key, &vec![7; *bytes]).unwrap();
        }
    }
    environment.commit(txn).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_committed_is_sound(
        commits in prop::collection::vec(
            prop::collection::vec((0u64..400, prop_oneof![Just(0usize), 1usize..300, 1500usize..60_000]), 1..40),
            1..60,
        ),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (environment, path) = environment(folder.path());
        verify(&path).unwrap();
        for values in &commits {
            commit(&environment, values);
            verify(&path).unwrap();
        }
        environment.close();
        verify(&path).unwrap();
    }
}

/// Overwrites a page with another one, or with garbage; whoever reads all pages as they are used finds it, unless the
/// page is a value's own, a free one, or an older meta page.
#[test]
fn a_tree_or_a_list_that_makes_no_sense_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (environment, path) = environment(folder.path());
    for round in 0..200 {
        commit(&environment, &[(round, 100), (round + 1000, 9000), (round / 2, 0)]);
    }
    environment.close();
    let whole = fs::read(&path).unwrap();
    let page_bytes = rustix::param::page_size();
    let (mut trees, mut found) = (0, 0);
    for page in 2..whole.len() / page_bytes {
        let kind = u16_at(&whole, page * page_bytes + WORD + 2).unwrap_or(0) & KINDS;
        let mut damaged = whole.clone();
        damaged[page * page_bytes..(page + 1) * page_bytes].fill(0xA5);
        fs::write(&path, &damaged).unwrap();
        trees += usize::from(kind == FLAG_BRANCH || kind == FLAG_LEAF);
        found += usize::from(verify(&path).is_err());
    }
    fs::write(&path, &whole).unwrap();
    verify(&path).unwrap();
    assert!(found > 100 && trees > 0, "{found} of {trees}");
    // A free list that names a page which is in use.
    let newest = metas(&File::open(&path).unwrap()).unwrap().newest;
    let root = word_at(&newest, TREES + TREE_BYTES - WORD).unwrap();
    let leaf = root as usize * page_bytes;
    assert_eq!(u16_at(&whole, leaf + WORD + 2).unwrap() & KINDS, FLAG_LEAF);
    let node = leaf + usize::from(u16_at(&whole, leaf + HEADER).unwrap());
    let list = node + NODE_HEADER + WORD;
    let mut damaged = whole;
    damaged[list + WORD..list + 2 * WORD].copy_from_slice(&(root as usize).to_ne_bytes());
    fs::write(&path, &damaged).unwrap();
    assert!(matches!(verify(&path), Err(EnvironmentError::Structure { .. })));
}

#[test]
fn a_file_of_nobody_is_left_to_lmdb() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(DATA_FILE);
    for bytes in [0, 100, 100_000] {
        fs::write(&path, vec![0; bytes]).unwrap();
        verify(&path).unwrap();
    }
}
