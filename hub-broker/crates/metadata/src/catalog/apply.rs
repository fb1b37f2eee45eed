//! What each command does to the catalog.

use std::sync::Arc;

use schemas::{TopicId, TopicName};
use uuid::Uuid;

use super::{Catalog, Formed};
use crate::command::{Command, Settings};
use crate::config::{CleanupPolicy, TopicConfig};
use crate::limits::{PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX, PRODUCER_IDS_END, TOPICS_MAX};
use crate::response::{Outcome, Refusal, Response};
use crate::topic::Topic;

/// The first producer id that is handed out. Lower ones are nobody's, so that a zero is seen for what it is.
const PRODUCER_IDS_START: i64 = 1;

impl Catalog {
    pub(crate) fn apply(&mut self, command: Command) -> Response {
        match command {
            Command::FormCluster { cluster_id, data_shards, feature_level } => {
                self.form(cluster_id, data_shards, feature_level)
            }
            Command::RegisterHub(hub) => self.register_hub(hub),
            Command::CreateTopic { name, id, partitions, settings } => {
                self.create_topic(name, id, partitions, &settings)
            }
            Command::ConfigureTopic { id, settings } => self.configure_topic(id, &settings),
            Command::AdmitAgents { id } => self.admit_agents(id),
            Command::DeleteTopic { id } => self.delete_topic(id),
            Command::TopicSettled { id, version } => self.topic_settled(id, version),
            Command::TopicClosed { id } => self.topic_closed(id),
            Command::AllocateProducerIds { count } => self.allocate_producer_ids(count),
            Command::RaiseFeatureLevel { level } => self.raise_feature_level(level),
            Command::AdoptFounder { node, incarnation } => self.adopt_founder(node, incarnation),
            Command::AddReplica { group, node } => self.add_replica(group, node),
            Command::ReplicaJoined { group, number } => self.replica_joined(group, number),
            Command::LeaveReplica { group, number } => self.leave_replica(group, number),
            Command::RemoveReplica { group, number } | Command::ReplaceReplica { group, number } => {
                self.remove_replica(group, number)
            }
            Command::PreferLeader { group, number } => self.prefer_leader(group, number),
            Command::DrainHub { node, draining } => self.drain_hub(node, draining),
            Command::RemoveHub { node } => self.remove_hub(node),
            Command::ClaimNode { hub, held_by } => self.claim_node(hub, held_by),
        }
    }

    /// Nothing had to change.
    pub(super) fn unchanged(&self) -> Response {
        Ok(Outcome::Done { version: self.version })
    }

    pub(super) fn changed(&mut self) -> Response {
        self.version += 1;
        self.unchanged()
    }

    fn form(&mut self, cluster_id: Uuid, data_shards: u16, feature_level: u16) -> Response {
        if self.formed.is_some() {
            return self.unchanged();
        }
        self.formed = Some(Formed { cluster_id, data_shards });
        self.feature_level = self.feature_level.max(feature_level);
        self.next_producer_id = PRODUCER_IDS_START;
        self.changed()
    }

    fn create_topic(&mut self, name: TopicName, id: TopicId, count: i32, settings: &Settings) -> Response {
        let formed = self.formed.ok_or(Refusal::NotFormed)?;
        // Whoever lost the answer asks again, with the same id.
        if self.topics.get(&name).is_some_and(|topic| topic.id == id) {
            return self.unchanged();
        }
        if self.topics.contains_key(&name) || self.names.contains_key(&id) || self.closing.contains_key(&id) {
            return Err(Refusal::TopicExists);
        }
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&count) {
            return Err(Refusal::PartitionCount);
        }
        if self.topics.len() >= TOPICS_MAX {
            return Err(Refusal::TooManyTopics);
        }
        let partitions = self.place(count, formed.data_shards);
        if self.partition_count() + partitions.len() > PARTITIONS_MAX {
            return Err(Refusal::TooManyPartitions);
        }
        let response = self.changed();
        self.put_topic(Topic {
            name,
            id,
            partitions,
            config: TopicConfig::from_stored(settings),
            agent_fed: false,
            changed_at: self.version,
            settled_at: 0,
        });
        response
    }

    fn configure_topic(&mut self, id: TopicId, settings: &Settings) -> Response {
        let topic = self.topic_by_id(id).ok_or(Refusal::UnknownTopic)?;
        let config = TopicConfig::from_stored(settings);
        if topic.agent_fed && config.cleanup_policy == CleanupPolicy::Compact {
            return Err(Refusal::AgentsAndCompaction);
        }
        if topic.config == config {
            return self.unchanged();
        }
        let changed_at = self.version + 1;
        let topic = Topic { config, changed_at, ..Topic::clone(topic) };
        self.put_topic(topic);
        self.changed()
    }

    fn admit_agents(&mut self, id: TopicId) -> Response {
        let topic = self.topic_by_id(id).ok_or(Refusal::UnknownTopic)?;
        if topic.agent_fed {
            return self.unchanged();
        }
        if topic.config.cleanup_policy == CleanupPolicy::Compact {
            return Err(Refusal::AgentsAndCompaction);
        }
        let topic = Topic { agent_fed: true, ..Topic::clone(topic) };
        self.put_topic(topic);
        self.changed()
    }

    fn delete_topic(&mut self, id: TopicId) -> Response {
        let name = self.names.remove(&id).ok_or(Refusal::UnknownTopic)?;
        if let Some(topic) = self.topics.remove(&name) {
            self.closing.insert(id, topic);
        }
        self.changed()
    }

    fn topic_settled(&mut self, id: TopicId, version: u64) -> Response {
        // A topic that was deleted meanwhile has nothing left to settle.
        let Some(topic) = self.topic_by_id(id).filter(|topic| topic.settled_at < version) else {
            return self.unchanged();
        };
        let topic = Topic { settled_at: version, ..Topic::clone(topic) };
        self.put_topic(topic);
        self.changed()
    }

    fn topic_closed(&mut self, id: TopicId) -> Response {
        if self.closing.remove(&id).is_none() {
            return self.unchanged();
        }
        self.changed()
    }

    fn allocate_producer_ids(&mut self, count: i64) -> Response {
        self.formed.ok_or(Refusal::NotFormed)?;
        let first = self.next_producer_id;
        let end = first.checked_add(count.max(1)).filter(|end| *end <= PRODUCER_IDS_END);
        self.next_producer_id = end.ok_or(Refusal::NoProducerIds)?;
        Ok(Outcome::ProducerIds { first, count: self.next_producer_id - first })
    }

    fn raise_feature_level(&mut self, level: u16) -> Response {
        if level <= self.feature_level {
            return self.unchanged();
        }
        if !self.hubs.values().all(|member| self.may_follow(&member.hub, level)) {
            return Err(Refusal::HubTooOld);
        }
        self.feature_level = level;
        self.changed()
    }
}

impl Catalog {
    /// A topic of a snapshot, deleted or not.
    pub(super) fn restore_topic(&mut self, topic: Topic, deleted: bool) {
        if deleted {
            self.closing.insert(topic.id, Arc::new(topic));
        } else {
            self.put_topic(topic);
        }
    }
}
