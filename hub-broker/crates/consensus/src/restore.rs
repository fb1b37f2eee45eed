//! Whether what was found after a restart is whole.

use crate::types::{KIND_CHANGE, KIND_NORMAL};
use crate::{ReplicaConfig, RestoreError, Restored};

/// raft-rs panics on a log that does not fit; this says what is wrong instead.
pub(crate) fn check(config: &ReplicaConfig, restored: &Restored) -> Result<(), RestoreError> {
    if config.id.0 == raft::INVALID_ID {
        return Err(RestoreError::Config("a replica has an id".to_owned()));
    }
    if !restored.membership.is_sound() {
        return Err(RestoreError::Membership(restored.membership.clone()));
    }
    let (mut last, mut previous) = match restored.entries.first() {
        Some(first) if first.index <= restored.applied => (first.index - 1, first.term),
        _ => (restored.applied, restored.applied_term),
    };
    for entry in &restored.entries {
        if entry.index != last + 1 {
            return Err(RestoreError::Hole { expected: last + 1, found: entry.index });
        }
        if entry.term < previous {
            return Err(RestoreError::TermWentBack { index: entry.index, term: entry.term, previous });
        }
        if !matches!(entry.kind, KIND_NORMAL | KIND_CHANGE) {
            return Err(RestoreError::UnknownKind { index: entry.index, kind: entry.kind });
        }
        (last, previous) = (entry.index, entry.term);
    }
    let hard_state = restored.hard_state;
    let commit = hard_state.commit.max(restored.applied);
    if commit > last {
        return Err(RestoreError::TooShort { last, commit });
    }
    if hard_state.term < previous {
        return Err(RestoreError::HardStateBehind { log: previous, hard_state: hard_state.term });
    }
    Ok(())
}

/// The last index that is known to be committed. A change of the membership is proposed only when the one before is
/// committed: that one is to be gone by before standing for election, also where the crash has taken the word of it.
pub(crate) fn commit(restored: &Restored) -> u64 {
    let changes = restored.entries.iter().rev().filter(|entry| entry.kind == KIND_CHANGE);
    let last_but_one = changes.skip(1).map(|entry| entry.index).next().unwrap_or(0);
    restored.hard_state.commit.max(restored.applied).max(last_but_one)
}
