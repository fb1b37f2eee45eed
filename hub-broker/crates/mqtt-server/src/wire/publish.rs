//! PUBLISH (MQTT 5, 3.3), read from a slice and written into one buffer.
//!
//! ```text
//! flags: dup u1 | qos u2 | retain u1
//! topic length u16 | topic | packet id u16, only with QoS 1 and 2 | properties, only in 5 | payload
//! ```

use super::frame::{put_varint, varint_bytes};
use super::properties::{PublishProperties, binary};
use super::text::topic_name;
use super::{Qos, Version, WireError};

/// A publish as it lies in the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    pub dup: bool,
    pub qos: Qos,
    pub retain: bool,
    /// Empty only in 5, where a topic alias stands for it.
    pub topic: &'a str,
    /// 0 with QoS 0.
    pub packet_id: u16,
    pub properties: PublishProperties<'a>,
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    pub fn read(version: Version, flags: u8, body: &'a [u8]) -> Result<Self, WireError> {
        let qos = Qos::from_bits((flags >> 1) & 3).ok_or(WireError::Malformed("a publish of QoS 3"))?;
        let dup = flags & 8 != 0;
        if dup && qos == Qos::AtMostOnce {
            return Err(WireError::Malformed("a publish of QoS 0 with the DUP flag"));
        }
        let (topic, mut rest) =
            binary(body).map_err(|_| WireError::Malformed("a publish that ends in its topic"))?;
        let mut packet_id = 0;
        if qos != Qos::AtMostOnce {
            let (id, after) =
                rest.split_first_chunk().ok_or(WireError::Malformed("a publish without a packet id"))?;
            packet_id = u16::from_be_bytes(*id);
            rest = after;
            if packet_id == 0 {
                return Err(WireError::Protocol("packet id 0"));
            }
        }
        let mut properties = PublishProperties::default();
        if version == Version::V5 {
            (properties, rest) = PublishProperties::read(rest)?;
        }
        let topic = match properties.topic_alias {
            Some(_) if topic.is_empty() => "",
            _ => topic_name(topic)?,
        };
        Ok(Self { dup, qos, retain: flags & 1 != 0, topic, packet_id, properties, payload: rest })
    }

    /// Whether the payload is what its format indicator says.
    pub fn check_payload(&self) -> Result<(), WireError> {
        let good = !self.properties.is_utf8 || std::str::from_utf8(self.payload).is_ok();
        if good { Ok(()) } else { Err(WireError::PayloadFormat) }
    }
}

/// A publish to a client.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    pub dup: bool,
    pub qos: Qos,
    pub retain: bool,
    pub topic: &'a [u8],
    pub packet_id: u16,
    /// Property blocks, back to back and already encoded. Left out in 3.1.1.
    pub properties: [&'a [u8]; 2],
    pub payload: &'a [u8],
}

impl Outgoing<'_> {
    /// The whole packet's size.
    #[must_use]
    pub fn packet_bytes(&self, version: Version) -> usize {
        let body = self.body_bytes(version);
        1 + varint_bytes(body) + body
    }

    fn property_bytes(&self) -> usize {
        self.properties.iter().map(|block| block.len()).sum()
    }

    fn body_bytes(&self, version: Version) -> usize {
        let id = if self.qos == Qos::AtMostOnce { 0 } else { 2 };
        let properties = match version {
            Version::V311 => 0,
            Version::V5 => varint_bytes(self.property_bytes()) + self.property_bytes(),
        };
        2 + self.topic.len() + id + properties + self.payload.len()
    }

    pub fn write(&self, version: Version, out: &mut Vec<u8>) {
        let flags = u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain);
        out.push(0x30 | flags);
        put_varint(out, self.body_bytes(version));
        let topic_bytes = u16::try_from(self.topic.len()).expect("topics are shorter than 64 KiB");
        out.extend_from_slice(&topic_bytes.to_be_bytes());
        out.extend_from_slice(self.topic);
        if self.qos != Qos::AtMostOnce {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
        }
        if version == Version::V5 {
            put_varint(out, self.property_bytes());
            self.properties.iter().for_each(|block| out.extend_from_slice(block));
        }
        out.extend_from_slice(self.payload);
    }
}

#[cfg(test)]
mod tests;
