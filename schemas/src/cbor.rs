//! CBOR (RFC 8949): the only module that names `serde_cbor`.
//!
//! Our formats are maps from integer labels to scalars, alone or in an array. Before `serde_cbor` sees any
//! input, [`shape`] has checked its depth and that every length in it is really there.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_cbor::tags::current_cbor_tag;

mod shape;

/// A value in one of our maps.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'a> {
    Int(i128),
    Float(f64),
    /// A decimal fraction (RFC 8949 §3.4.4) as the nearest double, which may be infinite. It is only read.
    Decimal(f64),
    Text(Cow<'a, str>),
    Bool(bool),
    Bytes(Cow<'a, [u8]>),
    Null,
    /// An array or a map, of which nothing is kept.
    Nested,
}

/// A map's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    Int(i64),
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed CBOR")]
pub struct Malformed;

/// Decodes exactly one item that is nested no deeper than `depth_max`.
pub fn from_slice<T: DeserializeOwned>(input: &[u8], depth_max: usize) -> Result<T, Malformed> {
    if !shape::is_well_formed(input, depth_max) {
        return Err(Malformed);
    }
    serde_cbor::from_slice(input).map_err(|_| Malformed)
}

pub fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    serde_cbor::to_vec(value).expect("a Vec takes all bytes and our values all have a CBOR form")
}

/// A map to be written: what is `None` is left out.
pub struct MapOut<'a, const N: usize>(pub [Option<(i64, Item<'a>)>; N]);

impl<const N: usize> Serialize for MapOut<'_, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.iter().flatten().count()))?;
        for (label, item) in self.0.iter().flatten() {
            map.serialize_entry(label, item)?;
        }
        map.end()
    }
}

/// An array to be written.
pub struct ArrayOut<F>(pub F);

impl<F, I> Serialize for ArrayOut<F>
where
    F: Fn() -> I,
    I: ExactSizeIterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0())
    }
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Item::Int(number) => serializer.serialize_i128(*number),
            Item::Float(number) | Item::Decimal(number) => serializer.serialize_f64(*number),
            Item::Text(text) => serializer.serialize_str(text),
            Item::Bool(truth) => serializer.serialize_bool(*truth),
            Item::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Item::Null | Item::Nested => serializer.serialize_unit(),
        }
    }
}

/// Takes a map's members one by one; keeps its own account of what is wrong.
pub trait Fields: Default {
    fn field(&mut self, label: Label, item: Item<'static>);
}

/// A map that is read into `T`.
pub struct MapIn<T>(pub T);

impl<'de, T: Fields> Deserialize<'de> for MapIn<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Fields> Visitor<'de> for Members<T> {
            type Value = MapIn<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MapIn<T>, A::Error> {
                let mut fields = T::default();
                while let Some((label, item)) = map.next_entry::<Label, Item<'static>>()? {
                    fields.field(label, item);
                }
                Ok(MapIn(fields))
            }

            /// A tag changes nothing.
            fn visit_newtype_struct<D: Deserializer<'de>>(self, tagged: D) -> Result<MapIn<T>, D::Error> {
                tagged.deserialize_map(self)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Item::deserialize(deserializer)? {
            Item::Int(number) => i64::try_from(number).map(Label::Int).map_err(de::Error::custom),
            Item::Text(text) => Ok(Label::Text(text.into_owned())),
            _ => Err(de::Error::custom("a label is an integer or a text")),
        }
    }
}

impl<'de> Deserialize<'de> for Item<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyItem)
    }
}

/// The tag of an array of exponent and mantissa.
const DECIMAL_FRACTION: u64 = 4;

struct AnyItem;

impl<'de> Visitor<'de> for AnyItem {
    type Value = Item<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Item::Int(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Item::Int(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Self::Value, E> {
        Ok(Item::Int(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Item::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Item::Text(text.to_owned().into()))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Item::Bool(truth))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Item::Bytes(bytes.to_vec().into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Item::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Item::Null)
    }

    /// What is tagged; other tags than that of decimal fractions change nothing.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, tagged: D) -> Result<Self::Value, D::Error> {
        if current_cbor_tag() != Some(DECIMAL_FRACTION) {
            return tagged.deserialize_any(self);
        }
        Ok(match <(Item<'static>, Item<'static>)>::deserialize(tagged)? {
            (Item::Int(exponent), Item::Int(mantissa)) => Item::Decimal(decimal(mantissa, exponent)),
            _ => Item::Nested,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Item::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Item::Nested)
    }
}

/// The nearest double; no mantissa of 64 bits reaches back from beyond these exponents.
fn decimal(mantissa: i128, exponent: i128) -> f64 {
    let exponent = exponent.clamp(-400, 400);
    format!("{mantissa}e{exponent}").parse().unwrap_or(f64::NAN)
}
