//! The measures themselves: each finds what it is there to find.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tidy::modules;
use tidy::sizes;
use tidy::sources::Source;

fn source(path: &str, text: &str) -> Source {
    Source { path: PathBuf::from(path), text: text.to_owned(), syntax: syn::parse_file(text).unwrap() }
}

#[test]
fn a_circle_of_modules_is_found() {
    let graph = BTreeMap::from([
        ("a".to_owned(), BTreeSet::from(["b".to_owned()])),
        ("b".to_owned(), BTreeSet::from(["c".to_owned()])),
        ("c".to_owned(), BTreeSet::from(["b".to_owned()])),
    ]);
    assert_eq!(modules::circle(&graph).unwrap(), ["b", "c"]);
}

#[test]
fn uses_of_sibling_modules_are_seen_in_imports_and_in_paths() {
    let graphs = modules::graphs(&[
        source("x/src/a.rs", "use crate::b::B; fn f() { crate::c::g() }"),
        source("x/src/b/inner.rs", "use crate::{c, a::A};"),
        source("x/src/c.rs", "#[cfg(test)] mod tests { use crate::a::f; }"),
    ]);
    let graph = &graphs[&PathBuf::from("x/src")];
    assert_eq!(graph["a"], BTreeSet::from(["b".to_owned(), "c".to_owned()]));
    assert_eq!(graph["b"], BTreeSet::from(["a".to_owned(), "c".to_owned()]));
    assert!(graph["c"].is_empty(), "tests may use what they test with");
}

#[test]
fn test_modules_do_not_count_and_long_functions_do() {
    let text = format!("fn long() {{\n{}}}\n#[cfg(test)]\nmod tests {{\n\n\n}}\n", "f();\n".repeat(80));
    let measured = source("x/src/a.rs", &text);
    assert_eq!(sizes::file_lines(&measured), 82);
    let functions = sizes::functions(&measured);
    assert_eq!((functions[0].name.as_str(), functions[0].lines), ("long", 82));
}
