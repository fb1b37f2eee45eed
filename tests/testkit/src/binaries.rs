//! Where cargo put the programs.

use std::path::PathBuf;

/// The path of a program of the workspace, beside the test that asks.
///
/// # Panics
/// Where it has not been built: `cargo test --workspace` builds all of them.
pub fn path(program: &str) -> PathBuf {
    find(program)
        .unwrap_or_else(|| panic!("{program} has not been built; run: cargo build --workspace --bins"))
}

/// The same where it may be missing; one of another profile or target is named with its folder, as in
/// `edge/edge-agent`.
pub fn find(program: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().expect("a running program has a path");
    test.ancestors().skip(1).map(|folder| folder.join(program)).find(|path| path.is_file())
}
