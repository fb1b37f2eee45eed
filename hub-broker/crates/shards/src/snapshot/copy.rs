//! Copying a snapshot: every file of it is here, verified and durable, before anyone is told that it has arrived.
//!
//! The other hub is behind [`Ask`], so that a copy runs over the network, in a test, or in a simulation alike. It
//! blocks: on the disk, and on what it asks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use checkpoint::{Key, Loaded, Position};
use partition_log::{
    FileCache, GoOn, Import, ImportError, LocalLog, PartitionLog, PartitionState, Prefix, Receiving,
    SegmentState, Verified,
};
use schemas::PartitionId;

use super::format::{
    CLOSE, Close, DAMAGED_HEAD_BYTES, FileId, OPEN, Open, Opened, Outcome, Piece, READ, Read, Refusal,
    damaged_bytes, decode_damaged, decode_listing,
};
use super::{Arrived, ArrivedMachine, FetchError, Wanted};
use crate::aside::Aside;
use crate::group_state::GroupState;
use crate::keys::{key_partition, metadata_key, partition_key};
use crate::limits::{SNAPSHOT_ASK_BYTES, SNAPSHOT_STATE_BYTES_MAX};
use crate::observe::snapshots as observe;
use crate::partitions::generation_directory;

/// The hub that a snapshot is copied from.
pub(crate) trait Ask {
    /// MUST try again by itself, for as long as it makes sense, where an answer is lost.
    fn ask(&mut self, kind: u8, body: Bytes) -> Result<Bytes, FetchError>;
    /// About to copy so much. Waits as long as that should, and fails when the copy is to be given up.
    fn pause(&mut self, bytes: u64, sender_is_slow: bool) -> Result<(), FetchError>;
    /// Whether the other hub has heard nothing for so long that it had better hear that this copy goes on.
    fn is_quiet(&mut self) -> bool {
        false
    }
    /// For those who look on: so much is to come.
    fn expect(&mut self, _bytes: u64) {}
    /// And so much of it is here.
    fn receive(&mut self, _bytes: u64) {}
}

/// Where copies go.
pub(crate) struct Target<'a> {
    pub log: &'a Path,
    pub files: &'a FileCache,
    /// Where the group's checkpoints are.
    pub checkpoints: &'a Path,
    /// What must stay free on the disk.
    pub reserve_bytes: u64,
    /// What earlier attempts have found whole.
    pub verified: &'a Verified,
}

/// Copies what is wanted and not here yet. What has come before an error stays for the next attempt.
pub(crate) fn copy(wanted: &Wanted, target: &Target<'_>, ask: &mut dyn Ask) -> Result<Arrived, FetchError> {
    let open = Open { group: wanted.group, index: wanted.index, term: wanted.term, to: wanted.to };
    let opened = ask.ask(OPEN, open.encode())?;
    let opened = Opened::decode(&opened).ok_or(FetchError::Malformed)?;
    let session = opened.session;
    let installed = installed(wanted, target);
    let mut copying = Copying {
        wanted,
        target,
        ask,
        session,
        installed,
        known_damage: BTreeSet::new(),
        damaged: Vec::new(),
        mismatch: None,
        sender_is_slow: false,
        is_again: false,
    };
    let copied = copying.all(&opened);
    let outcome = match (&copied, copying.mismatch) {
        (Ok(_), _) => Outcome::Copied,
        (Err(_), Some(file)) => Outcome::Mismatch(file),
        (Err(_), None) => Outcome::GivenUp,
    };
    // If this is lost, the other hub finds out by itself.
    let _ = copying.ask.ask(CLOSE, Close { session, outcome }.encode());
    copied
}

/// The states of the group's newest checkpoint, if it is of the directories that the snapshot is to replace.
fn installed(wanted: &Wanted, target: &Target<'_>) -> BTreeMap<Key, Bytes> {
    let newest = checkpoint::newest(target.checkpoints);
    let is_current = |loaded: &Loaded| {
        let state = GroupState::decode(&loaded.membership);
        state.is_some_and(|state| state.origin.generation + 1 == wanted.generation)
    };
    newest.filter(is_current).map(|loaded| loaded.states).unwrap_or_default()
}

struct Copying<'a> {
    wanted: &'a Wanted,
    target: &'a Target<'a>,
    ask: &'a mut dyn Ask,
    session: u64,
    /// What a manifest here names already.
    installed: BTreeMap<Key, Bytes>,
    /// Segments that the sender gives as they are.
    known_damage: BTreeSet<FileId>,
    /// Files here that are damaged as they are there.
    damaged: Vec<PathBuf>,
    /// The file that is not what its state says.
    mismatch: Option<FileId>,
    sender_is_slow: bool,
    /// The segment is received a second time: it was counted.
    is_again: bool,
}

/// One partition on its way in.
struct Partition {
    number: u32,
    import: Import,
    /// Its state until now.
    local: Option<LocalLog>,
    /// What replicas have left here that were given up at a start: it may be whole where nobody else is.
    aside: Vec<LocalLog>,
}

impl Copying<'_> {
    fn all(&mut self, opened: &Opened) -> Result<Arrived, FetchError> {
        let state = GroupState::decode(&opened.state).ok_or(FetchError::Malformed)?;
        let listing = self.listing(opened)?;
        let states = decode_listing(&listing).ok_or(FetchError::Malformed)?;
        let machine = match states.get(&metadata_key()) {
            Some(snapshot) if states.len() == 1 => ArrivedMachine::Metadata(snapshot.clone()),
            Some(_) => return Err(FetchError::Malformed),
            None => {
                self.known_damage = self.known_damage()?;
                ArrivedMachine::Partitions(self.partitions(&states)?)
            }
        };
        let Wanted { generation, index, term, .. } = *self.wanted;
        let position = Position { applied: index, term, commit: index };
        let damaged = std::mem::take(&mut self.damaged);
        Ok(Arrived { generation, position, last_stamp_ms: state.last_stamp_ms, states, machine, damaged })
    }

    fn listing(&mut self, opened: &Opened) -> Result<Bytes, FetchError> {
        let length =
            usize::try_from(opened.listing_bytes).ok().filter(|length| *length <= SNAPSHOT_STATE_BYTES_MAX);
        let listing = self.read_all(FileId::LISTING, 0, length.ok_or(FetchError::Malformed)?)?;
        let matches = crc32c::crc32c(&listing) == opened.listing_checksum;
        if matches { Ok(listing) } else { Err(FetchError::Malformed) }
    }

    fn known_damage(&mut self) -> Result<BTreeSet<FileId>, FetchError> {
        let head = match self.read(FileId::DAMAGED, 0, DAMAGED_HEAD_BYTES) {
            // The sender is of before there was the list.
            Err(FetchError::Refused(Refusal::Malformed)) => return Ok(BTreeSet::new()),
            head => head?,
        };
        let bytes = damaged_bytes(&head).ok_or(FetchError::Malformed)?;
        let list = self.read_all(FileId::DAMAGED, u64::from(DAMAGED_HEAD_BYTES), bytes as usize)?;
        decode_damaged(&list).ok_or(FetchError::Malformed)
    }

    /// So many bytes of a file, from there on.
    fn read_all(&mut self, file: FileId, from: u64, length: usize) -> Result<Bytes, FetchError> {
        let mut all = BytesMut::new();
        while all.len() < length {
            let left = u32::try_from(length - all.len()).unwrap_or(u32::MAX);
            all.extend_from_slice(&self.read(file, from + all.len() as u64, left)?);
        }
        Ok(all.freeze())
    }

    fn partitions(&mut self, states: &BTreeMap<Key, Bytes>) -> Result<Vec<PartitionLog>, FetchError> {
        let mut partitions = Vec::with_capacity(states.len());
        let mut missing = 0;
        for (number, (key, state)) in (0..).zip(states) {
            let id = key_partition(key).ok_or(FetchError::Malformed)?;
            let partition = self.begin(number, id, state)?;
            missing += self.missing_bytes(&partition)?;
            partitions.push(partition);
        }
        self.check_room(missing)?;
        self.ask.expect(missing);
        tracing::debug!(group = self.wanted.group, from = %self.wanted.from, index = self.wanted.index, partitions = partitions.len(), missing, "copies a snapshot");
        partitions.into_iter().map(|partition| self.partition(partition)).collect()
    }

    fn begin(&mut self, number: u32, id: PartitionId, state: &Bytes) -> Result<Partition, FetchError> {
        let state = PartitionState::decode(state).map_err(|_| FetchError::Malformed)?;
        if state.id != id {
            return Err(FetchError::Malformed);
        }
        let directory = |generation| generation_directory(self.target.log, id, generation);
        let generation = self.wanted.generation;
        let import = Import::begin(&directory(generation), state, self.target.files)?;
        let import = import.knowing(self.target.verified);
        let installed = self.installed.get(&partition_key(id));
        let installed = installed.and_then(|state| PartitionState::decode(state).ok());
        let local = generation.checked_sub(1).map(directory).filter(|local| local.is_dir());
        let local = local.map(|local| {
            let doubted = self.doubted(number, &local, import.state());
            LocalLog::look(&local, installed.as_ref()).map(|local| local.doubting(&doubted))
        });
        let local = local.transpose()?;
        let aside = if self.known_damage.is_empty() { Vec::new() } else { self.aside(&directory(0))? };
        Ok(Partition { number, import, local, aside })
    }

    fn aside(&self, partition: &Path) -> Result<Vec<LocalLog>, ImportError> {
        let aside = Aside::of_checkpoint(self.target.checkpoints);
        let found = aside.map(|aside| aside.directories_of(partition)).unwrap_or_default();
        found.iter().map(|dir| LocalLog::look(dir, None)).collect()
    }

    /// Files here that are not believed unread: those that are known to be damaged, and those of segments that are so at
    /// the sender, which may have come from there.
    fn doubted(&self, number: u32, local: &Path, state: &PartitionState) -> Vec<PathBuf> {
        let is_damaged = |segment| self.known_damage.contains(&FileId { partition: number, segment });
        let segments = (0..).zip(&state.segments).filter(|(segment, _)| is_damaged(*segment));
        let at_sender = segments.map(|(_, segment)| local.join(segment.file_name()));
        self.wanted.damaged.hear(local).into_iter().chain(at_sender).collect()
    }

    /// Takes what is on this disk already; returns how many bytes are not.
    fn missing_bytes(&mut self, partition: &Partition) -> Result<u64, FetchError> {
        let mut missing = 0;
        for segment in partition.import.segments() {
            self.ask.pause(0, false)?;
            let (import, local) = (&partition.import, partition.local.as_ref());
            let is_here = self.reading(|go_on| match local {
                _ if import.is_whole(segment, local, go_on)? => Ok(true),
                Some(local) => import.link(segment, local, go_on),
                None => Ok(false),
            })?;
            match is_here {
                true => observe::reused(u64::from(segment.bytes)),
                false => missing += u64::from(segment.bytes),
            }
        }
        Ok(missing)
    }

    /// Reads files here, which may take long. The other hub forgets a copy that it hears nothing of.
    fn reading<T>(
        &mut self,
        read: impl FnOnce(&mut GoOn<'_>) -> Result<T, ImportError>,
    ) -> Result<T, FetchError> {
        let mut failure = None;
        let done = read(&mut |_| {
            failure = self.stay().err();
            failure.is_none()
        });
        failure.map_or_else(|| Ok(done?), Err)
    }

    /// Asks for nothing where nothing was asked for in a while.
    fn stay(&mut self) -> Result<(), FetchError> {
        if !self.ask.is_quiet() {
            return Ok(());
        }
        let file = FileId::LISTING;
        let read = Read { session: self.session, file, position: 0, bytes: 0, only_checksum: false };
        self.piece(&read).map(drop)
    }

    fn check_room(&self, missing: u64) -> Result<(), FetchError> {
        let needed = missing + self.target.reserve_bytes;
        match rustix::fs::statvfs(self.target.log) {
            Ok(stat) if stat.f_bavail.saturating_mul(stat.f_frsize) < needed => {
                Err(FetchError::NoRoom { needed })
            }
            // Without an answer the writes themselves will say when there is no room.
            _ => Ok(()),
        }
    }

    fn partition(&mut self, partition: Partition) -> Result<PartitionLog, FetchError> {
        let segments = partition.import.state().segments.clone();
        for (number, segment) in (0..).zip(&segments).filter(|(_, segment)| segment.bytes > 0) {
            let file = FileId { partition: partition.number, segment: number };
            let local = partition.local.as_ref();
            if self.reading(|go_on| partition.import.is_whole(segment, local, go_on))? {
                continue;
            }
            if let Err(error) = self.segment(&partition, segment, file) {
                let is_its_fault = matches!(
                    error,
                    FetchError::Import(ImportError::Checksum(_)) | FetchError::Refused(Refusal::Unreadable)
                );
                self.mismatch = is_its_fault.then_some(file);
                return Err(error);
            }
        }
        self.damaged.extend(partition.import.damaged());
        self.reading(|go_on| partition.import.finish(go_on))
    }

    fn segment(
        &mut self,
        partition: &Partition,
        segment: &SegmentState,
        file: FileId,
    ) -> Result<(), FetchError> {
        if self.known_damage.contains(&file) && self.link_aside(partition, segment)? {
            return Ok(());
        }
        let local = partition.local.as_ref();
        let prefix = self.reading(|go_on| partition.import.prefix(segment, local, go_on))?;
        if self.known_damage.contains(&file) {
            return self.damaged_segment(&partition.import, segment, file, prefix);
        }
        let prefix = match prefix {
            Some(prefix) if self.confirms(&prefix, file)? => Some(prefix),
            _ => None,
        };
        Ok(self.receive(&partition.import, segment, file, prefix)?.finish()?)
    }

    /// Takes the segment where it was set aside, whole.
    fn link_aside(&mut self, partition: &Partition, segment: &SegmentState) -> Result<bool, FetchError> {
        for aside in &partition.aside {
            if self.reading(|go_on| partition.import.link(segment, aside, go_on))? {
                observe::reused(u64::from(segment.bytes));
                self.count(u64::from(segment.bytes));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A segment that the sender knows to be damaged. What is here of it may lack just what is wrong there; else it is
    /// taken as it is, with the sender's index.
    fn damaged_segment(
        &mut self,
        import: &Import,
        segment: &SegmentState,
        file: FileId,
        prefix: Option<Prefix>,
    ) -> Result<(), FetchError> {
        let is_again = prefix.is_some();
        if is_again {
            match self.receive(import, segment, file, prefix)?.finish() {
                Err(ImportError::Checksum(_)) => {}
                finished => return Ok(finished?),
            }
        }
        self.is_again = is_again;
        let received = self.receive(import, segment, file, None);
        self.is_again = false;
        if received?.finish_as_it_is()? {
            return Ok(());
        }
        let (length, mut position) = (segment.index_bytes(), 0);
        while position < length {
            let left = u32::try_from(length - position).unwrap_or(u32::MAX);
            let bytes = self.read(file.index(), position, left)?;
            import.write_index(segment, position, &bytes)?;
            position += bytes.len() as u64;
        }
        Ok(import.keep_damaged(segment)?)
    }

    /// The segment's bytes behind a beginning that is here.
    fn receive(
        &mut self,
        import: &Import,
        segment: &SegmentState,
        file: FileId,
        prefix: Option<Prefix>,
    ) -> Result<Receiving, FetchError> {
        let reused = prefix.as_ref().map_or(0, |prefix| u64::from(prefix.bytes));
        observe::reused(reused);
        self.count(reused);
        let mut receiving: Receiving = import.receive(segment, prefix)?;
        while receiving.left() > 0 {
            let bytes = self.read(file, u64::from(receiving.position()), receiving.left())?;
            observe::received(bytes.len() as u64);
            self.count(bytes.len() as u64);
            receiving.write(&bytes)?;
        }
        Ok(receiving)
    }

    fn count(&mut self, bytes: u64) {
        if !self.is_again {
            self.ask.receive(bytes);
        }
    }

    /// Whether the sender's file begins with the same bytes.
    fn confirms(&mut self, prefix: &Prefix, file: FileId) -> Result<bool, FetchError> {
        let read =
            Read { session: self.session, file, position: 0, bytes: prefix.bytes, only_checksum: true };
        Ok(self.piece(&read)?.checksum == prefix.checksum)
    }

    fn read(&mut self, file: FileId, position: u64, left: u32) -> Result<Bytes, FetchError> {
        let bytes = left.min(SNAPSHOT_ASK_BYTES);
        self.ask.pause(u64::from(bytes), self.sender_is_slow)?;
        let read = Read { session: self.session, file, position, bytes, only_checksum: false };
        let piece = self.piece(&read)?;
        self.sender_is_slow = piece.is_slow;
        Ok(piece.bytes)
    }

    fn piece(&mut self, read: &Read) -> Result<Piece, FetchError> {
        let answer = self.ask.ask(READ, read.encode())?;
        Piece::decode(answer, read).ok_or(FetchError::Malformed)
    }
}
