//! The metadata's state machine of a simulation: it remembers how many commands there were, and a sum over them.

use bytes::Bytes;
use shards::{AppliedAt, RestoreError, StateMachine, UnknownCommand};

/// A count and a CRC-32C over all commands in order.
#[derive(Debug, Default)]
pub struct Tally {
    count: u64,
    sum: u32,
}

impl StateMachine for Tally {
    fn apply(&mut self, _at: AppliedAt, command: &Bytes) -> Result<Bytes, UnknownCommand> {
        self.count += 1;
        self.sum = crc32c::crc32c_append(self.sum, command);
        Ok(self.snapshot())
    }

    fn snapshot(&self) -> Bytes {
        let mut bytes = self.count.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.sum.to_be_bytes());
        Bytes::from(bytes)
    }

    fn restore(&mut self, snapshot: &Bytes) -> Result<(), RestoreError> {
        let wrong = RestoreError("not a tally");
        let (count, sum) = snapshot.split_at_checked(8).ok_or(wrong.clone())?;
        self.count = u64::from_be_bytes(count.try_into().map_err(|_| wrong.clone())?);
        self.sum = u32::from_be_bytes(sum.try_into().map_err(|_| wrong)?);
        Ok(())
    }
}
