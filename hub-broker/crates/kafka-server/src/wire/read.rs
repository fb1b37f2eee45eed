//! Reading: no length is believed before it was compared with the bytes that are left.

use bytes::{Buf, Bytes};
use thiserror::Error;
use uuid::Uuid;

use crate::limits::REQUEST_ELEMENTS_MAX;

/// Why a request cannot be what it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum WireError {
    #[error("the request ends in the middle of a field")]
    Truncated,
    #[error("a length of {0} is not possible here")]
    Length(i64),
    #[error("a field that must be there is null")]
    Null,
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("a varint is longer than 32 bits")]
    Varint,
    #[error("more than {REQUEST_ELEMENTS_MAX} array elements and tagged fields")]
    TooManyElements,
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    #[error("the decoder refused it")]
    Refused,
}

type Result<T> = std::result::Result<T, WireError>;

/// A cursor over a request. `flexible` chooses between the two encodings of lengths (KIP-482).
#[derive(Debug)]
pub(crate) struct Reader {
    rest: Bytes,
    flexible: bool,
    elements_left: usize,
}

impl Reader {
    pub(crate) fn new(request: Bytes, flexible: bool) -> Self {
        Self { rest: request, flexible, elements_left: REQUEST_ELEMENTS_MAX }
    }

    /// Goes on in the other encoding: a request header is never wholly flexible.
    pub(crate) fn into_flexible(self, flexible: bool) -> Self {
        Self { flexible, ..self }
    }

    /// What is left, shared with the request.
    pub(crate) fn rest(&self) -> Bytes {
        self.rest.clone()
    }

    pub(crate) fn i8(&mut self) -> Result<i8> {
        self.rest.try_get_i8().map_err(|_| WireError::Truncated)
    }

    pub(crate) fn i16(&mut self) -> Result<i16> {
        self.rest.try_get_i16().map_err(|_| WireError::Truncated)
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        self.rest.try_get_i32().map_err(|_| WireError::Truncated)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.rest.try_get_i64().map_err(|_| WireError::Truncated)
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid> {
        let bytes = self.take(16)?;
        Uuid::from_slice(&bytes).map_err(|_| WireError::Truncated)
    }

    /// The next `len` bytes, shared with the request.
    pub(crate) fn take(&mut self, len: usize) -> Result<Bytes> {
        if len > self.rest.len() {
            return Err(WireError::Truncated);
        }
        Ok(self.rest.split_to(len))
    }

    pub(crate) fn nullable_string(&mut self) -> Result<Option<Bytes>> {
        let len = if self.flexible { self.compact_len()? } else { known(i64::from(self.i16()?))? };
        let Some(len) = len else { return Ok(None) };
        let string = self.take(len)?;
        std::str::from_utf8(&string).map_err(|_| WireError::NotUtf8)?;
        Ok(Some(string))
    }

    pub(crate) fn string(&mut self) -> Result<String> {
        let string = self.nullable_string()?.ok_or(WireError::Null)?;
        String::from_utf8(string.into()).map_err(|_| WireError::NotUtf8)
    }

    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<Bytes>> {
        match self.i32_or_compact_len()? {
            None => Ok(None),
            Some(len) => self.take(len).map(Some),
        }
    }

    /// The number of elements of an array: not more than there are bytes left, since each takes one at
    /// least, and not more than a request may have.
    pub(crate) fn array(&mut self) -> Result<Option<usize>> {
        let Some(len) = self.i32_or_compact_len()? else { return Ok(None) };
        if len > self.rest.len() {
            return Err(WireError::Truncated);
        }
        self.count(len)?;
        Ok(Some(len))
    }

    /// Steps over the tagged fields that end every struct of a flexible version.
    pub(crate) fn skip_tagged_fields(&mut self) -> Result<()> {
        if !self.flexible {
            return Ok(());
        }
        let fields = self.varint()? as usize;
        self.count(fields)?;
        for _ in 0..fields {
            self.varint()?;
            let len = self.varint()? as usize;
            self.take(len)?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.rest.len())) }
    }

    fn count(&mut self, elements: usize) -> Result<()> {
        self.elements_left = self.elements_left.checked_sub(elements).ok_or(WireError::TooManyElements)?;
        Ok(())
    }

    fn i32_or_compact_len(&mut self) -> Result<Option<usize>> {
        if self.flexible { self.compact_len() } else { known(i64::from(self.i32()?)) }
    }

    /// KIP-482: the length plus one, so that 0 is null.
    fn compact_len(&mut self) -> Result<Option<usize>> {
        known(i64::from(self.varint()?) - 1)
    }

    fn varint(&mut self) -> Result<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.rest.try_get_u8().map_err(|_| WireError::Truncated)?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Varint)
    }
}

/// −1 is null; anything below cannot be.
fn known(len: i64) -> Result<Option<usize>> {
    match len {
        -1 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| WireError::Length(len)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &'static [u8], flexible: bool) -> Reader {
        Reader::new(Bytes::from_static(bytes), flexible)
    }

    #[test]
    fn an_array_longer_than_the_bytes_left_is_refused() {
        assert_eq!(reader(&[0x7f, 0xff, 0xff, 0xff, 0], false).array(), Err(WireError::Truncated));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0], true).array(), Err(WireError::Truncated));
    }

    #[test]
    fn lengths_below_null_are_refused() {
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xfe], false).array(), Err(WireError::Length(-2)));
        assert_eq!(reader(&[0x80, 0x00], false).nullable_string(), Err(WireError::Length(-32768)));
    }

    #[test]
    fn a_varint_beyond_32_bits_is_refused() {
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x1f], true).array(), Err(WireError::Varint));
    }

    #[test]
    fn nested_arrays_share_one_allowance() {
        let mut reader = Reader::new(Bytes::from(vec![0xff; REQUEST_ELEMENTS_MAX + 10]), false);
        reader.count(REQUEST_ELEMENTS_MAX).unwrap();
        assert_eq!(reader.count(1), Err(WireError::TooManyElements));
    }

    #[test]
    fn strings_must_be_utf8() {
        assert_eq!(reader(&[0, 1, 0xff], false).nullable_string(), Err(WireError::NotUtf8));
    }
}
