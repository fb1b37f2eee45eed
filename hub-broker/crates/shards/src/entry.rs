//! The payload of a group's log entry: a stamp and the commands of everyone who asked meanwhile.
//!
//! ```text
//! entry    version u8 = 1 | stamp i64 (ms since 1970) | count u32 | command × count        all big-endian
//! command  1 append     partition | origin (see partition_log::Origin) | length u32 | batch
//!          2 open       partition | options
//!          3 configure  partition | options
//!          4 close      partition
//!          5 advance    partition | first offset i64
//!          6 roll       partition
//!          7 expire     partition | after i64 (ms)
//!          8 metadata   length u32 | command of the metadata machine
//!          9 mark       nothing: replicas remember what they have here, see `compare`
//! partition  topic uuid 16 | index i32
//! options    segment bytes u32
//! ```
//!
//! An empty payload is a new leader's first entry. The layout of a version never changes; a new command or field
//! is a new version, written only at the feature level at which every hub reads it ([`crate::feature`]). What a version
//! means does not depend on the level, so that applying it needs to know none.

use bytes::{Buf, BufMut, Bytes};
use partition_log::{LogOptions, Origin};
use schemas::{Offset, PartitionId, PartitionIndex, TopicId};
use uuid::Uuid;

use crate::{Append, PartitionCommand};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 8 + 4;
const PARTITION_BYTES: usize = 16 + 4;
/// An origin at its largest: kind, length, device id, CRC.
const ORIGIN_BYTES_MAX: usize = 1 + 1 + 128 + 4;
/// What an append costs besides its batch, at most.
pub(crate) const APPEND_OVERHEAD_BYTES: usize = HEADER_BYTES + 1 + PARTITION_BYTES + ORIGIN_BYTES_MAX + 4;

const APPEND: u8 = 1;
const OPEN: u8 = 2;
const CONFIGURE: u8 = 3;
const CLOSE: u8 = 4;
const ADVANCE_START: u8 = 5;
const ROLL: u8 = 6;
const EXPIRE_PRODUCERS: u8 = 7;
const METADATA: u8 = 8;
const MARK: u8 = 9;

/// One command of an entry.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Append(Append),
    Partition(PartitionCommand),
    Metadata(Bytes),
    Mark,
}

impl Command {
    /// Room that it takes in an entry, at most.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => APPEND_OVERHEAD_BYTES + append.batch.len(),
            Self::Partition(_) => 64,
            Self::Metadata(command) => 8 + command.len(),
            Self::Mark => 1,
        }
    }
}

/// The entry cannot be applied: this version does not know it. The group stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnknownEntry {
    #[error("entry of unknown version {0}")]
    Version(u8),
    #[error("command of unknown kind {0}")]
    Command(u8),
    #[error("not an entry")]
    Malformed,
}

/// Builds one entry.
pub(crate) struct EntryBuilder {
    bytes: Vec<u8>,
    count: u32,
}

impl EntryBuilder {
    /// `capacity`: what the commands will need.
    pub(crate) fn new(stamp_ms: i64, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + capacity);
        bytes.put_u8(VERSION);
        bytes.put_i64(stamp_ms);
        bytes.put_u32(0);
        Self { bytes, count: 0 }
    }

    pub(crate) fn push(&mut self, command: &Command) {
        self.count += 1;
        write_command(&mut self.bytes, command);
    }

    pub(crate) fn finish(mut self) -> Bytes {
        self.bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&self.count.to_be_bytes());
        Bytes::from(self.bytes)
    }
}

/// One command in the layout of version 1, as requests between hubs carry it too.
pub(crate) fn write_command(out: &mut Vec<u8>, command: &Command) {
    match command {
        Command::Append(append) => {
            write_kind(out, APPEND, append.partition);
            append.origin.encode(out);
            write_blob(out, &append.batch);
        }
        Command::Partition(command) => write_partition_command(out, command),
        Command::Metadata(command) => {
            out.put_u8(METADATA);
            write_blob(out, command);
        }
        Command::Mark => out.put_u8(MARK),
    }
}

fn write_partition_command(out: &mut Vec<u8>, command: &PartitionCommand) {
    let partition = command.partition();
    match command {
        PartitionCommand::Open { options, .. } => {
            write_kind(out, OPEN, partition);
            out.put_u32(options.segment_bytes);
        }
        PartitionCommand::Configure { options, .. } => {
            write_kind(out, CONFIGURE, partition);
            out.put_u32(options.segment_bytes);
        }
        PartitionCommand::Close { .. } => write_kind(out, CLOSE, partition),
        PartitionCommand::AdvanceStart { to, .. } => {
            write_kind(out, ADVANCE_START, partition);
            out.put_i64(to.0);
        }
        PartitionCommand::Roll { .. } => write_kind(out, ROLL, partition),
        PartitionCommand::ExpireProducers { after_ms, .. } => {
            write_kind(out, EXPIRE_PRODUCERS, partition);
            out.put_i64(*after_ms);
        }
    }
}

fn write_kind(out: &mut Vec<u8>, kind: u8, partition: PartitionId) {
    out.put_u8(kind);
    write_partition(out, partition);
}

pub(crate) fn write_partition(out: &mut Vec<u8>, partition: PartitionId) {
    out.put_slice(partition.topic.0.as_bytes());
    out.put_i32(partition.index.0);
}

fn write_blob(out: &mut Vec<u8>, blob: &Bytes) {
    out.put_u32(u32::try_from(blob.len()).expect("batches and commands are bounded far below 4 GiB"));
    out.put_slice(blob);
}

/// The commands of one entry, one by one. The slices share the entry's memory.
#[derive(Debug, Clone)]
pub(crate) struct EntryReader {
    rest: Bytes,
    left: u32,
    stamp_ms: i64,
}

impl EntryReader {
    pub(crate) fn new(mut payload: Bytes) -> Result<Self, UnknownEntry> {
        let version = payload.try_get_u8().map_err(|_| UnknownEntry::Malformed)?;
        if version != VERSION {
            return Err(UnknownEntry::Version(version));
        }
        let stamp_ms = payload.try_get_i64().map_err(|_| UnknownEntry::Malformed)?;
        let left = payload.try_get_u32().map_err(|_| UnknownEntry::Malformed)?;
        Ok(Self { rest: payload, left, stamp_ms })
    }

    pub(crate) fn stamp_ms(&self) -> i64 {
        self.stamp_ms
    }

    pub(crate) fn next(&mut self) -> Result<Option<Command>, UnknownEntry> {
        if self.left == 0 {
            return if self.rest.is_empty() { Ok(None) } else { Err(UnknownEntry::Malformed) };
        }
        self.left -= 1;
        read_command(&mut self.rest).map(Some)
    }
}

/// Takes one command of version 1 off the front.
pub(crate) fn read_command(rest: &mut Bytes) -> Result<Command, UnknownEntry> {
    let kind = rest.try_get_u8().map_err(|_| UnknownEntry::Malformed)?;
    if kind == METADATA {
        return Ok(Command::Metadata(read_blob(rest)?));
    }
    if kind == MARK {
        return Ok(Command::Mark);
    }
    if !(APPEND..=METADATA).contains(&kind) {
        return Err(UnknownEntry::Command(kind));
    }
    let partition = read_partition(rest)?;
    if kind == APPEND {
        let origin = Origin::decode(rest).map_err(|_| UnknownEntry::Malformed)?;
        return Ok(Command::Append(Append {
            partition,
            origin,
            batch: read_blob(rest)?,
            expected_term: None,
        }));
    }
    let command = match kind {
        OPEN => PartitionCommand::Open { partition, options: read_options(rest)? },
        CONFIGURE => PartitionCommand::Configure { partition, options: read_options(rest)? },
        CLOSE => PartitionCommand::Close { partition },
        ADVANCE_START => PartitionCommand::AdvanceStart { partition, to: Offset(read_i64(rest)?) },
        ROLL => PartitionCommand::Roll { partition },
        _ => PartitionCommand::ExpireProducers { partition, after_ms: read_i64(rest)? },
    };
    Ok(Command::Partition(command))
}

pub(crate) fn read_partition(rest: &mut Bytes) -> Result<PartitionId, UnknownEntry> {
    let mut topic = [0; 16];
    rest.try_copy_to_slice(&mut topic).map_err(|_| UnknownEntry::Malformed)?;
    let index = rest.try_get_i32().map_err(|_| UnknownEntry::Malformed)?;
    Ok(PartitionId { topic: TopicId(Uuid::from_bytes(topic)), index: PartitionIndex(index) })
}

fn read_options(rest: &mut Bytes) -> Result<LogOptions, UnknownEntry> {
    Ok(LogOptions { segment_bytes: rest.try_get_u32().map_err(|_| UnknownEntry::Malformed)? })
}

fn read_i64(rest: &mut Bytes) -> Result<i64, UnknownEntry> {
    rest.try_get_i64().map_err(|_| UnknownEntry::Malformed)
}

fn read_blob(rest: &mut Bytes) -> Result<Bytes, UnknownEntry> {
    let length = rest.try_get_u32().map_err(|_| UnknownEntry::Malformed)? as usize;
    if length > rest.len() {
        return Err(UnknownEntry::Malformed);
    }
    Ok(rest.split_to(length))
}

#[cfg(test)]
mod tests;
