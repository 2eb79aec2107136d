//! What the program prints about configurations, held against files in `tests/golden`.
//!
//! Every `check/NAME.toml` has a `NAME.txt` beside it with what `mcp-broker check` prints and the
//! exit code; `effective/` is the same for `mcp-broker config --effective`. A line of the input
//! that begins with `#: ` is an option of the command line, or a variable as NAME=VALUE. After a
//! change that is meant, the failing test says which command takes the new files over.
#![expect(clippy::disallowed_methods, reason = "the program under test is nobody's child")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
/// Where the outputs of this run are kept when they differ.
const NEW: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/golden");

/// What the program prints, and how it ends.
fn output(directory: &Path, args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-broker"));
    command.args(args).current_dir(directory).stdin(Stdio::null());
    let output = command.env_clear().envs(variables.iter().copied()).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    match output.status.code() {
        Some(0) => {
            let said = text(output.stdout) + &text(output.stderr);
            // What one machine gives another may lack.
            let lines = said.split_inclusive('\n');
            lines.filter(|line| !line.starts_with("this machine: ")).collect()
        }
        code => format!("{}exit code {code:?}\n", text(output.stdout) + &text(output.stderr)),
    }
}

/// The output of `subcommand` for the configuration `input`.
fn about(subcommand: &[&str], input: &Path) -> String {
    let text = fs::read_to_string(input).expect("a file");
    // Else it depends on the checkout whether other users can read what stands for a secret.
    fs::set_permissions(input, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let directives: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#: ")).collect();
    let (mut args, mut variables) = (subcommand.to_vec(), Vec::new());
    if !directives.contains(&"no file") {
        args.extend([
            "--config",
            input.file_name().and_then(|name| name.to_str()).expect("a name"),
        ]);
    }
    for directive in directives {
        match directive.split_once('=') {
            Some((name, value)) if name.starts_with("MCP_BROKER_") => variables.push((name, value)),
            _ if directive.starts_with("--") => args.extend(directive.splitn(2, ' ')),
            _ => {}
        }
    }
    output(input.parent().expect("a directory"), &args, &variables)
}

/// Compares, and keeps the new text where it differs. Answers with the name of what differs.
fn differs(name: &Path, new: &str) -> Option<PathBuf> {
    if fs::read_to_string(Path::new(GOLDEN).join(name)).is_ok_and(|golden| golden == new) {
        return None;
    }
    let kept = Path::new(NEW).join(name);
    fs::create_dir_all(kept.parent().expect("a directory")).expect("a directory");
    fs::write(kept, new).expect("a file");
    Some(name.to_owned())
}

#[track_caller]
fn agree(differing: &[PathBuf]) {
    assert!(
        differing.is_empty(),
        "these outputs have changed: {differing:?}\nto see how: diff -ru {GOLDEN} {NEW}\n\
         if it is meant: cp -r {NEW}/. {GOLDEN} && rm -r {NEW}"
    );
}

/// Holds the outputs for every input in `directory` against their files.
fn compare_all(directory: &str, subcommand: &[&str], at_least: usize) {
    let inputs = fs::read_dir(Path::new(GOLDEN).join(directory)).expect("the inputs");
    let mut inputs: Vec<PathBuf> = inputs.map(|entry| entry.expect("an entry").path()).collect();
    inputs.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    inputs.sort();
    assert!(inputs.len() >= at_least, "inputs are missing: {}", inputs.len());
    let differing = inputs.iter().filter_map(|input| {
        let name = Path::new(directory).join(input.with_extension("txt").file_name()?);
        differs(&name, &about(subcommand, input))
    });
    agree(&differing.collect::<Vec<_>>());
}

#[test]
fn check_says_what_it_said_about_every_kind_of_mistake() {
    compare_all("check", &["check"], 100);
}

#[test]
fn the_effective_listing_is_what_it_was() {
    compare_all("effective", &["config", "--effective"], 4);
}

#[test]
fn the_example_and_the_schema_are_what_they_were() {
    let of = |name: &str, option| {
        differs(Path::new(name), &output(Path::new(GOLDEN), &["config", option], &[]))
    };
    let both = [of("example.toml", "--example"), of("schema.json", "--schema")];
    agree(&both.into_iter().flatten().collect::<Vec<_>>());
}
