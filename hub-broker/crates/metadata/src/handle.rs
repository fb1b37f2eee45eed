//! The handle by which everyone reads and changes the metadata.

use std::sync::Arc;

use schemas::{PartitionIndex, ProducerId, TopicName};
use shards::{Levels, PartitionReader, ProposeError, Shards};
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::background;
use crate::command::Command;
use crate::error::{Ousted, ProducerIdError, RegisterHubError, StartError, Unavailable, Unfit};
use crate::limits::{
    HUB_TEXT_BYTES_MAX, MAJORITY_PATIENCE, METADATA_GROUP, PRODUCER_ID_BLOCK, PROPOSE_RETRY,
};
use crate::machine::MetadataMachine;
use crate::majority::{NoMajority, Sight};
use crate::options::Config;
use crate::producer_ids::ProducerIds;
use crate::propose::propose;
use crate::response::{Outcome, Refusal, Response};
use crate::start::enter;
use crate::topic::{Hub, Topic};
use crate::view::{View, ViewSource};

/// A cheap handle. The background work ends with the last of them, or with [`Metadata::stop`].
#[derive(Clone)]
pub struct Metadata {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shards: Shards,
    pub(crate) views: ViewSource,
    pub(crate) config: Config,
    levels: Option<Levels>,
    producer_ids: ProducerIds,
    background: DropGuard,
    ousted: watch::Receiver<Option<Ousted>>,
}

impl Metadata {
    /// The state machine for `Shards::start`, and where its views appear for [`Metadata::start`].
    #[must_use]
    pub fn state_machine() -> (MetadataMachine, ViewSource) {
        MetadataMachine::new()
    }

    /// Forms the cluster if that has not been done, has this hub registered, and begins the background work: opening
    /// and closing partitions, retention, compaction, the replicas. A hub that has just joined a cluster waits here for
    /// its replica of the metadata. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The metadata group does not take commands, or the data directory cannot be written.
    pub async fn start(
        shards: Shards,
        views: ViewSource,
        config: Config,
        this: Hub,
    ) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let background = stop.clone().drop_guard();
        let levels = this.levels;
        let ousted = background::begin_watch(&shards, &views, levels, &stop);
        let unregistered = tokio::select! {
            entered = enter(&shards, &views, this) => entered?,
            why = ousting(ousted.clone()) => return Err(StartError::Ousted(why)),
        };
        judge(levels, views.load().feature_level, unregistered.is_none())?;
        background::begin(&shards, &views, &config, unregistered, &stop);
        let producer_ids = ProducerIds::default();
        let inner = Inner { shards, views, config, levels, producer_ids, background, ousted };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Ends the background work. Reading and proposing go on for as long as the shards do.
    pub fn stop(&self) {
        self.inner.background.token().cancel();
    }

    /// Returns when this hub is no part of its cluster any more: it has nothing left to do and must end.
    pub async fn ousted(&self) -> Ousted {
        ousting(self.inner.ousted.clone()).await
    }

    /// What a group lacks for its majority, as this hub sees it now. Group 0 is the metadata's, shard n is group n + 1.
    #[must_use]
    pub fn no_majority(&self, group: u32) -> Option<NoMajority> {
        Sight::now(self.shards(), &self.view()).no_majority(group)
    }

    /// The metadata as this hub knows it now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.inner.views.load()
    }

    /// Tells of every new version of the view.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.views.subscribe()
    }

    #[must_use]
    pub fn shards(&self) -> &Shards {
        &self.inner.shards
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The feature levels that this hub's release supports.
    pub(crate) fn levels(&self) -> Option<Levels> {
        self.inner.levels
    }

    #[must_use]
    pub fn topic(&self, name: &TopicName) -> Option<Arc<Topic>> {
        self.view().topic(name).cloned()
    }

    /// A partition that is open on this hub.
    #[must_use]
    pub fn partition(
        &self,
        name: &TopicName,
        index: PartitionIndex,
    ) -> Option<(Arc<Topic>, PartitionReader)> {
        let topic = self.topic(name)?;
        topic.placement(index)?;
        let reader = self.inner.shards.partition(topic.partition_id(index))?;
        Some((topic, reader))
    }

    /// A producer id that nobody has had before, below those of agents' streams.
    ///
    /// # Errors
    /// The metadata group does not take commands, or has no ids left.
    pub async fn next_producer_id(&self) -> Result<ProducerId, ProducerIdError> {
        loop {
            if let Some(id) = self.inner.producer_ids.take() {
                return Ok(id);
            }
            match self.propose(&Command::AllocateProducerIds { count: PRODUCER_ID_BLOCK }).await? {
                Ok(Outcome::ProducerIds { first, count }) => {
                    self.inner.producer_ids.add(first..first.saturating_add(count));
                }
                Err(Refusal::NoProducerIds) => return Err(ProducerIdError::Exhausted),
                _ => return Err(Unavailable::OtherAnswer.into()),
            }
        }
    }

    /// Tells the cluster where this hub can be reached. Saying the same twice costs nothing.
    ///
    /// # Errors
    /// A text that is too long, too many hubs, or the metadata group does not take commands.
    pub async fn register_hub(&self, hub: Hub) -> Result<(), RegisterHubError> {
        if self.view().hub(hub.node) == Some(&hub) {
            return Ok(());
        }
        if hub.texts().any(|text| text.len() > HUB_TEXT_BYTES_MAX) {
            return Err(RegisterHubError::TooLong { max: HUB_TEXT_BYTES_MAX });
        }
        match self.propose(&Command::RegisterHub(hub)).await? {
            Ok(_) => Ok(()),
            Err(Refusal::TooManyHubs) => Err(RegisterHubError::TooManyHubs),
            Err(_) => Err(Unavailable::OtherAnswer.into()),
        }
    }

    pub(crate) async fn propose(&self, command: &Command) -> Result<Response, Unavailable> {
        let response = tokio::select! {
            proposed = propose(&self.inner.shards, command) => proposed.map_err(|error| self.explained(error))?,
            cause = self.without_majority() => return Err(Unavailable::NoMajority(Box::new(cause))),
        };
        if let Ok(Outcome::Done { version } | Outcome::Registered { version, .. }) = response {
            self.caught_up_with(version).await?;
        }
        Ok(response)
    }

    /// Returns when there has been no majority to agree on anything for a while.
    async fn without_majority(&self) -> NoMajority {
        let (mut looks, mut since) = (interval(PROPOSE_RETRY), None);
        loop {
            looks.tick().await;
            let Some(cause) = self.no_majority(METADATA_GROUP) else {
                since = None;
                continue;
            };
            if since.get_or_insert_with(Instant::now).elapsed() >= MAJORITY_PATIENCE {
                return cause;
            }
        }
    }

    /// Where nobody took a command, why that is.
    fn explained(&self, error: Unavailable) -> Unavailable {
        match error {
            Unavailable::Propose(ProposeError::NotLeader { .. }) => self
                .no_majority(METADATA_GROUP)
                .map_or(Unavailable::NoLeader, |cause| Unavailable::NoMajority(Box::new(cause))),
            other => other,
        }
    }

    /// Waits until this hub knows what was agreed on: the leader that answered may be ahead of it.
    async fn caught_up_with(&self, version: u64) -> Result<(), Unavailable> {
        let mut versions = self.subscribe();
        let caught_up = versions.wait_for(|known| *known >= version);
        match tokio::time::timeout(self.inner.config.settle_timeout, caught_up).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unavailable::NotSettled),
        }
    }
}

/// What can be known of a release at a start. `is_current`: the catalog here is what was agreed on; else the level may have
/// risen since.
fn judge(supported: Option<Levels>, level: u16, is_current: bool) -> Result<(), Ousted> {
    match supported.map_or(Ok(()), |levels| Unfit::check(levels, level)) {
        Err(Unfit::TooNew { .. }) if !is_current => Ok(()),
        judged => judged.map_err(Ousted::from),
    }
}

async fn ousting(mut ousted: watch::Receiver<Option<Ousted>>) -> Ousted {
    match ousted.wait_for(Option::is_some).await.map(|why| *why) {
        Ok(Some(why)) => why,
        // Nobody watches any more: this hub stops, or is alone.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}
