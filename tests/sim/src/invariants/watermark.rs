//! Where a partition ends, and where it begins, never goes back for those who ask its leader, whoever leads.

use std::collections::BTreeMap;

use schemas::{Offset, Term};
use shards::PartitionReader;

use super::Violation;

#[derive(Default)]
pub(super) struct Watermarks(BTreeMap<i32, (Term, Offset, Offset)>);

impl Watermarks {
    /// `term` is the one in which the reader's hub serves the partition.
    pub fn look(&mut self, partition: i32, reader: &PartitionReader, term: Term) -> Result<(), Violation> {
        let (start, now) = (reader.log_start(), reader.high_watermark());
        let (newest, before, began) = *self.0.entry(partition).or_insert((term, now, start));
        // A leader that does not know yet that it was deposed answers with what was true.
        if term < newest {
            return Ok(());
        }
        if now < before {
            return Err(Violation::WatermarkWentBack(format!(
                "partition {partition}: {before} in term {newest}, {now} in term {term}"
            )));
        }
        if start < began {
            return Err(Violation::WatermarkWentBack(format!(
                "partition {partition}: began at {began} in term {newest}, at {start} in term {term}"
            )));
        }
        self.0.insert(partition, (term, now, start));
        Ok(())
    }
}
