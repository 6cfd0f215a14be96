//! Which file of `src` names something of which other: read from the code by a
//! parser, through `use` trees and re-exports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// The path of a module below the crate: `["daemon", "hub"]`.
pub(crate) type Module = Vec<String>;

/// What each module names.
pub(crate) struct Imports {
    files: BTreeMap<Module, syn::File>,
    /// Of each module, where a name that it re-exports comes from.
    exports: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

impl Imports {
    /// Reads every file of a crate.
    pub(crate) fn read(source: &Path) -> Self {
        let files = rust_files(source).into_iter().filter_map(|path| {
            let module = module_of(path.strip_prefix(source).expect("below src"))?;
            Some((module, std::fs::read_to_string(&path).expect("readable")))
        });
        Self::of(files)
    }

    /// The same of texts, each with its module.
    pub(crate) fn of(files: impl IntoIterator<Item = (Module, String)>) -> Self {
        let files: BTreeMap<Module, syn::File> = files
            .into_iter()
            .map(|(module, text)| {
                (module.clone(), syn::parse_file(&text).unwrap_or_else(|e| panic!("{module:?}: {e}")))
            })
            .collect();
        let exports = files.iter().map(|(module, file)| (module.clone(), exports(module, file))).collect();
        Self { files, exports }
    }

    /// The modules that each module names, tests left out.
    pub(crate) fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        self.files.keys().map(|module| (module.clone(), self.named_by(module))).collect()
    }

    /// The types that are defined more than once, of any visibility, tests left
    /// out; each with the modules that do it.
    pub(crate) fn twins(&self) -> BTreeMap<String, Vec<Module>> {
        let mut defined: BTreeMap<String, Vec<Module>> = BTreeMap::new();
        for (module, file) in &self.files {
            let mut types = Types::default();
            types.visit_file(file);
            for name in types.0 {
                defined.entry(name).or_default().push(module.clone());
            }
        }
        defined.retain(|_, modules| modules.len() > 1);
        defined
    }

    fn named_by(&self, module: &Module) -> BTreeSet<Module> {
        let below = |other: &&Module| other.len() == module.len() + 1 && other.starts_with(module);
        let children = self.files.keys().filter(below).filter_map(|other| other.last().cloned());
        let mut names = Names { module, children: children.collect(), paths: BTreeSet::new() };
        names.visit_file(&self.files[module]);
        let targets = names.paths.iter().filter_map(|path| self.home_of(path));
        targets.filter(|target| target != module).collect()
    }

    /// The module in which a path ends, by way of what is re-exported.
    fn home_of(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        // As many re-exports as anybody would follow.
        for _ in 0..8 {
            let length = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
            let module = path[..length].to_vec();
            let exported = path.get(length).and_then(|name| self.exports[&module].get(name));
            match exported {
                Some(origin) => path = origin.iter().chain(&path[length + 1..]).cloned().collect(),
                None => return Some(module).filter(|module| !module.is_empty()),
            }
        }
        None
    }
}

/// The names of the types that a file defines, also within functions.
#[derive(Default)]
struct Types(Vec<String>);

impl<'ast> Visit<'ast> for Types {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = match item {
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Union(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Mod(item) => (&item.attrs, None),
            Item::Fn(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            self.0.extend(name.map(ToString::to_string));
            visit::visit_item(self, item);
        }
    }
}

/// The groups of modules that name each other in a circle.
pub(crate) fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let reach = |from: &Module| {
        let mut found: BTreeSet<&Module> = BTreeSet::new();
        let mut look_at: Vec<&Module> = edges[from].iter().collect();
        while let Some(next) = look_at.pop() {
            if found.insert(next) {
                look_at.extend(edges.get(next).into_iter().flatten());
            }
        }
        found
    };
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = edges.keys().map(|module| (module, reach(module))).collect();
    let mut groups: BTreeSet<Vec<Module>> = BTreeSet::new();
    for (module, targets) in &reached {
        if targets.contains(module) {
            let same = targets.iter().filter(|target| reached.get(**target).is_some_and(|back| back.contains(module)));
            groups.insert(same.map(|module| (*module).clone()).collect());
        }
    }
    groups.into_iter().collect()
}

/// All files of Rust below a directory.
pub(crate) fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(dir).into_iter().flatten();
    entries.map(walkdir::DirEntry::into_path).filter(|path| path.extension().is_some_and(|e| e == "rs")).collect()
}

/// The module of a file; none for the program's own and for tests.
fn module_of(file: &Path) -> Option<Module> {
    let mut module: Module = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod")) || module == ["lib"] {
        module.pop();
    }
    let is_test = matches!(module.last().map(String::as_str), Some("tests" | "testing"));
    (module != ["main"] && !is_test).then_some(module)
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

/// The whole paths of a `use` tree, each with the name that it has afterwards.
fn flatten(tree: &UseTree, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let with = |name: &dyn ToString| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
    match tree {
        UseTree::Path(path) => flatten(&path.tree, &with(&path.ident), found),
        UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, before, found)),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.to_vec(), before.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => found.push((with(&name.ident), name.ident.to_string())),
        UseTree::Rename(rename) => found.push((with(&rename.ident), rename.rename.to_string())),
        UseTree::Glob(_) => found.push((before.to_vec(), "*".to_owned())),
    }
}

fn exports(module: &Module, file: &syn::File) -> BTreeMap<String, Vec<String>> {
    let mut found = Vec::new();
    for item in &file.items {
        if let Item::Use(item) = item
            && !matches!(item.vis, Visibility::Inherited)
        {
            flatten(&item.tree, &[], &mut found);
        }
    }
    // What begins with nothing known is a child of the module.
    let from = |path: &[String]| absolute(module, path, path.first().map_or(&[], std::slice::from_ref));
    found.into_iter().filter_map(|(path, name)| Some((name, from(&path)?))).collect()
}

/// A path from the crate's top; none for what comes from elsewhere. `children`
/// are the modules that the file itself declares.
fn absolute(module: &Module, path: &[String], children: &[String]) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some(module.iter().chain(rest).cloned().collect()),
        "super" => {
            let above = module.split_last().map(|(_, above)| above.to_vec())?;
            let supers = rest.iter().take_while(|part| *part == "super").count();
            let above = above[..above.len().checked_sub(supers)?].to_vec();
            Some(above.into_iter().chain(rest[supers..].iter().cloned()).collect())
        }
        _ if children.contains(first) => Some(module.iter().chain(path).cloned().collect()),
        _ => None,
    }
}

/// Everything that a file names.
struct Names<'a> {
    module: &'a Module,
    /// The modules that it declares.
    children: Vec<String>,
    paths: BTreeSet<Vec<String>>,
}

impl Names<'_> {
    fn note(&mut self, path: &[String]) {
        self.paths.extend(absolute(self.module, path, &self.children));
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // What is re-exported is named by whoever takes it from here.
        if matches!(item.vis, Visibility::Inherited) {
            let mut found = Vec::new();
            flatten(&item.tree, &[], &mut found);
            for (path, _) in found {
                self.note(&path);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            self.note(&parts);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        type Words = syn::punctuated::Punctuated<syn::Expr, syn::Token![,]>;
        if let Ok(words) = item.parse_body_with(Words::parse_terminated) {
            words.iter().for_each(|word| self.visit_expr(word));
        }
        visit::visit_macro(self, item);
    }
}
