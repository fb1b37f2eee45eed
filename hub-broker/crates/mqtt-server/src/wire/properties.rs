//! The properties of an MQTT 5 PUBLISH (3.3.2.3), read without an allocation.

use super::WireError;
use super::frame::varint;
use super::text::utf8;
use crate::limits::USER_PROPERTIES_MAX;

pub const PAYLOAD_FORMAT: u8 = 1;
pub const MESSAGE_EXPIRY: u8 = 2;
pub const CONTENT_TYPE: u8 = 3;
pub const RESPONSE_TOPIC: u8 = 8;
pub const CORRELATION_DATA: u8 = 9;
pub const SUBSCRIPTION_ID: u8 = 11;
pub const TOPIC_ALIAS: u8 = 35;
pub const USER: u8 = 38;

/// What a client said beside topic and payload. User properties stay in the block: see [`Self::user`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublishProperties<'a> {
    pub is_utf8: bool,
    pub expiry_seconds: Option<u32>,
    pub content_type: Option<&'a str>,
    pub response_topic: Option<&'a str>,
    pub correlation_data: Option<&'a [u8]>,
    pub topic_alias: Option<u16>,
    user_count: usize,
    block: &'a [u8],
}

impl<'a> PublishProperties<'a> {
    /// Reads the block at the front of `input` and returns what follows it.
    pub fn read(input: &'a [u8]) -> Result<(Self, &'a [u8]), WireError> {
        let (length, taken) =
            varint(input)?.ok_or(WireError::Malformed("a publish that ends in its properties"))?;
        let (block, rest) = input[taken..]
            .split_at_checked(length)
            .ok_or(WireError::Malformed("properties longer than the packet"))?;
        let mut properties = Self { block, ..Self::default() };
        let mut cursor = block;
        while !cursor.is_empty() {
            cursor = properties.take(cursor)?;
        }
        Ok((properties, rest))
    }

    fn take(&mut self, block: &'a [u8]) -> Result<&'a [u8], WireError> {
        let (property, rest) = Property::read(block)?;
        match property {
            Property::PayloadFormat(format) => set_flag(&mut self.is_utf8, format)?,
            Property::MessageExpiry(seconds) => once(&mut self.expiry_seconds, seconds)?,
            Property::ContentType(text) => once(&mut self.content_type, text)?,
            Property::ResponseTopic(topic) => once(&mut self.response_topic, topic)?,
            Property::CorrelationData(data) => once(&mut self.correlation_data, data)?,
            Property::TopicAlias(alias) => once(&mut self.topic_alias, alias)?,
            Property::User(..) if self.user_count < USER_PROPERTIES_MAX => self.user_count += 1,
            Property::User(..) => return Err(WireError::Protocol("too many user properties")),
        }
        Ok(rest)
    }

    /// Whether anything but a topic alias was said.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.block.is_empty()
            || *self == Self { topic_alias: self.topic_alias, block: self.block, ..Self::default() }
    }

    /// The user properties, in the client's order.
    pub fn user(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut cursor = self.block;
        std::iter::from_fn(move || {
            while !cursor.is_empty() {
                // Checked when the block was read.
                let (property, rest) = Property::read(cursor).ok()?;
                cursor = rest;
                if let Property::User(name, value) = property {
                    return Some((name, value));
                }
            }
            None
        })
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), WireError> {
    if slot.replace(value).is_some() { Err(WireError::Protocol("a property given twice")) } else { Ok(()) }
}

fn set_flag(flag: &mut bool, format: u8) -> Result<(), WireError> {
    match format {
        0 => Ok(()),
        1 if !*flag => {
            *flag = true;
            Ok(())
        }
        _ => Err(WireError::Protocol("a payload format that is neither 0 nor 1, or given twice")),
    }
}

enum Property<'a> {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    TopicAlias(u16),
    User(&'a str, &'a str),
}

impl<'a> Property<'a> {
    fn read(block: &'a [u8]) -> Result<(Self, &'a [u8]), WireError> {
        let (&id, rest) = block.split_first().ok_or(ENDS)?;
        Ok(match id {
            PAYLOAD_FORMAT => {
                let (&format, rest) = rest.split_first().ok_or(ENDS)?;
                (Self::PayloadFormat(format), rest)
            }
            MESSAGE_EXPIRY => {
                let (seconds, rest) = rest.split_first_chunk().ok_or(ENDS)?;
                (Self::MessageExpiry(u32::from_be_bytes(*seconds)), rest)
            }
            TOPIC_ALIAS => {
                let (alias, rest) = rest.split_first_chunk().ok_or(ENDS)?;
                (Self::TopicAlias(u16::from_be_bytes(*alias)), rest)
            }
            CONTENT_TYPE => {
                let (text, rest) = string(rest)?;
                (Self::ContentType(text), rest)
            }
            RESPONSE_TOPIC => {
                let (topic, rest) = string(rest)?;
                if topic.contains(['+', '#']) {
                    return Err(WireError::Protocol("a response topic with a wildcard"));
                }
                (Self::ResponseTopic(topic), rest)
            }
            CORRELATION_DATA => {
                let (data, rest) = binary(rest)?;
                (Self::CorrelationData(data), rest)
            }
            USER => {
                let (name, rest) = string(rest)?;
                let (value, rest) = string(rest)?;
                (Self::User(name, value), rest)
            }
            SUBSCRIPTION_ID => return Err(WireError::Protocol("a subscription identifier from a client")),
            _ => return Err(WireError::Malformed("a property that a publish cannot have")),
        })
    }
}

const ENDS: WireError = WireError::Malformed("a property that ends early");

/// Two bytes of length, then that many.
pub fn binary(input: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (length, rest) = input.split_first_chunk().ok_or(ENDS)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(ENDS)
}

fn string(input: &[u8]) -> Result<(&str, &[u8]), WireError> {
    let (bytes, rest) = binary(input)?;
    Ok((utf8(bytes)?, rest))
}

/// The session expiry interval in a DISCONNECT's properties (MQTT 5, 3.14.2.2).
pub fn disconnect_expiry(input: &[u8]) -> Result<Option<u32>, WireError> {
    const SESSION_EXPIRY: u8 = 17;
    const REASON_STRING: u8 = 31;
    let (length, taken) = varint(input)?.ok_or(ENDS)?;
    let mut block = &input[taken..];
    if block.len() != length {
        return Err(WireError::Malformed("properties that do not fill the packet"));
    }
    let mut expiry = None;
    while let Some((&id, rest)) = block.split_first() {
        block = match id {
            SESSION_EXPIRY => {
                let (seconds, rest) = rest.split_first_chunk().ok_or(ENDS)?;
                once(&mut expiry, u32::from_be_bytes(*seconds))?;
                rest
            }
            REASON_STRING => string(rest)?.1,
            USER => string(string(rest)?.1)?.1,
            _ => return Err(WireError::Malformed("a property that a DISCONNECT cannot have")),
        };
    }
    Ok(expiry)
}
