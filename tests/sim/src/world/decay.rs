//! Disks that forget, lie or are full, and what is done about it: comparing, reading through, mending, compacting.

use rand::Rng;
use schemas::NodeId;
use shards::PartitionCommand;
use shards::simulation::{Hub, ReplicaId, ReplicaQuestion, SegmentDamaged, alter};

use super::{Event, Phase, World};
use crate::host::{Corroded, Host};
use crate::invariants::{Alteration, Violation};
use crate::plan;

/// A byte of a replica's segments is another than was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotten {
    node: NodeId,
    partition: i32,
    replica: ReplicaId,
}

impl World {
    pub(super) fn replica_at(&mut self, node: NodeId, group: u32) -> Option<ReplicaId> {
        let hub = self.hosts.get_mut(&node).and_then(Host::hub)?;
        hub.status().into_iter().find(|status| status.group == group)?.own
    }

    /// A question and its answer both have to get through.
    pub(super) fn deliver_question(&mut self, from: NodeId, epoch: u64, question: ReplicaQuestion) {
        let to = NodeId(question.to().node());
        let is_open = self.network.is_open(from, to) && self.network.is_open(to, from);
        let is_lost = self.random.gen_range(0..1000) < self.network.lost;
        if self.epoch(from) != epoch || !is_open || is_lost {
            return;
        }
        let Some(mut host) = self.hosts.remove(&from) else { return };
        let other = self.hosts.get_mut(&to).and_then(Host::hub);
        if let (Some(hub), Some(other)) = (host.hub(), other) {
            hub.ask(question, other);
        }
        self.hosts.insert(from, host);
        self.with_hub(to, |_| {});
        self.with_hub(from, |_| {});
    }

    /// Makes a segment again from the hubs that can be reached.
    pub(super) fn mend(&mut self, node: NodeId, epoch: u64, damaged: SegmentDamaged) {
        let Some(mut host) = self.hosts.remove(&node) else { return };
        let reachable =
            |other: NodeId| self.network.is_open(node, other) && self.network.is_open(other, node);
        let others: Vec<&Hub> = self
            .hosts
            .iter_mut()
            .filter(|(other, _)| reachable(**other))
            .filter_map(|(_, host)| host.hub().map(|hub| &*hub))
            .collect();
        if host.epoch == epoch
            && let Some(hub) = host.hub()
        {
            hub.mend(damaged, &others);
        }
        self.hosts.insert(node, host);
        self.with_hub(node, |_| {});
    }

    pub(super) fn scrub(&mut self, node: NodeId) {
        let partition = plan::partition(self.random.gen_range(0..plan::PARTITIONS));
        self.with_hub(node, |hub| hub.scrub(partition));
        self.at(plan::SCRUB_MS, Event::Scrub(node));
    }

    /// A leader closes the segment first, as the program does.
    pub(super) fn compact(&mut self, node: NodeId) -> Result<(), Violation> {
        self.at(plan::COMPACT_MS, Event::Compact(node));
        // Afterwards nobody can tell any more what there was.
        self.look(node)?;
        let (shard, partition) =
            (plan::shard(plan::COMPACTED_PARTITION), plan::partition(plan::COMPACTED_PARTITION));
        let rolls = self.phase != Phase::Quiet;
        self.with_hub(node, |hub| {
            if rolls && hub.serving(plan::group(plan::COMPACTED_PARTITION)).is_some() {
                hub.command(shard, PartitionCommand::Roll { partition }, Box::new(drop));
            }
            hub.compact(shard, partition, plan::TOMBSTONE_MS);
        });
        Ok(())
    }

    pub(super) fn rot(&mut self, node: NodeId, index: i32) {
        let Some(replica) = self.replica_at(node, plan::group(index)) else { return };
        let random = &mut self.random;
        let Some(hub) = self.hosts.get_mut(&node).and_then(Host::hub) else { return };
        if hub.rot((plan::shard(index), plan::partition(index)), &mut |below| random.gen_range(0..below)) {
            self.invariants.damaged(plan::group(index), replica);
            self.rotten.push(Rotten { node, partition: index, replica });
        }
    }

    /// Whether the hub may give up all its replicas.
    pub(super) fn is_spared(&mut self, node: NodeId) -> bool {
        self.hosts.get_mut(&node).and_then(Host::hub).is_some_and(|hub| hub.is_spared())
    }

    pub(super) fn corrode(&mut self, node: NodeId) {
        let own = (0..plan::GROUPS).filter_map(|group| Some((group, self.replica_at(node, group)?)));
        let replicas: Vec<(u32, ReplicaId)> = own.collect();
        let restart = self.random.gen_range(10..3000);
        self.crash(node, restart);
        let (random, host) = (&mut self.random, self.hosts.get_mut(&node));
        let Some(host) = host else { return };
        let lsn = host.disk().and_then(|disk| disk.corrode(&mut |below| random.gen_range(0..below)));
        let Some(lsn) = lsn else { return };
        replicas.iter().for_each(|(group, id)| self.invariants.doubtful(*group, *id));
        host.corroded = Some(Corroded { lsn: lsn.0, replicas });
        self.is_mourning = true;
        self.note(&format_args!("frame {lsn} of hub {node}'s write-ahead log is bad"));
    }

    /// A hub whose log went bad has started: it knows, and has given up what it may have lost.
    pub(super) fn look_for_corrosion(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(host) = self.hosts.get_mut(&node) else { return Ok(()) };
        let Some(Corroded { lsn, replicas }) = host.corroded.take() else { return Ok(()) };
        if !host.hub().is_some_and(|hub| hub.found_its_log_damaged()) {
            return Err(Violation::Unnoticed(format!("frame {lsn} of hub {node}'s write-ahead log")));
        }
        for (group, id) in replicas {
            if self.replica_at(node, group) == Some(id) {
                self.invariants.sound(group, id);
            }
        }
        Ok(())
    }

    /// A replica has copied another with what is damaged there.
    pub(super) fn inherit_damage(&mut self, node: NodeId, group: u32) {
        let Some(replica) = self.replica_at(node, group) else { return };
        self.invariants.damaged(group, replica);
        for partition in (0..plan::PARTITIONS).filter(|index| plan::group(*index) == group) {
            self.rotten.push(Rotten { node, partition, replica });
        }
    }

    /// Whether everything that has changed on a disk is mended, or gone with its replica.
    pub(super) fn is_sound(&mut self) -> bool {
        let mut rotten = std::mem::take(&mut self.rotten);
        rotten.retain(|it| {
            if self.hosts.get(&it.node).is_some_and(|host| !host.is_up()) {
                return true;
            }
            let is_there = self.replica_at(it.node, plan::group(it.partition)) == Some(it.replica);
            let hub = self.hosts.get_mut(&it.node).and_then(Host::hub);
            is_there && hub.is_some_and(|hub| !hub.is_sound(plan::partition(it.partition)))
        });
        self.rotten = rotten;
        self.rotten.is_empty()
    }

    /// A replica is to be altered, and its group is waited for: nothing else goes wrong meanwhile.
    pub(super) fn is_about_to_alter(&mut self) -> bool {
        let Some((node, group, until)) = self.to_alter else { return false };
        if self.hosts.values().all(Host::is_up) && self.can_lose_one() {
            self.to_alter = None;
            self.alter(node, group);
        } else if self.now_ms > until {
            self.to_alter = None;
        }
        true
    }

    /// The hub crashes, and an entry is another when it reads its log again: one that everybody has applied, so that
    /// nobody can have it from there.
    fn alter(&mut self, node: NodeId, group: u32) {
        let Some(replica) = self.replica_at(node, group) else { return };
        let applied = self.hosts.values_mut().filter_map(|host| host.hub()?.applied(group));
        let through = applied.min().unwrap_or(0);
        let Some(hub) = self.hosts.get_mut(&node).and_then(Host::hub) else { return };
        let (after, generation) = (hub.checkpointed(group), hub.generation(group));
        let restart = self.random.gen_range(10..1000);
        self.crash(node, restart);
        let disk = self.hosts.get(&node).and_then(Host::disk);
        if let Some(index) = disk.and_then(|disk| alter(disk, group, after, through)) {
            self.note(&format_args!("entry {index} of group {group} is another on hub {node}"));
            self.is_mourning = true;
            let since_ms = self.now_ms + restart;
            self.invariants.altered(Alteration { group, replica, index, generation, since_ms });
        }
    }

    pub(super) fn look_for_alteration(&mut self) -> Result<(), Violation> {
        let Some(it) = self.invariants.alteration() else { return Ok(()) };
        let hub = self.hosts.get_mut(&NodeId(it.replica.node())).and_then(Host::hub);
        self.invariants.look_for_alteration(self.now_ms, hub)
    }

    pub(super) fn fill(&mut self, node: NodeId, ms: u64) {
        let until = self.now_ms + ms;
        self.on_host(node, |host| host.full_until = until);
        self.with_hub(node, |hub| hub.starve(true));
        self.at(ms, Event::Room(node));
    }

    pub(super) fn room_again(&mut self, node: NodeId) {
        let is_full = self.hosts.get(&node).is_some_and(|host| host.is_full(self.now_ms));
        if !is_full {
            self.with_hub(node, |hub| hub.starve(false));
        }
    }

    /// One of the hubs has so little room that it takes no appends, though it could apply some; or there is enough again.
    pub(super) fn run_short(&mut self, node: NodeId, is_short: bool) {
        self.on_host(node, |host| host.is_short = is_short);
        self.with_hub(node, |hub| hub.lack_room(is_short));
    }

    /// Every hub tells those whom it reaches whether it waits for room.
    pub(super) fn tell_of_room(&mut self) {
        for node in self.nodes() {
            let host = self.hosts.get(&node);
            let up = host.filter(|host| host.is_up());
            let Some(waits) = up.map(|host| !host.has_room(self.now_ms)) else {
                continue;
            };
            for other in self.nodes() {
                if other != node && self.network.is_open(node, other) {
                    self.with_hub(other, |hub| hub.hear_of_room(node, waits));
                }
            }
        }
    }

    /// A hub that has had room for a while goes on.
    pub(super) fn look_for_room(&mut self, node: NodeId) -> Result<(), Violation> {
        let now_ms = self.now_ms;
        let Some(host) = self.hosts.get_mut(&node) else { return Ok(()) };
        if host.frozen_at.is_some() || host.full_until + plan::GOES_ON_MS > now_ms {
            return Ok(());
        }
        let Some(hub) = host.hub() else { return Ok(()) };
        let statuses = hub.status();
        self.invariants.has_room(node, &statuses)
    }
}
