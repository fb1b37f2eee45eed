//! The log without a thread: puts what it is given into the current file with one gathered write and one sync, calls
//! back, and decides which file comes next and which are needed no more.
//!
//! Whoever runs it says when, and lets it wait where the next file is not ready.

use crate::{
    codec::{Commit, FrameHeader, Kind},
    disk::{Disk, write_all_at},
    fail::Failure,
    file_header::file_name,
    frame::{Frame, GroupId, HardState, Lsn},
    gather::Gather,
    keeper::Job,
    ledger::{Change, Ledger},
    library::Library,
    limits::{COMMIT_GROUPS_MAX, FILE_HEADER_BYTES, PAGE_BYTES, SEAL_BYTES, TAIL_RESERVE_BYTES},
    observe,
    recovery::LogFile,
    request::{Done, Stats, Write},
    retention::Retention,
    shared::{Inbox, Shared, Stop},
};
use bytes::Bytes;
use parking_lot::MutexGuard;
use std::sync::{Arc, mpsc::Sender};

/// How whoever runs the core waits.
pub trait Patience: Send {
    /// Returns, with the mailbox let go of meanwhile, when something may have come into it.
    fn wait(&mut self, shared: &Shared, inbox: &mut MutexGuard<'_, Inbox>) -> Result<(), Failure>;
}

pub struct Core {
    pub shared: Arc<Shared>,
    pub disk: Arc<dyn Disk>,
    pub keeper: Sender<Job>,
    pub patience: Box<dyn Patience>,
    pub ledger: Ledger,
    /// Files that nothing needs and that are kept to be read.
    pub retention: Retention,
    pub library: Arc<Library>,
    pub current: LogFile,
    /// Where the next frame goes in the current file.
    pub position: u64,
    pub tail: Tail,
    pub gather: Gather,
    pub dones: Vec<(Done, Lsn)>,
}

/// How far the log has come.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    pub next_lsn: Lsn,
    /// Everything up to here is durable.
    pub durable: Lsn,
    /// The first file needed by what is durable, and its first sequence number.
    pub first: (u64, Lsn),
    /// The first file that the last durable commit frame names.
    pub advertised: u64,
    /// No commit frame yet says that the last group commit is durable, or names the first file.
    pub owes_commit: bool,
    /// The file whose entries the keeper is copying.
    pub rewriting: Option<u64>,
}

/// Why no more is written.
pub enum Halt {
    Failed(Failure),
    /// It was told to stop while there was no room for what waits.
    Stopped,
}

impl Core {
    /// What waits to be written, and is not half gathered; `None` where nothing has come.
    pub fn take(&mut self, inbox: &mut Inbox) -> Option<Vec<Write>> {
        let has_come = self.absorb(inbox) || !inbox.writes.is_empty();
        has_come.then(|| std::mem::take(&mut inbox.writes))
    }

    /// The last group commit is not proven durable, or files could be given back: after a while one more is due.
    pub fn owes_commit(&self) -> bool {
        self.tail.owes_commit
    }

    /// Takes in what changes the need for files; true if there was any. Only while nothing is half gathered.
    fn absorb(&mut self, inbox: &mut Inbox) -> bool {
        if inbox.changes.is_empty() && inbox.rewritten.is_empty() {
            return false;
        }
        for change in inbox.changes.drain(..) {
            self.change(change);
        }
        self.free_surplus();
        for file in inbox.rewritten.drain(..) {
            self.ledger.rewritten(file);
            self.tail.rewriting = None;
        }
        self.publish_stats();
        true
    }

    fn change(&mut self, change: Change) {
        let last = Lsn(self.tail.next_lsn.0 - 1);
        match change {
            Change::Keep(group, from) => self.retention.keep(group, from),
            Change::GiveWay => self.retention.give_way(),
            Change::Forget(group) | Change::ForgetEntries(group) => {
                self.retention.forget(group);
                self.library.forget(group, last);
            }
            Change::Release(..) | Change::Hold(_) => {}
        }
        self.ledger.change(change, last);
    }

    /// Writes all of it, and calls back.
    pub fn commit(&mut self, writes: Vec<Write>) -> Result<(), Halt> {
        self.find_first();
        for write in writes {
            for frame in write.frames {
                if write.copies_of.is_none_or(|file| self.ledger.holds(file, &frame)) {
                    self.place(frame, write.copies_of.is_some())?;
                }
            }
            self.dones.push((write.done, Lsn(self.tail.next_lsn.0 - 1)));
        }
        if !self.gather.is_empty() {
            self.flush(None)?;
        }
        self.call_back();
        Ok(())
    }

    /// The first commit frame after opening: what was recovered is durable.
    pub fn commit_opening(&mut self) -> Result<(), Failure> {
        match self.commit_idle() {
            Err(Halt::Failed(failure)) => Err(failure),
            Ok(()) | Err(Halt::Stopped) => Ok(()),
        }
    }

    /// One more commit frame, if one is owed and the file has room for it.
    pub fn commit_idle(&mut self) -> Result<(), Halt> {
        self.find_first();
        if !self.tail.owes_commit {
            return Ok(());
        }
        if self.position + SEAL_BYTES + TAIL_RESERVE_BYTES <= self.current.header.file_bytes {
            self.flush(None)?;
        } else if let Some(spare) = self.take_spare() {
            self.turn_to(spare)?;
        }
        self.tail.owes_commit = false;
        Ok(())
    }

    fn place(&mut self, frame: Frame, copy: bool) -> Result<(), Halt> {
        let (mut header, payload, hard_state) = split(frame, copy);
        if !self.fits(header.frame_bytes()) {
            self.turn()?;
        } else if self.gather.groups().len() == COMMIT_GROUPS_MAX {
            self.flush(None)?;
        }
        header.lsn = self.tail.next_lsn;
        self.gather.push(self.current.header.generation, &header, &payload);
        self.ledger.note(&header, hard_state);
        self.tail.next_lsn.0 += 1;
        Ok(())
    }

    fn fits(&self, bytes: u64) -> bool {
        let groups = (self.gather.groups().len() + 1).min(COMMIT_GROUPS_MAX) as u64;
        let end = self.position + self.gather.bytes() + bytes + SEAL_BYTES + 8 * groups;
        end + TAIL_RESERVE_BYTES <= self.current.header.file_bytes
    }

    /// Ends the current file and begins the next one.
    fn turn(&mut self) -> Result<(), Halt> {
        let spare = match self.take_spare() {
            Some(spare) => spare,
            None => {
                self.shared.file_wait_begins();
                let spare = self.wait_for_spare();
                self.shared.file_wait_ends();
                spare?
            }
        };
        self.turn_to(spare)
    }

    fn turn_to(&mut self, spare: LogFile) -> Result<(), Halt> {
        self.flush(Some(spare.header.id))?;
        if let Some(full) = self.ledger.files().last() {
            self.library.know(full.id, full.spans());
        }
        self.current = spare;
        self.position = FILE_HEADER_BYTES;
        self.library.add(self.current.header.id);
        self.ledger.open_file(self.current.header.id, self.current.header.file_bytes, self.tail.next_lsn);
        self.tell_keeper(Job::Prepare(self.current.header.id + 1));
        self.rewrite_oldest();
        self.publish_stats();
        Ok(())
    }

    fn take_spare(&self) -> Option<LogFile> {
        self.shared.inbox.lock().spare.take()
    }

    /// The next file is not ready. What is gathered goes out meanwhile, and what is released gives room.
    fn wait_for_spare(&mut self) -> Result<LogFile, Halt> {
        if !self.gather.is_empty() {
            self.flush(None)?;
        }
        let shared = self.shared.clone();
        let mut inbox = shared.inbox.lock();
        loop {
            if let Some(spare) = inbox.spare.take() {
                return Ok(spare);
            }
            if inbox.stop != Stop::No && !shared.has_room() {
                return Err(Halt::Stopped);
            }
            if self.absorb(&mut inbox) {
                MutexGuard::unlocked(&mut inbox, || self.give_files_back())?;
            } else {
                self.patience.wait(&shared, &mut inbox).map_err(Halt::Failed)?;
            }
        }
    }

    /// Uses the reserve at the end of the file for a commit frame that frees files.
    fn give_files_back(&mut self) -> Result<(), Halt> {
        self.find_first();
        let fits = self.position + 2 * SEAL_BYTES <= self.current.header.file_bytes;
        if fits && self.tail.first.0 > self.tail.advertised { self.flush(None) } else { Ok(()) }
    }

    /// Only while nothing is half gathered: the first file is that of the durable state.
    fn find_first(&mut self) {
        if let Some(file) = self.ledger.first_needed() {
            self.tail.first = (file.id, file.first_lsn);
            self.tail.owes_commit |= file.id > self.tail.advertised;
        }
    }

    /// Writes and syncs what is gathered and its commit frame, then calls back: every callback that waits is for frames
    /// that were gathered before it.
    fn flush(&mut self, next_file: Option<u64>) -> Result<(), Halt> {
        let frames = self.gather.frames();
        self.gather_commit(next_file);
        self.shared.write_begins();
        let result = self.write_and_sync();
        let took = self.shared.write_ends();
        result.map_err(Halt::Failed)?;
        observe::commit(took, self.gather.bytes(), frames);
        self.position += self.gather.bytes();
        self.library.extend(self.position);
        self.gather.clear();
        self.tail.durable = Lsn(self.tail.next_lsn.0 - 1);
        self.tail.advertised = self.tail.first.0;
        self.tail.owes_commit = frames > 0;
        self.give_back();
        self.find_first();
        self.call_back();
        Ok(())
    }

    fn gather_commit(&mut self, next_file: Option<u64>) {
        let (first_file, first_lsn) = self.tail.first;
        let groups = self.gather.groups().iter().copied().collect();
        let commit = Commit { durable: self.tail.durable, first_file, first_lsn, next_file, groups };
        let payload = Bytes::from(commit.encode());
        let header = FrameHeader {
            lsn: self.tail.next_lsn,
            kind: Kind::Commit,
            group: GroupId(0),
            index: 0,
            term: 0,
            payload_bytes: payload.len() as u32,
        };
        self.gather.push_commit(self.current.header.generation, &header, &payload);
        self.tail.next_lsn.0 += 1;
    }

    fn write_and_sync(&self) -> Result<(), Failure> {
        let failed = |operation, error| {
            let file = self.disk.path(&file_name(self.current.header.id));
            Failure { operation, file, position: self.position, error }
        };
        let file = self.current.file.as_ref();
        let end = self.position + self.gather.bytes();
        let page_end = end.next_multiple_of(PAGE_BYTES).min(self.current.header.file_bytes);
        let mut slices = self.gather.slices((page_end - end) as usize);
        write_all_at(file, &mut slices, self.position).map_err(|error| failed("write", error))?;
        file.sync_data().map_err(|error| failed("sync", error))
    }

    /// Hands the keeper the files that no durable frame counts on and nobody wants to read.
    fn give_back(&mut self) {
        let dropped = self.ledger.drop_before(self.tail.advertised);
        if !dropped.is_empty() {
            self.retention.retire(dropped);
            self.free_surplus();
            self.publish_stats();
            self.rewrite_oldest();
        }
    }

    fn free_surplus(&mut self) {
        for file in self.retention.surplus() {
            self.library.remove_through(file);
            self.tell_keeper(Job::Free(file_name(file)));
        }
    }

    /// Starts to copy what idle groups have in the oldest file.
    fn rewrite_oldest(&mut self) {
        let Some(plan) = self.ledger.rewrite_plan() else { return };
        if !plan.hard_states.is_empty() {
            let frames = plan.hard_states.iter().map(|&(group, state)| hard_state_frame(group, state));
            let write =
                Write { frames: frames.collect(), copies_of: Some(plan.file), done: Box::new(|_| {}) };
            self.shared.post(|inbox| inbox.writes.push(write));
        }
        if !plan.entries.is_empty() && self.tail.rewriting.is_none() {
            self.tail.rewriting = Some(plan.file);
            self.tell_keeper(Job::Rewrite { file: plan.file, ranges: plan.entries });
        }
    }

    fn tell_keeper(&self, job: Job) {
        // Without a keeper there are no spare files, and the writer stops at the end of this one.
        let _ = self.keeper.send(job);
    }

    fn call_back(&mut self) {
        for (done, lsn) in self.dones.drain(..) {
            done(lsn);
        }
    }

    pub fn publish_stats(&self) {
        let files = self.ledger.file_count() as u64;
        observe::files(files);
        let kept_bytes = self.retention.bytes();
        observe::kept(kept_bytes);
        let (bytes, pinned_by) = (self.ledger.bytes(), self.ledger.pinned_by());
        *self.shared.stats.lock() = Stats { files, bytes, kept_bytes, pinned_by };
    }
}

/// The parts of a frame, which has no sequence number yet.
fn split(frame: Frame, copy: bool) -> (FrameHeader, Bytes, Option<HardState>) {
    let group = frame.group();
    let (kind, index, term, payload, hard_state) = match frame {
        Frame::Entry { index, term, entry_kind, payload, .. } => {
            (Kind::Entry { entry_kind, copy }, index, term, payload, None)
        }
        Frame::HardState { term, vote, commit, .. } => {
            let payload = Bytes::copy_from_slice(&vote.to_le_bytes());
            (Kind::HardState, commit, term, payload, Some(HardState { term, vote, commit }))
        }
        Frame::Truncate { from_index, term, .. } => (Kind::Truncate, from_index, term, Bytes::new(), None),
    };
    let payload_bytes = payload.len() as u32;
    (FrameHeader { lsn: Lsn(0), kind, group, index, term, payload_bytes }, payload, hard_state)
}

fn hard_state_frame(group: GroupId, state: HardState) -> Frame {
    Frame::HardState { group, term: state.term, vote: state.vote, commit: state.commit }
}
