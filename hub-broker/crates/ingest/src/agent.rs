//! The agents' door.
//!
//! All batches of a publish are checked before the first is handed on, up to the first that breaks a rule, and
//! are handed to the shard back to back, wherever it is led: waiting for each would let the batches of the agent's
//! next publish overtake them. The sequence rule, decided at apply, then stops the rest of a stream at the first
//! batch that is out of order; the answer is the first refusal.
//!
//! When the lead moves, batches on their way are refused as in doubt and those behind them by their sequence. Nothing
//! is tried again here: the agent waits for its whole window, resends from what the hub expects, and what had been
//! stored is a duplicate.

use std::sync::Arc;

use bytes::Bytes;
use metadata::{Principal, Topic};
use parking_lot::Mutex;
use schemas::limits::AGENT_BATCH_BYTES_MAX;
use schemas::{DeviceId, GatewayGrant, OriginRules, PartitionIndex, RawBatch, Rules, ShardId, validate};
use shards::{Append, AppendDone, AppendError, Appended, Origin};

use crate::error::{AgentError, AgentRefusal};
use crate::limits::AGENT_BATCHES_PER_PUBLISH_MAX;
use crate::observe::{self, Path, Size};
use crate::{AgentDone, Inner, authorize};

/// What an agent is told when all batches of its publish are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentAck {
    /// How many of them had been stored before.
    pub duplicates: u32,
}

pub(crate) fn agent_batches(
    inner: &Inner,
    principal: &Principal,
    device: &DeviceId,
    topic: &Topic,
    partition: PartitionIndex,
    payload: Bytes,
    done: AgentDone,
) {
    let shard = match admit(principal, topic, partition) {
        Ok(shard) => shard,
        Err(error) => return done(Err(AgentRefusal { batch: 0, error })),
    };
    let (good, refused) = split(inner, device, topic, payload);
    if good.is_empty() {
        let refusal = refused.unwrap_or(AgentRefusal { batch: 0, error: AgentError::Empty });
        return done(Err(refusal));
    }
    let join = Arc::new(Mutex::new(Join::new(good.len(), refused, done)));
    let appends = good.into_iter().enumerate().map(|(index, batch)| {
        let origin = Origin::Agent { device: device.clone(), sent_crc: batch.header().crc };
        let append = Append {
            partition: topic.partition_id(partition),
            origin,
            batch: batch.bytes().clone(),
            expected_term: None,
        };
        let join = Arc::clone(&join);
        let size = Size { records: batch.header().record_count, bytes: batch.bytes().len() };
        let answer: AppendDone = Box::new(move |outcome| {
            if let Ok(appended) = &outcome {
                observe::stored(Path::Agent, size, appended.duplicate);
            }
            // The guard ends with this statement: the callback runs without it.
            let finished = join.lock().answer(index, outcome);
            if let Some((done, outcome)) = finished {
                done(outcome);
            }
        });
        (shard, append, answer)
    });
    inner.metadata.shards().append_anywhere_all(appends);
}

fn admit(principal: &Principal, topic: &Topic, partition: PartitionIndex) -> Result<ShardId, AgentError> {
    authorize::write(principal, &topic.name)?;
    if !topic.agent_fed {
        return Err(AgentError::NotAdmitted);
    }
    Ok(topic.placement(partition).ok_or(AgentError::UnknownPartition)?.shard())
}

/// The batches up to the first that breaks a rule, and that one's refusal.
fn split(
    inner: &Inner,
    device: &DeviceId,
    topic: &Topic,
    mut payload: Bytes,
) -> (Vec<RawBatch>, Option<AgentRefusal>) {
    let (grant, gap_records_max) = (&GatewayGrant::NONE, inner.config.gap_records_max);
    let rules = Rules {
        origin: OriginRules::Agent { device, grant, gap_records_max },
        max_batch_bytes: AGENT_BATCH_BYTES_MAX,
        depth: inner.config.depth,
        keys_required: true,
    };
    let mut good: Vec<RawBatch> = Vec::with_capacity(1);
    loop {
        let next = next(&mut payload, &rules, good.first(), good.len());
        match next.and_then(|batch| fits(batch, topic.config.max_message_bytes)) {
            Ok(Some(batch)) => good.push(batch),
            Ok(None) => return (good, None),
            Err(error) => {
                let refusal = AgentRefusal { batch: good.len(), error };
                return (good, Some(refusal));
            }
        }
    }
}

fn next(
    payload: &mut Bytes,
    rules: &Rules<'_>,
    first: Option<&RawBatch>,
    count: usize,
) -> Result<Option<RawBatch>, AgentError> {
    let Some(batch) = RawBatch::split_first(payload)? else { return Ok(None) };
    if count == AGENT_BATCHES_PER_PUBLISH_MAX {
        return Err(AgentError::TooManyBatches(AGENT_BATCHES_PER_PUBLISH_MAX));
    }
    if first.is_some_and(|first| first.header().producer_id != batch.header().producer_id) {
        return Err(AgentError::MixedStreams);
    }
    validate(&batch, rules)?;
    Ok(Some(batch))
}

/// Of a sound batch, whether the topic takes one of its size.
fn fits(batch: Option<RawBatch>, max: usize) -> Result<Option<RawBatch>, AgentError> {
    match batch.as_ref().map(|batch| batch.header().total_bytes()) {
        Some(bytes) if bytes > max => Err(AgentError::TopicTakesLess { bytes, max }),
        _ => Ok(batch),
    }
}

/// Gathers the outcomes of one publish's batches.
struct Join {
    waiting: usize,
    duplicates: u32,
    refused: Option<AgentRefusal>,
    done: Option<AgentDone>,
}

type Finished = (AgentDone, Result<AgentAck, AgentRefusal>);

impl Join {
    fn new(waiting: usize, refused: Option<AgentRefusal>, done: AgentDone) -> Self {
        Self { waiting, duplicates: 0, refused, done: Some(done) }
    }

    fn answer(&mut self, batch: usize, outcome: Result<Appended, AppendError>) -> Option<Finished> {
        match outcome {
            Ok(appended) => self.duplicates += u32::from(appended.duplicate),
            Err(error) if self.refused.as_ref().is_none_or(|first| batch < first.batch) => {
                self.refused = Some(AgentRefusal { batch, error: error.into() });
            }
            Err(_later) => {}
        }
        self.waiting -= 1;
        if self.waiting > 0 {
            return None;
        }
        let outcome = match self.refused.take() {
            Some(refusal) => Err(refusal),
            None => Ok(AgentAck { duplicates: self.duplicates }),
        };
        self.done.take().map(|done| (done, outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::Offset;

    fn stored(duplicate: bool) -> Result<Appended, AppendError> {
        let offset = Offset(0);
        Ok(Appended {
            base_offset: offset,
            last_offset: offset,
            log_start: offset,
            append_time_ms: 0,
            duplicate,
        })
    }

    fn join(waiting: usize, refused: Option<AgentRefusal>) -> Join {
        Join::new(waiting, refused, Box::new(|_| {}))
    }

    fn outcome(finished: Option<Finished>) -> Result<AgentAck, AgentRefusal> {
        finished.expect("the last answer ends the publish").1
    }

    #[test]
    fn one_answer_comes_after_the_last_batch() {
        let mut join = join(3, None);
        assert!(join.answer(0, stored(true)).is_none());
        assert!(join.answer(1, stored(true)).is_none());
        assert_eq!(outcome(join.answer(2, stored(false))).unwrap(), AgentAck { duplicates: 2 });
    }

    #[test]
    fn the_first_refused_batch_is_the_answer_in_whatever_order_they_come() {
        let mut join = join(3, None);
        assert!(join.answer(2, Err(AppendError::NoSpace)).is_none());
        assert!(join.answer(0, stored(false)).is_none());
        let refusal = outcome(join.answer(1, Err(AppendError::Overloaded))).unwrap_err();
        assert_eq!(refusal.batch, 1);
        assert!(matches!(refusal.error, AgentError::Append(AppendError::Overloaded)));
    }

    #[test]
    fn a_batch_that_breaks_a_rule_is_answered_after_those_before_it() {
        let mut join = join(1, Some(AgentRefusal { batch: 1, error: AgentError::MixedStreams }));
        assert_eq!(outcome(join.answer(0, stored(false))).unwrap_err().batch, 1);
    }
}
