//! The keeper thread: makes the next file before the current one is full, keeps released files for it, and reads back
//! what idle groups have in the oldest file so that the writer can write it again.

use crate::{
    codec::Generation,
    disk::{Disk, DiskFile, is_full, is_out_of_files, write_all_at},
    fail::{Fail, Failure},
    file_header::{FileHeader, file_name, unfinished_name},
    ledger::Change,
    limits::{FILE_HEADER_BYTES, FILL_STEP_BYTES, FREE_FILES_MAX},
    recovery::LogFile,
    request::Write,
    rewrite::{Ranges, Rewrite},
    shared::Shared,
};
use std::{
    io::{self, IoSlice},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::Duration,
};

pub enum Job {
    /// The file of this id will be needed.
    Prepare(u64),
    /// The file of this name is not needed any more.
    Free(String),
    /// Copy the live entries of `file`.
    Rewrite {
        file: u64,
        ranges: Ranges,
    },
    /// The last step's copies of this file are durable.
    RewriteOn(u64),
    Stop,
}

pub struct Keeper {
    pub shared: Arc<Shared>,
    pub disk: Arc<dyn Disk>,
    pub fail: Fail,
    pub file_bytes: u64,
    pub room_retry: Duration,
    pub jobs: Receiver<Job>,
    pub own_jobs: Sender<Job>,
    pub free: Vec<String>,
    pub wanted: Option<u64>,
    /// To be copied as soon as the file can be opened.
    pub to_rewrite: Option<(u64, Ranges)>,
    pub rewrite: Option<Rewrite>,
}

impl Keeper {
    pub fn run(mut self) {
        if let Err(failure) = self.serve() {
            self.fail.call(&failure);
            self.shared.poison();
        }
    }

    fn serve(&mut self) -> Result<(), Failure> {
        loop {
            self.attend()?;
            match self.next_job() {
                Some(Job::Stop) => return Ok(()),
                Some(job) => self.take_on(job)?,
                None => {}
            }
        }
    }

    /// Does all that there is to do, and waits for nothing.
    pub fn work_off(&mut self) -> Result<(), Failure> {
        self.attend()?;
        while let Ok(job) = self.jobs.try_recv() {
            self.take_on(job)?;
            self.attend()?;
        }
        Ok(())
    }

    /// Does what can be done, and tries again what could not.
    fn attend(&mut self) -> Result<(), Failure> {
        self.shared.keeper_goes_on();
        self.prepare()?;
        self.trim()?;
        self.begin_rewrite()
    }

    fn take_on(&mut self, job: Job) -> Result<(), Failure> {
        match job {
            Job::Prepare(id) => self.wanted = Some(id),
            Job::Free(name) => self.free(name),
            Job::Rewrite { file, ranges } => self.to_rewrite = Some((file, ranges)),
            Job::RewriteOn(file) if self.rewriting() == Some(file) => self.rewrite_on()?,
            // The file was freed before these copies were durable; or the thread has ended.
            Job::RewriteOn(_) | Job::Stop => {}
        }
        Ok(())
    }

    /// The next job, or nothing when it is time to look for room again.
    fn next_job(&self) -> Option<Job> {
        if self.wanted.is_none() && self.to_rewrite.is_none() {
            return Some(self.jobs.recv().unwrap_or(Job::Stop));
        }
        match self.jobs.recv_timeout(self.room_retry) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Job::Stop),
        }
    }

    fn prepare(&mut self) -> Result<(), Failure> {
        let Some(id) = self.wanted else { return Ok(()) };
        match make_file(self.disk.as_ref(), id, self.file_bytes, &mut self.free, &self.shared) {
            Ok(file) => {
                self.wanted = None;
                self.shared.set_room(Ok(()));
                self.shared.post(|inbox| inbox.spare = Some(file));
                Ok(())
            }
            Err(error) if is_full(&error) || is_out_of_files(&error) => {
                self.shared.set_room(Err(&error));
                if is_full(&error) {
                    // A file that is only kept for reading can be had at once.
                    self.shared.post(|inbox| inbox.changes.push(Change::GiveWay));
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted && self.shared.is_stopping() => Ok(()),
            Err(error) => {
                let file = self.disk.path(&file_name(id));
                Err(Failure { operation: "prepare", file, position: 0, error })
            }
        }
    }

    /// Removes more free files than will be wanted soon.
    fn trim(&mut self) -> Result<(), Failure> {
        while self.free.len() > FREE_FILES_MAX {
            let name = self.free.remove(0);
            self.disk.remove(&name).map_err(|error| Failure {
                operation: "remove",
                file: self.disk.path(&name),
                position: 0,
                error,
            })?;
        }
        Ok(())
    }

    /// The file whose entries are copied, or wait for that.
    fn rewriting(&self) -> Option<u64> {
        let waiting = self.to_rewrite.as_ref().map(|(file, _)| *file);
        waiting.or(self.rewrite.as_ref().map(Rewrite::file))
    }

    /// Nothing in the file is needed, so nothing is copied from it any more: it is about to be written over.
    fn free(&mut self, name: String) {
        if let Some(file) = self.rewriting().filter(|file| file_name(*file) == name) {
            self.to_rewrite = None;
            self.rewrite = None;
            self.shared.post(|inbox| inbox.rewritten.push(file));
        }
        self.free.push(name);
    }

    fn begin_rewrite(&mut self) -> Result<(), Failure> {
        let Some((file, ranges)) = &self.to_rewrite else { return Ok(()) };
        match Rewrite::survey(self.disk.as_ref(), *file, ranges) {
            Ok(rewrite) => {
                self.to_rewrite = None;
                self.rewrite = Some(rewrite);
                self.rewrite_on()
            }
            Err(failure) if is_out_of_files(&failure.error) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Hands the writer the next step's copies, or says that all are durable.
    fn rewrite_on(&mut self) -> Result<(), Failure> {
        let Some(rewrite) = &mut self.rewrite else { return Ok(()) };
        let file = rewrite.file();
        let frames = rewrite.next_step(self.disk.as_ref())?;
        if frames.is_empty() {
            self.rewrite = None;
            self.shared.post(|inbox| inbox.rewritten.push(file));
            return Ok(());
        }
        let own_jobs = self.own_jobs.clone();
        // The keeper may have stopped meanwhile: then nobody waits for this.
        let done = Box::new(move |_| own_jobs.send(Job::RewriteOn(file)).unwrap_or_default());
        let write = Write { frames, copies_of: Some(file), done };
        self.shared.post(|inbox| inbox.writes.push(write));
        Ok(())
    }
}

/// Makes the file `id` ready for use, from a free one if there is one of the right size.
pub fn make_file(
    disk: &dyn Disk,
    id: u64,
    file_bytes: u64,
    free: &mut Vec<String>,
    shared: &Shared,
) -> io::Result<LogFile> {
    let name = file_name(id);
    // A file that has the name already must be the one that is used, or it would be lost among the free ones.
    if let Some(at) = free.iter().position(|free| *free == name) {
        let last = free.len() - 1;
        free.swap(at, last);
    }
    while let Some(candidate) = free.last().cloned() {
        let file = disk.open(&candidate)?;
        if file.bytes()? == file_bytes {
            let recycled = recycle(disk, file, &candidate, id, file_bytes)?;
            free.pop();
            return Ok(recycled);
        }
        disk.remove(&candidate)?;
        free.pop();
    }
    create(disk, id, file_bytes, shared).inspect_err(|_| {
        // The space goes back; what is left is removed when the log is opened again.
        let _ = disk.remove(&unfinished_name(id));
    })
}

fn recycle(
    disk: &dyn Disk,
    file: Arc<dyn DiskFile>,
    from: &str,
    id: u64,
    file_bytes: u64,
) -> io::Result<LogFile> {
    disk.rename(from, &file_name(id))?;
    let header = write_header(file.as_ref(), id, file_bytes, disk.draw())?;
    disk.sync_directory()?;
    Ok(LogFile { header, file })
}

fn create(disk: &dyn Disk, id: u64, file_bytes: u64, shared: &Shared) -> io::Result<LogFile> {
    let unfinished = unfinished_name(id);
    let file = disk.create(&unfinished)?;
    file.reserve(file_bytes)?;
    let zeros = vec![0; FILL_STEP_BYTES.min(file_bytes as usize)];
    let mut position = 0;
    while position < file_bytes {
        if shared.is_stopping() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let step = (file_bytes - position).min(zeros.len() as u64);
        write_all_at(file.as_ref(), &mut [IoSlice::new(&zeros[..step as usize])], position)?;
        file.sync_data()?;
        shared.keeper_goes_on();
        position += step;
    }
    let header = write_header(file.as_ref(), id, file_bytes, disk.draw())?;
    disk.rename(&unfinished, &file_name(id))?;
    disk.sync_directory()?;
    Ok(LogFile { header, file })
}

fn write_header(file: &dyn DiskFile, id: u64, file_bytes: u64, drawn: u64) -> io::Result<FileHeader> {
    let header = FileHeader { id, generation: Generation::new(drawn), file_bytes };
    let mut page = vec![0; FILE_HEADER_BYTES as usize];
    let encoded = header.encode();
    page[..encoded.len()].copy_from_slice(&encoded);
    write_all_at(file, &mut [IoSlice::new(&page)], 0)?;
    file.sync_data()?;
    Ok(header)
}
