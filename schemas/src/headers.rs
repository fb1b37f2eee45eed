//! The names of record headers, and the two that carry a value of their own.
//!
//! Both are text, so that any Kafka tool shows them: a version, then words separated by one space.
//!
//! ```text
//! untimed       1 {boot id: uuid} {boot time: ms since that boot}
//! stream-start  1 {old stream id} {reason}
//! ```

use std::fmt;

use uuid::Uuid;

use crate::ids::ProducerId;

/// Every tag is a header of its own: `tag.site` = `north`.
pub const TAG_PREFIX: &str = "tag.";
/// The record could never be stamped; its timestamp is when it arrived. See [`Untimed`].
pub const UNTIMED: &str = "untimed";
/// The record stands for records that are lost. See [`crate::gap`].
pub const GAP: &str = "gap";
/// The first record of a stream that goes on where another was closed. See [`StreamStart`].
pub const STREAM_START: &str = "stream-start";
/// The value's media type, only where it is not [`SENML_CBOR`].
pub const CONTENT_TYPE: &str = "ct";
/// What the value is when there is no [`CONTENT_TYPE`].
pub const SENML_CBOR: &str = "application/senml+cbor";
/// A payload as a plain MQTT client sent it.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// Properties of a plain MQTT publish: `mqtt.response-topic` and so on.
pub const MQTT_PREFIX: &str = "mqtt.";

const VERSION: &str = "1";

/// What is known of a record that could never be stamped: which boot, and when in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untimed {
    pub boot_id: Uuid,
    /// `CLOCK_BOOTTIME` in ms.
    pub boot_time_ms: i64,
}

impl fmt::Display for Untimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION} {} {}", self.boot_id, self.boot_time_ms)
    }
}

impl Untimed {
    pub fn to_header(&self) -> String {
        self.to_string()
    }

    pub fn from_header(value: &[u8]) -> Result<Untimed, HeaderValueError> {
        let [boot_id, boot_time] = words(value)?;
        Ok(Untimed {
            boot_id: boot_id.parse().map_err(|_| HeaderValueError::Malformed)?,
            boot_time_ms: boot_time.parse().map_err(|_| HeaderValueError::Malformed)?,
        })
    }
}

/// Why an agent went on in a new stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStartReason {
    /// The hub does not know the old stream any more.
    Forgotten,
    /// The hub holds other data under the same sequences.
    Fork,
    /// The hub expected a sequence that the agent cannot continue from.
    OutOfOrder,
    /// The old stream came near its last sequence.
    Full,
}

impl StreamStartReason {
    const ALL: [StreamStartReason; 4] = [Self::Forgotten, Self::Fork, Self::OutOfOrder, Self::Full];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forgotten => "forgotten",
            Self::Fork => "fork",
            Self::OutOfOrder => "out-of-order",
            Self::Full => "full",
        }
    }
}

/// Which stream this one continues, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    pub old_stream: ProducerId,
    pub reason: StreamStartReason,
}

impl fmt::Display for StreamStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION} {} {}", self.old_stream, self.reason.as_str())
    }
}

impl StreamStart {
    pub fn to_header(&self) -> String {
        self.to_string()
    }

    pub fn from_header(value: &[u8]) -> Result<StreamStart, HeaderValueError> {
        let [old_stream, reason] = words(value)?;
        Ok(StreamStart {
            old_stream: ProducerId(old_stream.parse().map_err(|_| HeaderValueError::Malformed)?),
            reason: StreamStartReason::ALL
                .into_iter()
                .find(|known| known.as_str() == reason)
                .ok_or(HeaderValueError::Malformed)?,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderValueError {
    #[error("the header is of a version that this release does not know")]
    Version,
    #[error("the header's value is malformed")]
    Malformed,
}

/// The two words after the version.
fn words(value: &[u8]) -> Result<[&str; 2], HeaderValueError> {
    let text = std::str::from_utf8(value).map_err(|_| HeaderValueError::Malformed)?;
    let (version, rest) = text.split_once(' ').ok_or(HeaderValueError::Malformed)?;
    if version != VERSION {
        return Err(HeaderValueError::Version);
    }
    rest.split_once(' ').map(|(first, second)| [first, second]).ok_or(HeaderValueError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untimed_survives_its_header() {
        let untimed = Untimed { boot_id: Uuid::from_u128(0x1234), boot_time_ms: 61_500 };
        assert_eq!(untimed.to_header(), "1 00000000-0000-0000-0000-000000001234 61500");
        assert_eq!(Untimed::from_header(untimed.to_header().as_bytes()), Ok(untimed));
    }

    #[test]
    fn stream_start_survives_its_header() {
        for reason in StreamStartReason::ALL {
            let start = StreamStart { old_stream: ProducerId(1 << 62), reason };
            assert_eq!(StreamStart::from_header(start.to_header().as_bytes()), Ok(start));
        }
        let start = StreamStart { old_stream: ProducerId(7), reason: StreamStartReason::OutOfOrder };
        assert_eq!(start.to_header(), "1 7 out-of-order");
    }

    #[test]
    fn a_foreign_header_value_is_an_error() {
        assert_eq!(Untimed::from_header(b"2 x y"), Err(HeaderValueError::Version));
        for bad in [&b""[..], b"1", b"1 ", b"1 x", b"1 x y", b"\xff\xff 1 2", b"1 7 nonsense"] {
            assert_eq!(Untimed::from_header(bad), Err(HeaderValueError::Malformed));
            assert_eq!(StreamStart::from_header(bad), Err(HeaderValueError::Malformed));
        }
    }
}
