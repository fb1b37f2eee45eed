//! Lines for people and for other programs.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Prints a line. Whoever reads may have seen enough, as `head` does: then the program ends.
pub fn line(line: impl Display) {
    if let Err(error) = writeln!(std::io::stdout(), "{line}") {
        let has_seen_enough = error.kind() == ErrorKind::BrokenPipe;
        std::process::exit(if has_seen_enough { 0 } else { 1 });
    }
}

/// Tells a person something beside the output.
pub fn note(text: impl Display) {
    eprintln!("hub-broker: {text}");
}
