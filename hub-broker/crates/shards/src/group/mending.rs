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
struct Care {
    /// How often it was asked for in vain; so many times as is in vain where it cannot be made again.
    tries: u32,
    /// Some of those who may have it were away each time.
    is_awaited: bool,
    /// It is read once more, and its batches are asked for if it can be made again: after so many ticks. `None` while
    /// that is done.
    pausing_ticks: Option<u32>,
    anew: Anew,
}

/// Whether a file is asked for out of turn, for others may give it than before. That is none of its tries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Anew {
    No,
    Due,
    Asked,
}

impl Care {
    fn asked() -> Self {
        Self { tries: 0, is_awaited: true, pausing_ticks: None, anew: Anew::No }
    }

    fn pausing(ticks: u32) -> Self {
        Self { pausing_ticks: Some(ticks), ..Self::asked() }
    }

    /// Whether it was asked for so often in vain.
    fn is_hopeless(&self, tries_max: u32) -> bool {
        self.tries >= tries_max
    }

    /// Whether nobody has it, as far as can be known.
    fn is_lost(&self) -> bool {
        self.is_hopeless(if self.is_awaited { MEND_TRIES_AWAITED_MAX } else { MEND_TRIES_MAX })
    }

    /// Time passes. Whether it is to be asked for now.
    fn tick(&mut self) -> bool {
        let Some(ticks) = &mut self.pausing_ticks else { return false };
        *ticks = ticks.saturating_sub(1);
        *ticks == 0
    }

    fn ask(&mut self) {
        self.pausing_ticks = None;
        if self.anew == Anew::Due {
            self.anew = Anew::Asked;
        }
    }

    fn ask_anew(&mut self) {
        self.anew = Anew::Due;
        self.pausing_ticks = self.pausing_ticks.map(|_| 1);
    }

    /// It was asked for in vain.
    fn answered(&mut self, outcome: Mended) {
        self.tries = self.tries.saturating_add(u32::from(self.anew == Anew::No));
        let doublings = self.tries.saturating_sub(1).min(MEND_PAUSE_DOUBLINGS_MAX);
        if outcome == Mended::Never {
            self.tries = self.tries.max(MEND_TRIES_MAX);
        }
        self.is_awaited &= outcome == Mended::Awaited;
        (self.anew, self.pausing_ticks) = match self.anew {
            Anew::Due => (Anew::Due, Some(1)),
            Anew::Asked | Anew::No => (Anew::No, Some(MEND_PAUSE_TICKS << doublings)),
        };
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
            self.mending.put(file, Care::asked());
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
        let care = self.mending.files.get_mut(file).filter(|care| care.pausing_ticks.is_none());
        let Some(care) = care else { return };
        if outcome == Mended::Whole {
            tracing::info!(group = %self.id, own = %self.own, file = %file.display(), "a damaged segment is whole again");
            observe::segment_mended();
            self.mending.retain(|other| other != file);
            return;
        }
        if outcome == Mended::Never && !care.is_hopeless(MEND_TRIES_MAX) {
            tracing::error!(
                group = %self.id, own = %self.own, file = %file.display(),
                "a damaged segment cannot be made again: the replica asks its group's leader to be let go"
            );
        }
        care.answered(outcome);
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
        self.mending.put(file, Care::pausing(MEND_PAUSE_TICKS));
    }

    /// Nothing is to be hoped for but to fetch the whole replica again.
    pub(super) fn is_hopeless(&self) -> bool {
        self.mending.is_doubted || self.mending.files.values().any(|care| care.is_hopeless(MEND_TRIES_MAX))
    }

    /// And that was so when it was tried last, since others may have given it than before.
    pub(super) fn is_beyond_hope(&self) -> bool {
        let is_settled = |care: &Care| care.anew == Anew::No && care.pausing_ticks.is_some();
        let is_hopeless = |care: &Care| care.is_hopeless(MEND_TRIES_MAX) && is_settled(care);
        self.mending.is_doubted || self.mending.files.values().any(is_hopeless)
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
        let files = self.mending.files.iter_mut();
        let due = files.filter_map(|(file, care)| care.tick().then(|| (file.clone(), care.tries)));
        for (file, tries) in due.collect::<Vec<_>>() {
            if !self.ask_to_mend(&file, tries, outbox) {
                self.mending.retain(|other| other != file);
            } else if let Some(care) = self.mending.files.get_mut(&file) {
                care.ask();
            }
        }
    }

    /// Others may give what is damaged than before: before the replica goes for its sake it is asked for once more.
    pub(super) fn mend_anew(&mut self) {
        let Machine::Partitions(partitions) = &self.machine else { return };
        let files = self.mending.files.iter_mut().filter(|(file, _)| partitions.is_repairable(file));
        files.for_each(|(_, care)| care.ask_anew());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_out_of_turn_is_none_of_the_tries_and_asked_for_since() {
        let mut care = Care::asked();
        for _ in 1..MEND_TRIES_MAX {
            care.answered(Mended::Awaited);
            care.ask();
        }
        let pause = Some(MEND_PAUSE_TICKS << (MEND_TRIES_MAX - 2));
        care.ask_anew();
        care.answered(Mended::Awaited);
        assert!(care.anew == Anew::Due && care.tick(), "it was asked for before");
        care.ask();
        assert!(care.anew == Anew::Asked && !care.tick());
        care.answered(Mended::Awaited);
        assert_eq!((care.anew == Anew::No, care.pausing_ticks), (true, pause));
        assert!(!care.is_hopeless(MEND_TRIES_MAX));
        care.ask();
        care.answered(Mended::Awaited);
        assert!(care.is_hopeless(MEND_TRIES_MAX) && !care.is_lost());
    }
}
