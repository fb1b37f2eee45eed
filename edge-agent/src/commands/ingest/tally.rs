//! What has become of the rows so far.

use std::io;

use program::Failure;

use crate::inputs::BadRow;
use crate::limits::BAD_ROWS_SHOWN;

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub stored: u64,
    pub dropped: u64,
    bad: u64,
    /// Why the source could not be read to its end.
    pub broken: Option<io::Error>,
}

impl Tally {
    pub fn note_bad(&mut self, bad: &BadRow) {
        self.bad += 1;
        match self.bad.cmp(&(BAD_ROWS_SHOWN as u64 + 1)) {
            std::cmp::Ordering::Less => eprintln!("{bad}"),
            std::cmp::Ordering::Equal => eprintln!("more bad rows are counted, not shown"),
            std::cmp::Ordering::Greater => {}
        }
    }

    pub fn say(&self) {
        let bad = if self.bad > 0 { format!(", {} bad rows", self.bad) } else { String::new() };
        println!("{} records stored, {} dropped{bad}", self.stored, self.dropped);
    }

    /// Bad rows are a failure only where nothing else was in the source.
    pub fn judge(self) -> Result<(), Failure> {
        match self.broken {
            Some(error) => Err(Failure::run(format!("the rows end early: {error}"))),
            None if self.stored == 0 && self.bad > 0 => Err(Failure::run("no row could be taken")),
            None => Ok(()),
        }
    }
}
