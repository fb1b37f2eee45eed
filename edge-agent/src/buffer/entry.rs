//! What lies under one key of a lane.
//!
//! All numbers big-endian. A batch stands in it as it will travel, but for what design/batch.md lets a patch
//! change before the first acknowledgement.
//!
//! ```text
//!  0  version      u8   0xA1
//!  1  kind         u8   1 batch, 2 untimed batch, 3 gap
//!  2  appended at  i64  ms since 1970 by the kernel's clock: for ages only
//! kind 1
//! 10  RecordBatch
//! kind 2: its times are CLOCK_BOOTTIME in ms
//! 10  boot id      16 bytes
//! 26  RecordBatch
//! kind 3: a gap that is encoded as a batch when it is shipped
//! 10  stream       i64
//! 18  base         i32  the first sequence that it uses up
//! 22  sequences    u32
//! 26  count        u32  records lost; 0xFFFFFFFF is unknown
//! 30  from         i64  ms since 1970; i64::MIN is unknown
//! 38  to           i64
//! 46  reason       u8   0 other, 1 dropped, 2 too old, 3 damaged, 4 quarantined
//! 47  crc          u32  CRC-32C of bytes 0 to 46
//! ```

use bytes::Bytes;
use schemas::{BatchError, BatchHeader, Gap, GapCount, GapReason, ProducerId, RawBatch, Sequence};
use thiserror::Error;
use uuid::Uuid;

const VERSION: u8 = 0xA1;
const KIND_BATCH: u8 = 1;
const KIND_UNTIMED: u8 = 2;
const KIND_GAP: u8 = 3;

const AT_BODY: usize = 10;
const AT_UNTIMED_BATCH: usize = 26;
const AT_GAP_CRC: usize = 47;
const GAP_BYTES: usize = 51;

const UNKNOWN_COUNT: u32 = u32::MAX;
const UNKNOWN_TIME: i64 = i64::MIN;

#[derive(Debug, Error)]
pub enum EntryError {
    #[error("the entry is cut short")]
    Short,
    #[error("the entry is of version {0:#x}, which this release does not know")]
    Version(u8),
    #[error("the entry is of kind {0}, which there is not")]
    Kind(u8),
    #[error("the gap's checksum does not match")]
    GapCrc,
    #[error("the gap's fields make no sense")]
    GapFields,
    #[error("the batch's fields make no sense")]
    BatchFields,
    #[error(transparent)]
    Batch(#[from] BatchError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Batch,
    Untimed { boot: Uuid },
    Gap,
}

/// What can be read of an entry without its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    pub appended_ms: i64,
    /// The stream and sequences under which it was appended.
    pub stream: ProducerId,
    pub base: Sequence,
    /// Sequences that it uses up.
    pub sequences: u32,
    /// Records in a batch, or known to be lost in a gap.
    pub records: u32,
    /// The latest time of its records by the clock that they are of; of a gap, none.
    pub newest_ms: i64,
}

/// Records that are lost, by the sequences that stood for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapEntry {
    pub stream: ProducerId,
    pub base: Sequence,
    pub sequences: u32,
    pub gap: Gap,
}

impl Head {
    /// Reads an entry's head; lengths are checked, checksums of batches are not.
    pub fn parse(value: &[u8]) -> Result<Self, EntryError> {
        let kind = kind(value)?;
        let appended_ms = i64::from_be_bytes(field(value, 2)?);
        if kind == Kind::Gap {
            let gap = GapEntry::decode(value)?;
            let records = if let GapCount::Known(count) = gap.gap.count { count } else { 0 };
            let GapEntry { stream, base, sequences, .. } = gap;
            return Ok(Self { kind, appended_ms, stream, base, sequences, records, newest_ms: UNKNOWN_TIME });
        }
        let batch = value.get(batch_at(kind)..).ok_or(EntryError::Short)?;
        let header = BatchHeader::parse(batch)?;
        if header.total_bytes() != batch.len() {
            return Err(EntryError::Short);
        }
        let sequences = u32::try_from(header.offset_span()).map_err(|_| EntryError::BatchFields)?;
        let records = u32::try_from(header.record_count).map_err(|_| EntryError::BatchFields)?;
        if sequences == 0 || header.base_sequence < 0 {
            return Err(EntryError::BatchFields);
        }
        let (stream, base) = (ProducerId(header.producer_id), Sequence(header.base_sequence));
        Ok(Self { kind, appended_ms, stream, base, sequences, records, newest_ms: header.max_timestamp })
    }

    /// The sequence after its last.
    pub fn end(&self) -> Sequence {
        self.base.plus(self.sequences)
    }

    pub fn is_gap(&self) -> bool {
        self.kind == Kind::Gap
    }
}

/// Makes an entry of a batch.
pub fn encode_batch(appended_ms: i64, boot: Option<Uuid>, batch: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(AT_UNTIMED_BATCH + batch.len());
    value.extend([VERSION, if boot.is_some() { KIND_UNTIMED } else { KIND_BATCH }]);
    value.extend(appended_ms.to_be_bytes());
    if let Some(boot) = boot {
        value.extend(boot.as_bytes());
    }
    value.extend(batch);
    value
}

/// The batch of an entry that is one, with lengths and checksum verified.
pub fn decode_batch(value: &Bytes) -> Result<RawBatch, EntryError> {
    let batch = RawBatch::parse(value.slice(batch_bytes(value)?.0..))?;
    batch.verify_crc()?;
    Ok(batch)
}

/// Where in the entry the batch stands, to be patched in place.
pub fn batch_bytes_mut(value: &mut [u8]) -> Result<&mut [u8], EntryError> {
    let (at, _) = batch_bytes(value)?;
    value.get_mut(at..).ok_or(EntryError::Short)
}

/// Checks all that an entry says of itself, checksums included.
pub fn verify(value: &Bytes) -> Result<Head, EntryError> {
    let head = Head::parse(value)?;
    if !head.is_gap() {
        decode_batch(value)?;
    }
    Ok(head)
}

/// The length of the entry that begins here, where it looks like one: for salvage, which finds entries
/// without knowing their lengths.
pub fn length_of(value: &[u8]) -> Option<usize> {
    match kind(value).ok()? {
        Kind::Gap => Some(GAP_BYTES),
        kind => {
            let at = batch_at(kind);
            let header = BatchHeader::parse(value.get(at..)?).ok()?;
            Some(at + header.total_bytes())
        }
    }
}

impl GapEntry {
    pub fn encode(&self, appended_ms: i64) -> Vec<u8> {
        let count = match self.gap.count {
            GapCount::Known(count) => count,
            GapCount::Unknown => UNKNOWN_COUNT,
        };
        let mut value = Vec::with_capacity(GAP_BYTES);
        value.extend([VERSION, KIND_GAP]);
        value.extend(appended_ms.to_be_bytes());
        value.extend(self.stream.0.to_be_bytes());
        value.extend(self.base.0.to_be_bytes());
        value.extend(self.sequences.to_be_bytes());
        value.extend(count.to_be_bytes());
        value.extend(self.gap.from_ms.unwrap_or(UNKNOWN_TIME).to_be_bytes());
        value.extend(self.gap.to_ms.unwrap_or(UNKNOWN_TIME).to_be_bytes());
        value.push(reason_code(self.gap.reason));
        let crc = crc32c::crc32c(&value);
        value.extend(crc.to_be_bytes());
        value
    }

    pub fn decode(value: &[u8]) -> Result<Self, EntryError> {
        if value.len() != GAP_BYTES {
            return Err(EntryError::Short);
        }
        if kind(value)? != Kind::Gap
            || u32::from_be_bytes(field(value, AT_GAP_CRC)?) != crc32c::crc32c(&value[..AT_GAP_CRC])
        {
            return Err(EntryError::GapCrc);
        }
        let time = |ms: i64| (ms != UNKNOWN_TIME).then_some(ms);
        let count = match u32::from_be_bytes(field(value, 26)?) {
            UNKNOWN_COUNT => GapCount::Unknown,
            count => GapCount::Known(count),
        };
        let gap = Gap {
            count,
            from_ms: time(i64::from_be_bytes(field(value, 30)?)),
            to_ms: time(i64::from_be_bytes(field(value, 38)?)),
            reason: reason(value[46]).ok_or(EntryError::GapFields)?,
        };
        let sequences = u32::from_be_bytes(field(value, 22)?);
        let base = Sequence(i32::from_be_bytes(field(value, 18)?));
        if sequences == 0 || base.0 < 0 {
            return Err(EntryError::GapFields);
        }
        Ok(Self { stream: ProducerId(i64::from_be_bytes(field(value, AT_BODY)?)), base, sequences, gap })
    }
}

fn kind(value: &[u8]) -> Result<Kind, EntryError> {
    match *value {
        [VERSION, KIND_BATCH, ..] => Ok(Kind::Batch),
        [VERSION, KIND_UNTIMED, ..] => Ok(Kind::Untimed { boot: Uuid::from_bytes(field(value, AT_BODY)?) }),
        [VERSION, KIND_GAP, ..] => Ok(Kind::Gap),
        [VERSION, kind, ..] => Err(EntryError::Kind(kind)),
        [version, ..] => Err(EntryError::Version(version)),
        [] => Err(EntryError::Short),
    }
}

fn batch_at(kind: Kind) -> usize {
    if matches!(kind, Kind::Untimed { .. }) { AT_UNTIMED_BATCH } else { AT_BODY }
}

fn batch_bytes(value: &[u8]) -> Result<(usize, Kind), EntryError> {
    let kind = kind(value)?;
    if kind == Kind::Gap {
        return Err(EntryError::Kind(KIND_GAP));
    }
    let at = batch_at(kind);
    if value.len() < at { Err(EntryError::Short) } else { Ok((at, kind)) }
}

fn field<const N: usize>(value: &[u8], at: usize) -> Result<[u8; N], EntryError> {
    value.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(EntryError::Short)
}

fn reason_code(reason: GapReason) -> u8 {
    match reason {
        GapReason::Dropped => 1,
        GapReason::TooOld => 2,
        GapReason::Damaged => 3,
        GapReason::Quarantined => 4,
        GapReason::Other => 0,
    }
}

fn reason(code: u8) -> Option<GapReason> {
    [GapReason::Dropped, GapReason::TooOld, GapReason::Damaged, GapReason::Quarantined, GapReason::Other]
        .into_iter()
        .find(|reason| reason_code(*reason) == code)
}

#[cfg(test)]
mod tests {
    use schemas::{BatchBuilder, BuilderOptions, ProducerEpoch};

    use super::*;

    fn batch() -> Bytes {
        let producer = Some((ProducerId(1 << 62), ProducerEpoch(0), Sequence(5)));
        let mut builder = BatchBuilder::new(BuilderOptions { producer, ..BuilderOptions::default() });
        for n in 0..3 {
            builder.push(1000 + n, Some(b"d"), Some(b"value"), &[]).unwrap();
        }
        builder.finish().unwrap()
    }

    fn gap() -> GapEntry {
        GapEntry {
            stream: ProducerId((1 << 62) + 1),
            base: Sequence(7),
            sequences: 9,
            gap: Gap {
                count: GapCount::Known(9),
                from_ms: Some(1_700_000_000_000),
                to_ms: None,
                reason: GapReason::Dropped,
            },
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn entries_are_as_the_golden_file_has_them() {
        let boot = Uuid::from_u128(0x1234);
        let lines = [
            hex(&encode_batch(1_700_000_000_123, None, b"")),
            hex(&encode_batch(1_700_000_000_123, Some(boot), b"")),
            hex(&gap().encode(1_700_000_000_123)),
        ];
        assert_eq!(lines.join("\n"), include_str!("../../tests/golden/entries-1.hex").trim_end());
    }

    #[test]
    fn a_batch_comes_out_as_it_went_in() {
        for boot in [None, Some(Uuid::from_u128(3))] {
            let value = Bytes::from(encode_batch(77, boot, &batch()));
            let head = verify(&value).unwrap();
            assert_eq!((head.appended_ms, head.base, head.sequences, head.records), (77, Sequence(5), 3, 3));
            assert_eq!(head.kind, boot.map_or(Kind::Batch, |boot| Kind::Untimed { boot }));
            assert_eq!(decode_batch(&value).unwrap().into_bytes(), batch());
            assert_eq!(length_of(&value), Some(value.len()));
        }
    }

    #[test]
    fn a_gap_comes_out_as_it_went_in() {
        let unknown = Gap { count: GapCount::Unknown, ..gap().gap };
        for gap in [gap(), GapEntry { gap: unknown, ..gap() }] {
            let value = gap.encode(5);
            assert_eq!(GapEntry::decode(&value).unwrap(), gap);
            assert!(Head::parse(&value).unwrap().is_gap());
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        // The first 21 bytes of a batch are outside its checksum; what matters there is checked as a field.
        for (value, unguarded) in [(gap().encode(5), 0), (encode_batch(5, None, &batch()), AT_BODY + 21)] {
            for length in 0..value.len() {
                assert!(verify(&Bytes::copy_from_slice(&value[..length])).is_err(), "cut at {length}");
            }
            for bit in unguarded * 8..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(verify(&flipped.into()).is_err(), "bit {bit}");
            }
        }
    }
}
