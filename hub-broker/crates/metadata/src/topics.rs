//! Creating, configuring and deleting topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::mqtt::log_topic;
use schemas::{ShardId, TopicId, TopicName};
use uuid::Uuid;

use crate::command::Command;
use crate::config::{ConfigError, TopicConfig};
use crate::error::{
    AdmitAgentsError, ConfigureTopicError, CreateTopicError, DeleteTopicError, EnsureTopicError, Unavailable,
};
use crate::handle::Metadata;
use crate::limits::{HEARSAY, PARTITIONS_PER_TOPIC_MAX};
use crate::principal::Principal;
use crate::response::Refusal;
use crate::topic::{PartitionPlacement, Topic};

/// A topic that is to be.
#[derive(Clone, Debug)]
pub struct CreateTopic {
    pub name: TopicName,
    /// `None`: the cluster's default.
    pub partitions: Option<i32>,
    /// −1 or 1 to the number of hubs that are not draining. The partitions have as many replicas as their shards, whatever it says.
    pub replication_factor: i16,
    /// Kafka's names; a key without a value is left at its default.
    pub config: Vec<(String, Option<String>)>,
    /// Only check. The topic that comes back then has no identity and no place.
    pub validate_only: bool,
}

impl CreateTopic {
    /// A topic with everything at its default, which for how devices are to be set is compaction.
    #[must_use]
    pub fn new(name: TopicName) -> Self {
        let is_desired = name.as_str() == log_topic::DESIRED;
        let compacted = ("cleanup.policy".to_owned(), Some("compact".to_owned()));
        let config = is_desired.then_some(compacted).into_iter().collect();
        Self { name, partitions: None, replication_factor: -1, config, validate_only: false }
    }
}

impl Metadata {
    /// Creates a topic; returns when its partitions are open.
    ///
    /// # Errors
    /// What is wrong with the request, or why the cluster cannot take it now.
    pub async fn create_topic(
        &self,
        principal: &Principal,
        request: CreateTopic,
    ) -> Result<Arc<Topic>, CreateTopicError> {
        let (partitions, config) = self.check_create(principal, &request)?;
        let CreateTopic { name, validate_only, .. } = request;
        if validate_only {
            return Ok(Arc::new(planned(name, partitions, config)));
        }
        let id = TopicId(Uuid::new_v4());
        let settings = config.overrides().clone();
        let command = Command::CreateTopic { name: name.clone(), id, partitions, settings };
        match self.propose(&command).await? {
            Ok(_) => self.settled(id).await?.ok_or(CreateTopicError::DeletedMeanwhile(name)),
            Err(Refusal::TopicExists) => Err(CreateTopicError::Exists(name)),
            Err(reason) => Err(CreateTopicError::Limit { name, reason }),
        }
    }

    /// The topic of that name; one that does not exist is created with defaults where that is allowed.
    ///
    /// # Errors
    /// There is none and none may be created, or creating it failed.
    pub async fn ensure_topic(
        &self,
        principal: &Principal,
        name: &TopicName,
    ) -> Result<Arc<Topic>, EnsureTopicError> {
        loop {
            if let Some(topic) = self.topic(name) {
                if let Some(topic) = self.settled(topic.id).await.map_err(CreateTopicError::from)? {
                    return Ok(topic);
                }
                continue;
            }
            if !self.inner.config.auto_create && !log_topic::ALL.contains(&name.as_str()) {
                return Err(EnsureTopicError::Unknown(name.clone()));
            }
            match self.create_topic(principal, CreateTopic::new(name.clone())).await {
                // Somebody else was faster; word of it may still be on its way here.
                Err(CreateTopicError::Exists(_)) => self.hear_of(name).await,
                created => return Ok(created?),
            }
        }
    }

    /// As [`Metadata::ensure_topic`], for agents: from now on the topic cannot be compacted.
    ///
    /// # Errors
    /// It is compacted, or there is none and none may be created.
    pub async fn admit_agents(
        &self,
        principal: &Principal,
        name: &TopicName,
    ) -> Result<Arc<Topic>, AdmitAgentsError> {
        let topic = self.ensure_topic(principal, name).await?;
        if topic.agent_fed {
            return Ok(topic);
        }
        match self.propose(&Command::AdmitAgents { id: topic.id }).await? {
            Ok(_) => {
                let topic = self.view().topic_by_id(topic.id).cloned();
                topic.ok_or_else(|| AdmitAgentsError::DeletedMeanwhile(name.clone()))
            }
            Err(Refusal::AgentsAndCompaction) => Err(AdmitAgentsError::Compacted(name.clone())),
            Err(Refusal::UnknownTopic) => Err(AdmitAgentsError::DeletedMeanwhile(name.clone())),
            Err(_) => Err(Unavailable::OtherAnswer.into()),
        }
    }

    /// Sets some keys, and puts those without a value back to their defaults; returns when the shards know.
    ///
    /// # Errors
    /// No such topic, a key or value that cannot be, or the metadata group does not take commands.
    pub async fn configure_topic(
        &self,
        principal: &Principal,
        name: &TopicName,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<Arc<Topic>, ConfigureTopicError> {
        if name.is_internal() && !principal.is_internal() {
            return Err(ConfigureTopicError::Internal(name.clone()));
        }
        let unknown = || ConfigureTopicError::Unknown(name.clone());
        let topic = self.topic(name).ok_or_else(unknown)?;
        let config = topic.config.changed(changes)?;
        config.fits(self.view().replication_factor(), topic.agent_fed)?;
        let settings = config.overrides().clone();
        match self.propose(&Command::ConfigureTopic { id: topic.id, settings }).await? {
            Ok(_) => self.settled(topic.id).await?.ok_or_else(unknown),
            Err(Refusal::AgentsAndCompaction) => Err(ConfigError::agent_fed().into()),
            Err(Refusal::UnknownTopic) => Err(unknown()),
            Err(_) => Err(Unavailable::OtherAnswer.into()),
        }
    }

    /// Deletes a topic. It is out of sight when this returns; its files go in the background.
    ///
    /// # Errors
    /// No such topic, one of the hub's own, or the metadata group does not take commands.
    pub async fn delete_topic(
        &self,
        principal: &Principal,
        name: &TopicName,
    ) -> Result<(), DeleteTopicError> {
        if name.is_internal() && !principal.is_internal() {
            return Err(DeleteTopicError::Internal(name.clone()));
        }
        let topic = self.topic(name).ok_or_else(|| DeleteTopicError::Unknown(name.clone()))?;
        match self.propose(&Command::DeleteTopic { id: topic.id }).await? {
            // Unknown by now: somebody was faster, or the command came twice while the leader changed.
            Ok(_) | Err(Refusal::UnknownTopic) => Ok(()),
            Err(_) => Err(Unavailable::OtherAnswer.into()),
        }
    }

    fn check_create(
        &self,
        principal: &Principal,
        request: &CreateTopic,
    ) -> Result<(i32, TopicConfig), CreateTopicError> {
        let view = self.view();
        if request.name.is_internal() && !principal.is_internal() {
            return Err(CreateTopicError::Internal(request.name.clone()));
        }
        if view.topic(&request.name).is_some() {
            return Err(CreateTopicError::Exists(request.name.clone()));
        }
        let partitions = request.partitions.unwrap_or(self.inner.config.partitions_default);
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&partitions) {
            let max = PARTITIONS_PER_TOPIC_MAX;
            return Err(CreateTopicError::InvalidPartitions { given: partitions, max });
        }
        check_replication_factor(request.replication_factor, view.active_hub_count())?;
        let config = TopicConfig::parse(&request.config)?;
        config.fits(view.replication_factor(), false)?;
        Ok((partitions, config))
    }

    /// Waits until this hub knows of the topic too; not for long, as it may be gone again.
    async fn hear_of(&self, name: &TopicName) {
        let mut versions = self.subscribe();
        let has_come = versions.wait_for(|_| self.topic(name).is_some());
        // Whatever came of it, the next look at the view says.
        let _ = tokio::time::timeout(HEARSAY, has_come).await;
    }

    /// Waits until the shards know the topic as it is now. `None`: it is gone.
    async fn settled(&self, id: TopicId) -> Result<Option<Arc<Topic>>, Unavailable> {
        let mut versions = self.subscribe();
        let wait = async {
            loop {
                match self.view().topic_by_id(id) {
                    Some(topic) if topic.is_settled() => return Some(topic.clone()),
                    Some(_) => {}
                    None => return None,
                }
                // The sender lives as long as this handle does.
                if versions.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(self.inner.config.settle_timeout, wait)
            .await
            .map_err(|_| Unavailable::NotSettled)
    }
}

fn check_replication_factor(given: i16, hubs: usize) -> Result<(), CreateTopicError> {
    let fits = given == -1 || usize::try_from(given).is_ok_and(|given| (1..=hubs).contains(&given));
    if fits { Ok(()) } else { Err(CreateTopicError::InvalidReplicationFactor { given, hubs }) }
}

fn planned(name: TopicName, partitions: i32, config: TopicConfig) -> Topic {
    let partitions = (0..partitions).map(|_| PartitionPlacement::on(ShardId(0))).collect();
    Topic {
        name,
        id: TopicId(Uuid::nil()),
        partitions,
        config,
        agent_fed: false,
        changed_at: 0,
        settled_at: 0,
    }
}
