//! Reads a checkpoint back, whole or not at all.

use crate::{
    checkpoint::{Key, Loaded},
    directory::{Directory, Named},
    error::{Damage, DamageKind, Unusable},
    limits::MANIFEST_BYTES_MAX,
    manifest::{Manifest, Place, Unreadable},
    states,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    io::{self, Read},
    path::Path,
};

fn failed(directory: &Directory, operation: &'static str, named: Named, error: io::Error) -> Unusable {
    Unusable::Io { operation, file: directory.path_of(named), error }
}

fn damaged(directory: &Directory, named: Named, position: u64, kind: DamageKind) -> Unusable {
    Unusable::Damaged(Damage { file: directory.path_of(named), position, kind })
}

fn unreadable(directory: &Directory, named: Named, why: Unreadable) -> Unusable {
    match why {
        Unreadable::Damaged(kind) => damaged(directory, named, 0, kind),
        Unreadable::Version(version) => Unusable::Version { file: directory.path_of(named), version },
    }
}

pub fn manifest(directory: &Directory, sequence: u64) -> Result<Manifest, Unusable> {
    let named = Named::Manifest(sequence);
    let read = || {
        let mut bytes = Vec::new();
        directory.open_file(named)?.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| failed(directory, "read", named, error))?;
    let manifest = Manifest::decode(&bytes.into()).map_err(|why| unreadable(directory, named, why))?;
    if manifest.sequence != sequence {
        return Err(damaged(directory, named, 16, DamageKind::Format));
    }
    Ok(manifest)
}

/// Loads all states that a manifest names.
pub fn checkpoint(directory: &Directory, manifest: &Manifest) -> Result<Loaded, Unusable> {
    let mut reader = StateReader::new(directory);
    let mut states = BTreeMap::new();
    for (key, place) in &manifest.states {
        states.insert(key.clone(), reader.read(place)?);
    }
    let (position, membership) = (manifest.position, manifest.membership.clone());
    Ok(Loaded { sequence: manifest.sequence, position, membership, states })
}

/// The newest checkpoint in `dir` that is whole, for somebody who only looks while another may write there: what is
/// replaced meanwhile counts as not there. `None` also where there is no such directory.
pub fn newest(dir: &Path) -> Option<Loaded> {
    // It would be made.
    let directory = dir.is_dir().then(|| Directory::open(dir, false).ok())??;
    let manifests = directory.list().ok()?.into_iter().rev().filter_map(|named| match named {
        Named::Manifest(sequence) => Some(sequence),
        Named::States(_) | Named::Unfinished => None,
    });
    let whole = |sequence| checkpoint(&directory, &manifest(&directory, sequence).ok()?).ok();
    manifests.filter_map(whole).next()
}

/// Reads states out of several files.
pub struct StateReader<'a> {
    directory: &'a Directory,
    files: BTreeMap<u64, File>,
}

impl<'a> StateReader<'a> {
    pub fn new(directory: &'a Directory) -> Self {
        StateReader { directory, files: BTreeMap::new() }
    }

    pub fn read(&mut self, place: &Place) -> Result<Bytes, Unusable> {
        let named = Named::States(place.file);
        let file = match self.files.entry(place.file) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(open_states(self.directory, place.file)?),
        };
        let read = states::read(file, place).map_err(|error| failed(self.directory, "read", named, error))?;
        read.map_err(|kind| damaged(self.directory, named, place.position, kind))
    }
}

fn open_states(directory: &Directory, sequence: u64) -> Result<File, Unusable> {
    let named = Named::States(sequence);
    let file = directory.open_file(named).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged(directory, named, 0, DamageKind::Missing),
        _ => failed(directory, "open", named, error),
    })?;
    let head =
        states::check_header(&file, sequence).map_err(|error| failed(directory, "read", named, error))?;
    head.map_err(|kind| damaged(directory, named, 0, kind))?;
    Ok(file)
}

/// The keys of the states that lie in `files`.
pub fn keys_in<'a>(
    states: &'a BTreeMap<Key, Place>,
    files: &'a [u64],
) -> impl Iterator<Item = (&'a Key, &'a Place)> {
    states.iter().filter(|(_, place)| files.contains(&place.file))
}
