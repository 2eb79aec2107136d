//! Where programs of several files are, which are of use only as a whole.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use super::paths::is_home;

/// Files that mark the directory that a program of several files is in.
const MARKS: [&str; 5] = ["package.json", "node_modules", "pyproject.toml", ENVIRONMENT, "go.mod"];

/// What marks a virtual environment of Python.
const ENVIRONMENT: &str = "pyvenv.cfg";

/// Kinds of files that an interpreter runs.
const SCRIPTS: [&str; 10] = ["py", "js", "mjs", "cjs", "ts", "jar", "rb", "sh", "pyz", "dll"];

/// Directories of programs and libraries.
const INSTALLED: [&str; 6] = ["bin", "sbin", "lib", "libexec", "node_modules", "site-packages"];

/// Whether `path` is something that runs, and nothing that a program writes.
pub(super) fn is_program(path: &Path) -> bool {
    if path.is_dir() {
        return path.file_name().is_some_and(|name| INSTALLED.iter().any(|known| name == *known));
    }
    match path.extension().and_then(OsStr::to_str) {
        Some(kind) => SCRIPTS.contains(&kind),
        None => path
            .metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0),
    }
}

/// What a program reads that is around it: the project that it belongs to, else, for a script, the
/// directory that it is in; and what its environment takes from elsewhere.
pub(super) fn around(program: &Path) -> Vec<PathBuf> {
    let is_script = program.extension().and_then(OsStr::to_str);
    let is_script = is_script.is_some_and(|kind| SCRIPTS.contains(&kind));
    let folder = program.parent().filter(|folder| is_script && is_own(folder));
    let folder = outermost(program).or_else(|| folder.map(Path::to_owned));
    let environment = program.ancestors().skip(1).find(|root| root.join(ENVIRONMENT).exists());
    let linked = environment.map(linked).unwrap_or_default();
    folder.into_iter().chain(linked).collect()
}

/// The outermost directory around `path`, or `path`, that looks like a project: what belongs to several
/// packages is there. Directories such as `.local` have much around a project that does not belong to it.
pub(super) fn outermost(path: &Path) -> Option<PathBuf> {
    let mut marked = path.ancestors().filter(|folder| {
        folder.is_dir() && is_own(folder) && MARKS.iter().any(|mark| folder.join(mark).exists())
    });
    let innermost = marked.next()?;
    let is_plain = |folder: &&Path| {
        let mut names = folder.components().filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        !names.any(|name| name.starts_with('.'))
    };
    Some(marked.filter(is_plain).last().unwrap_or(innermost).to_owned())
}

/// Not directly below the root, and no home.
fn is_own(folder: &Path) -> bool {
    folder.components().count() > 2 && !is_home(folder)
}

/// The directories outside of a virtual environment that it takes modules from.
fn linked(environment: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let versions = entries(&environment.join("lib")).map(|entry| entry.path());
    let files = versions.flat_map(|version| entries(&version.join("site-packages")));
    let lists =
        files.map(|entry| entry.path()).filter(|path| path.extension() == Some(OsStr::new("pth")));
    let texts: Vec<String> = lists.filter_map(|list| fs::read_to_string(list).ok()).collect();
    let lines = texts.iter().flat_map(|text| text.lines()).map(Path::new);
    lines.filter(|line| line.is_absolute() && is_own(line)).map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path) -> &Path {
        fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        fs::write(path, "").expect("it is written");
        path
    }

    #[test]
    fn a_program_has_what_its_project_shares_and_nothing_that_lies_around() {
        let home = tempfile::Builder::new().prefix("home").tempdir().expect("a directory");
        let home = home.path();
        for mark in ["mono/package.json", "mono/packages/a/package.json", "app/pyproject.toml"] {
            file(&home.join(mark));
        }
        for mark in [".local/share/package.json", ".local/share/tools/x/pyvenv.cfg"] {
            file(&home.join(mark));
        }
        file(&home.join("app/.venv/pyvenv.cfg"));
        for (program, expected) in [
            ("mono/packages/a/dist/index.js", "mono"),
            ("app/main.py", "app"),
            ("app/.venv/bin/notes", "app"),
            (".local/share/tools/x/bin/x", ".local/share/tools/x"),
            ("scripts/notes.py", "scripts"),
        ] {
            let program = home.join(program);
            assert_eq!(around(file(&program)), [home.join(expected)], "{program:?}");
        }
        assert_eq!(around(file(&home.join("tools/notes"))), [] as [PathBuf; 0]);
    }

    #[test]
    fn what_an_environment_takes_modules_from_is_there() {
        let place = tempfile::tempdir().expect("a directory");
        let place = place.path();
        file(&place.join("venv/pyvenv.cfg"));
        let list = place.join("venv/lib/python3.12/site-packages/_notes.pth");
        file(&list);
        let source = place.join("code/notes/src");
        let text = format!("import sys\n{}\nrelative\n/\n", source.display());
        fs::write(list, text).expect("it is written");
        let program = place.join("venv/bin/notes");
        assert_eq!(around(file(&program)), [place.join("venv"), source]);
    }

    #[test]
    fn what_runs_is_told_from_what_is_written() {
        let place = tempfile::tempdir().expect("a directory");
        let run = |name: &str, mode: u32| {
            let path = place.path().join(name);
            fs::set_permissions(file(&path), fs::Permissions::from_mode(mode)).expect("it is ours");
            is_program(&path)
        };
        assert!(run("notes.py", 0o644) && run("notes", 0o755) && run("bin/x", 0o755));
        assert!(!run("notes.db", 0o755) && !run("README", 0o644));
        assert!(is_program(&place.path().join("bin")) && !is_program(place.path()));
    }
}
