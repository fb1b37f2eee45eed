//! The directory of a store: names, durable writing, and what may go.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

pub struct Directory {
    path: PathBuf,
    handle: File,
    sync: bool,
}

/// What a file is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    Manifest(u64),
    States(u64),
    /// A manifest that was never finished.
    Unfinished,
}

impl Named {
    pub fn name(self) -> String {
        match self {
            Named::Manifest(sequence) => format!("manifest-{sequence:016x}"),
            Named::States(sequence) => format!("states-{sequence:016x}"),
            Named::Unfinished => "manifest.new".to_owned(),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let sequence = |digits: &str| u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16);
        if let Some(digits) = name.strip_prefix("manifest-") {
            return sequence(digits).map(Named::Manifest);
        }
        if let Some(digits) = name.strip_prefix("states-") {
            return sequence(digits).map(Named::States);
        }
        (name == Named::Unfinished.name()).then_some(Named::Unfinished)
    }
}

impl Directory {
    /// Opens `path`, made if it is missing.
    pub fn open(path: &Path, sync: bool) -> io::Result<Self> {
        let is_new = !path.is_dir();
        std::fs::create_dir_all(path)?;
        if is_new && sync {
            let full = path.canonicalize()?;
            full.ancestors().skip(1).take(2).try_for_each(|parent| File::open(parent)?.sync_all())?;
        }
        Ok(Directory { path: path.to_owned(), handle: File::open(path)?, sync })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn path_of(&self, named: Named) -> PathBuf {
        self.path.join(named.name())
    }

    /// The store's own files, in order.
    pub fn list(&self) -> io::Result<Vec<Named>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            found.extend(entry?.file_name().to_str().and_then(Named::parse));
        }
        found.sort();
        Ok(found)
    }

    pub fn open_file(&self, named: Named) -> io::Result<File> {
        File::open(self.path_of(named))
    }

    /// Writes a new file and makes its content durable, not yet its name.
    pub fn write(&self, named: Named, fill: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(self.path_of(named))?;
        fill(&file)?;
        if self.sync { file.sync_all() } else { Ok(()) }
    }

    pub fn rename(&self, from: Named, to: Named) -> io::Result<()> {
        std::fs::rename(self.path_of(from), self.path_of(to))
    }

    /// Makes the names durable.
    pub fn sync(&self) -> io::Result<()> {
        if self.sync { self.handle.sync_all() } else { Ok(()) }
    }

    pub fn remove(&self, named: Named) -> io::Result<()> {
        match std::fs::remove_file(self.path_of(named)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
