//! What is printed for people and for other programs.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Prints a line. Whoever reads may have seen enough, as `head` does: then the program ends.
pub fn line(line: impl Display) {
    text(format_args!("{line}\n"));
}

/// The same of what ends its lines itself.
pub fn text(text: impl Display) {
    let mut stdout = std::io::stdout();
    if let Err(error) = write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        let has_seen_enough = error.kind() == ErrorKind::BrokenPipe;
        std::process::exit(if has_seen_enough { 0 } else { 1 });
    }
}
