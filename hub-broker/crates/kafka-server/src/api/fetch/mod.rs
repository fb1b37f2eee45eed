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
use metadata::{Topic, View};
use schemas::{BatchHeader, Compression, Offset, PartitionIndex};

use crate::answer::{Answer, Head, Pending, RequestError};
use crate::entry::{Entry, Versions};
use crate::errors;
use crate::hubs::Endpoint;
use crate::leadership;
use crate::limits::FETCH_WAIT_MAX;
use crate::observe::METRICS;
use crate::session::Session;
use crate::stale::Hints;
use crate::topics::{client_epoch, has_partition};
use crate::wire::Reader;
use request::{PartitionWanted, Request, TopicWanted};
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
            return Ok(Answer::Response(head.respond(response::encode(Vec::new(), &[], code, &head))));
        }
        let (mut topics, held) = fetch(&session, &head, request).await;
        let leaders = name_leaders(&session, &mut topics);
        Ok(Answer::Response(head.respond(response::encode(topics, &leaders, 0, &head)).holding(held)))
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
    let mut resolver = Resolver { session, head, view: &view, rack: &request.rack, partitions: Vec::new() };
    let mut topics: Vec<_> = request.topics.into_iter().map(|topic| resolver.resolve(topic)).collect();
    let partitions = resolver.partitions;
    // A refusal is told at once, as are that nothing is asked for and that it shall be asked elsewhere.
    let is_complete = !partitions.is_empty() && answers(&topics).all(PartitionAnswer::is_open);
    let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0);
    let wanted = FetchRequest {
        max_wait: if is_complete {
            Duration::from_millis(wait_ms).min(FETCH_WAIT_MAX)
        } else {
            Duration::ZERO
        },
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0),
        replica: replica(session, &view, &request.rack),
        partitions,
    };
    let found = session.context.fetch.fetch(&session.principal, wanted).await;
    let open = topics.iter_mut().flat_map(|topic| &mut topic.partitions).filter(|answer| answer.is_open());
    for (answer, fetched) in open.zip(found.partitions) {
        answer.outcome = outcome(head, fetched.result);
    }
    METRICS.fetched_bytes.increment(answers(&topics).map(PartitionAnswer::len_bytes).sum::<usize>() as u64);
    METRICS.fetched_records.increment(answers(&topics).map(records).sum());
    (topics, found.held)
}

fn answers(topics: &[TopicAnswer]) -> impl Iterator<Item = &PartitionAnswer> {
    topics.iter().flat_map(|topic| &topic.partitions)
}

/// A follower answers those alone who stand in its rack: they were sent to it (KIP-392). All others are told who leads.
fn replica(session: &Session, view: &View, client_rack: &str) -> Replica {
    let own = view.hub(session.context.config.node).and_then(|hub| hub.rack.as_deref());
    if !client_rack.is_empty() && own == Some(client_rack) { Replica::Any } else { Replica::Leader }
}

/// Finds what a request names.
struct Resolver<'a> {
    session: &'a Session,
    head: &'a Head,
    view: &'a View,
    rack: &'a str,
    /// What is to be read, in order.
    partitions: Vec<FetchPartition>,
}

impl Resolver<'_> {
    /// Puts what is to be read here into `partitions`, and answers the rest.
    fn resolve(&mut self, topic: TopicWanted) -> TopicAnswer {
        let found = topic.name.find(self.view);
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            answers.push(match found {
                None => {
                    PartitionAnswer::new(wanted.index, Err(errors::no_such_topic(self.head, &topic.name)))
                }
                Some(found) if !has_partition(found, wanted.index) => {
                    PartitionAnswer::new(wanted.index, Err(errors::unknown_topic(self.head)))
                }
                Some(found) => match self.sent_elsewhere(found, &wanted) {
                    Some(answer) => answer,
                    None => self.read_here(found, &wanted),
                },
            });
        }
        TopicAnswer { name: topic.name, partitions: answers }
    }

    fn read_here(&mut self, topic: &Topic, wanted: &PartitionWanted) -> PartitionAnswer {
        self.partitions.push(FetchPartition {
            partition: topic.partition_id(PartitionIndex(wanted.index)),
            offset: Offset(wanted.offset),
            max_bytes: usize::try_from(wanted.max_bytes).unwrap_or(0),
            current_leader_epoch: client_epoch(wanted.current_leader_epoch),
        });
        let nothing_yet = Fetched { high_watermark: Offset(-1), log_start: Offset(-1), records: Vec::new() };
        PartitionAnswer::new(wanted.index, Ok(nothing_yet))
    }

    /// Where the partition is led here and there is a replica in the client's rack, the answer that names it.
    fn sent_elsewhere(&self, topic: &Topic, wanted: &PartitionWanted) -> Option<PartitionAnswer> {
        if self.rack.is_empty() {
            return None;
        }
        let placement = topic.placement(PartitionIndex(wanted.index))?;
        let shards = self.session.context.metadata.shards();
        shards.is_serving(placement.shard())?;
        let reader = shards.partition(topic.partition_id(PartitionIndex(wanted.index)))?;
        let is_current =
            client_epoch(wanted.current_leader_epoch).is_none_or(|it| it == reader.leader_epoch());
        let is_stored = (reader.log_start().0..=reader.high_watermark().0).contains(&wanted.offset);
        if !is_current || !is_stored {
            // It has to hear that from the leader.
            return None;
        }
        let preferred = leadership::preferred_replica(self.session, self.view, placement, self.rack)?;
        let (high_watermark, log_start) = (reader.high_watermark(), reader.log_start());
        let nothing = Fetched { high_watermark, log_start, records: Vec::new() };
        Some(PartitionAnswer {
            preferred: Some(preferred),
            ..PartitionAnswer::new(wanted.index, Ok(nothing))
        })
    }
}

/// Tells partitions whose leader is elsewhere who it is, and answers where those hubs are.
fn name_leaders(session: &Session, topics: &mut [TopicAnswer]) -> Vec<Endpoint> {
    let view = session.context.metadata.view();
    let mut hints = Hints::default();
    for topic in topics {
        for answer in &mut topic.partitions {
            if let Err(code) = answer.outcome {
                answer.leader = hints.leader(session, &view, &topic.name, answer.index, code);
            }
        }
    }
    hints.endpoints(session, &view)
}

fn outcome(head: &Head, result: Result<Fetched, FetchError>) -> Result<Fetched, i16> {
    let fetched = result.map_err(|error| {
        if matches!(error, FetchError::Damaged { .. } | FetchError::Disk(_)) {
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
