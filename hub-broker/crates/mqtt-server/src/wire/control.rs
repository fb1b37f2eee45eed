//! rumqttd's codecs for CONNECT, SUBSCRIBE and UNSUBSCRIBE and their answers, with what they leave out.
//!
//! The codecs of 0.20 panic on packets that a client may not send, ignore reserved bits and a CONNECT's trailing
//! bytes, and take strings with U+0000. So packets reach them only by type, with their reserved bits checked, in
//! a copy of exactly one frame, and behind `catch_unwind`; what they return is checked again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use rumqttd::protocol::{
    Connect, ConnectProperties, Filter, LastWill, LastWillProperties, Login, Packet, Protocol,
    SubscribeProperties, v4::V4, v5::V5,
};

use super::frame::Frame;
use super::properties::binary;
use super::text::{topic_name, utf8};
use super::{Version, WireError};
use crate::limits::{CONNECT_BYTES_MAX, FILTERS_PER_PACKET_MAX, PACKET_BYTES_MAX, USER_PROPERTIES_MAX};

pub const CONNECT: u8 = 1;
pub const PUBLISH: u8 = 3;
pub const SUBSCRIBE: u8 = 8;
pub const UNSUBSCRIBE: u8 = 10;
pub const PINGREQ: u8 = 12;
pub const DISCONNECT: u8 = 14;
pub const AUTH: u8 = 15;

/// Whether a client may send a packet of this type once it is connected, with these flags.
pub fn check_kind(frame: Frame) -> Result<(), WireError> {
    match (frame.kind(), frame.flags()) {
        (PUBLISH, _) | (super::ack::PUBREL | SUBSCRIBE | UNSUBSCRIBE, 2) => Ok(()),
        (super::ack::PUBACK | super::ack::PUBREC | super::ack::PUBCOMP | DISCONNECT, 0) => Ok(()),
        (PINGREQ, 0) if frame.body_bytes == 0 => Ok(()),
        (PINGREQ, 0) => Err(WireError::Malformed("a PINGREQ with a body")),
        (CONNECT, _) => Err(WireError::Protocol("a second CONNECT")),
        (AUTH, _) => Err(WireError::Protocol("AUTH without an authentication method")),
        (0, _) => Err(WireError::Malformed("packet type 0")),
        (2 | 9 | 11 | 13, _) => Err(WireError::Protocol("a packet that only a server sends")),
        _ => Err(WireError::Malformed("reserved flags that are set wrongly")),
    }
}

/// A CONNECT with everything in it checked but who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectPacket {
    pub version: Version,
    pub connect: Connect,
    pub properties: ConnectProperties,
    pub will: Option<(LastWill, Option<LastWillProperties>)>,
    pub login: Option<Login>,
}

/// Why a first packet does not lead to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Without a version there is no way to answer a broken CONNECT.
    #[error("not an MQTT CONNECT: {0}")]
    NotMqtt(&'static str),
    #[error("protocol version {0} is not served")]
    UnsupportedVersion(u8),
}

/// The protocol that a CONNECT asks for: needed to answer even a broken one.
pub fn connect_version(frame: Frame, bytes: &[u8]) -> Result<Version, ConnectError> {
    if frame.kind() != CONNECT {
        return Err(ConnectError::NotMqtt("the first packet is another"));
    }
    if frame.flags() != 0 {
        return Err(ConnectError::NotMqtt("reserved flags are set"));
    }
    let not_mqtt = |_| ConnectError::NotMqtt("no protocol name");
    let (name, rest) = binary(&bytes[frame.header_bytes..frame.bytes()]).map_err(not_mqtt)?;
    match (name, rest.first()) {
        (b"MQTT", Some(4)) => Ok(Version::V311),
        (b"MQTT", Some(5)) => Ok(Version::V5),
        (b"MQTT" | b"MQIsdp", Some(&level)) => Err(ConnectError::UnsupportedVersion(level)),
        _ => Err(ConnectError::NotMqtt("unknown protocol name")),
    }
}

/// Reads a CONNECT of a known version.
pub fn read_connect(version: Version, frame: Frame, bytes: &[u8]) -> Result<ConnectPacket, WireError> {
    /// Name length and name, level.
    const FLAGS_AT: usize = 2 + 4 + 1;
    let flags = *bytes
        .get(frame.header_bytes + FLAGS_AT)
        .ok_or(WireError::Malformed("a CONNECT that ends before its flags"))?;
    check_connect_flags(version, flags)?;
    let packet = decode(version, frame, bytes, CONNECT_BYTES_MAX)?;
    let Packet::Connect(connect, properties, will, will_properties, login) = packet else {
        return Err(WireError::Malformed("not a CONNECT"));
    };
    let packet = ConnectPacket {
        version,
        connect,
        properties: properties.unwrap_or_else(no_properties),
        will: will.map(|will| (will, will_properties)),
        login,
    };
    check_connect(&packet)?;
    Ok(packet)
}

/// MQTT 3.1.1, 3.1.2.3 to 3.1.2.9: what the codec does not look at.
fn check_connect_flags(version: Version, flags: u8) -> Result<(), WireError> {
    let (username, password) = (flags & 0x80 != 0, flags & 0x40 != 0);
    if flags & 1 != 0 {
        Err(WireError::Malformed("a CONNECT with its reserved flag set"))
    } else if version == Version::V311 && password && !username {
        Err(WireError::Malformed("a password without a user name"))
    } else {
        Ok(())
    }
}

fn check_connect(packet: &ConnectPacket) -> Result<(), WireError> {
    utf8(packet.connect.client_id.as_bytes())?;
    let properties = &packet.properties;
    if properties.receive_maximum == Some(0) {
        return Err(WireError::Protocol("a Receive Maximum of 0"));
    }
    if properties.max_packet_size == Some(0) {
        return Err(WireError::Protocol("a Maximum Packet Size of 0"));
    }
    if properties.user_properties.len() > USER_PROPERTIES_MAX {
        return Err(WireError::Protocol("too many user properties"));
    }
    if let Some((will, _)) = &packet.will {
        topic_name(&will.topic)?;
    }
    Ok(())
}

fn no_properties() -> ConnectProperties {
    ConnectProperties {
        session_expiry_interval: None,
        receive_maximum: None,
        max_packet_size: None,
        topic_alias_max: None,
        request_response_info: None,
        request_problem_info: None,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
    }
}

/// A client's SUBSCRIBE. The filters are not checked yet: each has its own answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribePacket {
    pub packet_id: u16,
    pub filters: Vec<Filter>,
    pub subscription_id: Option<u32>,
}

pub fn read_subscribe(version: Version, frame: Frame, bytes: &[u8]) -> Result<SubscribePacket, WireError> {
    let Packet::Subscribe(subscribe, properties) = decode(version, frame, bytes, PACKET_BYTES_MAX)? else {
        return Err(WireError::Malformed("not a SUBSCRIBE"));
    };
    check_list(subscribe.pkid, subscribe.filters.len())?;
    let subscription_id = match properties {
        Some(SubscribeProperties { id: Some(id), .. }) => Some(check_subscription_id(id)?),
        _ => None,
    };
    Ok(SubscribePacket { packet_id: subscribe.pkid, filters: subscribe.filters, subscription_id })
}

fn check_subscription_id(id: usize) -> Result<u32, WireError> {
    match u32::try_from(id) {
        Ok(id) if (1..1 << 28).contains(&id) => Ok(id),
        _ => Err(WireError::Protocol("a subscription identifier out of range")),
    }
}

/// A client's UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubscribePacket {
    pub packet_id: u16,
    pub filters: Vec<String>,
}

pub fn read_unsubscribe(
    version: Version,
    frame: Frame,
    bytes: &[u8],
) -> Result<UnsubscribePacket, WireError> {
    let Packet::Unsubscribe(unsubscribe, _) = decode(version, frame, bytes, PACKET_BYTES_MAX)? else {
        return Err(WireError::Malformed("not an UNSUBSCRIBE"));
    };
    check_list(unsubscribe.pkid, unsubscribe.filters.len())?;
    Ok(UnsubscribePacket { packet_id: unsubscribe.pkid, filters: unsubscribe.filters })
}

fn check_list(packet_id: u16, filters: usize) -> Result<(), WireError> {
    match (packet_id, filters) {
        (0, _) => Err(WireError::Protocol("packet id 0")),
        (_, 0) => Err(WireError::Protocol("a list of no filters")),
        (_, 1..=FILTERS_PER_PACKET_MAX) => Ok(()),
        _ => Err(WireError::Protocol("too many filters in one packet")),
    }
}

fn decode(version: Version, frame: Frame, bytes: &[u8], bytes_max: usize) -> Result<Packet, WireError> {
    if frame.bytes() > bytes_max {
        return Err(WireError::TooLarge { bytes: frame.bytes(), max: bytes_max });
    }
    let mut copy = BytesMut::from(&bytes[..frame.bytes()]);
    let read = catch_unwind(AssertUnwindSafe(|| match version {
        Version::V311 => V4.read_mut(&mut copy, bytes_max),
        Version::V5 => V5.read_mut(&mut copy, bytes_max),
    }));
    match read {
        Ok(Ok(packet)) => Ok(packet),
        // The frame is whole, so "more bytes needed" is an error like any other.
        Ok(Err(error)) => {
            tracing::debug!(%error, "a packet that the codec does not take");
            Err(WireError::Malformed("its fields do not fit together"))
        }
        Err(_panic) => Err(WireError::Malformed("the codec cannot read it")),
    }
}

/// Writes one of the hub's answers.
pub fn write(version: Version, packet: Packet, out: &mut Vec<u8>) {
    let mut buffer = BytesMut::new();
    let written = catch_unwind(AssertUnwindSafe(|| match version {
        Version::V311 => V4.write(packet, &mut buffer),
        Version::V5 => V5.write(packet, &mut buffer),
    }));
    match written {
        Ok(Ok(_bytes)) => out.extend_from_slice(&buffer),
        _ => tracing::error!("a packet of the hub's own could not be written"),
    }
}

#[cfg(test)]
mod tests;
