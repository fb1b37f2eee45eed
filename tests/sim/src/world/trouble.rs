//! What goes wrong, and its end.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::SliceRandom;
use schemas::NodeId;

use super::{Event, Phase, World};
use crate::invariants::Violation;
use crate::mischief::Mischief;
use crate::plan;

impl World {
    pub(super) fn next_mischief(&mut self) -> Result<(), Violation> {
        let pause = self.random.gen_range(50..self.options.pause_ms);
        // What was altered is to be found where nothing else goes wrong.
        if self.invariants.alteration().is_some() || self.is_about_to_alter() {
            self.at(pause, Event::Mischief);
            return Ok(());
        }
        if self.now_ms >= self.options.time_ms {
            return self.heal_everything();
        }
        let nodes = self.nodes();
        let mischief = Mischief::draw(&mut self.random, self.options.weights, &nodes, plan::GROUPS);
        if self.is_survivable(&mischief) {
            self.note(&mischief);
            self.mischief += 1;
            self.make(&mischief);
        }
        self.at(pause, Event::Mischief);
        Ok(())
    }

    /// Nothing survives that a second replica is lost or damaged, or another one leaves, before the first has its
    /// successor or is mended.
    fn is_survivable(&mut self, mischief: &Mischief) -> bool {
        match mischief {
            Mischief::Wipe(_) | Mischief::Damage(..) => {
                let survives = self.can_lose_one();
                self.is_mourning |= survives;
                survives
            }
            Mischief::Corrode(node) => self.can_lose_one() && self.is_spared(*node),
            Mischief::Rot(_, partition) => self.can_do_without_one(plan::group(*partition)),
            Mischief::Move(..) => !self.mourns() && self.is_sound(),
            _ => true,
        }
    }

    /// A replica was lost and has no successor yet.
    fn mourns(&mut self) -> bool {
        self.is_mourning &= !self.is_whole() || self.is_doomed();
        self.is_mourning
    }

    /// A replica has not gone yet that will go as soon as it has leave.
    fn is_doomed(&mut self) -> bool {
        let Some((node, group, replica)) = self.doomed else { return false };
        let is_there = self.replica_at(node, group) == Some(replica);
        if !is_there {
            self.doomed = None;
        }
        is_there
    }

    /// Of this group all that was acknowledged is on others, too, and whole there.
    fn can_do_without_one(&mut self, group: u32) -> bool {
        let has_others = self.leaders().get(&group).is_some_and(|leader| {
            let members = &leader.membership;
            members.voters.len() > 2 && members.learners.is_empty() && !members.is_joint()
        });
        has_others && self.steward.replicas_min() > 2 && !self.mourns() && self.is_sound()
    }

    pub(super) fn can_lose_one(&mut self) -> bool {
        self.steward.replicas_min() > 2 && self.is_whole() && self.is_sound() && !self.is_doomed()
    }

    fn make(&mut self, mischief: &Mischief) {
        let now_ms = self.now_ms;
        match *mischief {
            Mischief::Crash(node) => {
                let restart = self.random.gen_range(10..6000);
                self.crash(node, restart);
            }
            Mischief::CrashAll => {
                for node in self.nodes() {
                    let restart = self.random.gen_range(10..3000);
                    self.crash(node, restart);
                }
            }
            Mischief::Wipe(node) => self.wipe(node),
            Mischief::Damage(node, group) => {
                self.doomed = self.replica_at(node, group).map(|replica| (node, group, replica));
                self.damage(node, group);
            }
            Mischief::Rot(node, partition) => self.rot(node, partition),
            Mischief::Corrode(node) => self.corrode(node),
            Mischief::Alter(node, group) => {
                self.heal();
                self.to_alter = Some((node, group, now_ms + plan::ALTER_MS));
            }
            Mischief::Full(node, ms) => self.fill(node, ms),
            Mischief::Stall(node, ms) => self.on_host(node, |host| host.stalled_until = now_ms + ms),
            Mischief::Skew(node, ms) => self.on_host(node, |host| host.skew_ms = ms),
            Mischief::Freeze(node, ms) => {
                self.on_host(node, |host| host.frozen_at = Some(now_ms));
                self.at(ms, Event::Thaw(node, now_ms));
            }
            Mischief::CutOneWay(from, to) => self.network.cut(from, to),
            Mischief::Part(one, other) => self.network.part(one, other),
            Mischief::Isolate(node) => {
                self.nodes().into_iter().filter(|other| *other != node).for_each(|other| {
                    self.network.part(node, other);
                });
            }
            Mischief::Weather(lost, twice, delay_ms) => {
                (self.network.lost, self.network.twice, self.network.delay_ms) = (lost, twice, delay_ms);
            }
            Mischief::Heal => self.heal(),
            Mischief::Move(group, count) => {
                let mut nodes = self.nodes();
                nodes.shuffle(&mut self.random);
                self.steward.want(group, nodes.into_iter().take(count).collect::<BTreeSet<NodeId>>());
            }
            Mischief::HandOver(group) => self.hand_over(group),
        }
    }

    fn damage(&mut self, node: NodeId, group: u32) {
        if let Some(own) = self.replica_at(node, group) {
            self.invariants.damaged(group, own);
            self.with_hub(node, |hub| hub.damage(group, own.number()));
        }
    }

    fn hand_over(&mut self, group: u32) {
        let leaders = self.leaders();
        let Some(status) = leaders.get(&group) else { return };
        if let (Some(to), Some(own)) = (status.membership.voters.choose(&mut self.random), status.own) {
            self.with_hub(NodeId(own.node()), |hub| drop(hub.transfer(group, *to)));
        }
    }

    pub(super) fn heal(&mut self) {
        self.network.heal();
        for host in self.hosts.values_mut() {
            host.frozen_at = None;
            host.stalled_until = host.stalled_until.min(self.now_ms);
            host.full_until = self.now_ms;
        }
        self.nodes().into_iter().for_each(|node| self.room_again(node));
    }

    fn heal_everything(&mut self) -> Result<(), Violation> {
        self.note(&"everything is healed");
        self.heal();
        for node in self.nodes() {
            self.start(node)?;
        }
        // A disk on which only little is left need not be in anybody's way.
        let short = self.nodes().choose(&mut self.random).copied();
        if let Some(node) = short {
            self.note(&format_args!("hub {node} has little room"));
            self.run_short(node, true);
        }
        self.phase = Phase::Healed;
        self.progress = self.acknowledged();
        self.at(plan::LOOK_MS, Event::Rest(self.now_ms + plan::REST_MS));
        Ok(())
    }
}
