//! Produce: batches on their way into the log.
//!
//! A request's batches are handed to `ingest` at the moment the request is read, in their order, so that the
//! next request's batches come behind them; the answer is awaited when its turn has come.

mod request;
mod response;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ingest::{ProduceError, Produced};
use kafka_protocol::messages::{ApiKey, ProduceRequest as Documented, ProduceResponse as Answered};
use kafka_protocol::protocol::HeaderVersion;
use metadata::{TimestampType, Topic, View};
use schemas::PartitionIndex;
use shards::{AppendError, Appended, SequenceError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::answer::{Answer, Head, Pending, RequestError};
use crate::entry::{Entry, Versions};
use crate::errors;
use crate::holes::{Hole, Sent};
use crate::hubs::Endpoint;
use crate::leadership;
use crate::limits::PRODUCE_TIMEOUT_MAX;
use crate::session::Session;
use crate::stale::Hints;
use crate::topics::has_partition;
use crate::wire::Reader;
use request::{Acks, PartitionData, Request, TopicData};
use response::{PartitionAnswer, TopicAnswer};

/// From 0, although no client sends less than 3 any more: librdkafka does not compress otherwise, because it
/// asks for the versions that older compressions came with (KAFKA-18659).
pub(super) const ENTRY: Entry = Entry {
    name: "Produce",
    key: ApiKey::Produce as i16,
    versions: Versions::new(0, 13),
    request_header: Documented::header_version,
    response_header: Answered::header_version,
    begin,
};

type Outcome = Result<Appended, ProduceError>;

/// A partition's part of a request after it was handed on.
struct Handed {
    sent: Option<Sent>,
    index: i32,
    outcome: Result<oneshot::Receiver<Outcome>, i16>,
    log_append_time: bool,
}

fn begin(session: &Arc<Session>, head: Head, mut body: Reader) -> Result<Pending, RequestError> {
    let request = request::parse(&mut body, head.version)
        .and_then(|request| body.finish().map(|()| request))
        .map_err(|error| head.malformed(error))?;
    let view = session.context.metadata.view();
    let refusal = refusal_of_all(&head, &request);
    let deadline = Instant::now() + timeout(request.timeout_ms);
    let acks = request.acks;
    let mut batches = Vec::new();
    let topics: Vec<_> = request
        .topics
        .into_iter()
        .map(|topic| {
            let handed = take_topic(&head, &view, &topic, refusal, &mut batches);
            (topic.name, handed)
        })
        .collect();
    session.context.ingest.produce(&session.principal, batches);
    let session = Arc::clone(session);
    Ok(Pending::begun(async move {
        let mut answers = Vec::with_capacity(topics.len());
        for (name, handed) in topics {
            answers.push(TopicAnswer { name, partitions: outcomes(&session, &head, handed, deadline).await });
        }
        Ok(answer(&session, &head, acks, &mut answers))
    }))
}

fn refusal_of_all(head: &Head, request: &Request) -> Option<i16> {
    if request.transactional {
        return Some(errors::no_transactions(head));
    }
    (request.acks == Acks::Unknown).then(|| errors::invalid_acks(head))
}

/// The client's, but never so short that a group commit could not end in time, nor without end.
fn timeout(asked_ms: i32) -> Duration {
    let asked = Duration::from_millis(u64::try_from(asked_ms).unwrap_or(0));
    asked.clamp(crate::limits::PRODUCE_TIMEOUT_MIN, PRODUCE_TIMEOUT_MAX)
}

fn take_topic<'a>(
    head: &Head,
    view: &'a View,
    topic: &TopicData,
    refusal: Option<i16>,
    batches: &mut Vec<Produced<'a>>,
) -> Vec<Handed> {
    let found = topic.name.find(view);
    let take_partition = |partition: &PartitionData| {
        let outcome = match (refusal, found) {
            (Some(code), _) => Err(code),
            (None, None) => Err(errors::no_such_topic(head, &topic.name)),
            (None, Some(found)) => take(head, found, partition, batches),
        };
        let sent = found.zip(partition.records.as_ref());
        let sent = sent.and_then(|(topic, batch)| Sent::of(topic.id, partition.index, batch));
        let log_append_time =
            found.is_some_and(|topic| topic.config.timestamp_type == TimestampType::LogAppend);
        Handed { sent, index: partition.index, outcome, log_append_time }
    };
    topic.partitions.iter().map(take_partition).collect()
}

fn take<'a>(
    head: &Head,
    topic: &'a Topic,
    partition: &PartitionData,
    batches: &mut Vec<Produced<'a>>,
) -> Result<oneshot::Receiver<Outcome>, i16> {
    if !has_partition(topic, partition.index) {
        return Err(errors::unknown_topic(head));
    }
    let records: Bytes = partition.records.clone().unwrap_or_default();
    let (done, outcome) = oneshot::channel();
    let done = Box::new(move |outcome| {
        // The connection may be gone; the batch is stored all the same.
        let _ = done.send(outcome);
    });
    batches.push(Produced { topic, partition: PartitionIndex(partition.index), records, done });
    Ok(outcome)
}

async fn outcomes(
    session: &Session,
    head: &Head,
    handed: Vec<Handed>,
    deadline: Instant,
) -> Vec<PartitionAnswer> {
    let mut answers = Vec::with_capacity(handed.len());
    for partition in handed {
        let outcome = match partition.outcome {
            Err(code) => PartitionAnswer::refused(partition.index, code, None),
            Ok(outcome) => match timeout_at(deadline, outcome).await {
                Ok(Ok(Ok(appended))) => {
                    PartitionAnswer::stored(partition.index, &appended, partition.log_append_time)
                }
                Ok(Ok(Err(error))) => {
                    let may_close = hole(partition.sent, &error)
                        .is_some_and(|hole| session.context.holes.may_close(hole, Instant::now().into_std()));
                    let code = if may_close { errors::not_yet(head) } else { errors::code(head, &error) };
                    PartitionAnswer::refused(partition.index, code, Some(&error))
                }
                Ok(Err(_gone)) => PartitionAnswer::refused(partition.index, errors::stopping(head), None),
                // It may be stored later; an idempotent producer's retry is then a duplicate.
                Err(_late) => PartitionAnswer::refused(partition.index, errors::timed_out(head), None),
            },
        };
        answers.push(outcome);
    }
    answers
}

/// What is missing in front of a batch that was refused for that.
fn hole(sent: Option<Sent>, error: &ProduceError) -> Option<Hole> {
    let ProduceError::Append(AppendError::Sequence(SequenceError::OutOfOrder { expected })) = error else {
        return None;
    };
    sent?.hole(*expected)
}

fn answer(session: &Session, head: &Head, acks: Acks, topics: &mut [TopicAnswer]) -> Answer {
    let leaders = name_leaders(session, topics);
    if acks != Acks::None {
        return Answer::Response(head.respond(response::encode(topics, &leaders, head)));
    }
    let mut refused =
        topics.iter().flat_map(|topic| &topic.partitions).filter(|answer| answer.error_code != 0);
    match refused.next() {
        None => Answer::None,
        Some(refused) => Answer::Close(refused.reason()),
    }
}

/// Tells partitions whose leader is elsewhere who it is, or why there is none, and answers where those hubs are.
fn name_leaders(session: &Session, topics: &mut [TopicAnswer]) -> Vec<Endpoint> {
    let view = session.context.metadata.view();
    let mut hints = Hints::default();
    for topic in topics {
        for answer in topic.partitions.iter_mut().filter(|answer| answer.error_code != 0) {
            answer.leader = hints.leader(session, &view, &topic.name, answer.index, answer.error_code);
            let is_leaderless = answer.leader.is_none() && errors::is_about_leader(answer.error_code);
            if is_leaderless
                && let Some(cause) = leadership::obstacle(session, &view, &topic.name, answer.index)
            {
                answer.add_cause(&cause.to_string());
            }
        }
    }
    hints.endpoints(session, &view)
}
