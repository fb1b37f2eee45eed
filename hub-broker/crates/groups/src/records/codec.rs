//! Kafka's primitives.

use bytes::{BufMut, Bytes, BytesMut};

use super::DecodeError;

pub(super) fn put_i16(out: &mut BytesMut, value: i16) {
    out.put_i16(value);
}

pub(super) fn put_i32(out: &mut BytesMut, value: i32) {
    out.put_i32(value);
}

pub(super) fn put_i64(out: &mut BytesMut, value: i64) {
    out.put_i64(value);
}

pub(super) fn put_string(out: &mut BytesMut, value: &str) {
    out.put_i16(i16::try_from(value.len()).expect("names are bounded where they come in"));
    out.put_slice(value.as_bytes());
}

pub(super) fn put_nullable(out: &mut BytesMut, value: Option<&str>) {
    match value {
        Some(value) => put_string(out, value),
        None => out.put_i16(-1),
    }
}

pub(super) fn put_bytes(out: &mut BytesMut, value: &[u8]) {
    out.put_i32(i32::try_from(value.len()).expect("metadata is bounded where it comes in"));
    out.put_slice(value);
}

pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, left) = self.0.split_at_checked(bytes).ok_or(DecodeError::Malformed)?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Malformed)
    }

    pub(super) fn version(&mut self, known: i16) -> Result<(), DecodeError> {
        match self.i16()? {
            version if version == known => Ok(()),
            version => Err(DecodeError::UnknownValue(version)),
        }
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Malformed) }
    }

    pub(super) fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(super) fn nullable(&mut self) -> Result<Option<String>, DecodeError> {
        let length = self.i16()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| DecodeError::Malformed)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::Malformed)?;
        Ok(Some(text.to_owned()))
    }

    pub(super) fn string(&mut self) -> Result<String, DecodeError> {
        self.nullable()?.ok_or(DecodeError::Malformed)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = usize::try_from(self.i32()?).map_err(|_| DecodeError::Malformed)?;
        Ok(Bytes::copy_from_slice(self.take(length)?))
    }
}
