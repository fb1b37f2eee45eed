//! What the steward needs of the groups: the shards have it, and tests have something smaller.

use std::future::Future;

use consensus::{MembershipChange, ReplicaId};
use schemas::Term;
use shards::{ChangeError, GroupStatus, Shards};

use crate::command::Command;
use crate::error::Unavailable;
use crate::letting_go;
use crate::propose::propose;
use crate::report;
use crate::response::Response;

pub(crate) trait Groups: Clone + Send + Sync + 'static {
    /// Every group as this hub's replica sees it.
    fn status(&self) -> impl Future<Output = Vec<GroupStatus>> + Send;
    /// Begins a change of a group that is led here; done when it is committed.
    fn change(
        &self,
        group: u32,
        change: MembershipChange,
    ) -> impl Future<Output = Result<(), ChangeError>> + Send;
    /// Asks a voter to take over.
    fn transfer(&self, group: u32, to: ReplicaId) -> impl Future<Output = Result<(), ChangeError>> + Send;
    /// Whether the group's leader says, in this term or a later one, that `replica` is no member.
    fn is_let_go(&self, group: u32, replica: ReplicaId, term: Term) -> impl Future<Output = bool> + Send;
    /// Whether most voters of a group that is led here have applied that the replica of this number is no member.
    fn have_let_go(&self, group: u32, number: u32) -> impl Future<Output = bool> + Send;
    /// Gives up this hub's own replica.
    fn destroy(&self, group: u32, number: u32) -> impl Future<Output = Result<(), ChangeError>> + Send;
    fn propose(&self, command: &Command) -> impl Future<Output = Result<Response, Unavailable>> + Send;
}

impl Groups for Shards {
    async fn status(&self) -> Vec<GroupStatus> {
        Self::status(self).await
    }

    async fn change(&self, group: u32, change: MembershipChange) -> Result<(), ChangeError> {
        self.change_membership(group, change).await
    }

    async fn transfer(&self, group: u32, to: ReplicaId) -> Result<(), ChangeError> {
        self.transfer_leadership(group, to).await
    }

    async fn is_let_go(&self, group: u32, replica: ReplicaId, term: Term) -> bool {
        report::is_let_go(self, group, replica, term).await
    }

    async fn have_let_go(&self, group: u32, number: u32) -> bool {
        letting_go::by_most(self, group, number).await
    }

    async fn destroy(&self, group: u32, number: u32) -> Result<(), ChangeError> {
        self.destroy_replica(group, number).await
    }

    async fn propose(&self, command: &Command) -> Result<Response, Unavailable> {
        propose(self, command).await
    }
}
