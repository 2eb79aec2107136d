//! What a reload puts in force: the running configuration with the live keys of the new one.

use std::collections::{BTreeMap, BTreeSet};

use super::super::key::Reload;
use super::super::path::KeyPath;
use super::super::{Config, Kinds, Sources};
use super::keys::{pattern, rows, switched_on};
use super::{SERVER, config, load, load_with};

/// One of these is another value of nearly every key.
const VALUES: [&str; 18] = [
    "7",
    "true",
    "false",
    "410",
    "\"7s\"",
    "\"7MiB\"",
    "\"7m\"",
    "\"127.0.0.1:7\"",
    "\"json\"",
    "\"legacy\"",
    "\"debug\"",
    "\"off\"",
    "\"SIGUSR1\"",
    "\"other\"",
    "[\"other\"]",
    "[\"oauth\", \"static\"]",
    "[\"10.0.0.1\"]",
    "\"https://other.example\"",
];

type Values = BTreeMap<KeyPath, (Option<String>, Reload)>;

fn values(config: &Config) -> Values {
    let entries = config.entries().into_iter();
    entries.map(|entry| (entry.path, (entry.value, entry.key.reload))).collect()
}

/// Panics unless a reload from `old` to `new` puts the live keys in force and nothing else, and names
/// every other one that differs. Returns the keys that differ.
fn assert_reloads(old: &Config, new: &Config) -> BTreeSet<KeyPath> {
    let (running, changes) = old.reloaded(new);
    let (was, is, wanted) = (values(old), values(&running), values(new));
    let waits = |path: &KeyPath| {
        path.0[0] == "server" && {
            let of = |config: &Config| {
                let own = config.server.iter().find(|(name, _)| *name.as_str() == *path.0[1]);
                own.map(|(_, own)| (own.upstream.clone(), own.token_file.clone()))
            };
            of(old) != of(new)
        }
    };
    let paths: BTreeSet<_> = was.keys().chain(wanted.keys()).cloned().collect();
    let mut differing = BTreeSet::new();
    for path in paths {
        let value = |of: &Values| of.get(&path).and_then(|(value, _)| value.clone());
        let key = was.get(&path).or(wanted.get(&path)).expect("it is of one of them");
        // Whether there is TLS is decided at the start.
        let has_tls = path.0[0] != "tls" || (old.tls.is_some() && new.tls.is_some());
        let is_live = key.1 == Reload::Live && has_tls && !waits(&path);
        let expected = if is_live { value(&wanted) } else { value(&was) };
        assert_eq!(value(&is), expected, "{path}");
        // An empty environment has no entries.
        if value(&was) == value(&wanted) || value(&was).or(value(&wanted)).as_deref() == Some("{}")
        {
            continue;
        }
        let named = path.to_string();
        let change = changes.iter().find(|change| named.starts_with(&change.key));
        let change = change.unwrap_or_else(|| panic!("{named} is not named"));
        assert_eq!(change.applied, is_live, "{named}");
        differing.insert(path);
    }
    differing
}

#[test]
fn half_of_a_changed_address_was_in_force_after_a_reload() {
    let old = config(
        "public_url = \"https://a.example\"\nhttp.max_body = 1000000\n[server.a]\ncommand = \"a\"",
    );
    let new = "public_url = \"https://b.example\"\nlisten = \"127.0.0.1:1\"\ndata_dir = \"/elsewhere\"\n\
               http.max_body = 9\nhttp.keep_alive = \"1s\"\nallowed_hosts = [\"c.example\"]\n\
               [server.a]\ncommand = \"b\"\nupstream = \"user\"\n\
               env = { T = \"${upstream.access_token}\" }\n[server.b]\ncommand = \"b\"\ndefault = true";
    let new = config(new);
    assert_reloads(&old, &new);
    let (running, _) = old.reloaded(&new);
    assert_eq!(running, Config { allowed_hosts: new.allowed_hosts.clone(), ..old.clone() });
}

#[test]
fn each_key_that_changes_alone_is_in_force_or_named_for_the_next_restart() {
    let example = Config::example(&Kinds::built_in());
    let full = load(&switched_on(&example), &[]).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let full = (switched_on(&example), full.config);
    let plain = config(SERVER);
    let mut changed = BTreeSet::new();
    changed.extend(assert_reloads(&plain, &full.1));
    changed.extend(assert_reloads(&full.1, &plain));
    for path in rows() {
        let path = path.replace('*', "notes");
        // As the example has it, alone; and the example without it.
        let entries = full.1.entries();
        let entry = entries.iter().find(|entry| entry.path.to_string() == path);
        let value = entry.and_then(|entry| entry.value.clone());
        let one = value.map(|value| {
            load_with(SERVER, &[], |sources| sources.set = vec![format!("{path}={value}")])
        });
        if let Some(Ok(one)) = one {
            changed.extend(assert_reloads(&plain, &one.config));
            changed.extend(assert_reloads(&one.config, &plain));
        }
        // They all wait for a restart, and most have changed above.
        if path.starts_with("auth.") && changed.iter().filter_map(pattern).any(|own| own == path) {
            continue;
        }
        // On a short file first: a long one takes long to load.
        let bases = [(SERVER, &plain), (&*full.0, &full.1)];
        let tried = bases.iter().flat_map(|base| VALUES.iter().map(move |value| (base, value)));
        for ((text, base), value) in tried {
            let set = |sources: &mut Sources<'_>| sources.set = vec![format!("{path}={value}")];
            let Ok(other) = load_with(text, &[], set) else { continue };
            let differing = assert_reloads(base, &other.config);
            let is_other = differing.iter().any(|own| own.to_string().starts_with(&path));
            changed.extend(differing);
            if is_other {
                break;
            }
        }
    }
    let changed: BTreeSet<_> = changed.iter().filter_map(pattern).collect();
    let unchanged: Vec<_> = rows().into_iter().filter(|key| !changed.contains(key)).collect();
    // A table's kind decides what else it may say, and a secret of a file is not listed.
    let unchanged: Vec<_> = unchanged
        .into_iter()
        .filter(|key| !key.ends_with(".kind") && !key.ends_with("_secret") && *key != "store")
        .collect();
    assert!(unchanged.len() < 4, "{unchanged:?}");
}
