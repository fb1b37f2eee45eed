//! A disk in memory that forgets, at a power cut, any part of what was not synced, and that reads and writes less at a
//! time than it is asked to.

use crate::disk::{Disk, DiskFile};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IoSlice},
    path::PathBuf,
    sync::Arc,
};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone)]
enum DirectoryChange {
    Name(String, usize),
    Unname(String),
}

struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<DirectoryChange>,
    random: StdRng,
    /// Operations until the machine stops.
    operations_left: Option<u64>,
    /// What new files may still take.
    room: Option<u64>,
    /// So many more attempts to open a file meet a process that has too many open.
    opens_refused: u32,
    /// Held by a test for as long as the disk does not answer who makes a file.
    new_files: Arc<Mutex<()>>,
    syncs: u64,
    /// Syncs of files do nothing.
    unsynced: bool,
}

/// One directory in memory; clones are the same one.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        SimDisk::of(Vec::new(), BTreeMap::new(), random)
    }

    /// With these names, all of them durable.
    fn of(inodes: Vec<Inode>, names: BTreeMap<String, usize>, random: StdRng) -> Self {
        SimDisk(Arc::new(Mutex::new(State {
            inodes,
            durable_names: names.clone(),
            names,
            changes: Vec::new(),
            random,
            operations_left: None,
            room: None,
            opens_refused: 0,
            new_files: Arc::default(),
            syncs: 0,
            unsynced: false,
        })))
    }

    /// The machine stops after so many more operations.
    pub fn stop_after(&self, operations: u64) {
        self.0.lock().operations_left = Some(operations);
    }

    /// From now on it says that files are synced, and does not do it.
    pub fn skip_syncs(&self) {
        self.0.lock().unsynced = true;
    }

    pub fn set_room(&self, room: Option<u64>) {
        self.0.lock().room = room;
    }

    /// The process has too many files open for so many more attempts to open one.
    pub fn refuse_opens(&self, count: u32) {
        self.0.lock().opens_refused = count;
    }

    /// While this is locked, nobody who makes a file hears of the disk.
    pub fn new_files(&self) -> Arc<Mutex<()>> {
        self.0.lock().new_files.clone()
    }

    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// What a machine finds on the disk after a power cut at this moment.
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> SimDisk {
        let state = self.0.lock();
        let mut random = StdRng::seed_from_u64(seed);
        let mut inodes: Vec<Inode> = state.inodes.iter().map(|inode| survive(inode, &mut random)).collect();
        let mut names = state.durable_names.clone();
        let kept = random.gen_range(0..=state.changes.len());
        state.changes[..kept].iter().for_each(|change| change.apply(&mut names));
        let named: BTreeSet<usize> = names.values().copied().collect();
        let nameless = inodes.iter_mut().enumerate().filter(|(at, _)| !named.contains(at));
        nameless.for_each(|(_, inode)| *inode = Inode::default());
        let after = SimDisk::of(inodes, names, random);
        after.0.lock().room = state.room;
        after
    }

    /// What the next process finds on the disk when this one ends here: all that it wrote, synced or not.
    #[must_use]
    pub fn after_kill(&self) -> SimDisk {
        let state = self.0.lock();
        let after = SimDisk::of(state.inodes.clone(), state.names.clone(), state.random.clone());
        {
            let mut now = after.0.lock();
            now.durable_names.clone_from(&state.durable_names);
            now.changes.clone_from(&state.changes);
            now.room = state.room;
        }
        after
    }

    /// What is there is as on that other disk, and nothing else, durably.
    pub fn take_over(&self, other: &SimDisk) {
        let (inodes, names) = {
            let other = other.0.lock();
            (other.inodes.clone(), other.names.clone())
        };
        let mut state = self.0.lock();
        state.inodes = inodes.iter().map(Inode::synced).collect();
        (state.durable_names, state.names) = (names.clone(), names);
        state.changes.clear();
    }

    /// No file was made, named or removed since the directory was synced.
    pub fn has_durable_names(&self) -> bool {
        self.0.lock().changes.is_empty()
    }

    pub fn file_names(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// The content of a file.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.0.lock();
        state.inodes[state.names[name]].now.clone()
    }

    /// Changes a file behind the log's back, durably.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let at = state.names[name];
        let inode = &mut state.inodes[at];
        change(&mut inode.now);
        *inode = inode.synced();
    }
}

impl Inode {
    fn synced(&self) -> Inode {
        Inode { now: self.now.clone(), durable: self.now.clone(), dirty: BTreeSet::new() }
    }
}

impl DirectoryChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            DirectoryChange::Name(name, inode) => {
                names.retain(|_, named| named != inode);
                names.insert(name.clone(), *inode);
            }
            DirectoryChange::Unname(name) => drop(names.remove(name)),
        }
    }
}

impl State {
    fn change(&mut self, change: DirectoryChange) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn open_one(&mut self) -> io::Result<()> {
        if self.opens_refused == 0 {
            return Ok(());
        }
        self.opens_refused -= 1;
        Err(rustix::io::Errno::MFILE.into())
    }

    /// Counts an operation; fails once the machine has stopped.
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the machine has stopped")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

/// Each unsynced sector is kept, lost or torn.
fn survive(inode: &Inode, random: &mut StdRng) -> Inode {
    let bytes = if random.gen_bool(0.5) { inode.now.len() } else { inode.durable.len() };
    let mut content = inode.durable.clone();
    content.resize(bytes, 0);
    for &sector in &inode.dirty {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(bytes).min(inode.now.len());
        if start >= end {
            continue;
        }
        let cut = random.gen_range(start..=end);
        match random.gen_range(0..4) {
            0 => {}
            1 => content[start..end].copy_from_slice(&inode.now[start..end]),
            2 => content[start..cut].copy_from_slice(&inode.now[start..cut]),
            _ => content[cut..end].copy_from_slice(&inode.now[cut..end]),
        }
    }
    Inode { now: content.clone(), durable: content, dirty: BTreeSet::new() }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.file_names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.operate()?;
        state.open_one()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change(DirectoryChange::Name(name.to_owned(), inode));
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.open_one()?;
        let inode = *state.names.get(name).ok_or_else(missing)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        let inode = *state.names.get(from).ok_or_else(missing)?;
        state.change(DirectoryChange::Name(to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        let inode = *state.names.get(name).ok_or_else(missing)?;
        let bytes = state.inodes[inode].now.len() as u64;
        state.room = state.room.map(|room| room + bytes);
        state.change(DirectoryChange::Unname(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        state.durable_names = state.names.clone();
        state.changes.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/sim").join(name)
    }

    fn draw(&self) -> u64 {
        self.0.lock().random.r#gen()
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl DiskFile for SimFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.disk.0.lock();
        let is_short = buffer.len() > 1 && state.random.gen_bool(0.1);
        let asked = if is_short { state.random.gen_range(1..buffer.len()) } else { buffer.len() };
        let rest = state.inodes[self.inode].now.get(position as usize..).unwrap_or_default();
        let count = rest.len().min(asked);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let mut state = self.disk.0.lock();
        state.operate()?;
        let mut bytes = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        if bytes.len() > 1 && state.random.gen_bool(0.2) {
            let short = state.random.gen_range(1..bytes.len());
            bytes.truncate(short);
        }
        let inode = &mut state.inodes[self.inode];
        let (start, end) = (position as usize, position as usize + bytes.len());
        if inode.now.len() < end {
            inode.now.resize(end, 0);
        }
        inode.now[start..end].copy_from_slice(&bytes);
        inode.dirty.extend(start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
        Ok(bytes.len())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        drop(self.disk.new_files().lock());
        let mut state = self.disk.0.lock();
        match state.room {
            Some(room) if room < bytes => Err(io::ErrorKind::StorageFull.into()),
            room => {
                state.room = room.map(|room| room - bytes);
                Ok(())
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.operate()?;
        state.syncs += 1;
        if state.unsynced {
            return Ok(());
        }
        let inode = &mut state.inodes[self.inode];
        inode.durable.resize(inode.now.len(), 0);
        for sector in std::mem::take(&mut inode.dirty) {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(inode.now.len());
            inode.durable[start..end].copy_from_slice(&inode.now[start..end]);
        }
        Ok(())
    }
}
