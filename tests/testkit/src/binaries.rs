//! Where cargo put the programs.

use std::path::PathBuf;

/// The path of a program of the workspace, beside the test that asks.
///
/// # Panics
/// Where it has not been built: `cargo test --workspace` builds all of them.
pub fn path(program: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let found = test.ancestors().skip(1).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{program} has not been built; run: cargo build --workspace --bins"))
}
