//! A gap as a batch: one record, at the last of the offsets and sequences that it uses up.

use bytes::Bytes;

use crate::batch::{BatchBuilder, BuilderOptions, Record};
use crate::gap::{self, Gap, GapError};
use crate::headers;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::limits::STREAM_RECORDS_MAX;
use crate::names::DeviceId;
use crate::stream::Sequence;

/// Kafka's timestamp for "none".
const NO_TIMESTAMP: i64 = -1;

/// A gap of the `records` sequences from `base` on. Its timestamp is the end of the time that is missing.
///
/// # Panics
/// Where `records` is 0 or more than a stream has.
pub fn build_gap(device: &DeviceId, stream: ProducerId, base: Sequence, records: u32, gap: &Gap) -> Bytes {
    assert!((1..=STREAM_RECORDS_MAX).contains(&records), "a gap of {records} records");
    let mut builder = BatchBuilder::new(BuilderOptions {
        producer: Some((stream, ProducerEpoch(0), base)),
        ..BuilderOptions::default()
    });
    builder.skip(i32::try_from(records - 1).expect("checked above"));
    let timestamp = gap.to_ms.or(gap.from_ms).unwrap_or(NO_TIMESTAMP);
    let value = gap::encode_value(gap);
    builder
        .push(timestamp, Some(device.as_str().as_bytes()), Some(&value), &[(headers::GAP, gap::VERSION_TEXT)])
        .expect("one small record fits");
    builder.finish().expect("one small record fits")
}

/// The gap that this record stands for; `None` where it is not one.
pub fn read_gap(record: &Record) -> Result<Option<Gap>, GapError> {
    match record.header(headers::GAP) {
        None => Ok(None),
        Some(_) => gap::decode_value(record.value.as_deref().unwrap_or_default()).map(Some),
    }
}
