//! Checking an environment in a child process.
//!
//! LMDB answers a truncated file with SIGBUS and some damage with SIGABRT or SIGSEGV: whoever opens it first
//! must not be the agent. Nor must it be the agent where the child was killed before it could answer. A child ends when the
//! agent does, which holds the other end of its standard input.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::environment::{DATA_FILE, Durability, Environment, EnvironmentError, Key};
use super::rescue::FRESH_DIR;
use super::structure::verify;
use super::walk::{Walked, walk};

/// SIGABRT, SIGBUS and SIGSEGV.
const DEATHS: [i32; 3] = [6, 7, 11];
/// SIGKILL, as by the kernel that has no memory left: salvage needs little, and maps nothing.
const KILL: i32 = 9;
/// One death may be the machine's fault; two are the file's.
const DEATHS_MAX: u32 = 2;
/// The child's exit code for an environment that it could open but not walk.
pub const DAMAGED_EXIT: u8 = 3;

/// What the check says of an environment.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    /// It can be opened; single entries may be at fault.
    Sound(Walked),
    /// It must not be opened.
    Damaged(String),
    /// The check was killed each time before it could tell.
    Killed(String),
}

/// Has `program check-buffer` walk the environment of a data directory.
pub(super) fn check(program: &Path, data_dir: &Path) -> Result<Checked, EnvironmentError> {
    let mut deaths = Vec::new();
    while deaths.len() < DEATHS_MAX as usize {
        let output = match run(program, data_dir) {
            Ok(output) => output,
            Err(error) => {
                tracing::warn!(%error, "no child process can be started for the check of the buffer");
                break;
            }
        };
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => {
                if let Ok(walked) = serde_json::from_slice(&output.stdout) {
                    return Ok(Checked::Sound(walked));
                }
                break;
            }
            (Some(code), _) if code == i32::from(DAMAGED_EXIT) => {
                return Ok(Checked::Damaged(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
            }
            (_, Some(signal)) if signal == KILL || DEATHS.contains(&signal) => deaths.push(signal),
            (_, Some(signal)) => return Err(EnvironmentError::CheckEnded(signal)),
            _ => break,
        }
    }
    if deaths.len() == DEATHS_MAX as usize {
        let why = format!("the check died of signals {deaths:?}");
        let was_killed = deaths.iter().all(|signal| *signal == KILL);
        return Ok(if was_killed { Checked::Killed(why) } else { Checked::Damaged(why) });
    }
    // The check itself could not be done (no memory for a child, a foreign program): the risk is taken here.
    tracing::warn!("the buffer could not be checked in a child process");
    check_in_this_process(data_dir)
}

/// The walk itself, for the child.
pub fn check_in_this_process(data_dir: &Path) -> Result<Checked, EnvironmentError> {
    match walk_and_probe(&to_check(data_dir)) {
        Ok(walked) => Ok(Checked::Sound(walked)),
        Err(error) if error.is_unfit() => Ok(Checked::Damaged(error.to_string())),
        Err(error) => Err(error),
    }
}

/// The buffer; where there is none, what an interrupted salvage has copied.
fn to_check(data_dir: &Path) -> PathBuf {
    let buffer = data_dir.join("buffer");
    if buffer.join(DATA_FILE).exists() { buffer } else { data_dir.join(FRESH_DIR) }
}

fn walk_and_probe(dir: &Path) -> Result<Walked, EnvironmentError> {
    let file = dir.join(DATA_FILE);
    if !file.exists() {
        return Ok(Walked::default());
    }
    verify(&file)?;
    let environment = Environment::open(dir, 0, Durability::Off)?;
    let walked = walk(&environment)?;
    let faults = walked.faults.iter().map(|(lane, number)| Key { lane: *lane, number: *number });
    let probed = environment.probe(faults);
    environment.close();
    match probed {
        // It needs a few MB; a free list of garbage asks for any number.
        Err(EnvironmentError::Io(error)) if error.kind() == io::ErrorKind::OutOfMemory => {
            Err(EnvironmentError::FreeList)
        }
        result => result.map(|()| walked),
    }
}

fn run(program: &Path, data_dir: &Path) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.arg("check-buffer").arg("--while-input-is-open").arg("--data-dir").arg(data_dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A terminal's SIGINT is for the agent, to end as it should.
    let mut child = command.process_group(0).spawn()?;
    let _lifeline = child.stdin.take();
    child.wait_with_output()
}

/// This program, for the child.
pub(super) fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_child_can_be_started_the_check_is_done_here() {
        let folder = tempfile::tempdir().unwrap();
        let checked = check(Path::new("/nonexistent"), folder.path()).unwrap();
        assert_eq!(checked, Checked::Sound(Walked::default()));
    }

    /// A program that ends by a signal. Another process writes it: one that this one forks must not hold it open.
    fn dying_of(signal: &str, dir: &Path) -> PathBuf {
        let path = dir.join(signal);
        let script = format!("printf '#!/bin/sh\\nkill -{signal} $$\\n' > {0}; chmod +x {0}", path.display());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        path
    }

    /// A map that is damaged would end the agent.
    #[test]
    fn a_check_that_was_killed_is_not_done_here() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert_eq!(
            check(&dying_of("KILL", dir), dir).unwrap(),
            Checked::Killed("the check died of signals [9, 9]".to_owned())
        );
        let ended = check(&dying_of("TERM", dir), dir).unwrap_err();
        assert!(matches!(ended, EnvironmentError::CheckEnded(15)) && !ended.is_unfit(), "{ended}");
    }
}
