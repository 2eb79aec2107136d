//! From the paths of a [`Sandbox`] to the list that the launcher works through.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use crate::{
    isolation::Sandbox,
    launch::plan::{Access, Place},
};

/// Where programs write what others may read, and where sockets are. The child has its own.
const SCRATCH: [&str; 3] = ["/tmp", "/var/tmp", "/run"];

/// Files that only root reads, where this process may be root.
const SECRETS: [&str; 4] = ["/etc/shadow", "/etc/gshadow", "/etc/shadow-", "/etc/gshadow-"];

/// Where name servers are listed; often a link to below `/run`.
const RESOLVER: &str = "/etc/resolv.conf";

/// The places, those that contain others first. What is hidden wins over what is shown at the same path.
pub(crate) fn places(sandbox: &Sandbox) -> Vec<Place> {
    let mut places = BTreeMap::<(usize, PathBuf), Access>::new();
    let mut add = |path: &Path, access: Access| {
        let Ok(path) = path.canonicalize() else { return };
        if path.parent().is_none() {
            return;
        }
        let known = places.entry((path.components().count(), path)).or_insert(access);
        *known = (*known).max(access);
    };
    for path in SCRATCH {
        add(Path::new(path), Access::Scratch);
    }
    for path in SECRETS {
        add(Path::new(path), Access::Hidden);
    }
    add(Path::new(RESOLVER), Access::Read);
    sandbox.hidden.iter().for_each(|path| add(path, Access::Hidden));
    sandbox.read.iter().for_each(|path| add(path, Access::Read));
    sandbox.write.iter().for_each(|path| add(path, Access::Write));
    let places: Vec<_> =
        places.into_iter().map(|((_, path), access)| Place { path, access }).collect();
    let needed = |place: &Place| place.access != Access::Read || is_changed(&places, &place.path);
    places.iter().filter(|place| needed(place)).cloned().collect()
}

/// Whether something above `path` is not as on the host.
fn is_changed(places: &[Place], path: &Path) -> bool {
    let above = |place: &&Place| place.path != path && path.starts_with(&place.path);
    let is_empty = |place: &Place| matches!(place.access, Access::Hidden | Access::Scratch);
    places.iter().any(|place| above(&place) && is_empty(place))
}

/// The directories that a program needs to run, besides those that every program finds: where it is
/// installed, where the programs it names on its first line are, and where the links to it lead.
pub(crate) fn of_program(program: &Path, search: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![program.to_owned()];
    // Chains of links and interpreters are short.
    for _ in 0..16 {
        let Some(path) = next.pop() else { break };
        found.extend(installation(&path));
        if let Ok(link) = path.read_link() {
            next.push(path.parent().unwrap_or(Path::new("/")).join(link));
            continue;
        }
        let resolved = path.canonicalize().unwrap_or(path);
        found.extend(installation(&resolved));
        next.extend(interpreter(&resolved, search));
    }
    found
}

/// The directory that a program was installed into, with its libraries.
pub(crate) fn installation(program: &Path) -> Option<PathBuf> {
    let folder = program.parent()?;
    let root = folder.parent().filter(|root| root.parent().is_some());
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    match (name(folder).as_deref(), root) {
        (Some("bin" | "sbin" | "shims" | "libexec"), Some(root))
            // The root of a home's own installation is full of other things.
            if name(root).is_none_or(|name| name != ".local")
                && root.components().filter(|part| matches!(part, Component::Normal(_))).count() > 1
                && !is_home(root) =>
        {
            Some(root.to_owned())
        }
        _ if is_home(folder) || SCRATCH.iter().any(|scratch| folder == Path::new(scratch)) => {
            Some(program.to_owned())
        }
        _ => Some(folder.to_owned()),
    }
}

fn is_home(path: &Path) -> bool {
    path == Path::new("/root") || path.parent() == Some(Path::new("/home"))
}

/// What the first line of a script names.
fn interpreter(script: &Path, search: &[PathBuf]) -> Vec<PathBuf> {
    let mut start = [0; 256];
    let read = std::fs::File::open(script)
        .and_then(|mut file| std::io::Read::read(&mut file, &mut start))
        .unwrap_or(0);
    let Some(line) = start[..read].strip_prefix(b"#!") else { return Vec::new() };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split_whitespace();
    let Some(program) = words.next() else { return Vec::new() };
    let mut found = vec![PathBuf::from(program)];
    if program.ends_with("/env")
        && let Some(name) = words.find(|word| !word.starts_with('-') && !word.contains('='))
    {
        found.extend(search.iter().map(|folder| folder.join(name)).find(|path| path.exists()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_brings_the_directory_it_was_installed_into_and_no_home() {
        for (program, expected) in [
            ("/opt/notes/bin/notes", "/opt/notes"),
            ("/home/ada/venv/bin/python", "/home/ada/venv"),
            ("/home/ada/bin/notes", "/home/ada/bin"),
            ("/home/ada/.local/bin/uvx", "/home/ada/.local/bin"),
            ("/home/ada/.pyenv/shims/python3", "/home/ada/.pyenv"),
            ("/home/ada/notes", "/home/ada/notes"),
            ("/usr/bin/node", "/usr/bin"),
            ("/srv/tools/notes", "/srv/tools"),
        ] {
            assert_eq!(installation(Path::new(program)), Some(expected.into()), "{program}");
        }
    }

    #[test]
    fn what_is_hidden_wins_at_its_path_and_what_is_shown_wins_below_it() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        let inner = base.join("inner");
        std::fs::create_dir(&inner).unwrap();
        let sandbox = Sandbox {
            hidden: vec![base.clone()],
            write: vec![base.clone(), inner.clone(), base.join("missing"), "/".into()],
            ..Sandbox::default()
        };
        let places = places(&sandbox);
        let access =
            |path: &Path| places.iter().find(|place| place.path == path).map(|found| found.access);
        assert_eq!(access(&base), Some(Access::Hidden));
        assert_eq!(access(&inner), Some(Access::Write));
        assert_eq!(access(Path::new("/")), None);
        let order = |path: &Path| places.iter().position(|place| place.path == path);
        assert!(order(&base) < order(&inner));
    }
}
