//! Programs that are not ours and may be missing.

use std::path::PathBuf;

/// Set by CI, which provides everything: there a skipped test is a failed one.
const NO_SKIP: &str = "HEADWATER_TEST_NO_SKIP";

/// The path of a foreign program; where it is missing, says that the test is skipped.
pub fn find(program: &str, test: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file());
    if found.is_none() {
        skip(test, &format!("{program} is not installed"));
    }
    found
}

/// Whether this is root; where it is not, says that the test is skipped.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "it needs root");
    }
    root
}

/// Says that a test is skipped, past the test runner's capture.
///
/// # Panics
/// Where nothing may be skipped.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var_os(NO_SKIP).is_none(), "{test} would be skipped: {why}");
    // The test runner captures what goes through the print macros, and a skip must be seen.
    let line = format!("SKIPPED {test}: {why}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// The path of a Python that can import this module; where there is none, says that the test is skipped.
/// `HEADWATER_TEST_PYTHON` names one that is not on the path.
pub fn python_with(module: &str, test: &str) -> Option<PathBuf> {
    let python = match std::env::var_os("HEADWATER_TEST_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => find("python3", test)?,
    };
    let import = std::process::Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if import.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    skip(test, &format!("{} cannot import {module}", python.display()));
    None
}
