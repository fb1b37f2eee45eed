//! Which module of a crate uses which: within a crate, too, data flows one way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use syn::visit::{self, Visit};

use crate::sources::Source;

/// For every crate (its `src` folder), each top-level module with the siblings that it uses.
pub type Graphs = BTreeMap<PathBuf, BTreeMap<String, BTreeSet<String>>>;

/// Reads the `crate::…` paths of all sources.
pub fn graphs(sources: &[Source]) -> Graphs {
    let mut graphs = Graphs::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let Some((folder, module)) = place(source) else { continue };
        let mut paths = CratePaths { found: BTreeSet::new() };
        paths.visit_file(&source.syntax);
        graphs.entry(folder).or_default().entry(module).or_default().append(&mut paths.found);
    }
    for graph in graphs.values_mut() {
        let modules: BTreeSet<String> = graph.keys().cloned().collect();
        for (module, used) in graph.iter_mut() {
            used.retain(|name| modules.contains(name) && name != module);
        }
    }
    graphs
}

/// A circle of modules, if there is one.
pub fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut left: BTreeMap<&str, BTreeSet<&str>> = graph
        .iter()
        .map(|(module, used)| (module.as_str(), used.iter().map(String::as_str).collect()))
        .collect();
    while let Some(free) = left.iter().find(|(_, used)| used.is_empty()).map(|(module, _)| *module) {
        left.remove(free);
        for used in left.values_mut() {
            used.remove(free);
        }
    }
    let mut walk = vec![*left.keys().next()?];
    loop {
        let next = *left.get(walk.last()?)?.iter().find(|name| left.contains_key(*name))?;
        if let Some(start) = walk.iter().position(|seen| *seen == next) {
            return Some(walk.split_off(start).into_iter().map(str::to_owned).collect());
        }
        walk.push(next);
    }
}

/// The crate's `src` folder and the top-level module that a file belongs to; none for the crate's root,
/// which names all of them.
fn place(source: &Source) -> Option<(PathBuf, String)> {
    let mut folder = PathBuf::new();
    let mut parts = source.path.components();
    for part in parts.by_ref() {
        folder.push(part);
        if part.as_os_str() == "src" {
            let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
            let module = first.trim_end_matches(".rs").to_owned();
            return (!matches!(module.as_str(), "lib" | "main" | "bin")).then_some((folder, module));
        }
    }
    None
}

struct CratePaths {
    found: BTreeSet<String>,
}

impl CratePaths {
    fn add_tree(&mut self, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                self.found.insert(path.ident.to_string());
            }
            syn::UseTree::Name(name) => {
                self.found.insert(name.ident.to_string());
            }
            syn::UseTree::Rename(rename) => {
                self.found.insert(rename.ident.to_string());
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.add_tree(item)),
            syn::UseTree::Glob(_) => {}
        }
    }
}

impl<'ast> Visit<'ast> for CratePaths {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let test = module.attrs.iter().any(|attribute| attribute.path().is_ident("cfg"));
        if !test {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if let syn::UseTree::Path(path) = &item.tree
            && path.ident == "crate"
        {
            self.add_tree(&path.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate")
            && let Some(module) = segments.next()
        {
            self.found.insert(module.ident.to_string());
        }
        visit::visit_path(self, path);
    }
}
