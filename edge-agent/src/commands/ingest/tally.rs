//! What has become of the rows so far.

use std::cmp::Ordering;
use std::io::{self, Write};

use program::Failure;

use crate::inputs::Bad;
use crate::limits::BAD_ROWS_SHOWN;

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub stored: u64,
    pub dropped: u64,
    /// What an agent was given that did not say whether it is stored.
    pub unconfirmed: u64,
    bad: u64,
    bad_cells: u64,
    /// Why the source could not be read to its end.
    pub broken: Option<io::Error>,
}

impl Tally {
    pub fn note_bad(&mut self, bad: &Bad) {
        match bad {
            Bad::Row(_) => {
                self.bad += 1;
                match self.bad.cmp(&(BAD_ROWS_SHOWN + 1)) {
                    Ordering::Less => eprintln!("{bad}"),
                    Ordering::Equal => eprintln!("more bad rows are counted, not shown"),
                    Ordering::Greater => {}
                }
            }
            Bad::Cell(_) => {
                self.bad_cells += 1;
                if self.bad_cells == 1 {
                    eprintln!("{bad} (more of them are counted, not shown)");
                }
            }
        }
    }

    pub fn say(&self) {
        let counted = |count, what| if count > 0 { format!(", {count} {what}") } else { String::new() };
        let bad = counted(self.bad, "bad rows") + &counted(self.bad_cells, "bad cells");
        let unconfirmed = counted(self.unconfirmed, "perhaps stored");
        let (stored, dropped) = (self.stored, self.dropped);
        // The exit code says how it went also where nobody reads this.
        let _ = writeln!(io::stdout(), "{stored} records stored, {dropped} dropped{unconfirmed}{bad}");
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
