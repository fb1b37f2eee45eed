//! A model beside the log: whatever is lost of what was not synced, recovery returns every acknowledged frame, in
//! order, and nothing that was never written.

use super::*;
use crate::recovered::GroupLog;
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

const GROUPS: u32 = 5;

#[derive(Clone, Copy, Debug)]
enum Step {
    Entries {
        group: u32,
        count: u8,
        payload_bytes: usize,
    },
    /// Overwrites from so far below the group's end.
    Overwrite {
        group: u32,
        back: u64,
    },
    Truncate {
        group: u32,
        back: u64,
    },
    HardState {
        group: u32,
    },
    /// Waits for all acknowledgements.
    Settle,
    /// Releases all acknowledged entries of a group but so many.
    Release {
        group: u32,
        keep: u64,
    },
    /// The power goes after so many operations of the disk, while the following steps run.
    PowerCut {
        after: u64,
        seed: u64,
    },
    Restart {
        clean: bool,
    },
}

fn group() -> impl Strategy<Value = u32> {
    // Group 4 is mostly idle.
    prop_oneof![20 => 0..4u32, 1 => Just(4u32)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        14 => (group(), 1..6u8, prop_oneof![0..64usize, 0..3000usize])
            .prop_map(|(group, count, payload_bytes)| Step::Entries { group, count, payload_bytes }),
        1 => (group(), 0..4u64).prop_map(|(group, back)| Step::Overwrite { group, back }),
        1 => (group(), 0..4u64).prop_map(|(group, back)| Step::Truncate { group, back }),
        5 => (0..GROUPS).prop_map(|group| Step::HardState { group }),
        4 => Just(Step::Settle),
        5 => (0..GROUPS, 0..3u64).prop_map(|(group, keep)| Step::Release { group, keep }),
        2 => (0..40u64, any::<u64>()).prop_map(|(after, seed)| Step::PowerCut { after, seed }),
        1 => any::<bool>().prop_map(|clean| Step::Restart { clean }),
    ]
}

type Groups = BTreeMap<u32, GroupLog>;

fn play(groups: &mut Groups, frame: &Frame) {
    let log = groups.entry(frame.group().0).or_default();
    match frame {
        Frame::Entry { index, term, entry_kind, payload, .. } => {
            log.entries.retain(|entry| entry.index < *index);
            let payload = payload.clone();
            log.entries.push(crate::Entry { index: *index, term: *term, entry_kind: *entry_kind, payload });
        }
        Frame::Truncate { from_index, .. } => log.entries.retain(|entry| entry.index < *from_index),
        Frame::HardState { term, vote, commit, .. } => {
            log.hard_state = Some(crate::HardState { term: *term, vote: *vote, commit: *commit });
        }
    }
}

struct Model {
    disk: SimDisk,
    wal: Option<Wal>,
    /// What the log held when it was opened, and every frame handed to it since.
    base: Groups,
    sent: Vec<Frame>,
    /// How many of them are acknowledged.
    acknowledged: Arc<AtomicUsize>,
    released: BTreeMap<u32, u64>,
    power_cut: Option<u64>,
    counter: u64,
}

impl Model {
    fn start(disk: SimDisk) -> Self {
        let (wal, _) = try_open(&disk, watched().0).expect("a new log");
        Model {
            disk,
            wal: Some(wal),
            base: Groups::new(),
            sent: Vec::new(),
            acknowledged: Arc::default(),
            released: BTreeMap::new(),
            power_cut: None,
            counter: 0,
        }
    }

    fn now(&self) -> Groups {
        self.after(self.sent.len())
    }

    fn after(&self, count: usize) -> Groups {
        let mut groups = self.base.clone();
        self.sent[..count].iter().for_each(|frame| play(&mut groups, frame));
        groups
    }

    fn last_index(&self, group: u32) -> u64 {
        let released = self.released.get(&group).copied().unwrap_or(0);
        self.now().get(&group).and_then(|log| Some(log.entries.last()?.index)).unwrap_or(0).max(released)
    }

    fn entry(&mut self, group: u32, index: u64, payload_bytes: usize) -> Frame {
        self.counter += 1;
        let mut payload = self.counter.to_le_bytes().to_vec();
        payload.resize(payload_bytes.max(8), self.counter as u8);
        Frame::Entry {
            group: GroupId(group),
            index,
            term: self.counter,
            entry_kind: 2,
            payload: payload.into(),
        }
    }

    fn send(&mut self, frames: Vec<Frame>) {
        self.sent.extend(frames.iter().cloned());
        let (acknowledged, count) = (self.acknowledged.clone(), self.sent.len());
        let wal = self.wal.as_ref().expect("open");
        wal.write(frames, Box::new(move |_| acknowledged.store(count, Ordering::Release)));
    }

    fn settle(&mut self) {
        let (sender, receiver) = mpsc::channel();
        let wal = self.wal.as_ref().expect("open");
        wal.write(Vec::new(), Box::new(move |_| sender.send(()).unwrap_or_default()));
        if receiver.recv_timeout(DEADLINE).is_err() {
            assert!(self.power_cut.is_some(), "a write was never acknowledged");
        }
    }

    /// Opens the log again, and finds in it what was acknowledged and maybe some of what was not.
    fn reopen(&mut self) {
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        let (wal, recovered) = try_open(&self.disk, watched().0).expect("every crash can be recovered from");
        let found = (acknowledged..=self.sent.len()).find(|&count| self.matches(&recovered, count));
        let Some(count) = found else {
            panic!(
                "recovered {recovered:#?}\nacknowledged {:#?}\nall {:#?}",
                self.after(acknowledged),
                self.now()
            );
        };
        self.base = self.after(count);
        self.sent.clear();
        self.acknowledged = Arc::default();
        self.power_cut = None;
        self.wal = Some(wal);
    }

    fn matches(&self, recovered: &Recovered, count: usize) -> bool {
        let expected = self.after(count);
        (0..GROUPS).all(|group| {
            let expected = expected.get(&group).cloned().unwrap_or_default();
            let got = recovered.groups.get(&GroupId(group)).cloned().unwrap_or_default();
            let released = self.released.get(&group).copied().unwrap_or(0);
            let live = |log: &GroupLog| {
                log.entries.iter().filter(|entry| entry.index > released).cloned().collect::<Vec<_>>()
            };
            expected.hard_state == got.hard_state && live(&expected) == live(&got)
        })
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Entries { group, count, payload_bytes } => {
                let last = self.last_index(group);
                let frames =
                    (1..=u64::from(count)).map(|n| self.entry(group, last + n, payload_bytes)).collect();
                self.send(frames);
            }
            Step::Overwrite { group, back } => {
                let index = self.above_released(group, back);
                let frame = self.entry(group, index, 100);
                self.send(vec![frame]);
            }
            Step::Truncate { group, back } => {
                let from_index = self.above_released(group, back);
                self.send(vec![Frame::Truncate { group: GroupId(group), from_index, term: 1 }]);
            }
            Step::HardState { group } => {
                self.counter += 1;
                let frame = hard_state(group, self.counter);
                self.send(vec![frame]);
            }
            Step::Settle => self.settle(),
            Step::Release { group, keep } => self.release(group, keep),
            Step::PowerCut { after, seed } => {
                if self.power_cut.is_none() {
                    self.power_cut = Some(seed);
                    self.disk.stop_after(after);
                } else {
                    self.cut_power();
                }
            }
            Step::Restart { clean } => self.restart(clean),
        }
    }

    fn above_released(&self, group: u32, back: u64) -> u64 {
        let released = self.released.get(&group).copied().unwrap_or(0);
        self.last_index(group).saturating_sub(back).max(released + 1)
    }

    fn release(&mut self, group: u32, keep: u64) {
        let acknowledged = self.after(self.acknowledged.load(Ordering::Acquire));
        let last =
            |groups: &Groups| groups.get(&group).and_then(|log| Some(log.entries.last()?.index)).unwrap_or(0);
        let through = last(&acknowledged).min(last(&self.now())).saturating_sub(keep);
        let released = self.released.entry(group).or_default();
        *released = through.max(*released);
        self.wal.as_ref().expect("open").release(GroupId(group), through);
    }

    fn cut_power(&mut self) {
        let Some(seed) = self.power_cut else { return };
        // First of all nothing may become durable any more, so that no acknowledgement comes after the picture.
        self.disk.stop_after(0);
        let disk = self.disk.after_power_cut(seed);
        self.wal = None;
        self.disk = disk;
        self.reopen();
    }

    fn restart(&mut self, clean: bool) {
        if self.power_cut.is_some() {
            return self.cut_power();
        }
        let wal = self.wal.take().expect("open");
        if clean {
            wal.close();
        } else {
            drop(wal);
        }
        self.reopen();
    }
}

fn run(disk: SimDisk, steps: Vec<Step>) {
    let mut model = Model::start(disk);
    for step in steps {
        model.perform(step);
    }
    model.power_cut.get_or_insert(99);
    model.cut_power();
    model.restart(true);
}

#[test]
fn the_model_notices_a_disk_that_does_not_sync() {
    let lost = (0..50).any(|seed| {
        let disk = SimDisk::new(seed);
        disk.skip_syncs();
        let write = Step::Entries { group: 1, count: 3, payload_bytes: 2000 };
        let steps = vec![write, write, Step::Settle, Step::PowerCut { after: 100, seed }, write];
        std::thread::spawn(|| run(disk, steps)).join().is_err()
    });
    assert!(lost, "acknowledged frames survived without any sync");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 300, ..ProptestConfig::default() })]
    #[test]
    fn every_acknowledged_frame_survives_every_power_cut(steps in prop::collection::vec(step(), 1..150)) {
        run(SimDisk::new(7), steps);
    }
}
