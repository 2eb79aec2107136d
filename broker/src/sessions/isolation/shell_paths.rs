//! Paths that stand within what a shell is to run: no setting names them, so a sandbox may not have them.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use supervisor::{Isolation, Limits, Spec};

use super::view;
use crate::config::{
    Config, ConfigError, Environment, IsolationLevel, Piece, ServerCommand, ServerConfig, Source,
    Template,
};

/// Programs that take a script in the argument behind `-c`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "zsh", "ksh"];

const HINT: &str = "name it in isolation.read, or its directory if it needs what is beside it; what \
                    stands within a shell's script is not given by itself";

/// Those that are on this machine, and that a server's processes cannot read. The errors do not know where
/// the settings come from.
pub(crate) fn not_shown(config: &Config, environment: &dyn Environment) -> Vec<ConfigError> {
    let is_root = rustix::process::geteuid().is_root();
    let mut errors = Vec::new();
    for (name, server) in &config.server {
        if server.isolation_level() == IsolationLevel::None {
            continue;
        }
        let paths = in_scripts(server);
        if paths.is_empty() {
            continue;
        }
        let shown = shown(config, server, environment);
        for path in paths.iter().filter(|path| !shown.iter().any(|own| path.starts_with(own))) {
            let why = if config.private.homes.iter().any(|home| path.starts_with(home)) {
                "is in a home, which is not there in the server's sandbox"
            } else if is_root && is_kept_from_others(path) {
                "is closed to other users, and the server's sandbox reads no more than they do"
            } else {
                continue;
            };
            if path.exists() {
                errors.push(ConfigError {
                    key: format!("server.{}.args", name.as_str()),
                    source: Source::Default,
                    what: format!("{} {why}", path.display()),
                    hint: Some(HINT.to_owned()),
                });
            }
        }
    }
    errors
}

/// What a sandbox has by the settings alone, before the start of a child brings what is the child's own.
fn shown(config: &Config, server: &ServerConfig, environment: &dyn Environment) -> Vec<PathBuf> {
    let spec = spec(server, environment);
    let view = view(&spec, server, &config.private, &[]);
    let all = view.read.into_iter().chain(view.write).chain(spec.cwd);
    // Nothing is given by naming all there is.
    all.filter(|path| path.parent().is_some()).collect()
}

/// As a child would be started, but for the values that each user has another of.
fn spec(server: &ServerConfig, environment: &dyn Environment) -> Spec {
    let program = match &server.command {
        ServerCommand::Program(program) => program.as_str(),
        ServerCommand::Demo => "",
    };
    let passed = server.pass_env.iter();
    let passed = passed.filter_map(|name| Some((name.into(), environment.variable(name)?)));
    let mut env: supervisor::Environment = passed.collect();
    for (name, value) in &server.env {
        env.set(name, literal(value).unwrap_or_default());
    }
    Spec {
        program: program.into(),
        args: server.args.iter().map(OsString::from).collect(),
        env,
        cwd: server.cwd.clone(),
        containment: None,
        isolation: Isolation::default(),
        new_privs: server.new_privs,
        limits: Limits::default(),
    }
}

fn literal(value: &Template) -> Option<String> {
    let pieces = value.pieces().iter();
    let texts = pieces.map(|piece| match piece {
        Piece::Literal(text) => Some(text.as_str()),
        Piece::Variable(_) | Piece::BaseUrl(_) => None,
    });
    texts.collect()
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
    use crate::config::Sources;

    fn environment(home: &str) -> BTreeMap<String, String> {
        let search = "/usr/bin:/bin".to_owned();
        BTreeMap::from([("HOME".to_owned(), home.to_owned()), ("PATH".to_owned(), search)])
    }

    fn load(set: &[String], home: &str) -> Config {
        let environment = environment(home);
        let mut sources = Sources::new(&environment);
        sources.set = set.to_vec();
        Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).config
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
            let config = load(&[format!("server.notes.command={command}"), args], "/");
            let server = config.server.values().next().expect("one server");
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
            let errors = not_shown(&load(&set, home), &environment(home));
            errors.iter().map(ToString::to_string).collect()
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

    #[test]
    fn what_an_option_a_file_url_or_a_project_gives_to_a_child_is_not_warned_of() {
        let home = tempfile::tempdir().expect("a directory");
        let data = home.path().join("project/data");
        fs::create_dir_all(home.path().join("project/web")).expect("made");
        fs::create_dir(&data).expect("made");
        for file in ["project/package.json", "project/data/notes.csv", "project/data/notes.db"] {
            fs::write(home.path().join(file), "").expect("written");
        }
        let (data, home) = (data.display(), home.path().display());
        let script = format!("exec /bin/true {data}/notes.csv");
        let warned = |args: &[&str], more: &[String]| {
            let args = [&["-c", &script], args].concat();
            let mut set = vec!["server.notes.command=sh".to_owned()];
            set.push(format!("server.notes.args={args:?}"));
            set.extend_from_slice(more);
            let home = home.to_string();
            not_shown(&load(&set, &home), &environment(&home)).len()
        };
        let env = |value: &str| format!("server.notes.env.FROM={value}");
        for (args, more, expected) in [
            (&[][..], None, 1),
            (&[&*format!("--from={data}/notes.csv")], None, 0),
            (&[&*format!("file://{data}")], None, 0),
            (&["--from=/elsewhere", &*format!("--about=of {data}")], None, 1),
            // Programs keep journals beside a database.
            (&[&*format!("{data}/notes.db")], None, 0),
            // The child can make it.
            (&[&*format!("{data}/new")], None, 0),
            (&[], Some(env(&format!("file://{data}"))), 0),
            // No list of programs, so that it is no path.
            (&[], Some(env(&format!("/usr/bin:{data}"))), 1),
            (&[], Some(env(&format!("{data}/${{user.key}}"))), 1),
            (&[], Some(format!("server.notes.cwd={home}/project/web")), 0),
        ] {
            assert_eq!(warned(args, more.as_slice()), expected, "{args:?} {more:?}");
        }
    }
}
