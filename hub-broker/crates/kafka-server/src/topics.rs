//! Topics as requests name them.

use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;
use metadata::{Topic, View};
use schemas::{LeaderEpoch, PartitionIndex, TopicId, TopicName};
use uuid::Uuid;

/// By name, up to the versions that name topics by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TopicRef {
    Name(String),
    Id(Uuid),
}

impl TopicRef {
    pub(crate) fn find<'a>(&self, view: &'a View) -> Option<&'a Arc<Topic>> {
        match self {
            Self::Name(name) => by_name(view, name),
            Self::Id(id) => view.topic_by_id(TopicId(*id)),
        }
    }
}

/// A name that no topic could have finds none.
pub(crate) fn by_name<'a>(view: &'a View, name: &str) -> Option<&'a Arc<Topic>> {
    view.topic(&TopicName::try_from(name).ok()?)
}

pub(crate) fn has_partition(topic: &Topic, index: i32) -> bool {
    topic.placement(PartitionIndex(index)).is_some()
}

/// −1 says that the client does not know the epoch.
pub(crate) fn client_epoch(epoch: i32) -> Option<LeaderEpoch> {
    (epoch >= 0).then_some(LeaderEpoch(epoch))
}

pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// What Kafka answers where nobody asked which operations are allowed.
pub(crate) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
