//! The handle by which the Kafka front speaks to the groups.

use std::sync::Arc;

use metadata::{Metadata, Principal};
use schemas::{NodeId, PartitionIndex, TopicName};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::api::{
    CommitResult, DescribedGroup, FetchedOffset, Join, Joined, Leaving, ListedGroup, Membership,
    OffsetToCommit, Sync, Synced,
};
use crate::config::Config;
use crate::coordinator::{Coordinator, GroupHandle};
use crate::error::{CommitError, ConfigError, CoordinatorError, DeleteGroupError, MemberError};
use crate::limits::{CLIENT_BYTES_MAX, NAME_BYTES_MAX, PROTOCOLS_MAX};
use crate::runtime::Runtime;
use crate::state::GroupState;
use crate::task::{Message, Reply};

/// A cheap handle to the consumer groups of this hub. They end with the last of these, or with [`Groups::stop`].
#[derive(Clone)]
pub struct Groups {
    runtime: Arc<Runtime>,
    background: Arc<DropGuard>,
}

impl Groups {
    /// Begins to read what groups have committed; returns at once. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A setting that cannot be.
    pub fn start(metadata: Metadata, config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let stop = CancellationToken::new();
        let runtime = Arc::new(Runtime::new(metadata, config, stop.clone()));
        tokio::spawn(stop.clone().run_until_cancelled_owned(crate::background::run(runtime.clone())));
        Ok(Self { runtime, background: Arc::new(stop.drop_guard()) })
    }

    /// The hub that coordinates a group: it leads the shard that keeps it. It may still be reading.
    ///
    /// # Errors
    /// A group id that cannot be, or no hub is known to lead just now.
    pub fn coordinator(&self, principal: &Principal, group_id: &str) -> Result<NodeId, CoordinatorError> {
        authorise(principal, group_id)?;
        self.runtime.coordinator_node(group_id)
    }

    /// Joins a group; answered when the group's next generation begins.
    ///
    /// # Errors
    /// As Kafka's JoinGroup.
    pub async fn join(&self, principal: &Principal, mut request: Join) -> Result<Joined, MemberError> {
        authorise(principal, &request.group_id)?;
        check_names(&request)?;
        shorten(&mut request.client_id);
        shorten(&mut request.client_host);
        let group = if request.member_id.is_empty() {
            self.runtime.find_or_begin(&request.group_id)?
        } else {
            self.runtime.find(&request.group_id)?.ok_or(MemberError::UnknownMember)?
        };
        let stem = request.group_instance_id.as_deref().unwrap_or(&request.client_id);
        let fresh_id = format!("{stem}-{}", Uuid::new_v4());
        self.ask(&group, |reply| Message::Join { request, fresh_id, reply }).await?
    }

    /// Hands in the leader's assignment, or waits for it.
    ///
    /// # Errors
    /// As Kafka's SyncGroup.
    pub async fn sync(&self, principal: &Principal, request: Sync) -> Result<Synced, MemberError> {
        let group = self.member_group(principal, &request.member.group_id)?;
        self.ask(&group, |reply| Message::Sync { request, reply }).await?
    }

    /// # Errors
    /// As Kafka's Heartbeat.
    pub async fn heartbeat(&self, principal: &Principal, member: Membership) -> Result<(), MemberError> {
        let group = self.member_group(principal, &member.group_id)?;
        self.ask(&group, |reply| Message::Heartbeat { member, reply }).await?
    }

    /// Each member has its own result, in the order given.
    ///
    /// # Errors
    /// As Kafka's LeaveGroup.
    pub async fn leave(
        &self,
        principal: &Principal,
        group_id: &str,
        members: Vec<Leaving>,
    ) -> Result<Vec<Result<(), MemberError>>, MemberError> {
        let group = self.member_group(principal, group_id)?;
        self.ask(&group, |reply| Message::Leave { members, reply }).await?
    }

    /// Keeps offsets; answered when they are durable. Results are in the order given.
    ///
    /// # Errors
    /// As Kafka's OffsetCommit, where the whole request is refused.
    pub async fn commit(
        &self,
        principal: &Principal,
        member: Membership,
        offsets: Vec<OffsetToCommit>,
    ) -> Result<Vec<CommitResult>, CommitError> {
        authorise(principal, &member.group_id)?;
        let group = if member.generation < 0 {
            self.runtime.find_or_begin(&member.group_id)?
        } else {
            self.runtime.find(&member.group_id)?.ok_or(MemberError::IllegalGeneration)?
        };
        self.ask(&group, |reply| Message::Commit { member, offsets, reply }).await?
    }

    /// What a group has committed for these partitions, in the order given; `None`: for all that it has.
    ///
    /// # Errors
    /// The coordinator cannot tell now.
    pub async fn committed(
        &self,
        principal: &Principal,
        group_id: &str,
        partitions: Option<Vec<(TopicName, PartitionIndex)>>,
    ) -> Result<Vec<FetchedOffset>, CoordinatorError> {
        authorise(principal, group_id)?;
        let coordinator = self.confirmed(group_id).await?;
        if let Some(group) = coordinator.find(group_id) {
            return self.ask(&group, |reply| Message::Committed { partitions, reply }).await;
        }
        let nothing = |(topic, partition)| FetchedOffset { topic, partition, committed: None };
        Ok(partitions.unwrap_or_default().into_iter().map(nothing).collect())
    }

    /// Every group that this hub coordinates, by id.
    ///
    /// # Errors
    /// Not all of them have been read yet.
    pub async fn list(&self, _principal: &Principal) -> Result<Vec<ListedGroup>, CoordinatorError> {
        let listed = |(group_id, group): (String, GroupHandle)| {
            let summary = group.summary.borrow().clone();
            ListedGroup { group_id, protocol_type: summary.protocol_type, state: summary.state }
        };
        let mut groups: Vec<_> = self.runtime.all()?.into_iter().map(listed).collect();
        groups.sort_by(|one, other| one.group_id.cmp(&other.group_id));
        Ok(groups)
    }

    /// A group; one that is not known is `Dead`.
    ///
    /// # Errors
    /// The coordinator cannot tell now.
    pub async fn describe(
        &self,
        principal: &Principal,
        group_id: &str,
    ) -> Result<DescribedGroup, CoordinatorError> {
        authorise(principal, group_id)?;
        match self.confirmed(group_id).await?.find(group_id) {
            Some(group) => self.ask(&group, |reply| Message::Describe { reply }).await,
            None => Ok(DescribedGroup {
                group_id: group_id.to_owned(),
                state: GroupState::Dead,
                protocol_type: String::new(),
                protocol_name: String::new(),
                members: Vec::new(),
            }),
        }
    }

    /// Deletes a group without members, and its offsets.
    ///
    /// # Errors
    /// As Kafka's DeleteGroups.
    pub async fn delete(&self, principal: &Principal, group_id: &str) -> Result<(), DeleteGroupError> {
        authorise(principal, group_id)?;
        let group = self.runtime.find(group_id)?.ok_or(DeleteGroupError::UnknownGroup)?;
        self.ask(&group, |reply| Message::Delete { reply }).await?
    }

    /// Ends the groups' work; what waits is answered with `NotAvailable`.
    pub fn stop(&self) {
        self.background.token().cancel();
    }

    /// Who has the group in memory, and was confirmed to be the one who may, after this was called.
    async fn confirmed(&self, group_id: &str) -> Result<Arc<Coordinator>, CoordinatorError> {
        let coordinator = self.runtime.coordinator(group_id)?;
        match coordinator.confirm().await {
            Some(confirmed) => confirmed.map(|()| coordinator),
            None => Err(self.runtime.ended(coordinator.over())),
        }
    }

    /// A request that cannot be handed over, or whose task ends before it answers, may be made again, perhaps at
    /// another hub.
    async fn ask<T>(
        &self,
        group: &GroupHandle,
        message: impl FnOnce(Reply<T>) -> Message,
    ) -> Result<T, CoordinatorError> {
        let (reply, answer) = oneshot::channel();
        match group.inbox.try_send(message(reply)) {
            Ok(()) => answer.await.map_err(|_| self.runtime.ended(&group.over)),
            Err(TrySendError::Full(_)) => Err(CoordinatorError::NotAvailable),
            Err(TrySendError::Closed(_)) => Err(self.runtime.ended(&group.over)),
        }
    }

    fn member_group(&self, principal: &Principal, group_id: &str) -> Result<GroupHandle, MemberError> {
        authorise(principal, group_id)?;
        self.runtime.find(group_id)?.ok_or(MemberError::UnknownMember)
    }
}

/// Where authorisation hooks in: every request for one group passes here.
fn authorise(_principal: &Principal, group_id: &str) -> Result<(), CoordinatorError> {
    if group_id.is_empty() || group_id.len() > NAME_BYTES_MAX {
        return Err(CoordinatorError::InvalidGroupId { max: NAME_BYTES_MAX });
    }
    Ok(())
}

fn check_names(request: &Join) -> Result<(), MemberError> {
    let protocols = request.protocols.iter().map(|protocol| &protocol.name);
    let mut names = protocols.chain(&request.group_instance_id).chain([&request.protocol_type]);
    if request.protocols.len() > PROTOCOLS_MAX || names.any(|name| name.len() > NAME_BYTES_MAX) {
        return Err(MemberError::InvalidName { max: NAME_BYTES_MAX });
    }
    Ok(())
}

/// What a client says of itself is for people to read: it is cut rather than refused.
fn shorten(text: &mut String) {
    let end = (0..=CLIENT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    if text.len() > CLIENT_BYTES_MAX {
        text.truncate(end);
    }
}
