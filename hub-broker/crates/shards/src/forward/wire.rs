//! What hubs ask of a shard's leader, and what it answers. Everything is big-endian and begins with a version.
//!
//! ```text
//! 1 append    version u8 = 1 | shard u16 | count u32 | (expected term u64, 0 any | command) × count
//!   answer    version u8 = 1 | count u32 | (0 | base i64 | last i64 | log start i64 | append time i64 (ms) |
//!                                           duplicate u8 · or a failure) × count
//! 2 command   version u8 = 1 | shard u16 | command
//!   answer    version u8 = 1 | 0 · or a failure
//! 3 metadata  version u8 = 1 | command
//!   answer    version u8 = 1 | 0 | length u32 | the machine's answer · or a failure
//! 4 retain    version u8 = 1 | shard u16 | partition | ms i64, −1 none | bytes i64, −1 none
//!   answer    version u8 = 1 | 0 | moved u8 | first offset i64 · or a failure
//!
//! command, partition: see `entry`, version 1
//! failure          see `failure`
//! ```
//!
//! A request is *refused* as a whole (version u8 = 1 | 1 not served here · 2 not understood) if nothing of it was done.

use bytes::{Buf, BufMut, Bytes, TryGetError};
use schemas::{Offset, PartitionId, ShardId, Term};

use super::failure::Failure;
use crate::entry::{Command, read_command, read_partition, write_command, write_partition};
use crate::{Append, AppendError, Appended, CommandError, PartitionCommand, ProposeError, Retention, limits};

pub(crate) const APPEND: u8 = 1;
pub(crate) const COMMAND: u8 = 2;
pub(crate) const METADATA: u8 = 3;
pub(crate) const RETAIN: u8 = 4;

const VERSION: u8 = 1;
const OK: u8 = 0;
const NOT_SERVED: u8 = 1;
const NOT_UNDERSTOOD: u8 = 2;

/// The bytes are no such request or answer, or of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not of a form that this version knows")]
pub(crate) struct Unknown;

impl From<TryGetError> for Unknown {
    fn from(_: TryGetError) -> Self {
        Self
    }
}

/// Why nothing of a request was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The hub does not serve the group.
    NotServed,
    NotUnderstood,
}

impl Refused {
    pub(crate) fn encode(self) -> Bytes {
        let reason = match self {
            Self::NotServed => NOT_SERVED,
            Self::NotUnderstood => NOT_UNDERSTOOD,
        };
        Bytes::copy_from_slice(&[VERSION, reason])
    }
}

pub(crate) fn encode_appends<'a>(
    shard: ShardId,
    appends: impl ExactSizeIterator<Item = &'a Append>,
    bytes: usize,
) -> Bytes {
    let mut out = Vec::with_capacity(bytes + 16);
    out.put_u8(VERSION);
    out.put_u16(shard.0);
    out.put_u32(u32::try_from(appends.len()).expect("few enough for a request"));
    for append in appends {
        out.put_u64(append.expected_term.map_or(0, |term| term.0));
        write_command(&mut out, &Command::Append(append.clone()));
    }
    out.into()
}

pub(crate) fn decode_appends(mut body: Bytes) -> Result<(ShardId, Vec<Append>), Unknown> {
    version(&mut body)?;
    let shard = ShardId(body.try_get_u16()?);
    let count = count(&mut body)?;
    let mut appends = Vec::new();
    for _ in 0..count {
        let expected = body.try_get_u64()?;
        let Ok(Command::Append(append)) = read_command(&mut body) else { return Err(Unknown) };
        appends.push(Append { expected_term: (expected != 0).then_some(Term(expected)), ..append });
    }
    end(&body)?;
    Ok((shard, appends))
}

pub(crate) fn encode_appended(outcomes: &[Result<Appended, AppendError>]) -> Bytes {
    let mut out = vec![VERSION];
    out.put_u32(u32::try_from(outcomes.len()).expect("as many as were asked for"));
    for outcome in outcomes {
        match outcome {
            Ok(appended) => {
                out.put_u8(OK);
                out.put_i64(appended.base_offset.0);
                out.put_i64(appended.last_offset.0);
                out.put_i64(appended.log_start.0);
                out.put_i64(appended.append_time_ms);
                out.put_u8(u8::from(appended.duplicate));
            }
            Err(error) => Failure::from(error).write(&mut out),
        }
    }
    out.into()
}

pub(crate) fn decode_appended(mut body: Bytes) -> Result<Vec<Result<Appended, AppendError>>, Unknown> {
    version(&mut body)?;
    let count = count(&mut body)?;
    let mut outcomes = Vec::new();
    for _ in 0..count {
        outcomes.push(match status(&mut body)? {
            Ok(()) => Ok(Appended {
                base_offset: Offset(body.try_get_i64()?),
                last_offset: Offset(body.try_get_i64()?),
                log_start: Offset(body.try_get_i64()?),
                append_time_ms: body.try_get_i64()?,
                duplicate: body.try_get_u8()? != 0,
            }),
            Err(failure) => Err(failure.into()),
        });
    }
    end(&body)?;
    Ok(outcomes)
}

pub(crate) fn encode_command(shard: ShardId, command: &PartitionCommand) -> Bytes {
    let mut out = vec![VERSION];
    out.put_u16(shard.0);
    write_command(&mut out, &Command::Partition(command.clone()));
    out.into()
}

pub(crate) fn decode_command(mut body: Bytes) -> Result<(ShardId, PartitionCommand), Unknown> {
    version(&mut body)?;
    let shard = ShardId(body.try_get_u16()?);
    let Ok(Command::Partition(command)) = read_command(&mut body) else { return Err(Unknown) };
    end(&body)?;
    Ok((shard, command))
}

pub(crate) fn encode_commanded(outcome: &Result<(), CommandError>) -> Bytes {
    let mut out = vec![VERSION];
    match outcome {
        Ok(()) => out.put_u8(OK),
        Err(error) => Failure::from(error).write(&mut out),
    }
    out.into()
}

pub(crate) fn decode_commanded(mut body: Bytes) -> Result<Result<(), CommandError>, Unknown> {
    version(&mut body)?;
    let outcome = status(&mut body)?.map_err(CommandError::from);
    end(&body)?;
    Ok(outcome)
}

pub(crate) fn encode_metadata(command: &Bytes) -> Bytes {
    let mut out = vec![VERSION];
    write_command(&mut out, &Command::Metadata(command.clone()));
    out.into()
}

pub(crate) fn decode_metadata(mut body: Bytes) -> Result<Bytes, Unknown> {
    version(&mut body)?;
    let Ok(Command::Metadata(command)) = read_command(&mut body) else { return Err(Unknown) };
    end(&body)?;
    Ok(command)
}

pub(crate) fn encode_answered(outcome: &Result<Bytes, ProposeError>) -> Bytes {
    let mut out = vec![VERSION];
    match outcome {
        Ok(answer) => {
            out.put_u8(OK);
            out.put_u32(u32::try_from(answer.len()).expect("an answer is bounded as its command is"));
            out.put_slice(answer);
        }
        Err(error) => Failure::from(error).write(&mut out),
    }
    out.into()
}

pub(crate) fn decode_answered(mut body: Bytes) -> Result<Result<Bytes, ProposeError>, Unknown> {
    version(&mut body)?;
    match status(&mut body)? {
        Ok(()) => {
            let length = body.try_get_u32()?;
            if usize::try_from(length) == Ok(body.len()) { Ok(Ok(body)) } else { Err(Unknown) }
        }
        Err(failure) => {
            end(&body)?;
            Ok(Err(failure.into()))
        }
    }
}

pub(crate) fn encode_retain(shard: ShardId, partition: PartitionId, retention: Retention) -> Bytes {
    let mut out = vec![VERSION];
    out.put_u16(shard.0);
    write_partition(&mut out, partition);
    out.put_i64(retention.ms.unwrap_or(-1));
    out.put_i64(retention.bytes.unwrap_or(-1));
    out.into()
}

pub(crate) fn decode_retain(mut body: Bytes) -> Result<(ShardId, PartitionId, Retention), Unknown> {
    version(&mut body)?;
    let shard = ShardId(body.try_get_u16()?);
    let partition = read_partition(&mut body).map_err(|_| Unknown)?;
    let limit = |number: i64| (number >= 0).then_some(number);
    let (ms, bytes) = (limit(body.try_get_i64()?), limit(body.try_get_i64()?));
    end(&body)?;
    Ok((shard, partition, Retention { ms, bytes }))
}

pub(crate) fn encode_retained(outcome: &Result<Option<Offset>, CommandError>) -> Bytes {
    let mut out = vec![VERSION];
    match outcome {
        Ok(moved) => {
            out.put_u8(OK);
            out.put_u8(u8::from(moved.is_some()));
            out.put_i64(moved.map_or(0, |offset| offset.0));
        }
        Err(error) => Failure::from(error).write(&mut out),
    }
    out.into()
}

pub(crate) fn decode_retained(mut body: Bytes) -> Result<Result<Option<Offset>, CommandError>, Unknown> {
    version(&mut body)?;
    let outcome = match status(&mut body)? {
        Ok(()) => {
            let moved = body.try_get_u8()? != 0;
            let offset = Offset(body.try_get_i64()?);
            Ok(moved.then_some(offset))
        }
        Err(failure) => Err(failure.into()),
    };
    end(&body)?;
    Ok(outcome)
}

fn version(body: &mut Bytes) -> Result<(), Unknown> {
    if body.try_get_u8()? == VERSION { Ok(()) } else { Err(Unknown) }
}

fn status(body: &mut Bytes) -> Result<Result<(), Failure>, Unknown> {
    match body.try_get_u8()? {
        OK => Ok(Ok(())),
        kind => Failure::read(kind, body).map(Err),
    }
}

fn count(body: &mut Bytes) -> Result<usize, Unknown> {
    let count = usize::try_from(body.try_get_u32()?).map_err(|_| Unknown)?;
    if count > limits::FORWARD_COUNT_MAX { Err(Unknown) } else { Ok(count) }
}

fn end(body: &Bytes) -> Result<(), Unknown> {
    if body.is_empty() { Ok(()) } else { Err(Unknown) }
}

#[cfg(test)]
mod tests;
