//! The paths that README and ARCHITECTURE name.

use anyhow::{Context, Result};

use crate::sources;

/// Words in `code` spans that look like a path of the repository: they have a slash and no space,
/// and begin with a folder or file of the top level.
pub fn named_paths(document: &str) -> Result<Vec<String>> {
    let root = sources::root();
    let text = std::fs::read_to_string(root.join(document)).with_context(|| document.to_owned())?;
    let mut named: Vec<String> = Vec::new();
    let mut is_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
            continue;
        }
        if !is_block {
            named.extend(line.split('`').skip(1).step_by(2).filter(|span| is_path(span)).map(str::to_owned));
        }
        named.extend(links(line));
    }
    Ok(named)
}

fn is_path(span: &str) -> bool {
    let tops = ["edge-agent", "hub-broker", "bridge", "schemas", "deploy", "tests", ".ci"];
    let plain = !span.contains(|c: char| c.is_whitespace() || "*{}<>$…".contains(c));
    plain && span.split_once('/').is_some_and(|(top, _)| tops.contains(&top))
}

/// Relative targets of Markdown links.
fn links(line: &str) -> Vec<String> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or(target).to_owned())
        .collect()
}
