//! What of the group's replica here is damaged, and what is done about it; see `mend`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Group, Machine};
use crate::known_damage::KnownDamage;
use crate::limits::{MEND_PAUSE_DOUBLINGS_MAX, MEND_PAUSE_TICKS, MEND_TRIES_AWAITED_MAX, MEND_TRIES_MAX};
use crate::mend::{Damaged, DamagedFiles, Mended};
use crate::observe;
use crate::outbox::{Outbox, Wish};

/// Damage that the replica has and keeps.
#[derive(Default)]
pub(super) struct Mending {
    files: BTreeMap<PathBuf, Care>,
    /// The replica may not be what its group has.
    is_doubted: bool,
    /// What was ever damaged, for whoever copies what is to take its place.
    listed: DamagedFiles,
    /// What a start would go by is not what is known here.
    is_changed: bool,
    /// Counts what may have changed of the files that nobody has.
    news: u64,
}

/// What is done about a damaged file.
enum Care {
    /// It is read once more, and its batches are asked for if it can be made again.
    Asked(Tries),
    /// That will be done again.
    Pausing { tries: Tries, ticks: u32 },
}

/// How often a file was asked for; so many times as is in vain where it cannot be made again.
#[derive(Clone, Copy)]
struct Tries {
    count: u32,
    /// Some of those who may have it were away each time.
    is_awaited: bool,
}

impl Tries {
    fn first(count: u32) -> Self {
        Self { count, is_awaited: true }
    }
}

impl Care {
    /// Whether it was asked for so often in vain.
    fn is_hopeless(&self, tries_max: u32) -> bool {
        match self {
            Self::Asked(tries) => tries.count > tries_max,
            Self::Pausing { tries, .. } => tries.count >= tries_max,
        }
    }

    /// Whether nobody has it, as far as can be known.
    fn is_lost(&self) -> bool {
        let (Self::Asked(tries) | Self::Pausing { tries, .. }) = self;
        self.is_hopeless(if tries.is_awaited { MEND_TRIES_AWAITED_MAX } else { MEND_TRIES_MAX })
    }
}

impl Mending {
    fn put(&mut self, file: &Path, care: Care) {
        let is_lost = care.is_lost();
        let was_lost = self.files.insert(file.to_owned(), care).map(|care| care.is_lost());
        self.news += u64::from(was_lost != Some(is_lost));
        if was_lost.is_none() {
            self.listed.add(file);
            self.is_changed = true;
        }
    }

    fn doubt(&mut self) -> bool {
        let is_new = !std::mem::replace(&mut self.is_doubted, true);
        self.is_changed |= is_new;
        is_new
    }

    fn retain(&mut self, is_damaged: impl Fn(&Path) -> bool) {
        let before = self.files.len();
        self.files.retain(|file, _| is_damaged(file));
        if self.files.len() < before {
            self.is_changed = true;
            self.news += 1;
        }
    }

    pub(super) fn listed(&self) -> DamagedFiles {
        self.listed.clone()
    }
}

impl Group {
    /// Has a damaged file made again.
    pub(crate) fn mend(&mut self, file: &Path, outbox: &mut Outbox) {
        if !self.mending.files.contains_key(file) && self.ask_to_mend(file, 0, outbox) {
            tracing::error!(
                group = %self.id, own = %self.own, file = %file.display(),
                "a segment is damaged: it is read once more, and fetched again from other replicas where that can be"
            );
            self.mending.put(file, Care::Asked(Tries::first(1)));
        }
    }

    /// Another replica is asked first each time, none where the file cannot be made again. False if nobody needs it.
    fn ask_to_mend(&self, file: &Path, tries: u32, outbox: &mut Outbox) -> bool {
        let Machine::Partitions(partitions) = &self.machine else { return false };
        let Some(partition) = partitions.of_file(file) else { return false };
        let mut others = self.membership.replicas();
        others.retain(|replica| *replica != self.own && partitions.is_repairable(file));
        let first = (tries as usize).checked_rem(others.len()).unwrap_or(0);
        others.rotate_left(first);
        let damaged = Damaged { group: self.id.0, partition, file: file.to_owned(), others };
        outbox.wishes.push(Wish::Mend(Box::new(damaged)));
        true
    }

    /// The file was to be made again.
    pub(crate) fn mended(&mut self, file: &Path, outcome: Mended) {
        let Some(care) = self.mending.files.get_mut(file) else { return };
        let Care::Asked(mut tries) = *care else { return };
        if outcome == Mended::Whole {
            tracing::info!(group = %self.id, own = %self.own, file = %file.display(), "a damaged segment is whole again");
            observe::segment_mended();
            self.mending.retain(|other| other != file);
            return;
        }
        let ticks = MEND_PAUSE_TICKS << tries.count.saturating_sub(1).min(MEND_PAUSE_DOUBLINGS_MAX);
        if outcome == Mended::Never && tries.count < MEND_TRIES_MAX {
            tracing::error!(
                group = %self.id, own = %self.own, file = %file.display(),
                "a damaged segment cannot be made again: the replica asks its group's leader to be let go"
            );
            tries.count = MEND_TRIES_MAX;
        }
        tries.is_awaited &= outcome == Mended::Awaited;
        *care = Care::Pausing { tries, ticks };
        self.mending.news += 1;
    }

    /// There is damage, who knows where.
    pub(crate) fn doubt(&mut self) {
        if self.mending.doubt() {
            tracing::error!(
                group = %self.id, own = %self.own,
                "the replica is damaged, and that cannot be mended: it asks its group's leader to be let go"
            );
        }
    }

    /// The file has come with a snapshot, damaged as it was there. Those who were asked for it are not all who may have it:
    /// others are soon back, or are made whole.
    pub(crate) fn take_damage(&mut self, file: &Path) {
        tracing::error!(
            group = %self.id, own = %self.own, file = %file.display(),
            "a segment came damaged: nobody was known to have it whole"
        );
        self.mending.put(file, Care::Pausing { tries: Tries::first(0), ticks: MEND_PAUSE_TICKS });
    }

    /// Nothing is to be hoped for but to fetch the whole replica again.
    pub(super) fn is_hopeless(&self) -> bool {
        self.mending.is_doubted || self.mending.files.values().any(|care| care.is_hopeless(MEND_TRIES_MAX))
    }

    /// Where the replica is kept all the same, the files that nobody has, as far as can be known. What has just been found
    /// damaged is not among them.
    pub(super) fn lost_files(&self) -> Vec<PathBuf> {
        let files = self.mending.files.iter().filter(|(_, care)| self.is_kept() && care.is_lost());
        files.map(|(file, _)| file.clone()).collect()
    }

    /// Changes whenever these do.
    pub(super) fn lost_files_key(&self) -> Option<u64> {
        self.is_kept().then_some(self.mending.news)
    }

    fn hopeless_files(&self, tries_max: u32) -> Vec<PathBuf> {
        let files = self.mending.files.iter().filter(|(_, care)| care.is_hopeless(tries_max));
        files.map(|(file, _)| file.clone()).collect()
    }

    /// Time passes: asks again for what nobody has given yet.
    pub(super) fn mend_on(&mut self, outbox: &mut Outbox) {
        let mut due = Vec::new();
        for (file, care) in &mut self.mending.files {
            if let Care::Pausing { tries, ticks } = care {
                *ticks = ticks.saturating_sub(1);
                if *ticks == 0 {
                    due.push((file.clone(), *tries));
                }
            }
        }
        for (file, tries) in due {
            if self.ask_to_mend(&file, tries.count, outbox) {
                let count = tries.count.saturating_add(1);
                self.mending.put(&file, Care::Asked(Tries { count, ..tries }));
            } else {
                self.mending.retain(|other| other != file);
            }
        }
    }

    /// A snapshot has taken the state's place: what was doubted is not there any more. What its
    /// copy had not heard of it may have taken, and that is as damaged under its new name.
    pub(super) fn replace_mending(&mut self, outbox: &mut Outbox) {
        let is_changed = self.has_damage() || self.mending.is_changed;
        let before = std::mem::replace(&mut self.mending, Mending { is_changed, ..Mending::default() });
        let Machine::Partitions(partitions) = &self.machine else { return };
        let unheard = before.listed.unheard();
        let taken: Vec<PathBuf> = unheard.iter().filter_map(|file| partitions.successor(file)).collect();
        taken.iter().for_each(|file| self.mend(file, outbox));
    }

    /// Damaged files that nobody is known to have whole, once everyone was asked: replicas that copy from here get them as
    /// they are, so that they have at least the rest. Where other voters may have them that takes until the replica
    /// has found out that it is kept all the same.
    pub(super) fn beyond_help(&self) -> Vec<PathBuf> {
        let is_sole_voter = self.membership.voters == [self.own] && !self.membership.is_joint();
        if !self.leads() || self.mending.is_doubted || !(is_sole_voter || self.is_kept()) {
            return Vec::new();
        }
        self.hopeless_files(if is_sole_voter { 1 } else { MEND_TRIES_MAX })
    }

    /// Something of the replica is not as it should be.
    pub(super) fn is_damaged(&mut self) -> bool {
        if self.has_damage() {
            self.forget_gone_files();
        }
        self.has_damage() || self.is_outvoted()
    }

    /// As far as is known without looking.
    pub(super) fn has_damage(&self) -> bool {
        self.mending.is_doubted || !self.mending.files.is_empty()
    }

    pub(crate) fn needs(&self, file: &Path) -> bool {
        match &self.machine {
            Machine::Partitions(partitions) => partitions.needs(file),
            Machine::Metadata(_) => false,
        }
    }

    /// Files that the logs need no more are no damage.
    fn forget_gone_files(&mut self) {
        if let Machine::Partitions(partitions) = &self.machine {
            self.mending.retain(|file| partitions.needs(file));
        }
    }

    /// What was known before the start. What of it is needed still is found damaged anew, and the rest forgotten.
    pub(crate) fn remember_damage(&mut self, known: KnownDamage) {
        // That a snapshot has taken the doubted state's place may not have been written down any more.
        self.found_doubted = known.doubts(self.origin.generation);
        self.mending.is_changed = true;
        let unmentioned: Vec<_> = known
            .files
            .into_iter()
            .filter(|file| self.needs(file) && !self.found_damaged.contains(file))
            .collect();
        self.found_damaged.extend(unmentioned);
    }

    /// What a start is to go by is written down where it has changed.
    pub(crate) fn note_damage(&mut self, outbox: &mut Outbox) {
        if !std::mem::take(&mut self.mending.is_changed) {
            return;
        }
        let damage = Box::new(KnownDamage {
            replica_number: self.own.number(),
            files: self.mending.files.keys().cloned().collect(),
            doubted: self.mending.is_doubted.then_some(self.origin.generation),
        });
        outbox.wishes.push(Wish::NoteDamage { group: self.id, generation: self.origin.generation, damage });
    }
}
