//! From the paths of a [`Sandbox`] to the list that the launcher works through.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
};

use crate::{
    isolation::Sandbox,
    launch::plan::{Access, Place},
};

/// Where programs write what others may read, and where sockets are. The child has its own.
const SCRATCH: [&str; 3] = ["/tmp", "/var/tmp", "/run"];

/// What only root reads, where this process may be root.
const SECRETS: [&str; 7] = [
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssl/private",
];

/// What the kernel keeps for root, on file systems that have no idmapped mounts.
const OF_THE_KERNEL: [&str; 6] = [
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
    "/sys/fs/bpf",
    "/sys/fs/pstore",
    "/sys/firmware/dmi/tables",
    "/sys/firmware/efi/efivars",
];

/// Where the host's private keys are, among what clients need.
const HOST_KEYS: &str = "/etc/ssh";

/// What is installed there every user reads.
const INSTALLED: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/nix"];

/// Where name servers are listed; often a link to below `/run`.
const RESOLVER: &str = "/etc/resolv.conf";

/// The places, those that contain others first. What is hidden wins over what is shown at the same path,
/// and what is shown over what the child has of its own.
///
/// Where the files of this process's user are a stranger's (`is_strange`), what that user may read by
/// itself is among them too.
pub(crate) fn places(sandbox: &Sandbox, is_strange: bool) -> Vec<Place> {
    let mut places = BTreeMap::<(usize, PathBuf), Access>::new();
    let mut note = |path: PathBuf, access: Access| {
        let known = places.entry((path.components().count(), path)).or_insert(access);
        *known = (*known).max(access);
    };
    let mut added = BTreeSet::new();
    let mut add = |path: &Path, access: Access| {
        // Many are named twice, and to resolve one asks the system about each directory on the way.
        if !added.insert((path.to_owned(), access)) {
            return;
        }
        let Ok(target) = path.canonicalize() else { return };
        if target.parent().is_none() {
            return;
        }
        // Without a link on the way a path is what it resolves to.
        if matches!(access, Access::Show | Access::Read | Access::Write) && target != path {
            links(path).into_iter().for_each(|link| note(link, Access::Link));
        }
        note(target, access);
    };
    for path in SCRATCH {
        add(Path::new(path), Access::Scratch);
    }
    for path in SECRETS {
        add(Path::new(path), Access::Hidden);
    }
    for path in OF_THE_KERNEL.iter().filter(|_| is_strange) {
        add(Path::new(path), Access::Hidden);
    }
    for key in std::fs::read_dir(HOST_KEYS).into_iter().flatten().flatten() {
        let name = key.file_name();
        if name.to_string_lossy().starts_with("ssh_host_")
            && !name.to_string_lossy().ends_with(".pub")
        {
            add(&key.path(), Access::Hidden);
        }
    }
    add(Path::new(RESOLVER), Access::Show);
    sandbox.hidden.iter().for_each(|path| add(path, Access::Hidden));
    sandbox.shown.iter().for_each(|path| add(path, Access::Show));
    sandbox.read.iter().for_each(|path| add(path, Access::Read));
    sandbox.write.iter().for_each(|path| add(path, Access::Write));
    if is_strange {
        for path in barred(&places, bars_others) {
            places.insert((path.components().count(), path), Access::Hidden);
        }
    }
    let places: Vec<_> =
        places.into_iter().map(|((_, path), access)| Place { path, access }).collect();
    let needed = |place: &Place| {
        // What is shown is shown with all below it. Each place costs the start of a child some time.
        let shows: &[Access] = match place.access {
            Access::Show => &[Access::Show, Access::Read],
            Access::Read => &[Access::Read],
            Access::Link => &[Access::Show, Access::Read, Access::Write],
            Access::Scratch | Access::Write | Access::Hidden => return true,
        };
        let is_owned = is_strange
            && place.access == Access::Read
            && !INSTALLED.iter().any(|folder| place.path.starts_with(folder));
        (is_owned || is_changed(&places, &place.path))
            && nearest(&places, &place.path).is_none_or(|around| !shows.contains(&around))
    };
    places.iter().filter(|place| needed(place)).cloned().collect()
}

/// The directories that bar a stranger's way to where something is mounted. Nothing else in them could be
/// reached, so that they are hidden with all that they contain.
fn barred(
    places: &BTreeMap<(usize, PathBuf), Access>,
    bars_others: impl Fn(&Path) -> bool,
) -> BTreeSet<PathBuf> {
    let mut known = BTreeMap::<&Path, bool>::new();
    let mut barred = BTreeSet::new();
    // What is to be shown to a stranger, and is not, is left out.
    let mounted =
        places.iter().filter(|(_, access)| !matches!(access, Access::Link | Access::Show));
    for ((_, path), _) in mounted {
        let above: Vec<_> =
            path.ancestors().skip(1).filter(|above| above.parent().is_some()).collect();
        // From the outermost below the root inwards, as far as it is the host's.
        for above in above.into_iter().rev() {
            match places.get(&(above.components().count(), above.to_owned())) {
                None | Some(Access::Link | Access::Show) => {}
                Some(Access::Scratch | Access::Read | Access::Write | Access::Hidden) => break,
            }
            if *known.entry(above).or_insert_with(|| bars_others(above)) {
                barred.insert(above.to_owned());
                break;
            }
        }
    }
    barred
}

/// Whether only the owner and the group of a directory get to what is in it.
fn bars_others(directory: &Path) -> bool {
    let mode = std::fs::metadata(directory).map(|found| found.permissions().mode());
    mode.is_ok_and(|mode| mode & 0o001 == 0)
}

/// Devices that every program may use.
const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// So many entries of a directory are shown that has something hidden in it. Each is a rule.
const MOST_BESIDE: usize = 1000;

/// What a child may read and write where no mount hides anything: rules allow and do not forbid, so a
/// directory with something hidden in it is allowed entry by entry.
pub(crate) fn rules(sandbox: &Sandbox) -> Vec<Place> {
    let mut places = places(sandbox, false);
    places.push(Place { path: "/dev".into(), access: Access::Hidden });
    let is_gone = |place: &&Place| matches!(place.access, Access::Hidden | Access::Scratch);
    let gone: Vec<&Path> = places.iter().filter(is_gone).map(|place| &*place.path).collect();
    let mut rules = Vec::new();
    let root = Place { path: "/".into(), access: Access::Read };
    let is_shown =
        |place: &&Place| matches!(place.access, Access::Show | Access::Read | Access::Write);
    for place in [&root].into_iter().chain(places.iter().filter(is_shown)) {
        let access = place.access.max(Access::Read);
        allow(&place.path, access, &gone, &mut rules);
    }
    let device = |path: &str| Place { path: path.into(), access: Access::Write };
    rules.extend(DEVICES.map(device));
    rules
}

fn allow(path: &Path, access: Access, gone: &[&Path], rules: &mut Vec<Place>) {
    let has_hidden = gone.iter().any(|hidden| *hidden != path && hidden.starts_with(path));
    if !has_hidden {
        rules.push(Place { path: path.to_owned(), access });
        return;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    // What a link leads to is allowed where it is.
    let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
    let entries = entries.map(|entry| entry.path()).filter(|path| !gone.contains(&&**path));
    for entry in entries.take(MOST_BESIDE) {
        allow(&entry, access, gone, rules);
    }
}

/// The symbolic links that are followed on the way to what `path` names, each without links above it.
fn links(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut at = PathBuf::from("/");
    let parts = |path: &Path| -> Vec<PathBuf> {
        path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect()
    };
    let mut left = parts(path);
    // As many as the system follows.
    while let Some(part) = left.pop().filter(|_| found.len() < 40) {
        match part.components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::Normal(name)) => {
                at.push(name);
                if let Ok(target) = at.read_link() {
                    left.extend(parts(&target));
                    found.push(at.clone());
                    at.pop();
                }
            }
            _ => {}
        }
    }
    found
}

/// What becomes of the last place above `path`.
fn nearest(places: &[Place], path: &Path) -> Option<Access> {
    let above = |place: &&Place| {
        place.access != Access::Link && place.path != path && path.starts_with(&place.path)
    };
    // Those that contain others come first.
    places.iter().rfind(above).map(|place| place.access)
}

/// Whether something above `path` is not as on the host.
fn is_changed(places: &[Place], path: &Path) -> bool {
    let above = |place: &&Place| place.path != path && path.starts_with(&place.path);
    let is_empty = |place: &Place| matches!(place.access, Access::Hidden | Access::Scratch);
    places.iter().any(|place| is_empty(place) && above(&place))
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
    installation_among(program, Path::exists)
}

fn installation_among(program: &Path, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let folder = program.parent()?;
    let root = folder.parent().filter(|root| root.parent().is_some());
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    // Directly in a home there are directories such as `.local` and `.cargo`, which have programs in
    // them, and also what is nobody else's business. Version managers need theirs.
    let is_installation = |root: &Path| {
        let is_in_home = root.parent().is_some_and(is_home);
        let is_private = is_home(root) || name(root).is_some_and(|name| name == ".local");
        let has = |names: &[&str]| names.iter().any(|name| exists(&root.join(name)));
        root.components().filter(|part| matches!(part, Component::Normal(_))).count() > 1
            && !is_private
            && (!is_in_home || has(&["lib", "versions", "installs", "tools", "pyvenv.cfg"]))
    };
    match (name(folder).as_deref(), root) {
        (Some("bin" | "sbin" | "shims" | "libexec"), Some(root)) if is_installation(root) => {
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
        let there =
            ["/home/ada/venv/pyvenv.cfg", "/home/ada/.pyenv/versions", "/home/ada/.local/lib"];
        for (program, expected) in [
            ("/opt/notes/bin/notes", "/opt/notes"),
            ("/home/ada/.cargo/bin/notes", "/home/ada/.cargo/bin"),
            ("/home/ada/.nvm/versions/node/v24/bin/node", "/home/ada/.nvm/versions/node/v24"),
            ("/home/ada/venv/bin/python", "/home/ada/venv"),
            ("/home/ada/bin/notes", "/home/ada/bin"),
            ("/home/ada/.local/bin/uvx", "/home/ada/.local/bin"),
            ("/home/ada/.pyenv/shims/python3", "/home/ada/.pyenv"),
            ("/home/ada/notes", "/home/ada/notes"),
            ("/usr/bin/node", "/usr/bin"),
            ("/srv/tools/notes", "/srv/tools"),
        ] {
            let exists = |path: &Path| there.iter().any(|known| path == Path::new(known));
            let found = installation_among(Path::new(program), exists);
            assert_eq!(found, Some(expected.into()), "{program}");
        }
    }

    #[test]
    fn the_links_on_the_way_to_a_path_are_there_too() {
        use std::os::unix::fs::symlink;

        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("releases/2")).unwrap();
        std::fs::write(base.join("releases/2/program"), "").unwrap();
        symlink("releases/2", base.join("current")).unwrap();
        symlink("../releases/2/../../current/program", base.join("releases/run")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let found = links(&base.join("releases/run"));
        assert_eq!(found, [base.join("releases/run"), base.join("current")]);
        assert_eq!(links(&base.join("releases/2/program")), [] as [PathBuf; 0]);
        assert_eq!(links(&base.join("loop/x")).len(), 40);
        let sandbox = Sandbox {
            hidden: vec![base.clone()],
            read: vec![base.join("current/program")],
            ..Sandbox::default()
        };
        let places = places(&sandbox, false);
        let place = |path: PathBuf, access| Place { path, access };
        assert!(places.contains(&place(base.join("current"), Access::Link)));
        assert!(places.contains(&place(base.join("releases/2/program"), Access::Read)));
    }

    #[test]
    fn what_is_shown_with_all_below_it_is_not_listed_again() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name).canonicalize().unwrap();
        for folder in ["home/tools/bin", "home/tools/gone/again", "home/notes/bin"] {
            std::fs::create_dir_all(base.path().join(folder)).unwrap();
        }
        let sandbox = Sandbox {
            hidden: vec![at("home"), at("home/tools/gone")],
            read: ["home/tools", "home/tools/bin", "home/tools/gone/again", "home/notes/bin"]
                .map(at)
                .to_vec(),
            write: vec![at("home/notes")],
            ..Sandbox::default()
        };
        let own =
            places(&sandbox, false).into_iter().filter(|place| place.path.starts_with(at("home")));
        let found: Vec<_> = own.map(|place| (place.path, place.access)).collect();
        let expected = [
            (at("home"), Access::Hidden),
            (at("home/notes"), Access::Write),
            (at("home/tools"), Access::Read),
            (at("home/notes/bin"), Access::Read),
            (at("home/tools/gone"), Access::Hidden),
            (at("home/tools/gone/again"), Access::Read),
        ];
        assert_eq!(found, expected, "a part that is to be read only stays so in what is written");
    }

    #[test]
    fn what_is_to_be_read_is_given_by_itself_where_roots_files_are_a_strangers() {
        let read = vec!["/etc/passwd".into(), "/usr/bin".into()];
        let sandbox = Sandbox { read, ..Sandbox::default() };
        let read = |is_strange| {
            let places = places(&sandbox, is_strange).into_iter();
            let read = places.filter(|place| place.access == Access::Read);
            read.map(|place| place.path).collect::<Vec<_>>()
        };
        assert_eq!(read(false), [] as [PathBuf; 0], "it is there already");
        assert_eq!(read(true), [PathBuf::from("/etc/passwd")], "all users read what is installed");
    }

    #[test]
    fn a_root_directory_that_others_may_not_search_is_not_covered() {
        let place = |path: &str, access| {
            let path = PathBuf::from(path);
            ((path.components().count(), path), access)
        };
        let places = [
            place("/run", Access::Scratch),
            place("/srv/app/own", Access::Write),
            place("/srv/app/shown", Access::Show),
        ];
        let barred = |shut: fn(&Path) -> bool| barred(&BTreeMap::from(places.clone()), shut);
        assert_eq!(barred(|path| path == Path::new("/")), BTreeSet::new());
        assert_eq!(barred(|_| true), BTreeSet::from(["/srv".into()]), "nor where all are shut");
        assert_eq!(
            barred(|path| path == Path::new("/srv/app")),
            BTreeSet::from(["/srv/app".into()])
        );
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
        let places = places(&sandbox, false);
        let access =
            |path: &Path| places.iter().find(|place| place.path == path).map(|found| found.access);
        assert_eq!(access(&base), Some(Access::Hidden));
        assert_eq!(access(&inner), Some(Access::Write));
        assert_eq!(access(Path::new("/")), None);
        let order = |path: &Path| places.iter().position(|place| place.path == path);
        assert!(order(&base) < order(&inner));
    }
}
