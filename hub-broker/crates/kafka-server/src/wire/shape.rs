//! The shapes of requests, walked before anything is decoded.
//!
//! kafka-protocol's decoders allocate for an array of the length that the wire claims. So every request is
//! first walked by its shape, which allocates nothing: afterwards each length is known to be backed by
//! bytes, and the number of elements to be bounded. A test encodes every API in every version with
//! kafka-protocol and walks it, so a shape cannot differ from the decoder.

use super::read::{Reader, WireError};

pub(crate) enum Shape {
    Int8,
    Int16,
    Int32,
    Int64,
    Uuid,
    String,
    Bytes,
    /// An array of primitives.
    Many(&'static Shape),
    /// An array of structs.
    Structs(&'static [Field]),
}

/// A field and the versions that have it.
pub(crate) struct Field {
    first: i16,
    last: i16,
    shape: Shape,
}

impl Field {
    pub(crate) fn is_in(&self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }

    #[cfg(test)]
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }
}

/// A field of all versions.
pub(crate) const fn all(shape: Shape) -> Field {
    within(0, i16::MAX, shape)
}

pub(crate) const fn since(first: i16, shape: Shape) -> Field {
    within(first, i16::MAX, shape)
}

pub(crate) const fn until(last: i16, shape: Shape) -> Field {
    within(0, last, shape)
}

pub(crate) const fn within(first: i16, last: i16, shape: Shape) -> Field {
    Field { first, last, shape }
}

/// Walks one struct with the tagged fields that end it.
pub(crate) fn walk(reader: &mut Reader, fields: &[Field], version: i16) -> Result<(), WireError> {
    for field in fields {
        if field.is_in(version) {
            walk_value(reader, &field.shape, version)?;
        }
    }
    reader.skip_tagged_fields()
}

fn walk_value(reader: &mut Reader, shape: &Shape, version: i16) -> Result<(), WireError> {
    match shape {
        Shape::Int8 => drop(reader.i8()?),
        Shape::Int16 => drop(reader.i16()?),
        Shape::Int32 => drop(reader.i32()?),
        Shape::Int64 => drop(reader.i64()?),
        Shape::Uuid => drop(reader.take(16)?),
        Shape::String => drop(reader.nullable_string()?),
        Shape::Bytes => drop(reader.nullable_bytes()?),
        Shape::Many(element) => {
            for _ in 0..reader.array()?.unwrap_or(0) {
                walk_value(reader, element, version)?;
            }
        }
        Shape::Structs(fields) => {
            for _ in 0..reader.array()?.unwrap_or(0) {
                walk(reader, fields, version)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const NAMES_THEN_FLAG: &[Field] = &[all(Shape::Many(&Shape::String)), since(1, Shape::Int8)];

    #[test]
    fn a_field_is_there_from_its_first_version_on() {
        let bytes = Bytes::from_static(&[0, 0, 0, 1, 0, 1, b'a', 1]);
        let mut old = Reader::new(bytes.clone(), false);
        walk(&mut old, NAMES_THEN_FLAG, 0).unwrap();
        assert_eq!(old.finish(), Err(WireError::Trailing(1)));
        let mut new = Reader::new(bytes, false);
        walk(&mut new, NAMES_THEN_FLAG, 1).unwrap();
        assert_eq!(new.finish(), Ok(()));
    }

    #[test]
    fn tagged_fields_of_flexible_versions_are_stepped_over() {
        let mut reader = Reader::new(Bytes::from_static(&[2, 2, b'a', 1, 1, 9, 2, 7, 7]), true);
        walk(&mut reader, NAMES_THEN_FLAG, 1).unwrap();
        assert_eq!(reader.finish(), Ok(()));
    }
}
