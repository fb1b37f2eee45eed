//! The one place where a principal's right to write is decided.

use metadata::Principal;
use schemas::TopicName;

/// The principal may not do this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not authorised")]
pub struct Denied;

/// Whether `principal` may write records into `topic`. Topics that the hubs keep for themselves are theirs alone.
pub(crate) fn write(principal: &Principal, topic: &TopicName) -> Result<(), Denied> {
    if topic.is_internal() && !principal.is_internal() { Err(Denied) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_topics_are_the_hubs_alone() {
        let internal = TopicName::try_from("__consumer_offsets").unwrap();
        let plain = TopicName::try_from("telemetry").unwrap();
        assert_eq!(write(&Principal::anonymous(), &internal), Err(Denied));
        assert_eq!(write(&Principal::internal(), &internal), Ok(()));
        assert_eq!(write(&Principal::anonymous(), &plain), Ok(()));
    }
}
