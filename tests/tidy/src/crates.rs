//! Which crate may use which: dependencies go downwards only.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::sources;

/// The crates of the workspace in storeys, the lowest first. A crate may use those of lower storeys
/// only, so two of one storey never use each other.
pub const STOREYS: &[&[&str]] = &[
    &["schemas", "program"],
    &["wal", "partition-log", "checkpoint", "consensus", "peers"],
    &["shards"],
    &["metadata"],
    &["ingest", "fetch", "groups"],
    &["mqtt-server", "kafka-server", "admin-server"],
    &["hub-broker", "edge-agent", "bridge"],
    &["testkit"],
    &["tidy", "e2e", "bench", "sim"],
    &["chaos"],
];

pub fn storey(name: &str) -> Option<usize> {
    STOREYS.iter().position(|storey| storey.contains(&name))
}

/// Every crate of the workspace with those of the workspace that it uses outside its tests.
pub fn dependencies() -> Result<BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    for path in sources::files(&sources::root(), "toml")? {
        if path.file_name().is_none_or(|name| name != "Cargo.toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let manifest: toml::Table = toml::from_str(&text).with_context(|| path.display().to_string())?;
        let Some(name) = manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()) else {
            continue;
        };
        if manifest.contains_key("workspace") {
            continue;
        }
        let used = manifest
            .get("dependencies")
            .and_then(|d| d.as_table())
            .map(|table| table.keys().filter(|key| storey(key).is_some()).cloned().collect::<Vec<_>>());
        found.insert(name.to_owned(), used.unwrap_or_default());
    }
    Ok(found)
}
