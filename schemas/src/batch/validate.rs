//! What a batch from outside must pass before it is proposed. Nothing is allocated per record.

use crate::batch::record::{RecordView, read_record};
use crate::batch::{BatchError, BatchHeader, RawBatch, TimestampType};
use crate::gap;
use crate::headers;
use crate::ids::ProducerId;
use crate::limits::{RECORD_BYTES_MAX, STREAM_RECORDS_MAX};
use crate::names::{DeviceId, GatewayGrant};
use crate::stream::is_stream_id;

/// How deep a listener looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// Decompresses and walks the records.
    #[default]
    Full,
    /// Header and CRC only: for listeners whose producers are trusted.
    Header,
}

/// The rules that depend on where the batch comes from.
#[derive(Clone, Copy, Debug)]
pub enum OriginRules<'a> {
    Kafka { allow_transactional: bool },
    Agent { device: &'a DeviceId, grant: &'a GatewayGrant, gap_records_max: u32 },
}

#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub origin: OriginRules<'a>,
    /// Bytes of the batch as it stands.
    pub max_batch_bytes: usize,
    pub depth: Depth,
    /// Whether every record needs a key (compacted topics).
    pub keys_required: bool,
}

/// Checks everything; the first broken rule is the error.
pub fn validate(batch: &RawBatch, rules: &Rules<'_>) -> Result<(), BatchError> {
    let header = batch.header();
    if header.total_bytes() > rules.max_batch_bytes {
        return Err(BatchError::TooLarge { bytes: header.total_bytes(), max: rules.max_batch_bytes });
    }
    batch.verify_crc()?;
    check_attributes(header, &rules.origin)?;
    match &rules.origin {
        OriginRules::Kafka { .. } => check_kafka_header(header)?,
        OriginRules::Agent { gap_records_max, .. } => check_agent_header(header, *gap_records_max)?,
    }
    match rules.depth {
        Depth::Header => Ok(()),
        Depth::Full => Walk { header, rules, latest: i64::MIN }.run(&batch.body()?),
    }
}

fn check_attributes(header: &BatchHeader, origin: &OriginRules<'_>) -> Result<(), BatchError> {
    let attributes = header.attributes;
    attributes.compression()?;
    if attributes.is_control() {
        return Err(BatchError::Control);
    }
    if attributes.is_transactional() && !matches!(origin, OriginRules::Kafka { allow_transactional: true }) {
        return Err(BatchError::Transactional);
    }
    if attributes.has_delete_horizon() {
        return Err(BatchError::DeleteHorizon);
    }
    if attributes.timestamp_type() == TimestampType::LogAppend {
        return Err(BatchError::LogAppendTime);
    }
    if header.record_count < 1 {
        return Err(BatchError::RecordCount { count: header.record_count });
    }
    Ok(())
}

fn check_kafka_header(header: &BatchHeader) -> Result<(), BatchError> {
    if header.offset_span() != i64::from(header.record_count) {
        return Err(count_mismatch(header));
    }
    let BatchHeader { producer_id: id, producer_epoch: epoch, base_sequence: sequence, .. } = *header;
    if is_stream_id(ProducerId(id)) {
        return Err(BatchError::StreamIdFromKafka { id });
    }
    // Without a producer id the rest is meaningless, and clients leave various things in it.
    let goes_together =
        id == -1 && !header.attributes.is_transactional() || id >= 0 && epoch >= 0 && sequence >= 0;
    if goes_together { Ok(()) } else { Err(BatchError::ProducerFields { id, epoch, sequence }) }
}

fn check_agent_header(header: &BatchHeader, gap_records_max: u32) -> Result<(), BatchError> {
    let (base_offset, epoch) = (header.base_offset, header.partition_leader_epoch);
    if base_offset != 0 || epoch != -1 {
        return Err(BatchError::Placement { base_offset, epoch });
    }
    if !is_stream_id(ProducerId(header.producer_id)) {
        return Err(BatchError::NotAStream { id: header.producer_id });
    }
    if header.producer_epoch != 0 {
        return Err(BatchError::StreamEpoch { epoch: header.producer_epoch });
    }
    let records = header.offset_span();
    if records != i64::from(header.record_count) {
        // Only a gap, which is one record, uses up more than it has.
        if header.record_count != 1 || records < 1 {
            return Err(count_mismatch(header));
        }
        if records > i64::from(gap_records_max) {
            return Err(BatchError::GapTooLong { records, max: gap_records_max });
        }
    }
    let base_sequence = header.base_sequence;
    if base_sequence < 0 || i64::from(base_sequence) + records > i64::from(STREAM_RECORDS_MAX) {
        return Err(BatchError::StreamRange { base_sequence, records });
    }
    Ok(())
}

fn count_mismatch(header: &BatchHeader) -> BatchError {
    BatchError::CountMismatch {
        record_count: header.record_count,
        last_offset_delta: header.last_offset_delta,
    }
}

struct Walk<'a> {
    header: &'a BatchHeader,
    rules: &'a Rules<'a>,
    /// The latest timestamp so far.
    latest: i64,
}

impl Walk<'_> {
    fn run(mut self, body: &[u8]) -> Result<(), BatchError> {
        let count = usize::try_from(self.header.record_count).expect("checked to be positive");
        let mut rest = body;
        for record in 0..count {
            let view = read_record(&mut rest, record, count)?;
            self.check_record(record, &view)?;
        }
        if !rest.is_empty() {
            return Err(BatchError::SurplusBytes { bytes: rest.len() });
        }
        let (stated, found) = (self.header.max_timestamp, self.latest);
        // Some Kafka clients leave the max timestamp empty and Kafka does not mind.
        if matches!(self.rules.origin, OriginRules::Agent { .. }) && stated != found {
            return Err(BatchError::MaxTimestamp { stated, found });
        }
        Ok(())
    }

    fn check_record(&mut self, record: usize, view: &RecordView<'_>) -> Result<(), BatchError> {
        let timestamp = self.header.base_timestamp.checked_add(view.timestamp_delta);
        self.latest = self.latest.max(timestamp.ok_or(BatchError::Timestamp { record })?);
        if self.rules.keys_required && view.key.is_none() {
            return Err(BatchError::KeyMissing { record });
        }
        let gap = match self.rules.origin {
            OriginRules::Kafka { .. } => false,
            OriginRules::Agent { device, grant, .. } => {
                self.check_agent_record(record, view, device, grant)?
            }
        };
        // A gap stands at the end of the range that it uses up.
        let expected = if gap { self.header.last_offset_delta } else { record as i32 };
        if view.offset_delta != expected {
            return Err(BatchError::OffsetDelta { record, expected, found: view.offset_delta });
        }
        Ok(())
    }

    /// Whether the record is a gap.
    fn check_agent_record(
        &self,
        record: usize,
        view: &RecordView<'_>,
        device: &DeviceId,
        grant: &GatewayGrant,
    ) -> Result<bool, BatchError> {
        if view.bytes > RECORD_BYTES_MAX {
            return Err(BatchError::RecordTooLarge { record, bytes: view.bytes, max: RECORD_BYTES_MAX });
        }
        if !view.key.is_some_and(|key| grant.allows_key(device, key)) {
            return Err(BatchError::KeyNotAllowed { record });
        }
        let is_gap = view.header(headers::GAP).is_some();
        if is_gap {
            if self.header.record_count != 1 {
                return Err(BatchError::GapNotAlone { record });
            }
            gap::decode_value(view.value.unwrap_or_default())?;
        } else if self.header.offset_span() != 1 && self.header.record_count == 1 {
            return Err(count_mismatch(self.header));
        }
        Ok(is_gap)
    }
}
