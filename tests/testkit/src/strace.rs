//! A disk that fails or hangs, for one running program: strace changes what the kernel answers. Needs root.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::{binaries, tools, wait};

const ATTACHED_WITHIN: Duration = Duration::from_secs(20);

/// Whether it can be had here; says that the test is skipped where not.
pub fn can_inject(test: &str) -> bool {
    tools::find("strace", test).is_some() && tools::is_root(test)
}

/// The words that start a program of ours whose calls go so from its start on, as with [`inject`].
pub fn started(program: &str, calls: &str, fault: &str) -> Vec<PathBuf> {
    let words = ["strace".to_owned()].into_iter().chain(options(calls, fault));
    words.map(PathBuf::from).chain([binaries::path(program)]).collect()
}

fn options(calls: &str, fault: &str) -> [String; 7] {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{fault}"));
    ["-f", "-o", "/dev/null", "-e", &trace, "-e", &inject].map(str::to_owned)
}

/// From when this returns, the program's calls of these names, separated by commas, go as `fault` says in the words of
/// strace's `inject`: `error=EIO`, `delay_enter=MICROSECONDS`. Where `files` names any, only calls that concern those.
/// It ends with what is returned; whoever waits goes on then.
///
/// # Panics
/// Where strace does not get hold of the program.
pub fn inject(program: &Process, calls: &str, fault: &str, files: &[&Path], log: &Path) -> Process {
    let mut command = Command::new("strace");
    command.args(options(calls, fault)).args(["-p", &program.id().to_string()]);
    command.args(files.iter().flat_map(|file| [OsStr::new("-P"), file.as_os_str()]));
    let attached = |text: &str| text.matches(" attached").count();
    let before = attached(&String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()));
    let strace = Process::start("strace", &mut command, log);
    wait::until("strace to get hold of the program", ATTACHED_WITHIN, || {
        (attached(&strace.printed()) > before).then_some(())
    });
    strace
}
