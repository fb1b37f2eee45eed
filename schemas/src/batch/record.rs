//! Records within a batch's decompressed body.
//!
//! All numbers are zigzag varints; a length of −1 is null.
//!
//! ```text
//! length             of what follows
//! attributes         i8, unused
//! timestampDelta     to the batch's base timestamp, i64
//! offsetDelta        to the batch's base offset
//! keyLength, key
//! valueLength, value
//! headerCount, then for each: nameLength, name, valueLength, value
//! ```

use bytes::Bytes;

use crate::batch::BatchError;
use crate::batch::varint::{read_i32, read_i64};

/// A header's name (UTF-8 is for the reader to check) and value.
pub type RecordHeader = (Bytes, Option<Bytes>);

/// One record; its fields are slices of the decompressed body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
}

impl Record {
    /// The value of the first header of this name; `Some(None)` where it has a null value.
    pub fn header(&self, name: &str) -> Option<Option<&Bytes>> {
        self.headers.iter().find(|(found, _)| found == name.as_bytes()).map(|(_, value)| value.as_ref())
    }
}

/// The records of one batch. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    body: Bytes,
    at: usize,
    count: usize,
    read: usize,
}

impl Records {
    pub(super) fn new(body: Bytes, count: usize) -> Records {
        Records { body, at: 0, count, read: 0 }
    }

    fn own(&self, view: &RecordView<'_>) -> Record {
        let slice = |part: &[u8]| self.body.slice_ref(part);
        Record {
            offset_delta: view.offset_delta,
            timestamp_delta: view.timestamp_delta,
            key: view.key.map(slice),
            value: view.value.map(slice),
            headers: view.headers().map(|(name, value)| (slice(name), value.map(slice))).collect(),
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read == self.count {
            return None;
        }
        let mut rest = &self.body[self.at..];
        match read_record(&mut rest, self.read, self.count) {
            Ok(view) => {
                let record = self.own(&view);
                self.at = self.body.len() - rest.len();
                self.read += 1;
                Some(Ok(record))
            }
            Err(error) => {
                self.read = self.count;
                Some(Err(error))
            }
        }
    }
}

/// A record without an allocation. Its headers have been checked when it exists.
pub(super) struct RecordView<'a> {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// The whole record with its length prefix.
    pub bytes: usize,
    headers: &'a [u8],
}

impl<'a> RecordView<'a> {
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.headers;
        std::iter::from_fn(move || match read_header(&mut rest)? {
            (Some(name), value) => Some((name, value)),
            (None, _) => None,
        })
    }

    pub fn header(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.headers().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }
}

/// Takes record number `record` of `count` off `input`.
pub(super) fn read_record<'a>(
    input: &mut &'a [u8],
    record: usize,
    count: usize,
) -> Result<RecordView<'a>, BatchError> {
    if input.is_empty() {
        return Err(BatchError::MissingRecords { stated: count, found: record });
    }
    let before = input.len();
    let length = read_i64(input).ok_or(BatchError::RecordFields { record })?;
    let (fields, rest) = usize::try_from(length)
        .ok()
        .and_then(|length| input.split_at_checked(length))
        .ok_or(BatchError::RecordLength { record, length, available: input.len() })?;
    *input = rest;
    read_fields(fields, record, before - rest.len())
}

fn read_fields(mut fields: &[u8], record: usize, bytes: usize) -> Result<RecordView<'_>, BatchError> {
    let wrong = || BatchError::RecordFields { record };
    let (_attributes, rest) = fields.split_first().ok_or_else(wrong)?;
    fields = rest;
    let timestamp_delta = read_i64(&mut fields).ok_or_else(wrong)?;
    let offset_delta = read_i32(&mut fields).ok_or_else(wrong)?;
    let key = read_nullable(&mut fields).ok_or_else(wrong)?;
    let value = read_nullable(&mut fields).ok_or_else(wrong)?;
    let header_count = read_i32(&mut fields).filter(|count| *count >= 0).ok_or_else(wrong)?;
    let headers = fields;
    for _ in 0..header_count {
        match read_header(&mut fields).ok_or_else(wrong)? {
            (Some(_), _) => {}
            (None, _) => return Err(BatchError::HeaderName { record }),
        }
    }
    if !fields.is_empty() {
        return Err(wrong());
    }
    Ok(RecordView { offset_delta, timestamp_delta, key, value, bytes, headers })
}

type Nullable<'a> = Option<&'a [u8]>;

/// The outer `None` is malformed or the end of the input.
#[inline]
fn read_header<'a>(input: &mut &'a [u8]) -> Option<(Nullable<'a>, Nullable<'a>)> {
    let name = read_nullable(input)?;
    Some((name, read_nullable(input)?))
}

#[inline]
fn read_nullable<'a>(input: &mut &'a [u8]) -> Option<Nullable<'a>> {
    let length = read_i32(input)?;
    if length == -1 {
        return Some(None);
    }
    let (taken, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(Some(taken))
}
