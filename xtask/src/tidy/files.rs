//! The text files of the repository.

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::cargo::root;

/// A text file of the repository.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Relative to the repository, with slashes.
    pub(super) path: String,
    pub(super) text: String,
}

/// Everything git knows or would add. Files that are not UTF-8 have no text to look at.
pub(super) fn tracked(sh: &Shell) -> anyhow::Result<Vec<File>> {
    let list = cmd!(sh, "git ls-files -z --cached --others --exclude-standard")
        .quiet()
        .read()
        .context("git does not list the files")?;
    let mut files = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        // A file that is deleted and not yet staged is listed and gone.
        let Ok(bytes) = std::fs::read(root().join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}
