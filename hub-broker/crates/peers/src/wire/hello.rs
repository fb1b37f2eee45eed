//! The two greetings: who a hub is, or why it does not want the connection.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use schemas::NodeId;
use uuid::Uuid;

use super::fields::Fields;
use crate::limits::{ADDRESS_BYTES_MAX, HELLO_BODY_BYTES_MAX, REASON_BYTES_MAX};

/// The protocol's version that this release speaks.
const VERSION: u8 = 1;
pub(crate) const GREETING_HEADER_BYTES: usize = 16;
/// Where the checksum stands; it covers what is before it, and the body.
const CRC_AT: usize = 12;
const MAGIC: &[u8; 4] = b"HWPR";
const HELLO: u8 = 1;
const REFUSAL: u8 = 2;

/// The versions of the protocol that a hub speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub lowest: u8,
    pub highest: u8,
}

impl Versions {
    pub const OWN: Self = Self { lowest: VERSION, highest: VERSION };

    /// The highest version that both speak.
    pub fn common(self, other: Self) -> Option<u8> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest.max(other.lowest)).then_some(highest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "versions {} to {}", self.lowest, self.highest)
    }
}

/// Who a hub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub node: NodeId,
    pub incarnation: Uuid,
    /// Drawn anew by every process: tells a restart from a second connection.
    pub session: u64,
    pub shard_count: u16,
    pub cluster: Option<Uuid>,
    /// `host:port`.
    pub address: String,
}

/// Why a hub does not want a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Version,
    OtherCluster,
    SameNode,
    OtherIncarnation,
    ShardCount,
    /// There is a connection already.
    Duplicate,
    /// The hub has reached itself.
    Itself,
    /// The hub is stopping.
    Stopping,
    /// The hub was removed from the cluster.
    Forgotten,
    /// Said by a later release.
    Unknown(u8),
}

impl Reason {
    pub fn code(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::OtherCluster => 2,
            Self::SameNode => 3,
            Self::OtherIncarnation => 4,
            Self::ShardCount => 5,
            Self::Duplicate => 6,
            Self::Itself => 7,
            Self::Stopping => 8,
            Self::Forgotten => 9,
            Self::Unknown(code) => code,
        }
    }

    pub fn of(code: u8) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::OtherCluster,
            3 => Self::SameNode,
            4 => Self::OtherIncarnation,
            5 => Self::ShardCount,
            6 => Self::Duplicate,
            7 => Self::Itself,
            8 => Self::Stopping,
            9 => Self::Forgotten,
            _ => Self::Unknown(code),
        }
    }
}

/// A hub's no, in words that its operator reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: Reason,
    /// Who says so.
    pub node: NodeId,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    Hello(Versions, Hello),
    Refusal(Versions, Refusal),
}

/// What was said is no greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GreetingError {
    #[error("it does not speak the hubs' protocol")]
    NoHub,
    #[error("its greeting is damaged")]
    Damaged,
}

/// The first bytes of a greeting. Their layout and that of the fields so far is the same in all versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GreetingHeader {
    kind: u8,
    versions: Versions,
    pub body_bytes: usize,
    /// Over the header as it was sent, before the body.
    header_crc: u32,
    crc: u32,
}

impl GreetingHeader {
    pub fn decode(bytes: [u8; GREETING_HEADER_BYTES]) -> Result<Self, GreetingError> {
        let mut fields = Fields(&bytes);
        let magic = fields.bytes(4);
        let header = (|| {
            let (kind, lowest, highest, _) = (fields.u8()?, fields.u8()?, fields.u8()?, fields.u8()?);
            let (body_bytes, crc) = (fields.u32()? as usize, fields.u32()?);
            let header_crc = crc32c::crc32c(bytes.get(..CRC_AT)?);
            Some(Self { kind, versions: Versions { lowest, highest }, body_bytes, header_crc, crc })
        })();
        match header {
            Some(header) if magic == Some(MAGIC) && header.body_bytes <= HELLO_BODY_BYTES_MAX => Ok(header),
            _ => Err(GreetingError::NoHub),
        }
    }
}

impl Greeting {
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        let (kind, versions) = match self {
            Self::Hello(versions, hello) => {
                hello.put(&mut body);
                (HELLO, *versions)
            }
            Self::Refusal(versions, refusal) => {
                refusal.put(&mut body);
                (REFUSAL, *versions)
            }
        };
        let mut bytes = BytesMut::with_capacity(GREETING_HEADER_BYTES + body.len());
        bytes.put_slice(MAGIC);
        bytes.put_slice(&[kind, versions.lowest, versions.highest, 0]);
        bytes.put_u32_le(body.len() as u32);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &body);
        bytes.put_u32_le(crc);
        bytes.put_slice(&body);
        bytes.freeze()
    }

    /// Fields behind those that are known are a later release's.
    pub fn decode(header: GreetingHeader, body: &[u8]) -> Result<Self, GreetingError> {
        if crc32c::crc32c_append(header.header_crc, body) != header.crc {
            return Err(GreetingError::Damaged);
        }
        let mut fields = Fields(body);
        match header.kind {
            HELLO => Hello::take(&mut fields).map(|hello| Self::Hello(header.versions, hello)),
            REFUSAL => Refusal::take(&mut fields).map(|refusal| Self::Refusal(header.versions, refusal)),
            _ => None,
        }
        .ok_or(GreetingError::Damaged)
    }
}

impl Hello {
    fn put(&self, out: &mut BytesMut) {
        out.put_u32_le(self.node.0);
        out.put_slice(self.incarnation.as_bytes());
        out.put_u64_le(self.session);
        out.put_u16_le(self.shard_count);
        out.put_u8(u8::from(self.cluster.is_some()));
        out.put_slice(self.cluster.unwrap_or_default().as_bytes());
        out.put_u16_le(self.address.len() as u16);
        out.put_slice(self.address.as_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let (node, incarnation) = (NodeId(fields.u32()?), fields.uuid()?);
        let (session, shard_count) = (fields.u64()?, fields.u16()?);
        let (is_formed, cluster) = (fields.u8()? != 0, fields.uuid()?);
        let address = fields.text(ADDRESS_BYTES_MAX)?;
        let cluster = is_formed.then_some(cluster);
        Some(Self { node, incarnation, session, shard_count, cluster, address })
    }
}

impl Refusal {
    fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.reason.code());
        out.put_u32_le(self.node.0);
        out.put_u16_le(self.text.len() as u16);
        out.put_slice(self.text.as_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let (reason, node) = (Reason::of(fields.u8()?), NodeId(fields.u32()?));
        Some(Self { reason, node, text: fields.text(REASON_BYTES_MAX)? })
    }
}
