//! The configuration from outside of its parts: whole files, whole stories.

mod keys;
mod oauth;
mod properties;
mod reload;
mod token_file;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::load::load_text;
use super::*;

/// A file called `t.toml` with this text, and variables.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    load_with(text, variables, |_| {})
}

fn load_with(
    text: &str,
    variables: &[(&str, &str)],
    change: impl Fn(&mut Sources<'_>),
) -> Result<Loaded, ConfigErrors> {
    let environment = environment(variables);
    let mut sources = Sources::new(&environment);
    change(&mut sources);
    load_text(&sources, Some((PathBuf::from("t.toml"), text.to_owned())))
}

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn config(text: &str) -> Config {
    load(text, &[]).unwrap_or_else(|mistakes| panic!("{mistakes}")).config
}

/// The only mistake of a file that has a server besides `text`.
fn mistake(text: &str) -> ConfigError {
    let mut mistakes = load(&format!("{text}\n{SERVER}"), &[]).expect_err(text).0;
    assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
    mistakes.remove(0)
}

#[test]
fn a_host_of_a_servers_own_is_a_name_beside_the_public_one_and_leads_to_one_server() {
    let server = |host: &str| format!("[server.a]\ncommand = \"a\"\nhost = \"{host}\"\n");
    let top = "public_url = \"https://mcp.example.org:8443\"\n";
    let text =
        format!("{top}{}[server.b]\ncommand = \"b\"\ndefault = true", server("A.Example.org"));
    let config = config(&text);
    let origin = config.own_origin(&config.server["a"]);
    assert_eq!(origin.as_deref(), Some("https://a.example.org:8443"));
    for bad in
        ["a.example.org:80", "https://a.example.org", "192.0.2.1", "[::1]", "a/b", "*.b", "a."]
    {
        load(&format!("{top}{}", server(bad)), &[]).expect_err(bad);
    }
    let told = |text: &str| load(text, &[]).expect_err(text).to_string();
    assert!(told(&server("a.example.org")).contains("without public_url"));
    let same = told(&format!("{top}{}", server("mcp.example.org")));
    assert!(same.contains("the host of public_url"), "{same}");
    let second = "[server.b]\ncommand = \"b\"\ndefault = true\nhost = \"a.example.org\"";
    let twice = told(&format!("{top}{}{second}", server("a.example.org")));
    assert!(twice.contains("the host of server.a"), "{twice}");
}

const SERVER: &str = "[server.notes]\ncommand = \"notes\"\n";

#[test]
fn the_shortest_file_has_the_documented_defaults() {
    let config = config(SERVER);
    let notes = &config.server["notes"];
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.default_server.as_str(), "notes", "the only one is the default");
    assert_eq!(config.drain, Duration::from_secs(10));
    assert_eq!(config.http.max_body, 4 << 20);
    assert_eq!(config.http.max_connections, NonZeroUsize::new(4096));
    assert_eq!(config.session.max, NonZeroUsize::new(256));
    assert_eq!(config.session.idle, Some(Duration::from_secs(900)));
    assert_eq!(config.session.lifetime, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(config.session.unknown_status.as_u16(), 404);
    assert_eq!(config.stream.replay_bytes, 1 << 20);
    assert_eq!(config.auth.verifiers, ["oauth", "static"]);
    assert_eq!(config.auth.identity, ["local"]);
    assert_eq!(config.oauth.refresh_grace, Duration::from_secs(60));
    assert_eq!(config.auth.tokens_file(), &PathBuf::from("/var/lib/mcp-broker/tokens.json"));
    assert_eq!(notes.pass_env, ["PATH"]);
    assert_eq!(notes.request_timeout, Some(Duration::from_secs(300)));
    assert_eq!(notes.max_line, 16 << 20);
    assert_eq!(notes.command, ServerCommand::Program("notes".to_owned()));
    assert_eq!(notes.args, [""; 0]);
}

#[test]
fn zero_means_without_a_bound_where_that_makes_sense() {
    let text = "drain = 0\nsession = { max = 0, idle = \"0\", lifetime = 0 }\n[server.a]\n\
                command = \"a\"\nrequest_timeout = 0\nstop_grace = \"0s\"";
    let config = config(text);
    assert_eq!(
        (config.session.max, config.session.idle, config.session.lifetime),
        (None, None, None)
    );
    assert_eq!(config.server["a"].request_timeout, None);
    assert_eq!(config.drain, Duration::ZERO);
    assert_eq!(mistake("http.header_timeout = 0").what, "must be more than zero");
    assert_eq!(mistake("http.max_body = 0").what, "must be more than zero");
}

#[test]
fn the_file_is_under_the_environment_which_is_under_set() {
    let text =
        format!("session.max = 1\nsession.max_per_owner = 1\nlog.level = \"warn\"\n{SERVER}");
    let variables = [
        ("MCP_BROKER_SESSION__MAX", "2"),
        ("MCP_BROKER_LOG__LEVEL", "debug"),
        ("MCP_BROKER_LISTEN", "[::1]:1"),
        ("MCP_BROKER_SERVER__NOTES__ENV__API__KEY", "8080"),
        ("MCP_BROKER_SERVER__NOTES__ARGS", r#"["--fast"]"#),
        ("MCP_BROKER_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("MCP_BROKER_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/home/ada"),
    ];
    let loaded = load_with(&text, &variables, |sources| {
        sources.set = vec!["session.max=3".to_owned(), "server.notes.command = 7".to_owned()];
        sources.listen = Some("127.0.0.1:2".to_owned());
    })
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.session.max, NonZeroUsize::new(3));
    assert_eq!(config.session.max_per_owner, NonZeroUsize::new(1));
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.listen.to_string(), "127.0.0.1:2");
    assert_eq!(config.data_dir, PathBuf::from("/home/ada/.local/share/mcp-broker"));
    let notes = &config.server["notes"];
    assert_eq!(notes.env["API__KEY"].to_text(), "8080", "a number is text where text belongs");
    assert_eq!(notes.command, ServerCommand::Program(" 7".to_owned()));
    assert_eq!(notes.args, ["--fast"]);

    let source = |key: &str| {
        let value = loaded.effective.0.iter().find(|value| value.key == key).expect(key);
        value.source.to_string()
    };
    assert_eq!(source("session.max"), "--set session.max");
    assert_eq!(source("session.max_per_owner"), "t.toml:2");
    assert_eq!(source("log.level"), "environment variable MCP_BROKER_LOG__LEVEL");
    assert_eq!(source("listen"), "--listen");
    assert_eq!(source("session.idle"), "default");
}

#[test]
fn a_variable_finds_the_server_with_a_hyphen() {
    let text = "[server.my-notes]\ncommand = \"a\"";
    let loaded = load(text, &[("MCP_BROKER_SERVER__MY_NOTES__COMMAND", "b")]).unwrap();
    let command = ServerCommand::Program("b".to_owned());
    assert_eq!(loaded.config.server["my-notes"].command, command);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line_and_a_hint() {
    let text = r#"listen = "localhost:8080"
public_url = "https://mcp.example.org/base"
drain = "10"
lisen = "x"

[session]
max = "many"
max_per_owner = -1
idel = "5m"
evict_idle = 300

[tls]
cert = "/nowhere/cert.pem"

[server.oauth]
command = ""
default = true

[server.notes]
args = ["--user=${user.subject}", 7]
env = { TOKEN = "a\nb", WHO = "${user.name}", "A B" = "x" }
default = true
stop_grace = "1.5s"

[auth]
verifiers = ["static", "oauth", "statik"]
"#;
    let variables = [("MCP_BROKER_HTTP__MAX_BODY", "big"), ("MCP_BROKER_STREAM", "5")];
    let mistakes = load_with(text, &variables, |sources| {
        sources.set = vec!["http.keep_alive=0".to_owned(), "nonsense".to_owned()];
    })
    .unwrap_err();
    assert_eq!(mistakes.to_string().trim_end(), include_str!("tests/all_mistakes.txt").trim_end());
}

#[test]
fn broken_toml_names_its_line_and_not_its_text() {
    let mistakes = load("listen = \"127.0.0.1:1\"\n[server.a]\nkey = hunter2\n", &[]).unwrap_err();
    assert_eq!(mistakes.0.len(), 1, "{mistakes}");
    assert!(mistakes.to_string().contains("t.toml:3: not TOML"), "{mistakes}");
    assert!(!mistakes.to_string().contains("hunter2"), "{mistakes}");
    let twice = load(&format!("listen = \"a\"\nlisten = \"b\"\n{SERVER}"), &[]).unwrap_err();
    assert!(twice.to_string().contains("t.toml:2"), "{twice}");
}

#[test]
fn a_file_without_a_server_is_a_mistake_and_no_file_is_the_demo() {
    let none = load("drain = \"1s\"", &[]).unwrap_err();
    assert!(none.to_string().contains("there is no server"), "{none}");
    let both = load("drain = \"x\"", &[]).unwrap_err();
    assert_eq!(both.0.len(), 2, "another mistake does not hide it: {both}");
    let misspelt = load("[servers.a]\ncommand = \"a\"", &[]).unwrap_err();
    assert_eq!(misspelt.0.len(), 1, "one cause, one mistake: {misspelt}");

    let environment = environment(&[]);
    let directory = tempfile::tempdir().unwrap();
    let mut sources = Sources::new(&environment);
    sources.directory = directory.path().to_owned();
    let demo = Config::load(&sources).unwrap();
    assert_eq!(demo.config.default_server.as_str(), "demo");
    assert_eq!(demo.config.server["demo"].command, ServerCommand::Demo);
    assert_eq!(demo.file, None);
    let listing = demo.effective.to_string();
    assert!(listing.contains("# the built-in demo server"), "{listing}");
}

#[test]
fn a_command_line_is_a_whole_configuration_for_one_server() {
    let text = "session.max = 5\n[server.notes]\ncommand = \"notes\"\n[server.more]\nbad = 1";
    let loaded = load_with(text, &[], |sources| {
        sources.command = vec!["npx".to_owned(), "-y".to_owned(), "${user.subject}".to_owned()];
        sources.set = vec!["server.default.request_timeout=1m".to_owned()];
    })
    .unwrap();
    let config = loaded.config;
    assert_eq!(config.server.len(), 1, "the file's servers are replaced");
    assert_eq!(config.session.max, NonZeroUsize::new(5), "the rest of the file holds");
    let server = &config.server["default"];
    assert_eq!(server.command, ServerCommand::Program("npx".to_owned()));
    assert_eq!(server.args, ["-y", "${user.subject}"]);
    assert_eq!(server.pass_env, ["HOME", "USER", "LOGNAME", "LANG", "TERM", "PATH"]);
    assert_eq!(server.request_timeout, Some(Duration::from_secs(60)));
}

#[test]
fn the_file_is_looked_for_where_the_contract_says() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("home");
    let here = directory.path().join("here");
    let write = |path: &PathBuf, name: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("[server.{name}]\ncommand = \"x\"")).unwrap();
    };
    let name = |config: Option<PathBuf>| {
        let environment = environment(&[("HOME", home.to_str().unwrap())]);
        let mut sources = Sources::new(&environment);
        sources.directory.clone_from(&here);
        sources.config = config;
        Config::load(&sources).map(|loaded| loaded.config.default_server.as_str().to_owned())
    };
    assert_eq!(name(None).unwrap(), "demo");
    write(&home.join(".config/mcp-broker/config.toml"), "xdg");
    assert_eq!(name(None).unwrap(), "xdg");
    write(&here.join("mcp-broker.toml"), "here");
    assert_eq!(name(None).unwrap(), "here");
    let other = directory.path().join("other.toml");
    let missing = name(Some(other.clone())).unwrap_err();
    assert!(missing.to_string().contains("the file does not exist"), "{missing}");
    write(&other, "other");
    assert_eq!(name(Some(other)).unwrap(), "other");
    let unreadable = name(Some(directory.path().to_owned())).unwrap_err();
    assert!(unreadable.to_string().contains("cannot be read"), "{unreadable}");
}

#[test]
fn exactly_one_server_is_the_default() {
    let two = |a: &str, b: &str| {
        load(&format!("[server.a]\ncommand=\"a\"\n{a}\n[server.b]\ncommand=\"b\"\n{b}"), &[])
    };
    assert_eq!(two("", "default = true").unwrap().config.default_server.as_str(), "b");
    let none = two("", "default = false").unwrap_err().to_string();
    assert!(none.contains("none of a, b is the default"), "{none}");
    let both = two("default = true", "default = true").unwrap_err();
    assert_eq!(both.0[0].key, "server.b.default");
    assert!(both.to_string().contains("t.toml:6: server.b.default"), "{both}");
}

#[test]
fn line_breaks_and_user_data_in_arguments_are_refused() {
    for bad in [
        "args = [\"${user.subject}\"]",
        "args = [\"a\\u0000\"]",
        "env.A = \"a\\nb\"",
        "env.A = \"a\\u0000b\"",
        "env.A = \"${upstream.access_token}\"",
        "env.\"A=B\" = \"x\"",
        "cwd = \"/\\u0000\"",
    ] {
        let text = format!("{SERVER}{bad}");
        let mistakes = load(&text, &[]).expect_err(bad);
        assert_eq!(mistakes.0.len(), 1, "{mistakes}");
        assert!(mistakes.to_string().contains("t.toml:3: server.notes."), "{mistakes}");
    }
    let no_shell = config(&format!("{SERVER}args = [\"$(id); ${{HOME}} $$\"]"));
    let args = &no_shell.server["notes"].args;
    assert_eq!(args, &["$(id); ${HOME} $$"], "arguments are passed as they are");
}

#[test]
fn settings_of_the_broker_are_never_passed_to_a_child() {
    let text = format!("{SERVER}pass_env = [\"LANG\", \"MCP_BROKER_LISTEN\"]");
    let mistakes = load(&text, &[]).unwrap_err();
    assert_eq!(mistakes.0[0].key, "server.notes.pass_env");
}

#[test]
fn values_of_an_environment_are_shown_nowhere() {
    let text = format!("{SERVER}env = {{ TOKEN = \"hunter2\" }}");
    let loaded = load(&text, &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let listing = loaded.effective.to_string();
    assert!(listing.contains("server.notes.env.TOKEN = \"***\""), "{listing}");
    for bad in [
        "TOKEN = \"hunter2${\"",
        "TOKEN = \"${hunter2}\"",
        "TOKEN = \"hunter2\\n\"",
        "TOKEN = [\"hunter2\"]",
    ] {
        let text = format!("{SERVER}env = {{ {bad} }}");
        let mistakes = load(&text, &[]).expect_err(bad);
        assert!(!format!("{mistakes} {mistakes:?}").contains("hunter2"), "{mistakes}");
    }
}

#[test]
fn a_public_url_is_only_scheme_host_and_port() {
    for bad in ["mcp.example.org", "https://h/p", "https://h?q", "https://h#f", "https://u@h", ""] {
        let found = mistake(&format!("public_url = {bad:?}"));
        assert_eq!(found.key, "public_url", "{found}");
    }
}

#[test]
fn names_and_origins_have_no_wildcards_and_a_missing_name_is_warned_about() {
    assert_eq!(mistake("allowed_hosts = [\"*\"]").key, "allowed_hosts");
    assert_eq!(mistake("allowed_origins = [\"*\"]").key, "allowed_origins");
    let warned = |text: &str| load(&format!("{text}\n{SERVER}"), &[]).unwrap().warnings.len();
    assert_eq!(warned("listen = \"0.0.0.0:80\""), 1);
    assert_eq!(warned("listen = \"0.0.0.0:80\"\nallowed_hosts = [\"broker.lan\"]"), 0);
    assert_eq!(warned("listen = \"0.0.0.0:80\"\npublic_url = \"https://mcp.example.org\""), 0);
    assert_eq!(warned("listen = \"0.0.0.0:80\"\npublic_url = \"http://mcp.example.org\""), 1);
    assert_eq!(warned("listen = \"127.0.0.1:80\""), 0);
    assert_eq!(warned("listen = \"unix:/run/x\""), 0);
}

#[test]
fn no_sign_in_is_for_loopback_unless_the_operator_insists() {
    let remote = "listen = \"0.0.0.0:80\"\nallowed_hosts = [\"x\"]\n";
    let verifiers = |text: &str| config(&format!("{text}\n{SERVER}")).auth.verifiers;
    assert_eq!(verifiers("listen = \"unix:/run/x\""), ["static"], "nowhere to lead to");
    assert_eq!(verifiers(remote), ["static"]);
    let named = "listen = \"0.0.0.0:80\"\npublic_url = \"https://mcp.example.org\"";
    assert_eq!(verifiers(named), ["oauth", "static"]);
    let none = format!("{remote}auth.verifiers = [\"none\"]");
    assert!(mistake(&none).hint.unwrap().contains("allow_remote"));
    assert_eq!(verifiers(&format!("{none}\nauth.none.allow_remote = true")), ["none"]);
    assert_eq!(mistake("auth.verifiers = []").what, "is empty, so no client could connect");
    assert_eq!(mistake("auth.verifiers = [\"none\", \"none\"]").what, "names \"none\" twice");
    let nameless = mistake(&format!("{remote}auth.verifiers = [\"oauth\"]"));
    assert!(nameless.hint.unwrap().contains("public_url"));
}

#[test]
fn what_is_named_needs_its_table_and_a_table_that_is_not_named_is_doubted() {
    let lacking = |text: &str| -> Vec<String> {
        let mistakes = load(&format!("{text}\n{SERVER}"), &[]).expect_err(text).0;
        mistakes.into_iter().map(|mistake| mistake.key).collect()
    };
    assert_eq!(
        lacking("auth.identity = [\"forgejo\", \"oidc\"]"),
        ["auth.forgejo.url", "auth.forgejo.client_id", "auth.oidc.issuer", "auth.oidc.client_id"]
    );
    assert_eq!(
        lacking("auth.identity = [\"github\"]"),
        ["auth.github.client_id", "auth.github.allow"]
    );
    assert_eq!(lacking("auth.verifiers = [\"jwt\"]"), ["auth.jwt.issuer"]);
    assert_eq!(
        lacking("auth.verifiers = [\"introspection\"]"),
        ["auth.introspection.endpoint", "auth.introspection.client_id"]
    );
    assert_eq!(lacking("oauth.registration = \"token\""), ["oauth.registration_token"]);
    let text = format!("auth.forgejo.client_id = \"x\"\n{SERVER}");
    let warnings = load(&text, &[]).unwrap().warnings;
    assert!(warnings[0].what.contains("not used"), "{warnings:?}");
}

#[test]
fn a_server_that_asks_for_the_users_credential_says_whose() {
    let server = |more: &str| {
        format!(
            "auth.forgejo = {{ url = \"https://git.example.org\", client_id = \"x\" }}\n\
             auth.oidc = {{ issuer = \"https://id.example.org\", client_id = \"x\" }}\n\
             [server.a]\ncommand = \"a\"\nenv = {{ T = \"${{upstream.access_token}}\" }}\n{more}"
        )
    };
    let upstream = |identity: &str, more: &str| {
        let text = format!("auth.identity = {identity}\n{}", server(more));
        load(&text, &[]).map(|loaded| loaded.config.server["a"].upstream.clone())
    };
    let forgejo = Some(Upstream::Provider(TableName::known("forgejo")));
    assert_eq!(
        upstream("[\"local\", \"forgejo\"]", ""),
        Ok(forgejo.clone()),
        "the only one there is"
    );
    assert_eq!(upstream("[\"local\"]", "upstream = \"user\""), Ok(Some(Upstream::User)));
    let both = "[\"forgejo\", \"oidc\"]";
    assert_eq!(upstream(both, "upstream = \"forgejo\""), Ok(forgejo));
    for (identity, more) in [(both, ""), ("[\"local\"]", ""), (both, "upstream = \"gitea\"")] {
        let mistakes = upstream(identity, more).expect_err("it is not said whose").0;
        assert!(mistakes[0].key.starts_with("server.a."), "{mistakes:?}");
    }
}

#[test]
fn a_secret_may_stand_in_a_file_and_is_shown_nowhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("secret");
    std::fs::write(&file, "c4n4ry\n").expect("a file");
    let text = format!("auth.oidc.client_secret_file = {file:?}\n{SERVER}");
    let loaded = load(&text, &[]).unwrap();
    let oidc = loaded.config.auth.tables.settings::<Oidc>("oidc").expect("its table");
    let secret = oidc.client_secret.value.as_ref().expect("it was read");
    assert_eq!(secret.expose(), "c4n4ry", "the line break is no part of it");
    let shown = format!("{:?} {}", loaded.config, loaded.effective);
    assert!(!shown.contains("c4n4ry"), "{shown}");
    let written = format!("auth.oidc.client_secret = \"c4n4ry\"\n{SERVER}");
    assert!(!load(&written, &[]).unwrap().effective.to_string().contains("c4n4ry"));
    std::fs::write(&file, "\n").expect("a file");
    assert!(load(&text, &[]).expect_err("it is empty").to_string().contains("is empty"));
}

#[test]
fn a_broker_behind_a_proxy_that_it_does_not_know_is_warned() {
    let proxied = "public_url = \"https://mcp.example.org\"\n";
    let warned = |text: &str| {
        let loaded = load(&format!("{text}{SERVER}"), &[]).unwrap();
        loaded.warnings.into_iter().map(|warning| warning.key).collect::<Vec<_>>()
    };
    assert_eq!(warned(proxied), ["http.trusted_proxies"]);
    assert!(warned(&format!("{proxied}http.trusted_proxies = [\"127.0.0.1\"]\n")).is_empty());
    assert!(warned(&format!("{proxied}auth.verifiers = [\"static\"]\n")).is_empty());
}

#[test]
fn no_outside_issuer_can_be_called_like_the_brokers_own() {
    for name in ["local", "static", "none"] {
        let found = mistake(&format!("auth.introspection.issuer = {name:?}"));
        assert!(found.what.contains("own users"), "{found}");
    }
}

#[test]
fn log_filters_are_checked() {
    let level = |text: &str| config(&format!("log.level = {text:?}\n{SERVER}")).log.level;
    assert_eq!(level("info,bridge=debug"), "info,bridge=debug");
    assert_eq!(level("WARN"), "WARN");
    assert_eq!(mistake("log.level = \"inof\"").hint.unwrap(), "did you mean \"info\"?");
    assert_eq!(mistake("log.level = \"info,bridge=loud\"").key, "log.level");
    assert_eq!(mistake("log.format = \"Json\"").hint.unwrap(), "did you mean \"json\"?");
}

#[test]
fn a_reload_tells_what_it_can_change() {
    let old = config("drain = \"1s\"\n[server.a]\ncommand = \"a\"\nenv = { A = \"1\", B = \"1\" }");
    let new = config(
        "listen = \"127.0.0.1:1\"\nallowed_hosts = [\"x\"]\ndata_dir = \"/x\"\nsession.max = 1\n\
         log = { level = \"debug\", format = \"json\" }\nauth.static.tokens_file = \"/t\"\n\
         [server.a]\ncommand = \"b\"\nenv = { A = \"2\", C = \"1\" }\ndefault = true\n\
         [server.b]\ncommand = \"b\"",
    );
    let changed = |old: &Config, new: &Config| -> Vec<String> {
        let changes = old.reloaded(new).1.into_iter();
        changes.map(|change| format!("{} {}", change.key, change.applied)).collect()
    };
    assert_eq!(changed(&old, &old), Vec::<String>::new());
    let expected = [
        "allowed_hosts true",
        "auth.static.tokens_file false",
        "data_dir false",
        "drain true",
        "listen false",
        "log.format false",
        "log.level true",
        "server.a.command true",
        "server.a.env.A true",
        "server.a.env.B true",
        "server.a.env.C true",
        "server.b false",
        "session.max true",
    ];
    assert_eq!(changed(&old, &new), expected);
}
