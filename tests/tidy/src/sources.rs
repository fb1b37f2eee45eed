//! The Rust sources of the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One source file, parsed.
pub struct Source {
    /// Relative to the root of the workspace.
    pub path: PathBuf,
    pub text: String,
    pub syntax: syn::File,
}

impl Source {
    /// Tests, benchmarks, examples and fuzz targets are measured less strictly.
    pub fn is_test(&self) -> bool {
        let names = ["tests", "benches", "examples", "fuzz"];
        let in_folder = self.path.components().any(|part| names.iter().any(|name| part.as_os_str() == *name));
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        in_folder || stem == "tests" || stem.ends_with("_tests")
    }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Every `.rs` file below the root, parsed.
pub fn all() -> Result<Vec<Source>> {
    let root = root();
    let mut found = Vec::new();
    for path in files(&root, "rs")? {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let syntax = syn::parse_file(&text).with_context(|| path.display().to_string())?;
        found.push(Source { path: path.strip_prefix(&root)?.to_owned(), text, syntax });
    }
    Ok(found)
}

/// Every file below `folder` with this extension, in a stable order.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(entry.path());
                }
            } else if entry.path().extension().is_some_and(|e| e == extension) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
