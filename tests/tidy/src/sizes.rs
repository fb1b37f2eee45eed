//! How long files and functions are. A file that grows past its limit holds two ideas.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::sources::Source;

/// A named length in lines.
pub struct Length {
    pub name: String,
    pub lines: usize,
    /// One flat `match` may be long.
    pub is_flat_match: bool,
}

/// The lines of a file without its inline test modules.
pub fn file_lines(source: &Source) -> usize {
    let tests: usize = source.syntax.items.iter().filter(|item| is_test_module(item)).map(lines_of).sum();
    source.text.lines().count() - tests
}

/// Every function outside test modules.
pub fn functions(source: &Source) -> Vec<Length> {
    let mut visitor = Functions { found: Vec::new() };
    visitor.visit_file(&source.syntax);
    visitor.found
}

fn is_test_module(item: &syn::Item) -> bool {
    matches!(item, syn::Item::Mod(module) if module.content.is_some() && is_for_tests(&module.attrs))
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
    })
}

fn lines_of(item: &impl Spanned) -> usize {
    let span = item.span();
    span.end().line - span.start().line + 1
}

struct Functions {
    found: Vec<Length>,
}

impl Functions {
    fn add(&mut self, name: &syn::Ident, block: &syn::Block) {
        let is_flat_match = matches!(block.stmts.as_slice(), [syn::Stmt::Expr(syn::Expr::Match(_), _)]);
        self.found.push(Length { name: name.to_string(), lines: lines_of(block), is_flat_match });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}
