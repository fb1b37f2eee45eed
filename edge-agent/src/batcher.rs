//! Batches: rows become records, records a batch of up to 64 KiB that is compressed once.

use bytes::Bytes;
use schemas::headers::TAG_PREFIX;
use schemas::limits::{AGENT_BATCH_BYTES_MAX, AGENT_BATCH_BYTES_TARGET, RECORD_BYTES_MAX};
use schemas::{
    BatchBuilder, BuilderOptions, Compression, DeviceId, EncodePackError, FinishError, PushError, encode_pack,
};
use thiserror::Error;
use uuid::Uuid;

use crate::inputs::Row;
use crate::time::Stamp;

const _: () = assert!(AGENT_BATCH_BYTES_TARGET + RECORD_BYTES_MAX < AGENT_BATCH_BYTES_MAX);

/// Why a row cannot become a record. The batch is as it was.
#[derive(Debug, Error)]
pub enum RowError {
    #[error(transparent)]
    Pack(#[from] EncodePackError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error(transparent)]
    Finish(#[from] FinishError),
}

/// A batch that has neither stream nor sequence yet.
#[derive(Clone, Debug)]
pub struct Built {
    /// The boot whose clock its times are of; `None` where they are wall time.
    pub boot: Option<Uuid>,
    pub batch: Bytes,
    pub records: usize,
}

/// Fills batches for one topic. Rows whose times are of different clocks never share one.
pub struct Batcher {
    device: DeviceId,
    boot: Uuid,
    is_wall: bool,
    builder: BatchBuilder,
}

impl Batcher {
    /// `boot` is this boot, for rows that can only be timed by its clock.
    pub fn new(device: DeviceId, boot: Uuid) -> Self {
        Self { device, boot, is_wall: true, builder: builder() }
    }

    /// Adds a row, measured at `now` unless it says when. Answers a batch that is full, or that ends because
    /// the row is of another clock.
    pub fn push(&mut self, row: &Row, now: Stamp) -> Result<Option<Built>, RowError> {
        let stamp = row.time_ms.map_or(now, Stamp::Wall);
        let pack = encode_pack(&row.measurements)?;
        let key = Some(self.device.as_str().as_bytes());
        let names: Vec<String> = row.tags.iter().map(|(name, _)| format!("{TAG_PREFIX}{name}")).collect();
        let values = row.tags.iter().map(|(_, value)| value.as_bytes());
        let headers: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(values).collect();
        if stamp.is_wall() == self.is_wall && !self.is_full() {
            self.builder.push(stamp.ms(), key, Some(&pack), &headers)?;
            return if self.is_full() { self.flush() } else { Ok(None) };
        }
        // Before the batch ends: a row that is refused leaves it as it was.
        let mut next = builder();
        next.push(stamp.ms(), key, Some(&pack), &headers)?;
        let finished = self.flush()?;
        (self.builder, self.is_wall) = (next, stamp.is_wall());
        if finished.is_none() && self.is_full() { self.flush() } else { Ok(finished) }
    }

    /// Also true of a batch that a large row began when it ended the one before.
    fn is_full(&self) -> bool {
        self.builder.len_bytes() >= AGENT_BATCH_BYTES_TARGET
    }

    pub fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// Ends the batch, if there is anything in it.
    pub fn flush(&mut self) -> Result<Option<Built>, RowError> {
        if self.builder.is_empty() {
            return Ok(None);
        }
        let full = std::mem::replace(&mut self.builder, builder());
        let records = full.record_count();
        let boot = (!self.is_wall).then_some(self.boot);
        Ok(Some(Built { boot, batch: full.finish()?, records }))
    }
}

fn builder() -> BatchBuilder {
    BatchBuilder::new(BuilderOptions { compression: Compression::Zstd, ..BuilderOptions::default() })
}

#[cfg(test)]
mod tests {
    use schemas::{Measurement, RawBatch, Value, decode_pack};

    use super::*;

    fn row(time_ms: Option<i64>, value: f64) -> Row {
        let value = Value::Float(value);
        Row::read(0, time_ms, vec![Measurement { name: "t".into(), unit: None, value }])
    }

    fn text_row(bytes: usize) -> Row {
        let text = Value::Text("x".repeat(bytes));
        Row::now(vec![Measurement { name: "t".into(), unit: None, value: text }])
    }

    fn batcher() -> Batcher {
        Batcher::new(DeviceId::try_from("d").unwrap(), Uuid::from_u128(9))
    }

    #[test]
    fn a_row_becomes_a_record_of_the_device() {
        let mut batcher = batcher();
        assert!(batcher.push(&row(Some(5000), 1.5), Stamp::Boot(3)).unwrap().is_none());
        let built = batcher.flush().unwrap().unwrap();
        assert_eq!((built.boot, built.records), (None, 1));
        let batch = RawBatch::parse(built.batch).unwrap();
        assert_eq!(batch.header().base_timestamp, 5000);
        let record = batch.records().unwrap().next().unwrap().unwrap();
        assert_eq!(record.key.as_deref(), Some(b"d".as_slice()));
        assert_eq!(decode_pack(&record.value.unwrap()).unwrap()[0].value, Value::Float(1.5));
        assert!(batcher.flush().unwrap().is_none());
    }

    #[test]
    fn tags_are_headers() {
        let mut batcher = batcher();
        let tags = vec![("site".to_owned(), "north".to_owned()), ("line".to_owned(), "2".to_owned())];
        batcher.push(&Row { tags, ..row(Some(1), 1.0) }, Stamp::Boot(0)).unwrap();
        let batch = RawBatch::parse(batcher.flush().unwrap().unwrap().batch).unwrap();
        let record = batch.records().unwrap().next().unwrap().unwrap();
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        assert_eq!(headers, [(&b"tag.site"[..], Some(&b"north"[..])), (b"tag.line", Some(b"2"))]);
    }

    #[test]
    fn rows_with_a_time_of_their_own_never_share_a_batch_with_untimed_ones() {
        let mut batcher = batcher();
        assert!(batcher.push(&row(None, 1.0), Stamp::Boot(10)).unwrap().is_none());
        let untimed = batcher.push(&row(Some(5000), 2.0), Stamp::Boot(11)).unwrap().unwrap();
        assert_eq!((untimed.boot, untimed.records), (Some(Uuid::from_u128(9)), 1));
        let timed = batcher.push(&row(None, 3.0), Stamp::Boot(12)).unwrap().unwrap();
        assert_eq!((timed.boot, timed.records), (None, 1));
        assert!(batcher.push(&row(None, 4.0), Stamp::Boot(13)).unwrap().is_none());
    }

    #[test]
    fn a_full_batch_ends_by_itself_below_the_limit() {
        let mut batcher = batcher();
        let mut built = None;
        for n in 0..100_000 {
            built = batcher.push(&row(Some(n), n as f64), Stamp::Boot(0)).unwrap();
            if built.is_some() {
                break;
            }
        }
        let built = built.unwrap();
        assert!(built.records > 1000 && built.batch.len() < AGENT_BATCH_BYTES_TARGET);
        assert!(batcher.is_empty());
    }

    #[test]
    fn a_row_that_is_too_large_is_refused_and_the_batch_goes_on() {
        let mut batcher = batcher();
        batcher.push(&row(Some(1), 1.0), Stamp::Boot(0)).unwrap();
        assert!(batcher.push(&text_row(RECORD_BYTES_MAX), Stamp::Wall(2)).is_err());
        assert_eq!(batcher.flush().unwrap().unwrap().records, 1);
    }

    #[test]
    fn a_row_of_another_clock_that_is_too_large_does_not_take_the_batch_with_it() {
        let device = DeviceId::try_from("d".repeat(128).as_str()).unwrap();
        let mut batcher = Batcher::new(device, Uuid::from_u128(9));
        batcher.push(&row(Some(1), 1.0), Stamp::Boot(0)).unwrap();
        // The row's pack is small enough, its record with the device's name is not.
        let refused = batcher.push(&text_row(RECORD_BYTES_MAX - 100), Stamp::Boot(2));
        assert!(matches!(refused, Err(RowError::Push(_))));
        batcher.push(&row(Some(3), 1.0), Stamp::Boot(0)).unwrap();
        let built = batcher.flush().unwrap().unwrap();
        assert_eq!((built.boot, built.records), (None, 2));
    }

    #[test]
    fn a_large_row_that_changes_the_clock_shares_its_batch_with_no_other() {
        let mut batcher = batcher();
        batcher.push(&row(Some(1), 1.0), Stamp::Boot(0)).unwrap();
        let large = text_row(RECORD_BYTES_MAX - 1024);
        assert_eq!(batcher.push(&large, Stamp::Boot(2)).unwrap().unwrap().records, 1);
        assert_eq!(batcher.push(&large, Stamp::Boot(3)).unwrap().unwrap().records, 1);
        assert_eq!(batcher.flush().unwrap().unwrap().records, 1);
    }
}
