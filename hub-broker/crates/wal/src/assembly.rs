//! Puts a log together from what is on its disk: before it runs.

use crate::{
    config::Config,
    core::{Core, Patience, Tail},
    disk::Disk,
    error::OpenError,
    file_header::{file_name, is_unfinished_name},
    frame::{GroupId, Lsn},
    gather::Gather,
    keeper::{Keeper, make_file},
    ledger::Ledger,
    library::Library,
    limits::{FILE_BYTES_MAX, FILE_BYTES_MIN, FILE_HEADER_BYTES},
    recovered::{Past, Recovered},
    recovery::{Restored, recover},
    retention::Retention,
    shared::Shared,
};
use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
};

/// A log that nobody runs yet.
pub struct Parts {
    pub recovered: Recovered,
    pub core: Core,
    pub keeper: Keeper,
    pub library: Arc<Library>,
}

/// Files that were still being filled belong to nobody.
fn remove_unfinished(disk: &dyn Disk) -> Result<(), OpenError> {
    let failed = |name: &str, error| OpenError::Io { operation: "remove", file: disk.path(name), error };
    let names = disk.list().map_err(|error| failed("", error))?;
    names
        .iter()
        .filter(|name| is_unfinished_name(name))
        .try_for_each(|name| disk.remove(name).map_err(|error| failed(name, error)))
}

/// The first file of a new log.
fn begin(disk: &dyn Disk, file_bytes: u64, first_lsn: Lsn) -> Result<Restored, OpenError> {
    let current = make_file(disk, 1, file_bytes, &mut Vec::new(), &Shared::new(None))
        .map_err(|error| OpenError::Io { operation: "prepare", file: disk.path(""), error })?;
    let mut ledger = Ledger::default();
    ledger.open_file(1, file_bytes, first_lsn);
    let recovered = Recovered { last_lsn: Lsn(first_lsn.0.saturating_sub(1)), ..Recovered::default() };
    Ok(Restored {
        recovered,
        ledger,
        current,
        position: FILE_HEADER_BYTES,
        spare: None,
        free: Vec::new(),
        before: Vec::new(),
    })
}

/// Recovers the log on `disk`, or begins one, and makes durable what it returns.
pub fn assemble(
    disk: Arc<dyn Disk>,
    config: &Config,
    patience: Box<dyn Patience>,
) -> Result<Parts, OpenError> {
    let file_bytes = config.file_bytes;
    if !(FILE_BYTES_MIN..=FILE_BYTES_MAX).contains(&file_bytes) || !file_bytes.is_multiple_of(8) {
        return Err(OpenError::FileBytes { file_bytes, min: FILE_BYTES_MIN, max: FILE_BYTES_MAX });
    }
    remove_unfinished(disk.as_ref())?;
    let restored = match recover(disk.as_ref(), Past::of(config))? {
        Some(restored) => restored.keeping_at_most(config.kept_bytes_max),
        None => begin(disk.as_ref(), file_bytes, config.first_lsn)?,
    };
    if let Some(torn) = &restored.recovered.torn_tail {
        tracing::warn!(file = %torn.file.display(), position = torn.position, lsn = torn.lsn.0, "cut unacknowledged frames off the write-ahead log");
    }
    join(disk, config, restored, patience)
}

fn join(
    disk: Arc<dyn Disk>,
    config: &Config,
    restored: Restored,
    patience: Box<dyn Patience>,
) -> Result<Parts, OpenError> {
    let Restored { recovered, ledger, current, position, spare, mut free, before } = restored;
    let library = Arc::new(catalogue(config, &before, &ledger, position));
    let next_id = current.header.id + 1;
    let spare = spare.filter(|spare| {
        let fits = spare.header.file_bytes == config.file_bytes;
        if !fits {
            free.push(file_name(next_id));
        }
        fits
    });
    let wanted = spare.is_none().then_some(next_id);
    let shared = Arc::new(Shared::new(spare));
    let (own_jobs, jobs) = mpsc::channel();
    let tail = tail_of(&recovered, &ledger, current.header.id);
    let mut core = Core {
        shared: shared.clone(),
        disk: disk.clone(),
        keeper: own_jobs.clone(),
        patience,
        ledger,
        retention: Retention::new(config.kept_bytes_max, before),
        library: library.clone(),
        current,
        position,
        tail,
        gather: Gather::default(),
        dones: Vec::new(),
    };
    core.commit_opening().map_err(|failure| OpenError::Io {
        operation: failure.operation,
        file: failure.file,
        error: failure.error,
    })?;
    let keeper = Keeper {
        shared,
        disk,
        fail: config.fail.clone(),
        file_bytes: config.file_bytes,
        room_retry: config.room_retry,
        jobs,
        own_jobs,
        free,
        wanted,
        to_rewrite: None,
        rewrite: None,
    };
    Ok(Parts { recovered, core, keeper, library })
}

/// Where the log goes on after a recovery.
fn tail_of(recovered: &Recovered, ledger: &Ledger, current: u64) -> Tail {
    let first = ledger.first_needed().map_or((current, Lsn(1)), |file| (file.id, file.first_lsn));
    Tail {
        next_lsn: Lsn(recovered.last_lsn.0 + 1),
        durable: recovered.last_lsn,
        first,
        advertised: ledger.oldest().unwrap_or(first.0),
        owes_commit: true,
        rewriting: None,
    }
}

/// What readers can know after a recovery.
fn catalogue(config: &Config, before: &[(u64, u64)], ledger: &Ledger, position: u64) -> Library {
    let mut void: HashMap<GroupId, Lsn> = HashMap::new();
    for (&group, &through) in config.void.iter().chain(&config.void_entries) {
        let known = void.entry(group).or_default();
        *known = through.max(*known);
    }
    let library = Library::new(void);
    before.iter().for_each(|(id, _)| library.add(*id));
    let mut files = ledger.files().peekable();
    while let Some(file) = files.next() {
        library.add(file.id);
        if files.peek().is_some() {
            library.know(file.id, file.spans());
        }
    }
    library.extend(position);
    library
}
