//! `config --example`: the table of keys as a commented file.

use super::key::{Default, Key};
use super::kind::Zero;
use super::layout::Layout;

/// Columns of a comment.
const WIDTH: usize = 96;
/// The names of the example: of the server, and of a table in one of its tables.
const NAMES: [&str; 2] = ["notes", "uploads"];

const HEAD: &str = "\
Configuration of mcp-broker. Lines that begin with \"# \" are comments; remove the # of a line such \
as #drain to set that key. Values shown are the defaults, or examples where a key has no default.

Each key can also be set by an environment variable (MCP_BROKER_SESSION__MAX for session.max, \
MCP_BROKER_SERVER__NOTES__COMMAND for server.notes.command) and by --set session.max=10; both win \
over this file. Durations have units (500ms, 30s, 15m, 1h30m, 30d), and so have sizes (64MiB, \
16MB; a bare number is bytes).";

/// The whole file.
pub(super) fn text(layout: &Layout) -> String {
    let mut text = String::new();
    for (index, paragraph) in HEAD.split("\n\n").enumerate() {
        if index > 0 {
            text.push_str("#\n");
        }
        comment(&mut text, paragraph);
    }
    for section in layout.sections.iter().filter(|section| !section.keys.is_empty()) {
        if !section.path.is_empty() {
            text.push_str("\n\n");
            comment(&mut text, &section.about);
            let path =
                NAMES.iter().fold(section.path.clone(), |path, name| path.replacen('*', name, 1));
            text.push_str(&format!("[{path}]\n"));
        }
        section.keys.iter().for_each(|key| setting(&mut text, key));
    }
    text
}

fn setting(text: &mut String, key: &Key) {
    text.push('\n');
    comment(text, &key.words());
    let mut facts = Vec::new();
    match key.default {
        Default::Toml(default) if default != key.example => {
            facts.push(format!("Default: {default}."));
        }
        Default::Toml(_) | Default::Required => {}
        Default::Computed(words) => facts.push(format!("Default: {words}.")),
    }
    if let Some(Zero::Means(what)) = key.kind.zero() {
        facts.push(format!("0: {what}."));
    }
    if !facts.is_empty() {
        comment(text, &facts.join(" "));
    }
    let off = if key.default == Default::Required { "" } else { "#" };
    text.push_str(&format!("{off}{} = {}\n", key.name, key.example_text()));
}

/// `words` as comment lines, broken between words.
fn comment(text: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in words.split_whitespace() {
        if line.len() > 1 && line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}
