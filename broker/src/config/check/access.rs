//! Who may connect: verifiers, ways to sign in, and their tables.

mod names;

use crate::config::address::Listen;
use crate::config::error::Problem;
use crate::config::key::Default;
use crate::config::kinds::{ConfiguredTable, Instance, Role};
use crate::config::name::TableName;
use crate::config::path::KeyPath;
use crate::config::providers::GitHub;
use crate::config::reader::Reader;
use crate::config::root::Config;
use crate::config::setting::value::word;
use crate::config::verifiers::{Introspection, NoSignIn, StaticTokens};

/// Names of the broker's own users, which no outside issuer can have.
const OWN_ISSUERS: [&str; 3] = ["local", "static", "none"];

pub(super) fn check(
    config: &mut Config,
    instances: &[Instance],
    refused: &[String],
    reader: &mut Reader<'_>,
) {
    keep_known(&mut config.auth.verifiers, Role::Verifier, instances, refused, reader);
    keep_known(&mut config.auth.identity, Role::Identity, instances, refused, reader);
    // Signing in leads a browser to and fro, which takes an address to lead it to.
    let is_local_port = matches!(&config.listen, listen @ Listen::Tcp(_) if listen.is_local());
    let is_named = config.public_url.is_some() || is_local_port;
    if config.auth.verifiers.is_empty() {
        let names: &[&str] = if is_named { &["oauth", "static"] } else { &["static"] };
        config.auth.verifiers = names.iter().map(|&name| TableName::known(name)).collect();
    }
    verifiers(config, instances, is_named, reader);
    for instance in instances {
        let table = instance.read(reader);
        if refused.iter().any(|own| instance.name == own.as_str()) {
            // Its mistake is told already, and nothing of it was read.
            config.auth.tables.0.push(table);
            continue;
        }
        use_of(config, instance, reader);
        scopes_of(&table, instance, reader);
        let is_listed = config.auth.identity.contains(&instance.name);
        let allow = instance.path().child("allow");
        let is_open = is_listed && config.auth.signs_in() && table.is_open_unawares();
        if is_open && !reader.is_set(&allow) {
            let issuer = table.issuer().unwrap_or_default();
            let what = format!("is missing: every account of {issuer} could sign in");
            let hint = format!(
                "add to [auth.{}] the line allow = [\"login:NAME\"] with the people you mean, or \
                 allow = \"everyone\"",
                instance.name
            );
            reader.refuse(&allow, Problem::new(what).hint(hint));
        }
        if let Some(introspection) = table.get::<Introspection>()
            && let Some(issuer) = &introspection.issuer
            && OWN_ISSUERS.contains(&issuer.as_str())
        {
            // Its users would be taken for those of our own.
            let what = format!("{issuer:?} is the name of the broker's own users");
            reader.refuse(&instance.path().child("issuer"), Problem::new(what));
        }
        config.auth.tables.0.push(table);
    }
    open_to_all(config, reader);
    names::check(&config.auth, reader);
    let file = config.data_dir.join("tokens.json");
    if let Some(tokens) = config.auth.tables.settings_mut::<StaticTokens>("static")
        && tokens.tokens_file.as_os_str().is_empty()
    {
        tokens.tokens_file = file;
    }
}

fn verifiers(config: &Config, instances: &[Instance], is_named: bool, reader: &mut Reader<'_>) {
    let path = KeyPath::new("auth.verifiers");
    if config.auth.signs_in() && !is_named {
        let problem = Problem::new("\"oauth\" needs an address that browsers can be sent to")
            .hint("set public_url to the address clients use, such as \"https://mcp.example.org\"");
        reader.refuse(&path, problem);
    }
    for instance in instances {
        let name = instance.name.as_str();
        let audience = instance.path().child("audience");
        let has_audience = instance.kind.keys.iter().any(|key| key.name == "audience");
        if has_audience && !is_named && config.auth.verifies(name) && !reader.is_set(&audience) {
            let what = format!(
                "{name:?} accepts tokens whose audience is the broker's address, but public_url is \
                 not set"
            );
            let hint = format!("set public_url to the address clients use, or {audience}");
            reader.refuse(&path, Problem::new(what).hint(hint));
        }
    }
}

/// Takes names out of a list for which there is no table.
fn keep_known(
    names: &mut Vec<TableName>,
    role: Role,
    instances: &[Instance],
    refused: &[String],
    reader: &mut Reader<'_>,
) {
    let of_role = instances.iter().filter(|instance| instance.kind.role == role);
    let known: Vec<&str> = of_role.map(|instance| instance.name.as_str()).collect();
    names.retain(|name| {
        let is_known = known.contains(&name.as_str());
        if !is_known && !refused.iter().any(|own| *name == own.as_str()) {
            let problem = word(name.as_str(), &known).err();
            problem.into_iter().for_each(|problem| {
                reader.refuse(&KeyPath::new(role.list()), problem);
            });
        }
        is_known
    });
}

/// Whether a table that is in use has what it needs, and whether one that is there is in use.
fn use_of(config: &Config, instance: &Instance, reader: &mut Reader<'_>) {
    let (name, role) = (instance.name.as_str(), instance.kind.role);
    let list = match role {
        Role::Verifier => &config.auth.verifiers,
        Role::Identity => &config.auth.identity,
    };
    let is_listed = list.iter().any(|own| own == name);
    let is_used = is_listed && (role == Role::Verifier || config.auth.signs_in());
    let needed = instance.kind.keys.iter().filter(|key| key.needed);
    let paths = needed.filter(|key| !matches!(key.default, Default::Toml(_)));
    let paths: Vec<KeyPath> = paths.map(|key| instance.path().child(key.name)).collect();
    if is_used {
        let why = format!("{} names {name:?}", role.list());
        for path in &paths {
            if !reader.is_set(path) {
                reader.missing(path, &why);
            }
        }
    } else if !instance.is_plain() && !is_listed {
        let problem =
            Problem::new(format!("is listed nowhere: {} does not name {name:?}", role.list()));
        let near = list.iter().find(|own| strsim::osa_distance(own.as_str(), name) <= 2);
        let problem = match near {
            Some(near) => problem.hint(format!("did you mean [auth.{near}]?")),
            None => problem.hint(format!("add it to {}, or remove the table", role.list())),
        };
        reader.refuse(&instance.path(), problem);
    } else if role == Role::Identity && paths.iter().any(|path| reader.is_set(path)) {
        let what = match is_listed {
            true => "is not used: auth.verifiers does not name \"oauth\"".to_owned(),
            false => format!("is not used: {} does not name {name:?}", role.list()),
        };
        reader.warn(&instance.path(), Problem::new(what));
    }
}

/// Whether the broker may ask GitHub what the rules of the table are about.
fn scopes_of(table: &ConfiguredTable, instance: &Instance, reader: &mut Reader<'_>) {
    let Some(github) = table.get::<GitHub>() else { return };
    let wanted = table.rules().wanted(instance.name.as_str());
    // Each scope after the ones that contain it.
    let needs = [
        (wanted.groups, "organizations and teams", ["admin:org", "write:org", "read:org"]),
        (wanted.mails, "mail domains", ["user", "user", "user:email"]),
    ];
    for (is_wanted, about, scopes) in needs {
        let is_granted = github.scopes.iter().any(|own| scopes.contains(&own.as_str()));
        if is_wanted && !is_granted {
            let scope = scopes[2];
            let what = format!(
                "do not name {scope}, so GitHub does not say what the rules about {about} ask for"
            );
            let hint = format!("add {scope:?} to the list");
            reader.warn(&instance.path().child("scopes"), Problem::new(what).hint(hint));
        }
    }
}

/// Whether the operator meant that clients need no token.
fn open_to_all(config: &Config, reader: &mut Reader<'_>) {
    if config.listen.is_local() || !config.auth.verifies("none") {
        return;
    }
    let path = KeyPath::new("auth.verifiers");
    let table = config.auth.tables.settings::<NoSignIn>("none");
    if table.is_some_and(|table| table.allow_remote) {
        let what = "lets every client that reaches the port use every server as one owner";
        reader.warn(&path, Problem::new(what));
    } else {
        let what = format!("\"none\" would accept every client that reaches {}", config.listen);
        reader.refuse(
            &path,
            Problem::new(what).hint(
                "use \"static\", or listen on 127.0.0.1; auth.none.allow_remote = true accepts it",
            ),
        );
    }
}
