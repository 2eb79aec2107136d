//! The merged settings while they are read: what is set, where, and what is wrong with it.

use figment::value::Value;

use super::error::{ConfigError, Problem, Source};
use super::path::KeyPath;
use super::tree::Tree;

/// Collects every mistake, so that one run finds them all.
#[derive(Debug)]
pub struct Reader<'a> {
    tree: &'a Tree,
    pub(super) mistakes: Vec<ConfigError>,
    pub(super) warnings: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        Self { tree, mistakes: Vec::new(), warnings: Vec::new() }
    }

    /// Records a mistake about `path`, at the place where it was set.
    pub(super) fn refuse(&mut self, path: &KeyPath, problem: Problem) {
        self.mistakes.push(problem.at(path.to_string(), self.tree.source(path)));
    }

    /// Records that `path` has no value, and `why` it needs one.
    pub(super) fn missing(&mut self, path: &KeyPath, why: &str) {
        self.refuse(path, Problem::new(format!("is missing: {why}")));
    }

    /// Records something an operator should know about `path`.
    pub(super) fn warn(&mut self, path: &KeyPath, problem: Problem) {
        self.warnings.push(problem.at(path.to_string(), self.tree.source(path)));
    }

    /// The value at `path`, if any source sets it.
    pub(super) fn value(&self, path: &KeyPath) -> Option<&'a Value> {
        self.tree.value(path)
    }

    /// Whether any source sets `path`.
    pub(super) fn is_set(&self, path: &KeyPath) -> bool {
        self.value(path).is_some()
    }

    /// Where `path` was set.
    pub(super) fn source(&self, path: &KeyPath) -> Source {
        self.tree.source(path)
    }
}
