//! Fetch: batches on their way out. Sessions (KIP-227) are declined, so that every request says in full what
//! it wants; a client understands that from the session id 0.

mod request;
mod response;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ::fetch::{FetchError, FetchPartition, FetchRequest, Fetched, Held, Replica};
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, FetchRequest as Documented, FetchResponse as Answered};
use kafka_protocol::protocol::HeaderVersion;
use metadata::View;
use schemas::{BatchHeader, Compression, Offset, PartitionIndex};

use crate::answer::{Answer, Head, Pending, RequestError};
use crate::entry::{Entry, Versions};
use crate::errors;
use crate::limits::FETCH_WAIT_MAX;
use crate::observe::METRICS;
use crate::session::Session;
use crate::topics::{client_epoch, has_partition};
use crate::wire::Reader;
use request::{Request, TopicWanted};
use response::{PartitionAnswer, TopicAnswer};

/// Later versions add what only replicas of a KRaft cluster say.
pub(super) const ENTRY: Entry = Entry {
    name: "Fetch",
    key: ApiKey::Fetch as i16,
    versions: Versions::new(4, 16),
    request_header: Documented::header_version,
    response_header: Answered::header_version,
    begin,
};

/// KIP-110: clients that speak less do not know zstd.
const FIRST_WITH_ZSTD: i16 = 10;

fn begin(session: &Arc<Session>, head: Head, mut body: Reader) -> Result<Pending, RequestError> {
    let request = request::parse(&mut body, head.version)
        .and_then(|request| body.finish().map(|()| request))
        .map_err(|error| head.malformed(error))?;
    let session = Arc::clone(session);
    Ok(Pending::lazy(async move {
        if let Some(code) = refused_session(&head, &request) {
            return Ok(Answer::Response(head.respond(response::encode(Vec::new(), code, &head))));
        }
        let (topics, held) = fetch(&session, &head, request).await;
        Ok(Answer::Response(head.respond(response::encode(topics, 0, &head)).holding(held)))
    }))
}

/// No session has an id here, and none can be continued.
fn refused_session(head: &Head, request: &Request) -> Option<i16> {
    if request.session_id != 0 {
        return Some(errors::unknown_fetch_session(head));
    }
    (request.session_epoch > 0).then(|| errors::invalid_fetch_session_epoch(head))
}

async fn fetch(session: &Session, head: &Head, request: Request) -> (Vec<TopicAnswer>, Held) {
    let view = session.context.metadata.view();
    let mut partitions = Vec::new();
    let mut topics: Vec<_> =
        request.topics.into_iter().map(|topic| resolve(head, &view, topic, &mut partitions)).collect();
    let refused = topics.iter().flat_map(|topic| &topic.partitions).any(PartitionAnswer::is_refusal);
    let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0);
    let wanted = FetchRequest {
        // A refusal is told at once, as is that nothing is asked for.
        max_wait: if refused || partitions.is_empty() {
            Duration::ZERO
        } else {
            Duration::from_millis(wait_ms).min(FETCH_WAIT_MAX)
        },
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0),
        replica: Replica::Leader,
        partitions,
    };
    let found = session.context.fetch.fetch(&session.principal, wanted).await;
    let mut results = found.partitions.into_iter();
    let open =
        topics.iter_mut().flat_map(|topic| &mut topic.partitions).filter(|answer| !answer.is_refusal());
    for (answer, fetched) in open.zip(&mut results) {
        answer.outcome = outcome(head, fetched.result);
    }
    let bytes =
        topics.iter().flat_map(|topic| &topic.partitions).map(PartitionAnswer::len_bytes).sum::<usize>();
    METRICS.fetched_bytes.increment(bytes as u64);
    METRICS.fetched_records.increment(topics.iter().flat_map(|topic| &topic.partitions).map(records).sum());
    (topics, found.held)
}

/// Puts what exists into `partitions`, in order, and refuses the rest.
fn resolve(
    head: &Head,
    view: &View,
    topic: TopicWanted,
    partitions: &mut Vec<FetchPartition>,
) -> TopicAnswer {
    let found = topic.name.find(view);
    let mut answers = Vec::with_capacity(topic.partitions.len());
    for wanted in topic.partitions {
        let outcome = match found {
            None => Err(errors::no_such_topic(head, &topic.name)),
            Some(found) if !has_partition(found, wanted.index) => Err(errors::unknown_topic(head)),
            Some(found) => {
                partitions.push(FetchPartition {
                    partition: found.partition_id(PartitionIndex(wanted.index)),
                    offset: Offset(wanted.offset),
                    max_bytes: usize::try_from(wanted.max_bytes).unwrap_or(0),
                    current_leader_epoch: client_epoch(wanted.current_leader_epoch),
                });
                Ok(Fetched { high_watermark: Offset(-1), log_start: Offset(-1), records: Vec::new() })
            }
        };
        answers.push(PartitionAnswer { index: wanted.index, outcome });
    }
    TopicAnswer { name: topic.name, partitions: answers }
}

fn outcome(head: &Head, result: Result<Fetched, FetchError>) -> Result<Fetched, i16> {
    let fetched = result.map_err(|error| {
        if matches!(error, FetchError::Damaged(_) | FetchError::Disk(_)) {
            tracing::error!(%error, "a fetch cannot be served");
        }
        errors::code(head, &error)
    })?;
    if head.version < FIRST_WITH_ZSTD && fetched.records.iter().any(has_zstd) {
        return Err(errors::unsupported_compression(head));
    }
    Ok(fetched)
}

fn has_zstd(records: &Bytes) -> bool {
    headers(records).any(|header| matches!(header.attributes.compression(), Ok(Compression::Zstd)))
}

fn records(answer: &PartitionAnswer) -> u64 {
    let chunks = answer.outcome.iter().flat_map(|fetched| &fetched.records);
    chunks.flat_map(headers).map(|header| u64::try_from(header.record_count).unwrap_or(0)).sum()
}

/// Of whole batches, back to back.
fn headers(records: &Bytes) -> impl Iterator<Item = BatchHeader> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = records.get(at..).filter(|rest| !rest.is_empty())?;
        let header = BatchHeader::parse(rest).ok()?;
        at += header.total_bytes();
        Some(header)
    })
}
