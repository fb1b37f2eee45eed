//! `check-buffer`: the walk that `run` has done in a child process.

use std::io::{self, Read};

use program::Failure;

use super::CheckBufferArgs;
use crate::buffer::{Checked, DAMAGED_EXIT, check_in_this_process};

pub fn execute(args: &CheckBufferArgs) -> Result<(), Failure> {
    if args.while_input_is_open {
        std::thread::spawn(end_with_input);
    }
    match check_in_this_process(&args.data_dir).map_err(Failure::run)? {
        Checked::Sound(walked) => {
            program::output::line(serde_json::to_string(&walked).map_err(Failure::run)?);
            Ok(())
        }
        Checked::Damaged(why) | Checked::Killed(why) => {
            eprintln!("{why}");
            std::process::exit(i32::from(DAMAGED_EXIT))
        }
    }
}

/// Nobody waits any more for what comes of the walk.
fn end_with_input() {
    let _ = io::stdin().read(&mut [0]);
    std::process::exit(1)
}
