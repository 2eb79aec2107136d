//! What holds of every key that is declared.

use super::super::key::Default;
use super::super::layout::Layout;
use super::super::load::layout;
use super::super::path::KeyPath;
use super::super::resolve::plain;
use super::super::toml::toml_value;
use super::super::{Config, Kinds, Source};
use super::{SERVER, config, load, load_with};

#[test]
fn every_key_has_words_and_a_default_and_an_example_that_parse() {
    let rows = rows();
    for (index, (path, key)) in declared().keys().enumerate() {
        assert!(!rows[..index].contains(&path), "{path} is declared twice");
        assert!(key.words().ends_with(['.', ')']), "{path}");
        toml_value(&key.example_text()).expect(&path);
        if let Default::Toml(text) = key.default {
            toml_value(text).expect(&path);
        }
    }
}

#[test]
fn a_misspelt_key_finds_its_neighbour() {
    for (written, meant) in [
        ("session.max_per_ower", Some("session.max_per_owner")),
        ("session.idel", Some("session.idle")),
        ("sesion", Some("session")),
        ("lisen", Some("listen")),
        ("public-url", Some("public_url")),
        ("server.notes.comand", Some("server.notes.command")),
        ("server.notes.pass-env", Some("server.notes.pass_env")),
        ("max_per_owner", Some("session.max_per_owner")),
        ("stream.retension", Some("stream.retention")),
        ("quux", None),
        ("session.frobnicate", None),
    ] {
        assert_eq!(declared().nearest(&KeyPath::new(written)).as_deref(), meant, "{written}");
    }
}

#[test]
fn paths_know_their_keys() {
    let declared = declared();
    let is_key = |path: &KeyPath| declared.key(path).is_some();
    assert!(is_key(&KeyPath::server("x", "args")) && is_key(&KeyPath::new("listen")));
    assert!(!is_key(&KeyPath::new("server.x.env.A")) && !is_key(&KeyPath::new("server.x")));
    let is_table = |path| declared.is_table(&KeyPath::new(path));
    assert!(is_table("server.x") && is_table("auth") && !is_table("listen"));
    assert_eq!(KeyPath::server("a b", "args").to_string(), r#"server."a b".args"#);
}

#[test]
fn the_example_is_valid_as_it_stands_and_with_every_line_switched_on() {
    let example = Config::example(&Kinds::built_in());
    let plain = load(&example, &[]).unwrap_or_else(|mistakes| panic!("{mistakes}\n{example}"));
    assert!(plain.warnings.is_empty(), "{:?}", plain.warnings);
    let defaults = config("[server.notes]\ncommand = \"mcp-server-git\"");
    assert_eq!(plain.config, defaults, "nothing but the command is switched on");

    let full = load(&switched_on(&example), &[]).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    // What stands in for a file of a secret is none.
    let warnings = full.warnings.iter().map(ToString::to_string);
    let others: Vec<_> = warnings.filter(|own| !own.contains("holds a secret")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(full.config.tls.is_some() && full.config.public_url.is_some());
}

/// The example with every setting uncommented, and with files that exist.
pub(super) fn switched_on(example: &str) -> String {
    let off = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    let lines = example.lines().map(|line| if off(line) { &line[1..] } else { line });
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let text = lines.collect::<Vec<_>>().join("\n");
    text.replace("/etc/mcp-broker/cert.pem", here)
        .replace("/etc/mcp-broker/key.pem", here)
        .replace("/etc/mcp-broker/ca.pem", here)
        .replace("/run/secrets/mcp-broker-client", here)
        .replace("cwd = \"/srv/notes\"", "cwd = \"/\"")
}

#[test]
fn every_key_is_in_the_example_and_nothing_else_is() {
    let example = switched_on(&Config::example(&Kinds::built_in()));
    let document = toml_edit::Document::parse(example.as_str()).unwrap();
    let mut found = Vec::new();
    leaves(document.as_table(), &KeyPath::default(), &mut found);
    assert_eq!(sorted(found), sorted(rows()));
}

fn leaves(table: &dyn toml_edit::TableLike, path: &KeyPath, found: &mut Vec<String>) {
    for (name, item) in table.iter() {
        let path = path.child(name);
        match (pattern(&path), item.as_table_like()) {
            (Some(key), _) => found.push(key),
            (None, Some(inner)) => leaves(inner, &path, found),
            (None, None) => panic!("{path} is declared nowhere"),
        }
    }
}

/// The declared path that `path` or, for an entry of an environment, the path around it has.
pub(super) fn pattern(path: &KeyPath) -> Option<String> {
    let entry = |path: &KeyPath, pattern: &str| {
        path.starts(&format!("{pattern}.{}", path.0.last().map_or("", String::as_str)))
            && pattern.ends_with(".env")
            && path.0.len() == 4
    };
    rows().into_iter().find(|pattern| path.is(pattern) || entry(path, pattern))
}

#[test]
fn every_key_is_in_the_schema_and_nothing_else_is() {
    let schema = Config::schema(&Kinds::built_in());
    let mut found = Vec::new();
    schema_leaves(&schema, "", &mut found);
    assert_eq!(sorted(found), sorted(rows()));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    let max = &schema["properties"]["session"]["properties"]["max"];
    assert_eq!((&max["default"], &max["type"]), (&256.into(), &"integer".into()));
}

fn schema_leaves(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    let join =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if schema.get("default").is_some() || schema.get("examples").is_some() {
        return found.push(path.to_owned());
    }
    let (properties, others) = (schema["properties"].as_object(), &schema["additionalProperties"]);
    let has_names = others.get("properties").is_some();
    assert!(properties.is_some() || has_names, "a table has properties: {path}");
    if has_names {
        schema_leaves(others, &join("*"), found);
    }
    for (name, inner) in properties.into_iter().flatten() {
        schema_leaves(inner, &join(name), found);
    }
}

fn declared() -> Layout {
    layout(&plain(&Kinds::built_in()))
}

/// The paths of all keys, in the order of the example.
pub(super) fn rows() -> Vec<String> {
    declared().keys().map(|(path, _)| path).collect()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

#[test]
fn every_key_is_listed_as_effective() {
    let config = config(&switched_on(&Config::example(&Kinds::built_in())));
    let listed = config.entries().into_iter().filter_map(|entry| pattern(&entry.path));
    assert_eq!(listed.collect::<Vec<_>>(), rows(), "and in that order");
    let loaded = load(&switched_on(&Config::example(&Kinds::built_in())), &[]).unwrap();
    assert!(loaded.effective.0.iter().all(|value| value.source != Source::Default));
}

#[test]
fn the_effective_listing_is_a_configuration_of_the_same_meaning() {
    let text = "listen = \"[::1]:7\"\nsession.max = 9\nsession.idle = \"90m\"\n[server.a]\n\
                command = 'C:\\a \"b\"'\nargs = [\"x\\ty\"]\nstop_grace = \"1500ms\"";
    let loaded = load(text, &[]).unwrap();
    assert_eq!(config(&loaded.effective.to_string()), loaded.config);
}

#[test]
fn every_key_is_read() {
    for path in rows() {
        let path = path.replace('*', "notes");
        // No key takes a list with a fraction.
        let mistakes = load_with(SERVER, &[], |sources| {
            sources.set = vec![format!("{path}=[1.5]")];
        })
        .expect_err(&path);
        assert!(mistakes.0.iter().all(|mistake| mistake.key == path), "{path}: {mistakes}");
    }
}

#[test]
fn every_default_is_what_its_row_says() {
    for (path, key) in declared().keys() {
        let Default::Toml(text) = key.default else { continue };
        let path = path.replace('*', "notes");
        let plain = config(SERVER);
        let set = load_with(SERVER, &[], |sources| sources.set = vec![format!("{path}={text}")]);
        assert_eq!(set.expect(&path).config, plain, "{path}");
    }
}
