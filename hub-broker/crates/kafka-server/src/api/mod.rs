//! The APIs that the hub offers, one file each, and the table of them.

mod api_versions;
mod cluster;
mod create_topics;
mod delete_groups;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;
#[cfg(test)]
mod tests;

use crate::control::entry;
use crate::entry::Entry;

pub(crate) use api_versions::versions_of_newer_client;

pub(crate) const API_VERSIONS: &str = "ApiVersions";

/// Everything that is offered, by api key.
pub(crate) static TABLE: [Entry; 21] = [
    produce::ENTRY,
    fetch::ENTRY,
    entry::<list_offsets::ListOffsets>("ListOffsets"),
    entry::<metadata::Metadata>("Metadata"),
    entry::<offset_commit::OffsetCommit>("OffsetCommit"),
    entry::<offset_fetch::OffsetFetch>("OffsetFetch"),
    entry::<find_coordinator::FindCoordinator>("FindCoordinator"),
    entry::<join_group::JoinGroup>("JoinGroup"),
    entry::<heartbeat::Heartbeat>("Heartbeat"),
    entry::<leave_group::LeaveGroup>("LeaveGroup"),
    entry::<sync_group::SyncGroup>("SyncGroup"),
    entry::<describe_groups::DescribeGroups>("DescribeGroups"),
    entry::<list_groups::ListGroups>("ListGroups"),
    entry::<api_versions::ApiVersions>(API_VERSIONS),
    entry::<create_topics::CreateTopics>("CreateTopics"),
    entry::<delete_topics::DeleteTopics>("DeleteTopics"),
    entry::<init_producer_id::InitProducerId>("InitProducerId"),
    entry::<offset_for_leader_epoch::OffsetForLeaderEpoch>("OffsetForLeaderEpoch"),
    entry::<describe_configs::DescribeConfigs>("DescribeConfigs"),
    entry::<delete_groups::DeleteGroups>("DeleteGroups"),
    entry::<describe_cluster::DescribeCluster>("DescribeCluster"),
];

/// What is offered and not told to clients: it is for the hub's own tools.
static PRIVATE: [Entry; 1] = [cluster::ENTRY];

pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    TABLE.iter().chain(&PRIVATE)
}

pub(crate) fn find(key: i16) -> Option<&'static Entry> {
    all().find(|entry| entry.key == key)
}
