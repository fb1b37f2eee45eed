//! A leader that a majority has confirmed knows everything that was acknowledged, or read from any replica, before it
//! was asked.

use shards::PartitionReader;

use super::Violation;
use crate::question::Confirmed;

/// `reader` is the confirmed leader's.
pub(super) fn look(partition: i32, reader: &PartitionReader, confirmed: Confirmed) -> Result<(), Violation> {
    let Confirmed { node, end, term, .. } = confirmed;
    if reader.high_watermark() < end {
        return Err(Violation::StaleLeader(format!(
            "partition {partition}: hub {node} has {} in term {term}, {end} was acknowledged or read",
            reader.high_watermark()
        )));
    }
    Ok(())
}
