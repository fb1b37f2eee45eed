//! Who sent a batch. It decides which rule for sequences applies, so it is part of the replicated entry.
//!
//! ```text
//! kind u8:  1 = agent, followed by  device length u8 | device | CRC-32C of the batch as sent, u32 big-endian
//!           2 = Kafka producer
//!           3 = a hub
//! ```

use bytes::{Buf, BufMut, Bytes};
use schemas::DeviceId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An agent's stream.
    Agent {
        /// The authenticated device.
        device: DeviceId,
        /// The batch's CRC as the agent sent it, before the hub patched anything.
        sent_crc: u32,
    },
    /// A Kafka producer, idempotent or not.
    Kafka,
    /// A batch that a hub built; its producer id is from the same space as Kafka's, and so is the rule.
    Hub,
}

const AGENT: u8 = 1;
const KAFKA: u8 = 2;
const HUB: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a batch's origin")]
pub struct DecodeOriginError;

impl Origin {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Agent { device, sent_crc } => {
                let name = device.as_str().as_bytes();
                out.put_u8(AGENT);
                out.put_u8(u8::try_from(name.len()).expect("a device id has at most 128 bytes"));
                out.put_slice(name);
                out.put_u32(*sent_crc);
            }
            Self::Kafka => out.put_u8(KAFKA),
            Self::Hub => out.put_u8(HUB),
        }
    }

    /// Takes one origin off the front of `input`.
    pub fn decode(input: &mut Bytes) -> Result<Self, DecodeOriginError> {
        match input.try_get_u8().map_err(|_| DecodeOriginError)? {
            AGENT => decode_agent(input),
            KAFKA => Ok(Self::Kafka),
            HUB => Ok(Self::Hub),
            _ => Err(DecodeOriginError),
        }
    }
}

fn decode_agent(input: &mut Bytes) -> Result<Origin, DecodeOriginError> {
    let length = usize::from(input.try_get_u8().map_err(|_| DecodeOriginError)?);
    if input.len() < length {
        return Err(DecodeOriginError);
    }
    let name = input.split_to(length);
    let name = std::str::from_utf8(&name).map_err(|_| DecodeOriginError)?;
    let device = DeviceId::try_from(name).map_err(|_| DecodeOriginError)?;
    let sent_crc = input.try_get_u32().map_err(|_| DecodeOriginError)?;
    Ok(Origin::Agent { device, sent_crc })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_back_as_it_was_written() {
        let device = DeviceId::try_from("pump-7").expect("a device id");
        let mut bytes = Vec::new();
        let origins = [Origin::Agent { device, sent_crc: 0xdead_beef }, Origin::Kafka, Origin::Hub];
        origins.iter().for_each(|origin| origin.encode(&mut bytes));
        assert_eq!(bytes, b"\x01\x06pump-7\xde\xad\xbe\xef\x02\x03");
        let mut input = Bytes::from(bytes);
        for origin in origins {
            assert_eq!(Origin::decode(&mut input), Ok(origin));
        }
        assert!(input.is_empty());
    }

    #[test]
    fn bytes_that_are_no_origin_are_refused() {
        let wrong: [&'static [u8]; 5] =
            [b"", b"\x00", b"\x01\x06pump", b"\x01\x02a/\x00\x00\x00\x00", b"\x01\x01a\x00\x00"];
        for bytes in wrong {
            assert_eq!(Origin::decode(&mut Bytes::from_static(bytes)), Err(DecodeOriginError), "{bytes:?}");
        }
    }
}
