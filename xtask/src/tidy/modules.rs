//! The modules of one target: what each defines, imports and names.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    files::File,
    tokens::{Kind, Token, tokens},
};

/// The modules that one root file (`lib.rs`, `main.rs`) leads to; the first is the root itself.
/// What is compiled for tests alone is left out.
#[derive(Debug, Default)]
pub(super) struct Modules(pub(super) Vec<Module>);

/// One module, in a file of its own or within another's.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Relative to the repository.
    pub(super) file: String,
    /// None for the root.
    pub(super) parent: Option<usize>,
    pub(super) children: BTreeMap<String, usize>,
    pub(super) definitions: Vec<Definition>,
    pub(super) imports: Vec<Import>,
    /// Paths of two or more segments.
    pub(super) paths: Vec<Path>,
    /// Single identifiers, by which a module uses what it has imported.
    pub(super) mentions: HashSet<String>,
}

/// An item that a module declares.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: String,
    /// `struct`, `fn`, …
    pub(super) keyword: String,
    pub(super) visibility: Visibility,
    pub(super) line: usize,
}

/// Who may name an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Visibility {
    /// The module and what is below it, or a part of the crate.
    Module,
    /// `pub(crate)`
    Crate,
    /// `pub`
    Public,
}

/// One name that a `use` brings into a module.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) path: Path,
    /// What the module calls it; `*` for everything.
    pub(super) name: String,
    /// Whether it hands the name on.
    pub(super) visibility: Visibility,
}

/// Segments as they are written.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

impl Modules {
    /// Follows every `mod` from `root`, a path relative to the repository.
    pub(super) fn read(files: &[File], root: &str) -> Self {
        let files = files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
        let mut reader = Reader { files, modules: Vec::new() };
        let (folder, _) = root.rsplit_once('/').unwrap_or(("", root));
        reader.file(root, None, folder);
        Self(reader.modules)
    }
}

struct Reader<'a> {
    files: HashMap<&'a str, &'a str>,
    modules: Vec<Module>,
}

/// What stands before an item and is about it.
#[derive(Default)]
struct Front {
    for_tests: bool,
    path: Option<String>,
    visibility: Option<Visibility>,
}

impl<'a> Reader<'a> {
    /// Reads a module in a file of its own; its children's files are in `folder`.
    fn file(&mut self, path: &str, parent: Option<usize>, folder: &str) -> usize {
        let id = self.add(path, parent);
        let words = self.files.get(path).map(|text| tokens(text)).unwrap_or_default();
        self.module(id, &words, folder);
        id
    }

    fn add(&mut self, file: &str, parent: Option<usize>) -> usize {
        self.modules.push(Module { file: file.to_owned(), parent, ..Module::default() });
        self.modules.len() - 1
    }

    /// Reads the body of a module.
    fn module(&mut self, id: usize, words: &[Token<'_>], folder: &str) {
        let mut depth = 0_usize;
        let mut front = Front::default();
        let mut at = 0;
        while at < words.len() {
            if words[at].is('#') {
                at = attribute(words, at, &mut front);
                continue;
            }
            if front.for_tests {
                at = item_end(words, at);
                front = Front::default();
                continue;
            }
            match words[at].kind {
                Kind::Open(_) => depth += 1,
                Kind::Close(bracket) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 && bracket == '}' {
                        front = Front::default();
                    }
                }
                Kind::Punctuation(';') if depth == 0 => front = Front::default(),
                Kind::Word("pub") if depth == 0 => {
                    let (visibility, next) = visibility(words, at);
                    front.visibility = Some(visibility);
                    at = next;
                    continue;
                }
                // `use<'a>` is a bound.
                Kind::Word("use") if !words.get(at + 1).is_some_and(|next| next.is('<')) => {
                    let end = statement_end(words, at);
                    let visibility = front.visibility.unwrap_or(Visibility::Module);
                    let imports = imports(&words[at + 1..end], visibility);
                    self.modules[id].imports.extend(imports);
                    front = Front::default();
                    at = end + 1;
                    continue;
                }
                Kind::Word("mod") if depth == 0 => {
                    if let Some(name) = words.get(at + 1).and_then(Token::word) {
                        at = self.child(id, name, words, at + 2, folder, front.path.take());
                        front = Front::default();
                        continue;
                    }
                }
                Kind::Word(word) => {
                    let defined = if depth == 0 { defined(words, at) } else { None };
                    if let Some(name) = defined {
                        self.modules[id].definitions.push(Definition {
                            name: name.to_owned(),
                            keyword: word.to_owned(),
                            visibility: front.visibility.unwrap_or(Visibility::Module),
                            line: words[at].line,
                        });
                        // The name is not a mention of itself.
                        at += if word == "macro_rules" { 3 } else { 2 };
                        continue;
                    }
                    at = self.path(id, words, at);
                    continue;
                }
                _ => (),
            }
            at += 1;
        }
    }

    /// Reads the module `name`, whose `;` or body is at `at`, and returns what follows it.
    fn child(
        &mut self,
        parent: usize,
        name: &str,
        words: &[Token<'_>],
        at: usize,
        folder: &str,
        path: Option<String>,
    ) -> usize {
        if words.get(at).is_some_and(|word| word.is('{')) {
            let end = group_end(words, at);
            let file = self.modules[parent].file.clone();
            let id = self.add(&file, Some(parent));
            self.modules[parent].children.insert(name.to_owned(), id);
            self.module(id, &words[at + 1..end], &format!("{folder}/{name}"));
            return end + 1;
        }
        let (file, folder) = match path {
            Some(path) => {
                let (beside, _) = self.modules[parent].file.rsplit_once('/').unwrap_or_default();
                let file = normalized(&format!("{beside}/{path}"));
                let folder = file.rsplit_once('/').unwrap_or_default().0.to_owned();
                (file, folder)
            }
            None => {
                let beside = format!("{folder}/{name}.rs");
                let within = format!("{folder}/{name}/mod.rs");
                let is_within = !self.files.contains_key(beside.as_str())
                    && self.files.contains_key(within.as_str());
                (if is_within { within } else { beside }, format!("{folder}/{name}"))
            }
        };
        let id = self.file(&file, Some(parent), &folder);
        self.modules[parent].children.insert(name.to_owned(), id);
        at + 1
    }

    /// Notes the path that begins at `at`, if one does, and returns what follows it.
    fn path(&mut self, id: usize, words: &[Token<'_>], at: usize) -> usize {
        let before = at.checked_sub(1).map(|before| &words[before]);
        // A field or method (but not what follows a range, `..`), or what follows `<T as X>::`.
        let is_member = before.is_some_and(|word| word.is('.'))
            && !at.checked_sub(2).is_some_and(|before| words[before].is('.'));
        let goes_on = before.is_some_and(|word| word.kind == Kind::PathSeparator);
        let mut segments = Vec::new();
        let mut next = at;
        while let Some(word) = words.get(next).and_then(Token::word) {
            segments.push(word.to_owned());
            next += 1;
            if words.get(next).is_none_or(|word| word.kind != Kind::PathSeparator) {
                break;
            }
            next += 1;
        }
        if !is_member && !goes_on {
            let module = &mut self.modules[id];
            if segments.len() > 1 {
                module.paths.push(Path { segments, line: words[at].line });
            } else {
                module.mentions.extend(segments);
            }
        }
        next
    }
}

/// Reads `#[…]` or `#![…]` at `at` and returns what follows it.
fn attribute(words: &[Token<'_>], at: usize, front: &mut Front) -> usize {
    let open = if words.get(at + 1).is_some_and(|word| word.is('!')) { at + 2 } else { at + 1 };
    if !words.get(open).is_some_and(|word| word.is('[')) {
        return at + 1;
    }
    let end = group_end(words, open);
    let inside = &words[open + 1..end];
    let word = |at: usize| inside.get(at).and_then(Token::word);
    if open == at + 1 {
        // `cfg(test)` and `cfg(all(test, …))`; with `any`, others compile it too.
        front.for_tests |= word(0) == Some("cfg")
            && (word(2) == Some("test") || (word(2) == Some("all") && word(4) == Some("test")));
        if word(0) == Some("path")
            && let Some(Token { kind: Kind::Text(text), .. }) = inside.get(2)
        {
            front.path = Some(text.trim_matches('"').to_owned());
        }
    }
    end + 1
}

/// Reads `pub` and what it is limited to.
fn visibility(words: &[Token<'_>], at: usize) -> (Visibility, usize) {
    if !words.get(at + 1).is_some_and(|word| word.is('(')) {
        return (Visibility::Public, at + 1);
    }
    let of_crate = words.get(at + 2).and_then(Token::word) == Some("crate");
    let visibility = if of_crate { Visibility::Crate } else { Visibility::Module };
    (visibility, group_end(words, at + 1) + 1)
}

/// The name that the item at `at` has, if one begins there.
fn defined<'a>(words: &[Token<'a>], at: usize) -> Option<&'a str> {
    match words[at].word()? {
        "macro_rules" => words.get(at + 2)?.word(),
        "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" => {
            let name = words.get(at + 1)?.word()?;
            (!matches!(name, "fn" | "unsafe" | "async" | "extern" | "mut")).then_some(name)
        }
        _ => None,
    }
}

/// Where the bracket at `open` closes.
fn group_end(words: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, word) in words.iter().enumerate().skip(open) {
        match word.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => (),
        }
    }
    words.len()
}

/// The `;` that ends what begins at `at`.
fn statement_end(words: &[Token<'_>], at: usize) -> usize {
    let mut at = at;
    while let Some(word) = words.get(at) {
        match word.kind {
            Kind::Punctuation(';') => return at,
            Kind::Open(_) => at = group_end(words, at) + 1,
            _ => at += 1,
        }
    }
    words.len()
}

/// What follows the item, field or statement at `at`.
fn item_end(words: &[Token<'_>], at: usize) -> usize {
    let first = words[at..].iter().filter_map(Token::word).find(|word| *word != "pub");
    if let Some("use" | "const" | "static" | "let" | "type") = first {
        // `const fn` ends with its body.
        let function = words[at..].iter().filter_map(Token::word).take(4).any(|word| word == "fn");
        if !function {
            return statement_end(words, at) + 1;
        }
    }
    // A field ends with its comma; the commas of an item are its parameters'.
    let is_item = matches!(
        first,
        Some("fn" | "impl" | "struct" | "enum" | "trait" | "mod" | "const" | "async" | "unsafe")
    );
    let mut at = at;
    while let Some(word) = words.get(at) {
        match word.kind {
            Kind::Punctuation(';') => return at + 1,
            Kind::Punctuation(',') if !is_item => return at + 1,
            Kind::Open('{') => return group_end(words, at) + 1,
            Kind::Open(_) => at = group_end(words, at) + 1,
            // The block that held the field or the last statement ends.
            Kind::Close(_) => return at,
            _ => at += 1,
        }
    }
    words.len()
}

/// Every name that the tree of a `use` brings.
fn imports(tree: &[Token<'_>], visibility: Visibility) -> Vec<Import> {
    let mut found = Vec::new();
    branch(tree, &[], visibility, &mut found);
    found
}

fn branch(tree: &[Token<'_>], before: &[String], visibility: Visibility, found: &mut Vec<Import>) {
    let Some(first) = tree.first() else { return };
    let mut segments = before.to_vec();
    let mut at = 0;
    if first.kind == Kind::PathSeparator {
        // `::name` is another crate, whatever the modules here are called.
        return;
    }
    while let Some(word) = tree.get(at) {
        match word.kind {
            Kind::Word("as") => break,
            Kind::Word(word) => segments.push(word.to_owned()),
            Kind::Punctuation('*') => {
                let path = Path { segments, line: word.line };
                found.push(Import { path, name: "*".to_owned(), visibility });
                return;
            }
            Kind::Open('{') => {
                let inside = &tree[at + 1..group_end(tree, at)];
                for part in split(inside) {
                    branch(part, &segments, visibility, found);
                }
                return;
            }
            _ => (),
        }
        at += 1;
    }
    // `a::{self}` is `a`.
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
        segments.pop();
    }
    let alias = tree.get(at + 1).and_then(Token::word).map(str::to_owned);
    if let Some(name) = alias.or_else(|| segments.last().cloned()) {
        found.push(Import { path: Path { segments, line: first.line }, name, visibility });
    }
}

/// The parts between the commas of a group.
fn split<'t, 'a>(inside: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < inside.len() {
        match inside[at].kind {
            Kind::Open(_) => at = group_end(inside, at),
            Kind::Punctuation(',') => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => (),
        }
        at += 1;
    }
    parts.push(&inside[start..]);
    parts
}

/// A path without `..`.
fn normalized(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => (),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Modules {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        Modules::read(
            &[file("a/src/lib.rs", text), file("a/src/child.rs", ""), file("a/odd.rs", "")],
            "a/src/lib.rs",
        )
    }

    fn written(imports: &[Import]) -> Vec<String> {
        imports
            .iter()
            .map(|import| format!("{} = {}", import.name, import.path.segments.join("::")))
            .collect()
    }

    #[test]
    fn a_tree_of_imports_is_taken_apart() {
        let modules = read("use a::{self, b::{C, D as E}, f::*}; pub(crate) use g::h; use ::i::j;");
        assert_eq!(
            written(&modules.0[0].imports),
            ["a = a", "C = a::b::C", "E = a::b::D", "* = a::f", "h = g::h"]
        );
        assert_eq!(modules.0[0].imports[4].visibility, Visibility::Crate);
    }

    #[test]
    fn what_only_tests_compile_is_left_out() {
        let modules = read(
            "#[cfg(test)] use a::b;\n#[cfg(test)] mod tests { use c::d; }\n\
             #[cfg(test)]\nconst fn e<A, B>() { f::g(); }\n#[cfg(any(test, feature = \"x\"))] use h::i;\n\
             struct S { #[cfg(test)] j: k::L, m: n::O }",
        );
        assert_eq!(written(&modules.0[0].imports), ["i = h::i"]);
        let paths: Vec<_> =
            modules.0[0].paths.iter().map(|path| path.segments.join("::")).collect();
        assert_eq!(paths, ["n::O"]);
    }

    #[test]
    fn modules_are_found_beside_within_and_where_their_path_says() {
        let modules =
            read("mod child; mod inner { mod deeper {} }\n#[path = \"../odd.rs\"] mod odd;");
        let files: Vec<_> = modules.0.iter().map(|module| module.file.as_str()).collect();
        assert_eq!(
            files,
            ["a/src/lib.rs", "a/src/child.rs", "a/src/lib.rs", "a/src/lib.rs", "a/odd.rs"]
        );
        assert_eq!(modules.0[3].parent, Some(2));
    }

    #[test]
    fn definitions_and_paths_are_told_from_fields_and_methods() {
        let modules = read(
            "pub(crate) struct A; pub enum B { C(d::E) }\nconst fn f(x: T) { x.g::<H>(); self::i::j() }\n\
             macro_rules! k { () => { $crate::l::m() } }",
        );
        let root = &modules.0[0];
        let definitions: Vec<_> = root
            .definitions
            .iter()
            .map(|definition| (definition.name.as_str(), definition.visibility))
            .collect();
        assert_eq!(
            definitions,
            [
                ("A", Visibility::Crate),
                ("B", Visibility::Public),
                ("f", Visibility::Module),
                ("k", Visibility::Module)
            ]
        );
        let paths: Vec<_> = root.paths.iter().map(|path| path.segments.join("::")).collect();
        assert_eq!(paths, ["d::E", "self::i::j", "crate::l::m"]);
    }
}
