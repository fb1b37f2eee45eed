//! What is known of the time in this boot: readings and what sources say in, notices out; no clock inside.
//!
//! The agent's time is boot time and an offset of its own, so a kernel's clock that is set under it does not move it.
//! Only a synchronised one does, a hub that may be believed where there is none, and a hardware clock where there is
//! neither.

use serde::{Deserialize, Serialize};

use super::kernel_offsets::KernelOffsets;
use super::machine::Reading;

/// A kernel's clock that changes by more than this against boot time was set.
const JUMP_MS: i64 = 1_000;
/// Less than this between a hub's time and the agent's is the network's.
pub const DIFFERS_MS: i64 = 10_000;

/// Who says what time it is: a later one goes before an earlier one.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An earlier run in this boot.
    EarlierRun,
    HardwareClock,
    /// A hub that may be believed.
    Hub,
    /// The kernel's clock while it is synchronised, and what it was when it last was.
    Kernel,
}

impl Source {
    /// As `status` and the status records say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::EarlierRun => "earlier-run",
            Self::HardwareClock => "hardware-clock",
            Self::Hub => "hub",
            Self::Kernel => "kernel",
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::EarlierRun => "an earlier run",
            Self::HardwareClock => "the hardware clock",
            Self::Hub => "a hub",
            Self::Kernel => "the kernel's clock",
        }
    }
}

/// The kernel's clock was set.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Jump {
    pub by_ms: i64,
    /// ms since the boot.
    pub at_boot_ms: i64,
    /// The agent's time went with it: it is synchronised.
    pub is_followed: bool,
}

/// The agent's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Wall time minus boot time in ms.
    pub offset_ms: i64,
    pub source: Source,
    /// Since when by this source, in ms since the boot.
    pub since_boot_ms: i64,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The time is known, or by another source, or was corrected by so much.
    Known {
        source: Source,
        moved_by_ms: Option<i64>,
    },
    Jumped(Jump),
    /// The agent's time went with a jump that it had not followed at first.
    Followed,
    /// A source says a time before the program was built.
    TooEarly {
        source: Source,
        ms: i64,
    },
    /// The hub's time is so much ahead of the agent's; 0 where they agree again.
    HubDiffers {
        by_ms: i64,
    },
}

#[derive(Debug)]
pub struct Knowledge {
    /// No source is believed that says less.
    earliest_ms: i64,
    own: Option<Own>,
    /// The last reading's.
    kernel_offset_ms: Option<i64>,
    kernel_offsets: KernelOffsets,
    is_synchronised: bool,
    /// What a hub said last, whether it is believed or not.
    hub_offset_ms: Option<i64>,
    is_hub_differing: bool,
    too_early: Option<Source>,
    jumps: u64,
    last_jump: Option<Jump>,
}

impl Knowledge {
    pub fn new(earliest_ms: i64) -> Self {
        Self {
            earliest_ms,
            own: None,
            kernel_offset_ms: None,
            kernel_offsets: KernelOffsets::default(),
            is_synchronised: false,
            hub_offset_ms: None,
            is_hub_differing: false,
            too_early: None,
            jumps: 0,
            last_jump: None,
        }
    }

    pub fn own(&self) -> Option<Own> {
        self.own
    }

    pub fn kernel_offsets(&self) -> &KernelOffsets {
        &self.kernel_offsets
    }

    pub fn jumps(&self) -> (u64, Option<Jump>) {
        (self.jumps, self.last_jump)
    }

    /// What a hub said last, in ms minus boot time.
    pub fn hub_offset_ms(&self) -> Option<i64> {
        self.hub_offset_ms
    }

    /// How far the hub's time is ahead of the agent's, where that is more than the network can be blamed for.
    pub fn hub_differs_ms(&self) -> Option<i64> {
        let by_ms = self.hub_offset_ms?.saturating_sub(self.own?.offset_ms);
        (by_ms.saturating_abs() > DIFFERS_MS).then_some(by_ms)
    }

    /// Takes what the kernel's clocks say.
    pub fn observe(&mut self, reading: &Reading) -> Vec<Notice> {
        let mut notices = Vec::new();
        let offset_ms = reading.kernel_offset_ms();
        let by_ms = offset_ms - self.kernel_offset_ms.replace(offset_ms).unwrap_or(offset_ms);
        self.is_synchronised = reading.is_synchronised
            && self.is_late_enough(Source::Kernel, offset_ms, reading.boot_ms, &mut notices);
        self.kernel_offsets.note(offset_ms, reading.boot_ms, by_ms.abs() > JUMP_MS);
        if by_ms.abs() > JUMP_MS {
            let jump = Jump { by_ms, at_boot_ms: reading.boot_ms, is_followed: self.is_synchronised };
            self.jumps += 1;
            self.last_jump = Some(jump);
            notices.push(Notice::Jumped(jump));
        }
        if self.is_synchronised {
            self.follow(offset_ms, reading.boot_ms, &mut notices);
        }
        notices
    }

    /// Goes with the synchronised kernel's clock.
    fn follow(&mut self, offset_ms: i64, boot_ms: i64, notices: &mut Vec<Notice>) {
        // A jump comes before the daemon says that the clock is right again.
        if let Some(jump) = self.last_jump.as_mut().filter(|jump| !jump.is_followed) {
            jump.is_followed = true;
            notices.push(Notice::Followed);
        }
        match &mut self.own {
            Some(own) if own.source == Source::Kernel && (own.offset_ms - offset_ms).abs() <= JUMP_MS => {
                own.offset_ms = offset_ms;
            }
            _ => self.take(Source::Kernel, offset_ms, boot_ms, notices),
        }
        self.compare(notices);
    }

    /// Takes what a hub says; `is_trusted` where it may be believed.
    pub fn hear_hub(&mut self, offset_ms: i64, is_trusted: bool, boot_ms: i64) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.hub_offset_ms = Some(offset_ms);
        // What the kernel said when it was synchronised, or another hub, is as good as this but for a real difference.
        let is_better = match self.own {
            Some(own) if own.source >= Source::Hub => {
                !self.is_synchronised && (own.offset_ms - offset_ms).saturating_abs() > DIFFERS_MS
            }
            _ => true,
        };
        if is_trusted && is_better && self.is_late_enough(Source::Hub, offset_ms, boot_ms, &mut notices) {
            self.take(Source::Hub, offset_ms, boot_ms, &mut notices);
        }
        self.compare(&mut notices);
        notices
    }

    /// Takes what an earlier run or the hardware clock knew, where nothing is known yet.
    pub fn recall(&mut self, source: Source, offset_ms: i64, boot_ms: i64) -> Vec<Notice> {
        let mut notices = Vec::new();
        if self.own.is_none() && self.is_late_enough(source, offset_ms, boot_ms, &mut notices) {
            self.take(source, offset_ms, boot_ms, &mut notices);
        }
        notices
    }

    fn take(&mut self, source: Source, offset_ms: i64, boot_ms: i64, notices: &mut Vec<Notice>) {
        let moved_by_ms = self.own.map(|own| offset_ms.saturating_sub(own.offset_ms));
        self.own = Some(Own { offset_ms, source, since_boot_ms: boot_ms });
        notices.push(Notice::Known { source, moved_by_ms });
    }

    /// Says once when the hub begins to differ, and when it agrees again.
    fn compare(&mut self, notices: &mut Vec<Notice>) {
        let differs_ms = self.hub_differs_ms();
        if differs_ms.is_some() != self.is_hub_differing {
            self.is_hub_differing = differs_ms.is_some();
            notices.push(Notice::HubDiffers { by_ms: differs_ms.unwrap_or(0) });
        }
    }

    /// Whether a source says a time that can be; where not, that is told once.
    fn is_late_enough(
        &mut self,
        source: Source,
        offset_ms: i64,
        boot_ms: i64,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let ms = offset_ms.saturating_add(boot_ms);
        let is_late_enough = ms >= self.earliest_ms;
        if is_late_enough {
            self.too_early = self.too_early.filter(|told| *told != source);
        } else if self.too_early.replace(source) != Some(source) {
            notices.push(Notice::TooEarly { source, ms });
        }
        is_late_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIEST: i64 = 1_790_000_000_000;
    /// Wall time minus boot time.
    const TRUE: i64 = EARLIEST + 10_000_000_000;
    const DAY: i64 = 24 * 3600 * 1000;

    fn read(knowledge: &mut Knowledge, boot_ms: i64, offset_ms: i64, is_synchronised: bool) -> Vec<Notice> {
        knowledge.observe(&Reading { boot_ms, kernel_ms: boot_ms + offset_ms, is_synchronised })
    }

    fn offset(knowledge: &Knowledge) -> Option<(i64, Source)> {
        knowledge.own().map(|own| (own.offset_ms, own.source))
    }

    #[test]
    fn an_unsynchronised_kernel_says_nothing_whatever_it_shows() {
        for shown in [0, TRUE - 40 * DAY, TRUE, TRUE + 3650 * DAY] {
            let mut knowledge = Knowledge::new(EARLIEST);
            assert_eq!(read(&mut knowledge, 1, shown, false), []);
            assert_eq!(knowledge.own(), None);
        }
    }

    #[test]
    fn a_synchronised_kernel_is_followed_when_it_jumps_and_it_is_said_once() {
        let mut knowledge = Knowledge::new(EARLIEST);
        let known = Notice::Known { source: Source::Kernel, moved_by_ms: None };
        assert_eq!(read(&mut knowledge, 1, TRUE, true), [known]);
        assert_eq!(read(&mut knowledge, 2, TRUE + 900, true), [], "less than a jump");
        let jump = Jump { by_ms: 5000, at_boot_ms: 3, is_followed: true };
        let moved = Notice::Known { source: Source::Kernel, moved_by_ms: Some(5000) };
        assert_eq!(read(&mut knowledge, 3, TRUE + 5900, true), [Notice::Jumped(jump), moved]);
        assert_eq!(read(&mut knowledge, 4, TRUE + 5900, true), []);
        assert_eq!(offset(&knowledge), Some((TRUE + 5900, Source::Kernel)));
        assert_eq!(knowledge.jumps(), (1, Some(jump)));
    }

    #[test]
    fn a_kernel_that_is_set_by_hand_moves_nothing() {
        let mut knowledge = Knowledge::new(EARLIEST);
        read(&mut knowledge, 1, TRUE, true);
        // Setting a clock takes its synchronisation away (ntp_clear in the kernel).
        let jump = Jump { by_ms: -DAY, at_boot_ms: 2, is_followed: false };
        assert_eq!(read(&mut knowledge, 2, TRUE - DAY, false), [Notice::Jumped(jump)]);
        assert_eq!(read(&mut knowledge, 3, TRUE - DAY, false), []);
        assert_eq!(offset(&knowledge), Some((TRUE, Source::Kernel)), "as when it was synchronised");
        // The daemon sets it right and says so.
        let back = Jump { by_ms: DAY + 2000, at_boot_ms: 4, is_followed: false };
        assert_eq!(read(&mut knowledge, 4, TRUE + 2000, false), [Notice::Jumped(back)]);
        let moved = Notice::Known { source: Source::Kernel, moved_by_ms: Some(2000) };
        assert_eq!(read(&mut knowledge, 5, TRUE + 2000, true), [Notice::Followed, moved]);
        assert_eq!(knowledge.jumps(), (2, Some(Jump { is_followed: true, ..back })));
    }

    #[test]
    fn the_first_synchronisation_of_a_boot_is_a_jump_that_is_followed() {
        let mut knowledge = Knowledge::new(EARLIEST);
        read(&mut knowledge, 1, 0, false);
        assert!(matches!(read(&mut knowledge, 2, TRUE, false)[..], [Notice::Jumped(_)]));
        read(&mut knowledge, 3, TRUE, true);
        assert_eq!(offset(&knowledge), Some((TRUE, Source::Kernel)));
        assert!(knowledge.jumps().1.unwrap().is_followed);
    }

    #[test]
    fn a_hub_is_believed_only_where_it_may_be() {
        let mut knowledge = Knowledge::new(EARLIEST);
        assert_eq!(knowledge.hear_hub(TRUE, false, 1), []);
        assert_eq!((knowledge.own(), knowledge.hub_offset_ms()), (None, Some(TRUE)));
        let known = Notice::Known { source: Source::Hub, moved_by_ms: None };
        assert_eq!(knowledge.hear_hub(TRUE, true, 2), [known]);
        assert_eq!(knowledge.hear_hub(TRUE + 9000, true, 3), [], "the network's");
        let moved = Notice::Known { source: Source::Hub, moved_by_ms: Some(20_000) };
        assert_eq!(knowledge.hear_hub(TRUE + 20_000, true, 3), [moved]);
    }

    #[test]
    fn the_kernel_goes_before_a_hub_and_a_hub_before_the_hardware_clock() {
        let mut knowledge = Knowledge::new(EARLIEST);
        knowledge.recall(Source::HardwareClock, TRUE - 40 * DAY, 1);
        assert_eq!(knowledge.recall(Source::EarlierRun, TRUE, 1), [], "something is known");
        knowledge.hear_hub(TRUE - 60_000, true, 2);
        assert_eq!(offset(&knowledge), Some((TRUE - 60_000, Source::Hub)));
        let moved = Notice::Known { source: Source::Kernel, moved_by_ms: Some(60_000) };
        let differs = Notice::HubDiffers { by_ms: -60_000 };
        assert_eq!(read(&mut knowledge, 3, TRUE, true), [moved, differs]);
        assert_eq!(knowledge.hear_hub(TRUE - 70_000, true, 4), [], "it is said once");
        assert_eq!(offset(&knowledge), Some((TRUE, Source::Kernel)));
        assert_eq!(knowledge.hub_differs_ms(), Some(-70_000));
        assert_eq!(knowledge.hear_hub(TRUE, true, 5), [Notice::HubDiffers { by_ms: 0 }]);
    }

    #[test]
    fn a_hub_corrects_what_the_kernel_said_when_it_was_last_synchronised() {
        let mut knowledge = Knowledge::new(EARLIEST);
        read(&mut knowledge, 1, TRUE, true);
        read(&mut knowledge, DAY, TRUE, false);
        knowledge.hear_hub(TRUE + 5000, true, DAY);
        assert_eq!(offset(&knowledge), Some((TRUE, Source::Kernel)));
        knowledge.hear_hub(TRUE + 15_000, true, DAY);
        assert_eq!(offset(&knowledge), Some((TRUE + 15_000, Source::Hub)));
    }

    #[test]
    fn a_time_before_the_build_is_of_no_source_and_told_once() {
        let mut knowledge = Knowledge::new(EARLIEST);
        let early = |source| Notice::TooEarly { source, ms: 1_000_000 };
        assert_eq!(knowledge.hear_hub(0, true, 1_000_000), [early(Source::Hub)]);
        assert_eq!(knowledge.hear_hub(0, true, 1_000_000), []);
        assert_eq!(read(&mut knowledge, 1_000_000, 0, true), [early(Source::Kernel)]);
        assert_eq!(read(&mut knowledge, 1_000_000, 0, true), []);
        assert_eq!(knowledge.own(), None);
        read(&mut knowledge, 1_000_001, TRUE, true);
        assert_eq!(offset(&knowledge), Some((TRUE, Source::Kernel)));
    }
}
