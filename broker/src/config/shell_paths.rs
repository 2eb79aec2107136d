//! Paths that stand within what a shell is to run: no setting names them, so a sandbox may not have them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::Problem;
use super::isolation::IsolationLevel;
use super::path::KeyPath;
use super::reader::Reader;
use super::root::Config;
use super::server::{ServerCommand, ServerConfig};

/// Programs that take a script in the argument behind `-c`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "zsh", "ksh"];

/// Warns of those that are on this machine, and that a server's processes cannot read. `search` is the
/// broker's own `PATH`, which they have too.
pub(super) fn add(config: &Config, search: &OsStr, reader: &mut Reader<'_>) {
    let is_root = rustix::process::geteuid().is_root();
    for (name, server) in &config.server {
        if server.isolation_level() == IsolationLevel::None {
            continue;
        }
        for path in in_scripts(server).iter().filter(|path| !is_given(path, server, search)) {
            let why = if config.private.homes.iter().any(|home| path.starts_with(home)) {
                "is in a home, which is not there in the server's sandbox"
            } else if is_root && is_kept_from_others(path) {
                "is closed to other users, and the server's sandbox reads no more than they do"
            } else {
                continue;
            };
            if path.exists() {
                let problem = Problem::new(format!("{} {why}", path.display())).hint(
                    "name it in isolation.read, or its directory if it needs what is beside it; what \
                     stands within a shell's script is not given by itself",
                );
                reader.warn(&KeyPath::server(name.as_str(), "args"), problem);
            }
        }
    }
}

/// The absolute paths in the scripts of a shell. A shell knows more of words than this does: what is taken
/// for a path by mistake is on no machine.
fn in_scripts(server: &ServerConfig) -> BTreeSet<PathBuf> {
    let ServerCommand::Program(program) = &server.command else { return BTreeSet::new() };
    let is_shell = |word: &str| SHELLS.contains(&word.rsplit('/').next().unwrap_or(word));
    // As in `env A=b sh -c …`.
    if !is_shell(program) && !server.args.iter().any(|arg| is_shell(arg)) {
        return BTreeSet::new();
    }
    let is_flag = |arg: &str| {
        let letters = arg.strip_prefix('-').filter(|letters| !letters.starts_with('-'));
        letters.is_some_and(|letters| letters.contains('c'))
    };
    let script = server.args.iter().skip_while(|arg| !is_flag(arg)).nth(1);
    let ends = |letter: char| letter.is_whitespace() || "'\"`;|&()<>=:,".contains(letter);
    let words = script.into_iter().flat_map(|script| script.split(ends));
    // Two of them are of a URL.
    let is_path = |word: &&str| word.starts_with('/') && !word.starts_with("//") && word.len() > 1;
    words.filter(is_path).map(PathBuf::from).collect()
}

/// Whether a setting names it, or a directory that it is in.
fn is_given(path: &Path, server: &ServerConfig, search: &OsStr) -> bool {
    let isolation = &server.isolation;
    let values = server.env.values().map(|value| OsString::from(value.to_text()));
    let lists: Vec<_> = values.chain([search.to_owned()]).collect();
    let listed = isolation.read.iter().chain(&isolation.write).chain(&server.args);
    let listed = listed.map(PathBuf::from).chain(server.cwd.clone());
    listed.chain(lists.iter().flat_map(std::env::split_paths)).any(|named| {
        // Nothing is given by naming all there is.
        named.is_absolute() && named.parent().is_some() && path.starts_with(named)
    })
}

/// Whether its mode, or that of a directory on the way, keeps others from it.
fn is_kept_from_others(path: &Path) -> bool {
    let lacks = |path: &Path, right: u32| {
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & right == 0)
    };
    lacks(path, 0o004) || path.ancestors().skip(1).any(|above| lacks(above, 0o001))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::load::Loaded;
    use crate::config::sources::Sources;

    fn load(set: &[String], home: &str) -> Loaded {
        let environment = BTreeMap::from([("HOME".to_owned(), home.to_owned())]);
        let mut sources = Sources::new(&environment);
        sources.set = set.to_vec();
        Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    #[test]
    fn the_paths_in_what_a_shell_runs_are_found_and_those_of_other_programs_are_no_scripts() {
        for (command, args, expected) in [
            ("sh", &["-c", "exec /opt/a/x --flag"][..], &["/opt/a/x"][..]),
            (
                "/bin/bash",
                &["-e", "-lc", "A='/a/b' /c \"/d\"; cd /e&&./f"],
                &["/a/b", "/c", "/d", "/e"],
            ),
            ("env", &["A=b", "sh", "-c", "P=/x/y:/z run http://h/p"], &["/x/y", "/z"]),
            ("sh", &["/opt/a/script", "/b"], &[]),
            ("notes", &["-c", "of /opt/a"], &[]),
            ("sh", &["--config", "/opt/a /b"], &[]),
        ] {
            let args = format!("server.notes.args={args:?}");
            let loaded = load(&[format!("server.notes.command={command}"), args], "/");
            let server = loaded.config.server.values().next().expect("one server");
            let expected: BTreeSet<_> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(in_scripts(server), expected, "{command}");
        }
    }

    #[test]
    fn a_program_that_a_shell_cannot_read_in_its_sandbox_is_warned_of_unless_it_is_given() {
        let place = tempfile::tempdir().expect("a directory");
        let (folder, program) = (place.path().join("private"), place.path().join("private/run"));
        fs::create_dir(&folder).expect("made");
        fs::write(&program, "").expect("written");
        let set_mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
        };
        set_mode(place.path(), 0o755);
        assert!(!is_kept_from_others(Path::new("/usr")), "this machine is as others");
        let warned_with = |home: &str, more: &[String]| -> Vec<String> {
            let script = format!("exec {} --flag", program.display());
            let mut set = vec!["server.notes.command=sh".to_owned()];
            set.push(format!("server.notes.args={:?}", ["-c", &script]));
            set.extend_from_slice(more);
            load(&set, home).warnings.iter().map(ToString::to_string).collect()
        };
        let warned = |more: &[String]| warned_with("/", more);
        for (of_folder, of_file, is_kept) in
            [(0o755, 0o644, false), (0o700, 0o644, true), (0o755, 0o600, true)]
        {
            set_mode(&folder, of_folder);
            set_mode(&program, of_file);
            assert_eq!(is_kept_from_others(&program), is_kept, "{of_folder:o} {of_file:o}");
        }
        let read = |path: &Path| format!("server.notes.isolation.read=[{:?}]", path);
        if rustix::process::geteuid().is_root() {
            let all = warned(&[]);
            assert!(
                matches!(&all[..], [only] if only.contains("closed to other users")),
                "{all:?}"
            );
            assert!(all[0].contains("isolation.read"), "{all:?}");
            for given in [read(&program), read(&folder), "server.notes.isolation.level=none".into()]
            {
                assert_eq!(warned(&[given]), [] as [String; 0]);
            }
        }
        set_mode(&program, 0o644);
        assert_eq!(warned(&[]), [] as [String; 0], "all users read it");

        let home = folder.display().to_string();
        let all = warned_with(&home, &[]);
        assert!(matches!(&all[..], [only] if only.contains("is in a home")), "{all:?}");
        let search = format!("server.notes.env.PATH={home}:/usr/bin");
        for given in [read(&program), search, format!("server.notes.cwd={home}")] {
            assert_eq!(warned_with(&home, &[given]), [] as [String; 0]);
        }
    }
}
