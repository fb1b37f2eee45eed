//! A disk that fails or hangs, for one running program: strace changes what the kernel answers. Needs root.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::wait;

const ATTACHED_WITHIN: Duration = Duration::from_secs(20);

/// From when this returns, the program's calls of these names, separated by commas, go as `fault` says in the words of
/// strace's `inject`: `error=EIO`, `delay_enter=MICROSECONDS`. Where `files` names any, only calls that concern those.
/// It ends with what is returned; whoever waits goes on then.
///
/// # Panics
/// Where strace does not get hold of the program.
pub fn inject(program: &Process, calls: &str, fault: &str, files: &[&Path], log: &Path) -> Process {
    let mut command = Command::new("strace");
    command.args(["-f", "-p", &program.id().to_string(), "-o", "/dev/null"]);
    command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")]);
    command.args(files.iter().flat_map(|file| [OsStr::new("-P"), file.as_os_str()]));
    let attached = |text: &str| text.matches(" attached").count();
    let before = attached(&String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()));
    let strace = Process::start("strace", &mut command, log);
    wait::until("strace to get hold of the program", ATTACHED_WITHIN, || {
        (attached(&strace.printed()) > before).then_some(())
    });
    strace
}
