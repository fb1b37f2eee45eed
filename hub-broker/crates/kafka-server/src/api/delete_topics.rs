//! DeleteTopics, by name and by id (KIP-516).

use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName as WireName};
use schemas::TopicName;

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::topics::{TopicRef, text};
use crate::wire::{Field, Shape, all, since, until};

pub(crate) struct DeleteTopics;

impl Control for DeleteTopics {
    type Request = DeleteTopicsRequest;

    const VERSIONS: Versions = Versions::new(1, 6);
    const SHAPE: &'static [Field] = &[
        since(6, Shape::Structs(&[all(Shape::String), all(Shape::Uuid)])),
        until(5, Shape::Many(&Shape::String)),
        all(Shape::Int32),
    ];

    async fn handle(session: &Session, head: &Head, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
        let by_name = |name: WireName| TopicRef::Name(name.to_string());
        let older = request.topic_names.into_iter().map(by_name);
        let newer =
            request.topics.into_iter().map(|topic| topic.name.map_or(TopicRef::Id(topic.topic_id), by_name));
        let mut responses = Vec::new();
        for topic in older.chain(newer) {
            responses.push(delete(session, head, topic).await);
        }
        DeleteTopicsResponse::default().with_responses(responses)
    }
}

async fn delete(session: &Session, head: &Head, topic: TopicRef) -> DeletableTopicResult {
    let view = session.context.metadata.view();
    let found = topic.find(&view);
    let answer = DeletableTopicResult::default();
    let (name, answer) = match (topic, found) {
        (TopicRef::Id(id), None) => {
            return answer.with_topic_id(id).with_error_code(errors::unknown_topic_id(head));
        }
        (TopicRef::Id(id), Some(topic)) => (topic.name.clone(), answer.with_topic_id(id)),
        (TopicRef::Name(name), found) => {
            let answer = answer.with_topic_id(found.map_or(uuid::Uuid::nil(), |topic| topic.id.0));
            match TopicName::try_from(name.as_str()) {
                Ok(name) => (name, answer),
                Err(_) => {
                    let answer = answer.with_name(Some(WireName(text(name))));
                    return answer.with_error_code(errors::unknown_topic(head));
                }
            }
        }
    };
    let answer = answer.with_name(Some(WireName(text(name.as_str()))));
    match session.context.metadata.delete_topic(&session.principal, &name).await {
        Ok(()) => answer,
        Err(error) => answer
            .with_error_code(errors::code(head, &error))
            .with_error_message(Some(text(error.to_string()))),
    }
}
