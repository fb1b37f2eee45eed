//! What readers of old entries know of the log's files: which there are, and which entries each may hold. The writer
//! tells it; nobody holds its lock while the disk works.

use crate::{
    frame::{GroupId, Lsn},
    span::{Span, Spans},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

#[derive(Default)]
pub struct Library(Mutex<State>);

#[derive(Default)]
struct State {
    /// Without gaps; the last one is being written.
    files: BTreeMap<u64, Contents>,
    /// Bytes of the last one that are durable.
    durable: u64,
    /// Per group, the sequence number up to which its entries count for nothing.
    void: Arc<HashMap<GroupId, Lsn>>,
}

enum Contents {
    Known(Spans),
    /// The file is being written, or nobody has looked yet.
    Unknown,
}

/// How the files stand at one moment, for a group.
pub struct Look {
    /// Those that may hold something of it, the newest first.
    pub candidates: Vec<Candidate>,
    /// The file that is being written, and how much of it is durable.
    pub current: (u64, u64),
    pub void: Arc<HashMap<GroupId, Lsn>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub file: u64,
    /// `None`: only the file itself tells.
    pub span: Option<Span>,
}

impl Library {
    pub fn new(void: HashMap<GroupId, Lsn>) -> Self {
        Library(Mutex::new(State { void: Arc::new(void), ..State::default() }))
    }

    /// A file whose contents nobody knows yet; the last one is being written.
    pub fn add(&self, file: u64) {
        let mut state = self.0.lock();
        state.files.insert(file, Contents::Unknown);
        state.durable = 0;
    }

    /// What a file holds that is not written to any more.
    pub fn know(&self, file: u64, spans: Spans) {
        if let Some(contents) = self.0.lock().files.get_mut(&file) {
            *contents = Contents::Known(spans);
        }
    }

    /// So much of the last file is durable.
    pub fn extend(&self, durable: u64) {
        self.0.lock().durable = durable;
    }

    /// The files up to this one are about to be used again.
    pub fn remove_through(&self, file: u64) {
        let mut state = self.0.lock();
        state.files = state.files.split_off(&(file + 1));
    }

    /// Entries of the group up to this sequence number count for nothing.
    pub fn forget(&self, group: GroupId, through: Lsn) {
        let mut state = self.0.lock();
        Arc::make_mut(&mut state.void).insert(group, through);
        for contents in state.files.values_mut() {
            if let Contents::Known(spans) = contents {
                spans.remove(&group);
            }
        }
    }

    pub fn has(&self, file: u64) -> bool {
        self.0.lock().files.contains_key(&file)
    }

    pub fn look(&self, group: GroupId) -> Look {
        let state = self.0.lock();
        let candidate = |(&file, contents): (&u64, &Contents)| match contents {
            Contents::Unknown => Some(Candidate { file, span: None }),
            Contents::Known(spans) => Some(Candidate { file, span: Some(*spans.get(&group)?) }),
        };
        let last = state.files.last_key_value().map_or(0, |(file, _)| *file);
        Look {
            candidates: state.files.iter().rev().filter_map(candidate).collect(),
            current: (last, state.durable),
            void: state.void.clone(),
        }
    }
}
