//! The rules of the house.

use tidy::{crates, documents, modules, sizes, sources};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn no_file_holds_two_ideas() {
    let mut broken = Vec::new();
    for source in sources::all().unwrap().iter().filter(|source| !source.is_test()) {
        let lines = sizes::file_lines(source);
        if lines > FILE_LINES_MAX {
            broken.push(format!("{}: {lines} lines", source.path.display()));
        }
    }
    none(&format!("a file has at most {FILE_LINES_MAX} lines without its tests"), &broken);
}

#[test]
fn no_function_needs_scrolling() {
    let mut broken = Vec::new();
    for source in sources::all().unwrap().iter().filter(|source| !source.is_test()) {
        for function in sizes::functions(source) {
            if function.lines > FUNCTION_LINES_MAX && !function.is_flat_match {
                broken.push(format!(
                    "{}: {}: {} lines",
                    source.path.display(),
                    function.name,
                    function.lines
                ));
            }
        }
    }
    none(&format!("a function has at most {FUNCTION_LINES_MAX} lines"), &broken);
}

#[test]
fn crates_only_use_those_below() {
    let mut broken = Vec::new();
    for (name, used) in crates::dependencies().unwrap() {
        let Some(own) = crates::storey(&name) else {
            if !name.ends_with("-fuzz") {
                broken.push(format!("{name} has no storey"));
            }
            continue;
        };
        for other in used {
            if crates::storey(&other).is_none_or(|storey| storey >= own) {
                broken.push(format!("{name} uses {other}, which is not below it"));
            }
        }
    }
    none("dependencies between crates go downwards", &broken);
}

#[test]
fn modules_of_a_crate_make_no_circle() {
    let graphs = modules::graphs(&sources::all().unwrap());
    let broken: Vec<String> = graphs
        .iter()
        .filter_map(|(folder, graph)| Some((folder, modules::circle(graph)?)))
        .map(|(folder, circle)| format!("{}: {} → …", folder.display(), circle.join(" → ")))
        .collect();
    none("dependencies between modules go one way", &broken);
}

#[test]
fn the_paths_that_the_documents_name_are_there() {
    let root = sources::root();
    let mut broken = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md"] {
        for path in documents::named_paths(document).unwrap() {
            if !root.join(&path).exists() {
                broken.push(format!("{document}: {path}"));
            }
        }
    }
    none("a document names what exists", &broken);
}

#[test]
fn only_one_module_names_serde_cbor() {
    let users: Vec<String> = sources::all()
        .unwrap()
        .iter()
        .filter(|source| !source.is_test() && source.text.contains("serde_cbor::"))
        .map(|source| source.path.display().to_string())
        .collect();
    assert_eq!(users.len(), 1, "serde_cbor stays behind one module: {users:?}");
}
