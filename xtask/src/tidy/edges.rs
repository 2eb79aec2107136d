//! Which file of a target names what of which other file.
//!
//! An edge is a `use` or a path to an item, resolved to the file that defines it: through the
//! re-exports of a folder's face, through `super` and `self`, through modules that were imported.
//! `mod` and `pub use` of a child make none: that is what a face is for. A face that itself uses what
//! it hands on does have an edge to that child.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::modules::{Definition, Import, Modules, Path, Visibility};

/// For each pair of files, what the first names of the second.
pub(super) type Edges = BTreeMap<(String, String), BTreeSet<Named>>;

/// An item, and the line that names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) line: usize,
    pub(super) item: String,
}

/// Re-exports of re-exports end long before this; only circles of names go on.
const MAX_STEPS: usize = 16;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// An item that this module defines, or something of it that a macro makes.
    Item(usize, String),
    Module(usize),
    /// Another crate, a local variable, a primitive type.
    Outside,
}

/// Adds the edges of one target.
pub(super) fn collect(modules: &Modules, edges: &mut Edges) {
    for id in 0..modules.0.len() {
        for import in &modules.0[id].imports {
            if !(import.is_handed_on() && modules.leads_below(id, import)) {
                modules.note(id, &import.path, import.name == "*", edges);
            } else if modules.0[id].mentions.contains(&import.name) && is_item_name(&import.name) {
                modules.note(id, &import.path, false, edges);
            }
        }
        for path in &modules.0[id].paths {
            modules.note(id, path, false, edges);
        }
    }
}

fn is_of_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|folder| folder == "tests")
}

/// A single word in lower case is more often a variable or a field than a function.
fn is_item_name(name: &str) -> bool {
    name.starts_with(char::is_uppercase)
}

impl Import {
    fn is_handed_on(&self) -> bool {
        self.visibility > Visibility::Module
    }
}

impl Modules {
    /// Whether `import` takes something from a module below `id`.
    fn leads_below(&self, id: usize, import: &Import) -> bool {
        let (Target::Item(mut at, _) | Target::Module(mut at)) =
            self.resolve(id, &import.path.segments, 0)
        else {
            return false;
        };
        while let Some(parent) = self.0[at].parent {
            if parent == id {
                return true;
            }
            at = parent;
        }
        false
    }

    fn note(&self, id: usize, path: &Path, is_glob: bool, edges: &mut Edges) {
        let (to, item) = match self.resolve(id, &path.segments, 0) {
            Target::Item(to, item) => (to, item),
            Target::Module(to) if is_glob => (to, "*".to_owned()),
            // What is named through the module has a path of its own.
            Target::Module(_) | Target::Outside => return,
        };
        let (from, to) = (&self.0[id].file, &self.0[to].file);
        // A program may bring in a file of the tests.
        if from != to && !is_of_tests(from) {
            let named = Named { line: path.line, item };
            edges.entry((from.clone(), to.clone())).or_default().insert(named);
        }
    }

    fn resolve(&self, from: usize, segments: &[String], steps: usize) -> Target {
        let Some((first, mut rest)) = segments.split_first() else { return Target::Outside };
        if steps > MAX_STEPS {
            return Target::Outside;
        }
        let mut at = match first.as_str() {
            "crate" => 0,
            "self" => from,
            "super" => match self.0[from].parent {
                Some(parent) => parent,
                None => return Target::Outside,
            },
            name => match self.lookup(from, name, !rest.is_empty(), steps) {
                Some(Target::Module(module)) => module,
                Some(other) => return other,
                None => return Target::Outside,
            },
        };
        while let Some((segment, after)) = rest.split_first() {
            if segment == "super"
                && let Some(parent) = self.0[at].parent
            {
                at = parent;
            } else {
                match self.lookup(at, segment, !after.is_empty(), steps) {
                    Some(Target::Module(module)) => at = module,
                    Some(other) => return other,
                    None => return Target::Item(at, segment.clone()),
                }
            }
            rest = after;
        }
        Target::Module(at)
    }

    /// What `name` is in the module `id`; one that others follow is rather a module than a function.
    fn lookup(&self, id: usize, name: &str, goes_on: bool, steps: usize) -> Option<Target> {
        let module = &self.0[id];
        let child = module.children.get(name).map(|child| Target::Module(*child));
        let is_defined = module.definitions.iter().any(|definition| definition.name == name);
        let item = is_defined.then(|| Target::Item(id, name.to_owned()));
        let found = if goes_on { child.or(item) } else { item.or(child) };
        if found.is_some() || steps > MAX_STEPS {
            return found;
        }
        for import in module.imports.iter().filter(|import| import.name == name) {
            match self.resolve(id, &import.path.segments, steps + 1) {
                Target::Outside => (),
                found => return Some(found),
            }
        }
        if module.imports.iter().any(|import| import.name == name) {
            return Some(Target::Outside);
        }
        let globs = module.imports.iter().filter(|import| import.name == "*");
        for glob in globs {
            if let Target::Module(other) = self.resolve(id, &glob.path.segments, steps + 1)
                && other != id
                && let Some(found) = self.lookup(other, name, goes_on, steps + 1)
            {
                return Some(found);
            }
        }
        // `#[macro_export]` shows a macro at the root, wherever it is defined.
        let is_macro = |definition: &Definition| {
            definition.keyword == "macro_rules" && definition.name == name
        };
        let mut modules = self.0.iter();
        let owner = modules.position(|module| module.definitions.iter().any(is_macro));
        owner.filter(|_| id == 0).map(|owner| Target::Item(owner, name.to_owned()))
    }
}

/// Files that lead back to themselves, in groups that have no file in common; each circle is as short
/// as the file that comes first in it allows.
pub(super) fn circles(edges: &Edges) -> Vec<Vec<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in edges.keys() {
        next.entry(from).or_default().push(to);
    }
    let mut seen: HashSet<BTreeSet<&str>> = HashSet::new();
    let mut found = Vec::new();
    for start in next.keys() {
        if let Some(circle) = shortest_circle(&next, start)
            && seen.insert(circle.iter().copied().collect())
        {
            found.push(circle.into_iter().map(str::to_owned).collect());
        }
    }
    found
}

/// The files from `start` on, until the one that leads back to it.
fn shortest_circle<'a>(
    next: &BTreeMap<&'a str, Vec<&'a str>>,
    start: &'a str,
) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = vec![start];
    while !open.is_empty() {
        let mut further = Vec::new();
        for at in open {
            for to in next.get(at).into_iter().flatten() {
                if *to == start {
                    let mut circle = vec![at];
                    while let Some(before) = came_from.get(circle[circle.len() - 1]) {
                        circle.push(before);
                    }
                    circle.reverse();
                    return Some(circle);
                }
                if !came_from.contains_key(to) {
                    came_from.insert(to, at);
                    further.push(*to);
                }
            }
        }
        open = further;
    }
    None
}

/// A circle with the items that close it: `a.rs -> b.rs (Item, line 3) -> …`.
pub(super) fn describe(circle: &[String], edges: &Edges) -> String {
    let mut text = circle[0].clone();
    for (at, from) in circle.iter().enumerate() {
        let to = &circle[(at + 1) % circle.len()];
        let names = edges.get(&(from.clone(), to.clone())).into_iter().flatten();
        let mut names: Vec<_> =
            names.map(|named| format!("{}, line {}", named.item, named.line)).collect();
        let more = names.len().saturating_sub(3);
        names.truncate(3);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        text += &format!("\n    -> {to} ({})", names.join("; "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::files::File, *};

    fn edges(sources: &[(&str, &str)]) -> Edges {
        let files: Vec<_> = sources
            .iter()
            .map(|(path, text)| File { path: format!("a/src/{path}"), text: (*text).to_owned() })
            .collect();
        let mut found = Edges::new();
        collect(&Modules::read(&files, "a/src/lib.rs"), &mut found);
        found
    }

    fn pairs(edges: &Edges) -> Vec<String> {
        let short =
            |path: &str| path.trim_start_matches("a/src/").trim_end_matches(".rs").to_owned();
        edges.keys().map(|(from, to)| format!("{} {}", short(from), short(to))).collect()
    }

    #[test]
    fn an_item_is_followed_through_faces_to_the_file_that_defines_it() {
        let found = edges(&[
            ("lib.rs", "mod face; mod user; pub use face::Item;"),
            ("face.rs", "mod owner; pub(crate) use owner::Item;"),
            ("face/owner.rs", "pub(crate) struct Item;"),
            ("user.rs", "use crate::face::Item; fn f() { crate::face::owner::Item::new(); }"),
        ]);
        assert_eq!(pairs(&found), ["user face/owner"]);
    }

    #[test]
    fn paths_begin_at_imported_modules_children_and_globs() {
        let found = edges(&[
            ("lib.rs", "mod b; mod c; mod d; fn top() { b::x(); }"),
            ("b.rs", "pub(crate) fn x() {}"),
            ("c.rs", "use crate::b; use std::mem; fn f() { b::x(); mem::take(); y.b::<T>(); }"),
            ("d.rs", "use super::*; fn f() { b::x(); }"),
        ]);
        assert_eq!(pairs(&found), ["c b", "d b", "d lib", "lib b"]);
    }

    #[test]
    fn a_face_that_uses_what_it_hands_on_has_an_edge() {
        let child = ("b/c.rs", "pub(crate) struct C; pub(crate) struct D;");
        let idle = edges(&[("lib.rs", "mod b;"), ("b.rs", "mod c; pub use c::{C, D};"), child]);
        assert!(idle.is_empty(), "{idle:?}");
        let text = "mod c; pub use c::{C, D}; fn f(c: C) {}";
        let found = edges(&[("lib.rs", "mod b;"), ("b.rs", text), child]);
        assert_eq!(pairs(&found), ["b b/c"]);
        assert_eq!(found.values().next().unwrap().len(), 1, "D is handed on only");
    }

    #[test]
    fn a_name_of_another_crate_is_not_the_module_of_that_name() {
        let found = edges(&[
            ("lib.rs", "mod http; mod b;"),
            ("http.rs", "pub(crate) struct Own;"),
            ("b.rs", "use http::Request; use ::http::Own; fn f() { http::x(); }"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn an_exported_macro_belongs_to_the_file_that_defines_it() {
        let found = edges(&[
            ("lib.rs", "mod b; mod c;"),
            ("b.rs", "#[macro_export] macro_rules! make { () => {} }"),
            ("c.rs", "use crate::make;"),
        ]);
        assert_eq!(pairs(&found), ["c b"]);
    }

    #[test]
    fn a_circle_through_three_files_is_printed_with_its_items() {
        let found = edges(&[
            ("lib.rs", "mod b; mod c; mod d; mod e;"),
            ("b.rs", "use crate::c::C; pub(crate) struct B;"),
            ("c.rs", "\npub(crate) struct C(super::d::D);"),
            ("d.rs", "pub(crate) struct D;\n\nfn f() { crate::b::B::new(); }"),
            ("e.rs", "use crate::b::B;"),
        ]);
        let circles = circles(&found);
        assert_eq!(circles.len(), 1, "{circles:?}");
        assert_eq!(
            describe(&circles[0], &found),
            "a/src/b.rs\n    -> a/src/c.rs (C, line 1)\n    -> a/src/d.rs (D, line 2)\n    \
             -> a/src/b.rs (B, line 3)"
        );
    }
}
