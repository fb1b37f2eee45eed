//! Those who use the cluster.

use bytes::Bytes;
use rand::seq::SliceRandom;
use schemas::{NodeId, Offset};
use shards::{Append, AppendDone, AppendError, LogOptions, PartitionCommand};

use super::{Event, Phase, World};
use crate::client::{Acknowledged, Client};
use crate::host::Host;
use crate::invariants::Violation;
use crate::plan;
use crate::question::{Confirmed, Told};

impl World {
    /// Until every partition is open where it was founded.
    pub(super) fn open_partitions(&mut self) {
        for index in 0..plan::PARTITIONS {
            let options = LogOptions { segment_bytes: plan::SEGMENT_BYTES };
            let partition = plan::partition(index);
            let command = PartitionCommand::Open { partition, options };
            self.with_hub(NodeId(1), |hub| {
                if hub.partition(partition).is_none() {
                    hub.command(plan::shard(index), command, Box::new(drop));
                }
            });
        }
        if self.now_ms < plan::OPENED_MS {
            self.at(plan::OPENED_MS / 10, Event::Open);
        }
    }

    fn take_note(&mut self, acknowledged: Vec<Acknowledged>) -> Result<(), Violation> {
        for batch in acknowledged {
            self.history.count(format!("{batch:?}").as_bytes());
            self.invariants.acknowledged(batch)?;
        }
        Ok(())
    }

    /// Who leads, as the hub that was asked last knows it; if it knows nothing, another is asked.
    fn leader_of(&mut self, partition: i32, asked: NodeId) -> NodeId {
        let hub = self.hosts.get_mut(&asked).and_then(Host::hub);
        match hub.and_then(|hub| hub.leader(plan::group(partition))) {
            Some(known) => known.node,
            None => *self.nodes().choose(&mut self.random).unwrap_or(&asked),
        }
    }

    /// A hub whose disk is full takes nothing more.
    fn append(&mut self, leader: NodeId, partition: i32, appends: Vec<(Append, AppendDone)>) {
        if self.hosts.get(&leader).is_some_and(|host| !host.has_room(self.now_ms)) {
            return appends.into_iter().for_each(|(_, done)| done(Err(AppendError::NoSpace)));
        }
        self.with_hub(leader, |hub| {
            for (append, done) in appends {
                hub.append(plan::shard(partition), append, done);
            }
        });
    }

    pub(super) fn client(&mut self, index: usize) -> Result<(), Violation> {
        self.at(plan::CLIENT_MS * self.options.slowness, Event::Client(index));
        let acknowledged = self.clients[index].settle(self.now_ms).map_err(Violation::Acknowledged)?;
        self.take_note(acknowledged)?;
        if self.clients[index].is_idle() && self.phase != Phase::Quiet {
            let (partition, asked) = (self.clients[index].partition, self.clients[index].leader);
            let leader = self.leader_of(partition, asked);
            self.clients[index].leader = leader;
            let appends = self.clients[index].send(self.now_ms, &mut self.random);
            self.append(leader, partition, appends);
            self.with_hub(leader, |hub| {
                hub.propose_metadata(Bytes::from_static(b"a command"), Box::new(drop));
            });
        }
        Ok(())
    }

    /// Writes on in the term in which it began; begins anew with a leader that is confirmed.
    pub(super) fn coordinator(&mut self, index: usize) -> Result<(), Violation> {
        self.at(plan::COORDINATOR_MS * self.options.slowness, Event::Coordinator(index));
        let coordinator = &mut self.coordinators[index];
        let acknowledged = coordinator.client.settle(self.now_ms).map_err(Violation::Acknowledged)?;
        self.take_note(acknowledged)?;
        let coordinator = &mut self.coordinators[index];
        let partition = coordinator.client.partition;
        let answer = coordinator.answer();
        self.check(partition, answer)?;
        let coordinator = &mut self.coordinators[index];
        if !coordinator.client.is_idle() || self.phase == Phase::Quiet {
            return Ok(());
        }
        if coordinator.client.term.is_some() {
            let client = &mut coordinator.client;
            let (leader, appends) = (client.leader, client.send(self.now_ms, &mut self.random));
            self.append(leader, partition, appends);
        } else if !coordinator.question.is_open() {
            let asked = coordinator.client.leader;
            let leader = self.leader_of(partition, asked);
            self.coordinators[index].client.leader = leader;
            let end = self.invariants.acknowledged_end(partition);
            if let Some(told) = self.ask(leader, partition) {
                let epoch = self.epoch(leader);
                self.coordinators[index].question.asked(leader, epoch, end, told);
            }
        }
        Ok(())
    }

    fn ask(&mut self, leader: NodeId, partition: i32) -> Option<Told> {
        let mut told = None;
        self.with_hub(leader, |hub| told = Some(hub.read_index(plan::group(partition))));
        told
    }

    fn check(&mut self, partition: i32, answer: Option<Confirmed>) -> Result<(), Violation> {
        let Some(confirmed) = answer.filter(|it| self.epoch(it.node) == it.epoch) else { return Ok(()) };
        let hub = self.hosts.get_mut(&confirmed.node).and_then(Host::hub);
        match hub.and_then(|hub| hub.partition(plan::partition(partition))) {
            Some(reader) => self.invariants.confirmed(partition, &reader, confirmed),
            None => Ok(()),
        }
    }

    pub(super) fn consumer(&mut self, index: usize) -> Result<(), Violation> {
        self.at(plan::CONSUMER_MS, Event::Consumer(index));
        let nodes = self.nodes();
        let consumer = &mut self.consumers[index];
        let (partition, answer) = (consumer.partition, consumer.question.answer());
        let node = consumer.choose(&nodes, &mut self.random);
        self.check(partition, answer)?;
        let Some(hub) = self.hosts.get_mut(&node).and_then(Host::hub) else { return Ok(()) };
        let Some(reader) = hub.partition(plan::partition(partition)) else { return Ok(()) };
        let group = plan::group(partition);
        let leads = hub.serving(group).is_some();
        let own = hub.status().into_iter().find(|status| status.group == group).and_then(|status| status.own);
        let Some(own) = own else { return Ok(()) };
        if self.invariants.alteration().is_some_and(|it| (it.group, it.replica) == (group, own)) {
            return Ok(());
        }
        let is_damaged = self.invariants.is_damaged(group, own);
        let consumer = &mut self.consumers[index];
        if let Some(batches) = consumer.poll(&reader, is_damaged)? {
            return self.invariants.consumed(partition, &batches, &format!("a consumer on hub {node}"));
        }
        let end = consumer.position;
        if leads
            && !consumer.question.is_open()
            && let Some(told) = self.ask(node, partition)
        {
            let epoch = self.epoch(node);
            self.consumers[index].question.asked(node, epoch, end, told);
        }
        Ok(())
    }

    /// A producer that writes once and is never heard of again; those before it are forgotten after a while.
    pub(super) fn visitor(&mut self) -> Result<(), Violation> {
        self.at(plan::VISITOR_MS * self.options.slowness, Event::Visitor);
        let acknowledged = self.visitor.settle(self.now_ms).map_err(Violation::Acknowledged)?;
        self.take_note(acknowledged)?;
        let group = plan::group(plan::VISITED_PARTITION);
        let leader = self.leaders().get(&group).and_then(|status| status.own);
        let Some(leader) = leader.filter(|_| self.phase != Phase::Quiet) else { return Ok(()) };
        let leader = NodeId(leader.node());
        self.visitors += 1;
        self.visitor = Client::visitor(self.visitors, leader);
        let appends = self.visitor.send(self.now_ms, &mut self.random);
        self.append(leader, plan::VISITED_PARTITION, appends);
        self.with_hub(leader, |hub| {
            let partition = plan::partition(plan::VISITED_PARTITION);
            let expire = PartitionCommand::ExpireProducers { partition, after_ms: plan::EXPIRE_MS };
            hub.command(plan::shard(plan::VISITED_PARTITION), expire, Box::new(drop));
        });
        Ok(())
    }

    /// The oldest batches of a partition go.
    pub(super) fn retain(&mut self) {
        self.at(plan::RETAIN_MS, Event::Retain);
        let partition = plan::partition(plan::RETAINED_PARTITION);
        let group = plan::group(plan::RETAINED_PARTITION);
        let leader = self.leaders().get(&group).and_then(|status| status.own);
        let Some(leader) = leader.filter(|_| self.phase != Phase::Quiet) else { return };
        self.with_hub(NodeId(leader.node()), |hub| {
            let Some(reader) = hub.partition(partition) else { return };
            let to = Offset(reader.high_watermark().0 - plan::RETAINED_OFFSETS);
            if to > reader.log_start() {
                let command = PartitionCommand::AdvanceStart { partition, to };
                hub.command(plan::shard(plan::RETAINED_PARTITION), command, Box::new(drop));
            }
        });
    }
}
