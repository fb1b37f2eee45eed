//! The primitives of the metadata's formats: integers are big-endian, a string is its length (u16) and UTF-8, an
//! option is a byte 0 or 1 before the value, a list is its length (u32) before its elements.

use schemas::{NodeId, TopicId, TopicName};
use thiserror::Error;
use uuid::Uuid;

/// Bytes that are not what they should be. Never a reason to guess: the group that meets them stops.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("{what} of unknown version {version}: written by a newer release")]
    Version { what: &'static str, version: u8 },
    #[error("{what} of unknown kind {kind}")]
    Kind { what: &'static str, kind: u8 },
    #[error("{what} ends too early")]
    Short { what: &'static str },
    #[error("{bytes} bytes left over after {what}")]
    Surplus { what: &'static str, bytes: usize },
    #[error("{what} holds a value that cannot be")]
    Value { what: &'static str },
}

#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn i32(&mut self, value: i32) -> &mut Self {
        self.u32(value.cast_unsigned())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.u64(value.cast_unsigned())
    }

    pub(crate) fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// A string. What is longer than its length can say was refused before it came here.
    pub(crate) fn string(&mut self, value: &str) -> &mut Self {
        let length = u16::try_from(value.len()).expect("strings are bounded before they are encoded");
        self.u16(length);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    pub(crate) fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.u32(u32::try_from(items.len()).expect("lists are bounded before they are encoded"));
        for item in items {
            write(self, item);
        }
        self
    }
}

pub(crate) struct Reader<'a> {
    what: &'static str,
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, left: bytes }
    }

    /// The version byte, which every format begins with.
    pub(crate) fn version(&mut self, known: u8) -> Result<(), DecodeError> {
        match self.u8()? {
            version if version == known => Ok(()),
            version => Err(DecodeError::Version { what: self.what, version }),
        }
    }

    /// The version byte of a format whose older versions are read too.
    pub(crate) fn version_up_to(&mut self, newest: u8) -> Result<u8, DecodeError> {
        match self.u8()? {
            version if (1..=newest).contains(&version) => Ok(version),
            version => Err(DecodeError::Version { what: self.what, version }),
        }
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        match self.left.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Surplus { what: self.what, bytes }),
        }
    }

    pub(crate) fn unknown_kind(&self, kind: u8) -> DecodeError {
        DecodeError::Kind { what: self.what, kind }
    }

    fn bad_value(&self) -> DecodeError {
        DecodeError::Value { what: self.what }
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, left) =
            self.left.split_at_checked(bytes).ok_or(DecodeError::Short { what: self.what })?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let what = self.what;
        self.take(N)?.try_into().map_err(|_| DecodeError::Short { what })
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad_value()),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(self.u32()?.cast_signed())
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(self.u64()?.cast_signed())
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    pub(crate) fn string(&mut self) -> Result<String, DecodeError> {
        let length = self.u16()?;
        let bytes = self.take(usize::from(length))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.bad_value())
    }

    pub(crate) fn topic_id(&mut self) -> Result<TopicId, DecodeError> {
        Ok(TopicId(self.uuid()?))
    }

    pub(crate) fn node(&mut self) -> Result<NodeId, DecodeError> {
        Ok(NodeId(self.u32()?))
    }

    pub(crate) fn topic_name(&mut self) -> Result<TopicName, DecodeError> {
        let name = self.string()?;
        TopicName::try_from(name.as_str()).map_err(|_| self.bad_value())
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// A list. Its length is not trusted with an allocation: every element must first be there.
    pub(crate) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let length = self.u32()?;
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(read(self)?);
        }
        Ok(items)
    }
}
