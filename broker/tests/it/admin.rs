//! What an operator does to the store with the command line: while the broker runs, and while it
//! does not.

use std::{fs, process::Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    application::{Application, Tokens, refusal},
    browser::Browser,
    harness::{until_so, with_timeout},
    program::{Place, Program},
    terminal::Terminal,
    wire::{PING, TIMEOUT},
};

const PASSWORD: &str = "correct horse battery\n";
/// Where a program on the user's computer would listen.
const LOOPBACK: &str = "http://127.0.0.1:9/callback";
const ANOTHER: &str = "staple and paperclip\r\n";

/// A broker where people sign in.
const SIGN_IN: [&str; 2] = ["--set", "auth.verifiers=[\"oauth\", \"static\"]"];

/// What a call said that is expected to end with `code`. Passwords and their hashes are never said.
async fn told(place: &Place, args: &[&str], input: &str, code: i32) -> (String, String) {
    let (ended, said, complained) = place.run_with(args, input).await;
    assert_eq!(ended, code, "{args:?}: {said}{complained}");
    for text in [&said, &complained] {
        for secret in [PASSWORD.trim(), ANOTHER.trim(), "argon2"] {
            assert!(!text.contains(secret), "{args:?} tells {secret:?}: {text}");
        }
    }
    (said, complained)
}

async fn said(place: &Place, args: &[&str]) -> String {
    told(place, args, "", 0).await.0
}

async fn listed(place: &Place, args: &[&str]) -> Value {
    let args = [args, &["--json"]].concat();
    serde_json::from_str(&said(place, &args).await).expect("JSON")
}

#[test]
fn accounts_are_kept_while_the_broker_runs_and_while_it_does_not() {
    with_timeout(async {
        let place = Place::new();
        accounts(&place).await;
        let _broker = place.serve(&SIGN_IN).await;
        accounts(&place).await;
    });
}

async fn accounts(place: &Place) {
    assert_eq!(listed(place, &["user", "list"]).await, json!([]));
    let (empty, hint) = told(place, &["user", "list"], "", 0).await;
    assert!(empty.is_empty() && hint.contains("user add"), "{empty}{hint}");

    let (added, _) = told(place, &["user", "add", " Ada "], PASSWORD, 0).await;
    assert_eq!(added, "account ada added\n");
    let (added, _) = told(place, &["user", "add", "bob@example.org", "--json"], PASSWORD, 0).await;
    let bob: Value = serde_json::from_str(&added).expect("JSON");
    assert_eq!(bob["name"], "bob@example.org");
    // No password is asked for that would be thrown away.
    let (_, taken) = told(place, &["user", "add", "ADA"], "", 1).await;
    assert!(taken.contains("\"ada\" already"), "{taken}");
    for (name, input, words) in [
        ("a b", PASSWORD, "must not have ' '"),
        ("ädä", PASSWORD, "must not have 'ä'"),
        ("x\u{1b}[2J", PASSWORD, "\\u{1b}"),
        ("-x", PASSWORD, ""),
        ("", PASSWORD, "empty"),
        ("carol", "", "no password"),
        ("carol", "\n", "fewer than 10 characters"),
        ("carol", "too short\n", "fewer than 10 characters"),
    ] {
        for command in ["add", "passwd"] {
            if command == "passwd" && name == "carol" {
                continue;
            }
            let (said, why) = told(place, &["user", command, name], input, 64).await;
            assert!(said.is_empty() && why.contains(words), "{command} {name:?}: {said}{why}");
            assert!(!why.contains('\u{1b}'), "{why:?}");
        }
    }
    let (_, why) = told(place, &["user", "passwd", "ada"], "too short\n", 64).await;
    assert!(why.contains("fewer than 10 characters"), "{why}");
    told(place, &["user", "passwd", "carol"], PASSWORD, 1).await;
    let (changed, _) = told(place, &["user", "passwd", "Ada"], ANOTHER, 0).await;
    assert!(changed.contains("the password of ada was changed"), "{changed}");

    let all = listed(place, &["user", "list"]).await;
    let names: Vec<_> = all.as_array().expect("a list").iter().map(|own| &own["name"]).collect();
    assert_eq!(names, ["ada", "bob@example.org"]);
    assert_eq!(all[1], bob, "the same account, told the same way");
    let lines = said(place, &["user", "list"]).await;
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.starts_with("ada  since 2"), "{lines}");

    told(place, &["user", "remove", "carol"], "", 1).await;
    told(place, &["user", "remove", "a b"], "", 64).await;
    let removed = said(place, &["user", "remove", "ADA", "--json"]).await;
    let removed: Value = serde_json::from_str(&removed).expect("JSON");
    assert_eq!(removed, json!({ "name": "ada", "removed": true, "revoked": 0 }));
    let removed = said(place, &["user", "remove", "bob@example.org"]).await;
    assert!(removed.starts_with("account bob@example.org removed"), "{removed}");
    told(place, &["user", "remove", "ada"], "", 1).await;
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program under test is nobody's child")]
fn at_a_terminal_a_password_is_typed_twice_and_not_shown() {
    with_timeout(async {
        let place = Place::new();
        for (first, second, code) in
            [(PASSWORD, PASSWORD, 0), (PASSWORD, "another one\n", 64), ("abc\u{3}\n", "", 64)]
        {
            let mut terminal = Terminal::open();
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-broker"));
            command.args(["user", if code == 0 { "add" } else { "passwd" }, "ada"]);
            command.current_dir(place.path()).env_clear().kill_on_drop(true);
            command.stdin(terminal.end()).stdout(Stdio::null()).stderr(terminal.end());
            let mut process = command.spawn().expect("it starts");
            terminal.shows("Password").await;
            terminal.types(first);
            if !second.is_empty() {
                terminal.shows("Again:").await;
                terminal.types(second);
            }
            let ended = timeout(TIMEOUT, process.wait()).await.expect("in time").expect("it ran");
            assert_eq!(ended.code(), Some(code));
            // What is typed now is shown again.
            terminal.types("the end");
            let screen = terminal.shows("the end").await;
            assert!(!screen.contains("horse") && !screen.contains("abc"), "{screen}");
            let words = if second.is_empty() { "interrupted" } else { "differ" };
            assert_eq!(screen.contains(words), code != 0, "{screen}");
        }
    });
}

#[test]
fn clients_are_kept_while_the_broker_runs_and_while_it_does_not() {
    with_timeout(async {
        let place = Place::new();
        clients(&place).await;
        let _broker = place.serve(&SIGN_IN).await;
        clients(&place).await;
    });
}

async fn clients(place: &Place) {
    let (empty, hint) = told(place, &["client", "list"], "", 0).await;
    assert!(empty.is_empty() && hint.contains("register themselves"), "{empty}{hint}");
    let web = ["--redirect-uri", "https://app.example/cb"];
    let add = |more: &[&'static str]| [&["client", "add"][..], more, &web].concat();

    let made = said(place, &add(&["An app"])).await;
    let id = made.trim().strip_prefix("client_id").expect("the identifier alone").trim();
    assert!(id.len() == 32 && !made.contains("secret"), "{made}");
    let (made, hint) = told(place, &add(&["Web", "--id", "web", "--confidential"]), "", 0).await;
    let secret = made.lines().find_map(|line| line.strip_prefix("client_secret")).expect("one");
    assert!(secret.trim().starts_with("mcpcs_") && hint.contains("shown once"), "{made}{hint}");
    assert!(!hint.contains("warning"), "a server keeps a secret: {hint}");
    let json = said(place, &add(&["Json", "--id", "json", "--confidential", "--json"])).await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["client_id"], "json");
    assert!(json["client_secret"].as_str().is_some_and(|own| own.starts_with("mcpcs_")), "{json}");

    let (_, taken) = told(place, &add(&["Other", "--id", "web"]), "", 1).await;
    assert!(taken.contains("\"web\" already"), "{taken}");
    for name in ["", "  ", "a\u{1b}[2Jb", "a\u{202e}b", "a\nb"] {
        let (_, why) = told(place, &["client", "add", name, web[0], web[1]], "", 64).await;
        assert!(why.contains("cannot be a name") && !why.contains('\u{1b}'), "{name:?}: {why}");
    }
    for id in ["", "a b", "a:b", "https://app.example", "ä", "\u{7f}"] {
        let args = ["client", "add", "App", "--id", id, web[0], web[1]];
        let (_, why) = told(place, &args, "", 64).await;
        assert!(why.contains("--id"), "{id:?}: {why}");
    }
    for (uri, words) in [
        ("http://app.example/cb", "plain http"),
        ("https://app.example/cb#x", "fragment"),
        ("javascript:alert(1)", "dangerous"),
        ("nonsense", "malformed"),
    ] {
        let (_, why) = told(place, &["client", "add", "App", "--redirect-uri", uri], "", 64).await;
        assert!(why.contains(words), "{uri}: {why}");
    }
    told(place, &["client", "add", "App"], "", 64).await;
    let native = ["client", "add", "Tool", "--id", "tool", "--redirect-uri", LOOPBACK];
    let (_, hint) = told(place, &[&native[..], &["--confidential"]].concat(), "", 0).await;
    assert!(hint.contains("warning") && hint.contains("proves nothing"), "{hint}");

    let all = listed(place, &["client", "list"]).await;
    let all = all.as_array().expect("a list");
    let web = all.iter().find(|own| own["id"] == "web").expect("it is listed");
    assert_eq!((&web["confidential"], &web["origin"]), (&json!(true), &json!("operator")));
    assert_eq!(web["redirect_uris"], json!(["https://app.example/cb"]));
    assert!(!Value::from(all.clone()).to_string().contains(secret.trim()), "it was shown once");
    let lines = said(place, &["client", "list"]).await;
    assert!(lines.contains("web  Web  operator  since 2") && !lines.contains(secret), "{lines}");

    told(place, &["client", "remove", "nobody"], "", 1).await;
    let removed = said(place, &["client", "remove", "web"]).await;
    assert_eq!(removed, "client web removed; authorizations revoked: 0\n");
    told(place, &["client", "remove", "web"], "", 1).await;
    for id in [id, "json", "tool"] {
        let removed = said(place, &["client", "remove", id, "--json"]).await;
        assert!(removed.contains("\"removed\":true"), "{removed}");
    }
}

#[test]
fn a_client_added_with_a_secret_finds_and_uses_introspection() {
    with_timeout(async {
        let place = Place::new();
        let args = ["client", "add", "Gateway", "--id", "gateway", "--confidential"];
        let made = said(&place, &args).await;
        let secret = made.lines().find_map(|line| line.strip_prefix("client_secret")).expect("one");
        let broker = place.serve(&SIGN_IN).await;
        let (application, tokens) = signed_in(&place, &broker, "A tool").await;
        let advertised = application.metadata["introspection_endpoint"].as_str();
        assert!(advertised.is_some_and(|at| at.ends_with("/oauth/introspect")), "{advertised:?}");
        let introspect = async |id: &str, secret: &str, token: &str| {
            let asking = Application { id: id.to_owned(), ..application.clone() };
            let fields = [("token", token), ("client_secret", secret)];
            asking.ask("introspection_endpoint", &fields).await
        };
        let told = introspect("gateway", secret.trim(), &tokens.access).await;
        assert_eq!(told.status, 200, "{told:?}");
        assert_eq!((&told.json()["active"], &told.json()["scope"]), (&json!(true), &json!("mcp")));
        let unknown = introspect("gateway", secret.trim(), "mcpat_unknown").await;
        assert_eq!((unknown.status, unknown.json()), (200, json!({ "active": false })));
        let question = application.question(&[]).replace(&application.id, "gateway");
        let page = Browser::default().open(&question).await;
        assert_eq!(page.answer.status, 400, "it may ask for no authorization: {}", page.seen());
        for (id, secret) in [("gateway", "wrong"), ("gateway", ""), (&*application.id, "")] {
            assert_eq!(introspect(id, secret, &tokens.access).await.status, 401, "{id}");
        }
    });
}

/// Who signs in, and the password.
const ADA: (&str, &str) = ("ada", "correct horse battery");

/// Signs `ada` in at the running broker, with a client of this name.
async fn signed_in(place: &Place, broker: &Program, client: &str) -> (Application, Tokens) {
    let added = place.run_with(&["user", "add", "ada"], PASSWORD).await.0;
    assert!(added == 0 || added == 1, "{added}");
    let application = Application::connect_as(&broker.client, "/mcp", client).await;
    let tokens = application.authorize(&mut Browser::default(), ADA, &[]).await;
    (application, tokens)
}

#[test]
fn a_grant_is_listed_and_taken_back_with_its_session() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&SIGN_IN).await;
        let (empty, hint) = told(&place, &["grant", "list"], "", 0).await;
        assert!(empty.is_empty() && hint.contains("no user"), "{empty}{hint}");
        // What a client calls itself is shown without what would write on the terminal.
        let name = "Evil\u{1b}[2J\u{9b}2J\ntool";
        let (application, tokens) = signed_in(&place, &broker, name).await;
        let session = application.with(&tokens).open().await;

        let all = listed(&place, &["grant", "list"]).await;
        let [grant] = &all.as_array().expect("a list")[..] else { panic!("{all}") };
        assert_eq!((&grant["user"], &grant["provider"]), (&json!("ada"), &json!("local")));
        assert_eq!(grant["client"], application.id);
        let subject = grant["subject"].as_str().expect("a subject");
        for user in ["ada", subject] {
            assert_eq!(listed(&place, &["grant", "list", "--user", user]).await, all);
        }
        let (none, hint) = told(&place, &["grant", "list", "--user", "bob"], "", 0).await;
        assert!(none.is_empty() && hint.contains("\"bob\""), "{none}{hint}");
        let lines = said(&place, &["grant", "list"]).await;
        assert!(lines.contains("ada (local)") && lines.lines().count() == 1, "{lines:?}");
        let clients = said(&place, &["client", "list"]).await;
        for text in [&lines, &clients] {
            assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
            assert!(!text.contains(&tokens.access), "{text}");
        }

        told(&place, &["grant", "revoke", "nothing"], "", 1).await;
        let id = grant["id"].as_str().expect("an identifier");
        assert_eq!(said(&place, &["grant", "revoke", id]).await, format!("grant {id} revoked\n"));
        told(&place, &["grant", "revoke", id], "", 1).await;
        until_so("the token is refused", async || session.post(PING).await.status == 401).await;
        place.witness.all_gone().await;
        assert_eq!(listed(&place, &["grant", "list"]).await, json!([]));
        drop(broker);
        assert_eq!(listed(&place, &["grant", "list"]).await, json!([]), "without a broker as well");
    });
}

#[test]
fn removing_an_account_or_a_client_revokes_what_came_of_it_and_what_is_on_its_way() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&SIGN_IN).await;
        let (application, first) = signed_in(&place, &broker, "first").await;
        let (_, second) = signed_in(&place, &broker, "second").await;
        let works = async |tokens: &Tokens| {
            broker.client.bearer(&tokens.access).post("{}").await.status != 401
        };
        assert!(works(&first).await && works(&second).await);
        let removed = said(&place, &["client", "remove", &application.id]).await;
        assert!(removed.ends_with("revoked: 1\n"), "{removed}");
        until_so("its token is refused", async || !works(&first).await).await;
        assert!(works(&second).await, "the other client's is good");

        let third = Application::connect_as(&broker.client, "/mcp", "third").await;
        let mut browser = Browser::default();
        let consent = browser.open(&third.question(&[])).await;
        let code = browser.approve(&consent, ADA).await.code();
        let removed = said(&place, &["user", "remove", "ada", "--json"]).await;
        let removed: Value = serde_json::from_str(&removed).expect("JSON");
        assert_eq!(removed["revoked"], 1);
        until_so("the token is refused", async || !works(&second).await).await;
        let late = third.redeem(&code).await;
        assert_eq!(refusal(&late), (400, "invalid_grant".to_owned()));
    });
}

#[test]
fn of_two_calls_at_once_one_is_first() {
    with_timeout(async {
        let place = Place::new();
        let _broker = place.serve(&SIGN_IN).await;
        let user = ["user", "add", "ada"];
        let web = "https://app.example/cb";
        let client = ["client", "add", "App", "--id", "app", "--redirect-uri", web];
        let calls = tokio::join!(
            place.run_with(&user, PASSWORD),
            place.run_with(&user, PASSWORD),
            place.run_with(&client, ""),
            place.run_with(&client, ""),
        );
        let mut codes = [calls.0.0, calls.1.0];
        codes.sort_unstable();
        assert_eq!(codes, [0, 1], "{:?} {:?}", calls.0, calls.1);
        let mut codes = [calls.2.0, calls.3.0];
        codes.sort_unstable();
        assert_eq!(codes, [0, 1], "{:?} {:?}", calls.2, calls.3);
        assert_eq!(listed(&place, &["user", "list"]).await.as_array().expect("a list").len(), 1);
    });
}

#[test]
fn a_store_out_of_reach_is_69_and_a_mistake_in_the_configuration_78() {
    with_timeout(async {
        let place = Place::new();
        let calls: [&[&str]; 3] =
            [&["user", "list"], &["client", "remove", "x"], &["grant", "revoke", "x"]];
        fs::create_dir_all(place.path().join("data")).expect("a directory");
        fs::write(place.path().join("data/broker.db"), "no database at all, but long enough")
            .expect("a file");
        for call in calls {
            let (said, why) = told(&place, call, "", 69).await;
            assert!(said.is_empty() && why.contains("broker.db"), "{call:?}: {said}{why}");
            assert!(why.contains("backup"), "it says what to do: {why}");
        }
        place.configure("[sesion]\nmax = 1\n");
        for call in calls {
            let (said, why) = told(&place, call, "", 78).await;
            assert!(said.is_empty() && why.contains("session"), "{call:?}: {said}{why}");
        }
        for call in [&["user"][..], &["user", "add"], &["client", "frob"], &["grant", "revoke"]] {
            told(&place, call, "", 64).await;
        }
    });
}

#[test]
fn a_broker_whose_store_or_keys_cannot_be_used_says_so_and_ends_with_69() {
    with_timeout(async {
        let place = Place::new();
        let serve = [&["serve"][..], &SIGN_IN].concat();
        let mut broker = place.serve(&SIGN_IN).await;
        signed_in(&place, &broker, "tool").await;
        broker.signal(Signal::TERM);
        assert_eq!(broker.ends().await, Some(0), "{}", broker.log());
        let data = place.path().join("data");
        assert!(data.join("broker.db").exists());
        assert!(!data.join("broker.db-wal").exists(), "a store that was closed leaves no log");

        fs::write(data.join("keyring"), "no key ring").expect("a file");
        let (_, why) = told(&place, &serve, "", 69).await;
        assert!(why.contains("keyring") && why.contains("backup"), "{why}");
        fs::remove_file(data.join("keyring")).expect("it is there");
        fs::write(data.join("broker.db"), "no database at all, but long enough").expect("a file");
        let (_, why) = told(&place, &serve, "", 69).await;
        assert!(why.contains("broker.db") && why.contains("backup"), "{why}");
    });
}

#[test]
fn a_provider_that_cannot_be_made_is_a_mistake_that_check_and_serve_find() {
    with_timeout(async {
        let place = Place::new();
        place.configure(
            "[auth.forgejo]\nurl = \"https://git.example.org\"\nclient_id = \"broker\"\n\
             client_secret = \"hush-hush-hush\"\nscopes = [\"read:isue\"]\n",
        );
        let forge = [&SIGN_IN[..], &["--set", "auth.identity=[\"forgejo\"]"]].concat();
        let file = fs::read_to_string(place.path().join("mcp-broker.toml")).expect("a file");
        let line =
            1 + file.lines().position(|line| line.starts_with("scopes")).expect("it is there");
        for command in ["check", "serve"] {
            let call = [&[command], &forge[..]].concat();
            // `check` takes the same settings, without any network.
            let (_, why) = told(&place, &call, "", 78).await;
            for words in [
                "auth.forgejo.scopes",
                &format!("mcp-broker.toml:{line}:"),
                "hint: did you mean \"read:issue\"?",
            ] {
                assert!(why.contains(words), "{command}: {words} is missing in {why}");
            }
            assert!(!why.contains("hush"), "{why}");
        }
        let right = [&["check"], &forge[..], &["--set", "auth.forgejo.scopes=[\"read:issue\"]"]];
        told(&place, &right.concat(), "", 0).await;
    });
}
