//! Applying one committed entry: a pure function of the machine's state, the entry and its place in the log.

use std::io;
use std::path::PathBuf;

use consensus::{Committed, Membership};
use partition_log::LogError;

use crate::answer::Outcome;
use crate::entry::{Command, EntryReader, UnknownEntry};
use crate::partitions::PartitionSet;
use crate::{AppliedAt, PartitionCommand, StateMachine, UnknownCommand};

/// What the group applies to.
pub(crate) enum Machine {
    Partitions(PartitionSet),
    Metadata(Box<dyn StateMachine>),
}

/// An entry that is being applied, as far as it has come.
pub(crate) struct Applying {
    pub at: AppliedAt,
    /// Set if this replica has proposed it.
    pub token: Option<u64>,
    pub outcomes: Vec<Outcome>,
    content: Content,
    current: Option<Command>,
    /// In place of the stamp where producers expire, if that fault is switched on.
    local_ms: Option<i64>,
}

enum Content {
    /// A new leader's first entry.
    Term,
    Membership(Membership),
    Commands(EntryReader),
}

pub(crate) enum ApplyError {
    NoSpace(LogError),
    Unknown(UnknownEntry),
}

impl Applying {
    /// `last_stamp_ms` is the time of entries that carry none.
    pub(crate) fn begin(
        entry: Committed,
        last_stamp_ms: i64,
        local_ms: Option<i64>,
    ) -> Result<Self, UnknownEntry> {
        let content = match entry.membership {
            Some(membership) => Content::Membership(membership),
            None if entry.payload.is_empty() => Content::Term,
            None => Content::Commands(EntryReader::new(entry.payload)?),
        };
        let stamp_ms = match &content {
            Content::Commands(commands) => commands.stamp_ms(),
            Content::Term | Content::Membership(_) => last_stamp_ms,
        };
        Ok(Self {
            at: AppliedAt { index: entry.index, term: entry.term, stamp_ms },
            token: entry.token,
            outcomes: Vec::new(),
            content,
            current: None,
            local_ms,
        })
    }

    /// Who belongs to the group from this entry on, if that is what it says.
    pub(crate) fn membership(&mut self) -> Option<Membership> {
        match &mut self.content {
            Content::Membership(membership) => Some(std::mem::take(membership)),
            Content::Term | Content::Commands(_) => None,
        }
    }
}

impl Machine {
    /// Applies the rest of an entry. Where a full disk is played, that is no more than its first command.
    pub(crate) fn apply(&mut self, applying: &mut Applying, no_room: bool) -> Result<(), ApplyError> {
        let commands = match &mut applying.content {
            Content::Term | Content::Membership(_) if no_room => return Err(played_no_space()),
            Content::Term => return self.begin_term(applying.at.term),
            Content::Membership(_) => return Ok(()),
            Content::Commands(commands) => commands,
        };
        loop {
            if no_room && !applying.outcomes.is_empty() {
                return Err(played_no_space());
            }
            if applying.current.is_none() {
                applying.current = commands.next().map_err(ApplyError::Unknown)?;
            }
            let Some(command) = &applying.current else { break };
            let mut at = applying.at;
            if let (Some(local_ms), Command::Partition(PartitionCommand::ExpireProducers { .. })) =
                (applying.local_ms, command)
            {
                at.stamp_ms = local_ms;
            }
            let outcome = match self {
                Self::Partitions(partitions) => partitions.apply(at, command).map_err(no_space)?,
                Self::Metadata(machine) => apply_metadata(machine.as_mut(), at, command)?,
            };
            applying.outcomes.push(outcome);
            applying.current = None;
        }
        match self {
            Self::Partitions(partitions) => partitions.publish().map_err(no_space),
            Self::Metadata(_) => Ok(()),
        }
    }

    fn begin_term(&mut self, term: u64) -> Result<(), ApplyError> {
        match self {
            Self::Partitions(partitions) => partitions.begin_epoch(term).map_err(no_space),
            Self::Metadata(_) => Ok(()),
        }
    }
}

fn apply_metadata(
    machine: &mut dyn StateMachine,
    at: AppliedAt,
    command: &Command,
) -> Result<Outcome, ApplyError> {
    let Command::Metadata(command) = command else {
        return Ok(Outcome::UnknownPartition);
    };
    match machine.apply(at, command) {
        Ok(answer) => Ok(Outcome::Answered(answer)),
        Err(UnknownCommand(version)) => Err(ApplyError::Unknown(UnknownEntry::Version(version))),
    }
}

/// What a full disk says, where that is played.
fn played_no_space() -> ApplyError {
    let source = io::ErrorKind::StorageFull.into();
    ApplyError::NoSpace(LogError::NoSpace { file: PathBuf::new(), source })
}

/// Anything but want of room ends the process: nobody knows any more what the segments hold.
fn no_space(error: LogError) -> ApplyError {
    match error {
        LogError::NoSpace { .. } => ApplyError::NoSpace(error),
        error => crate::fail::stop("a partition's log failed", &error),
    }
}
