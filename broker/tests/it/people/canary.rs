//! A canary in every secret: it may be found where it belongs, and nowhere else.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    deployment::{Deployment, FORGE_SECRET, child, environment},
    forge::ForgeOptions,
};
use crate::{
    application::{Application, Tokens, VERIFIER},
    browser::Browser,
    harness::{OBLIGING, with_timeout},
    wire::{Answer, Client, PING, initialize},
};

/// What to look for, and what it is.
type Canary = (&'static str, Vec<u8>);

const LOCAL_PASSWORD: &str = "canary-of-the-local-password";
const FORGE_PASSWORD: &str = "ada-password";
const OWN_TOKEN: &str = "canary-of-her-own-token";

/// Where `needle` is below `place`, as it is, in hex, in base64, or as it is in an address.
fn found(place: &Path, needle: &[u8]) -> Vec<String> {
    let mut shapes = vec![needle.to_vec(), STANDARD.encode(needle).into_bytes()];
    shapes.push(needle.iter().map(|b| format!("{b:02x}")).collect::<String>().into_bytes());
    if let Ok(text) = std::str::from_utf8(needle) {
        shapes.push(crate::forms::encode(text).into_bytes());
    }
    let mut found = Vec::new();
    let mut places = vec![place.to_owned()];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(entries(&place));
        } else {
            let bytes = fs::read(&place).unwrap_or_default();
            if shapes.iter().any(|shape| holds(&bytes, shape)) {
                found.push(name(&place));
            }
        }
    }
    found.sort();
    found
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}

fn canary(what: &'static str, value: impl AsRef<[u8]>) -> Canary {
    let value = value.as_ref().to_vec();
    assert!(value.len() >= 8, "{what} is too short to be looked for");
    (what, value)
}

/// Everything that one life of the broker has in the way of secrets.
struct Life {
    deployment: Deployment,
    secrets: Vec<Canary>,
    answers: Vec<Answer>,
    sessions: Vec<Client>,
}

async fn live() -> Life {
    let top = "auth.identity = [\"local\", \"forgejo\"]\nlog.level = \"trace\"";
    let table = format!(
        "[server.notes]\ncommand = \"{OBLIGING}\"\nargs = [\"$W\"]\nisolation.level = \"none\"\nupstream = \"user\"\n\
         env = {{ NOTES_TOKEN = \"${{upstream.access_token}}\" }}\n"
    );
    let deployment = Deployment::at_forge(ForgeOptions::default(), top, &table).await;
    let mut secrets = Vec::new();
    let link = deployment.setup.clone().expect("a link");
    secrets.push(canary("set-up link", link.split_once("t=").expect("a secret").1));
    let mut local = Browser::default();
    let form = local.open(&link).await;
    let fields = [("name", "ada"), ("password", LOCAL_PASSWORD), ("again", LOCAL_PASSWORD)];
    local.press(&form, ("name", ""), &fields).await;
    let form = local.open(&format!("{}/login?next=/account", deployment.root())).await;
    let form = local.press(&form, ("provider", "local"), &[]).await;
    let wrong = [("name", "ada"), ("password", "canary-of-a-wrong-password")];
    let form = local.press(&form, ("step", "finish"), &wrong).await;
    let fields = [("name", "ada"), ("password", LOCAL_PASSWORD)];
    let account = local.press(&form, ("step", "finish"), &fields).await;
    assert_eq!(account.url.path(), "/account", "{}", account.seen());
    secrets.push(canary("form token", account.form("action", "set_token").hidden("csrf")));
    local.press(&account, ("action", "set_token"), &[("token", OWN_TOKEN)]).await;

    let (mut sessions, mut answers) = (Vec::new(), Vec::new());
    for (name, path) in [("ada", "/mcp"), ("bob", "/mcp"), ("local", "/notes/mcp")] {
        let application = deployment.application(path).await;
        let mut browser = if name == "local" { local.clone() } else { Browser::default() };
        let consent = browser.open(&application.question(&[])).await;
        let mut page = browser.press(&consent, ("choice", "approve"), &[]).await;
        if name != "local" {
            let password = format!("{name}-password");
            let fields = [("user_name", name), ("password", &*password)];
            page = browser.press(&page, ("user_name", ""), &fields).await;
            page = browser.press(&page, ("granted", "true"), &[]).await;
        }
        let code = page.code();
        let tokens = Tokens::of(&application.redeem(&code).await);
        let fresh = Tokens::of(&application.refresh(&tokens.refresh).await);
        answers.push(application.redeem(&code).await);
        for value in browser.cookies("mcpb-") {
            secrets.push(canary("cookie", value.1));
        }
        for page in &browser.history {
            for name in ["code", "state", "t"] {
                // What applications and links bring along, and what is longer than a word.
                if let Some(value) = page.query(name).filter(|value| value.len() > 16) {
                    secrets.push(canary("parameter", value));
                }
            }
        }
        secrets.push(canary("code", code));
        // The replay took it all back; once more, for something that lives.
        let again = sign_in_again(&mut browser, &application).await;
        for tokens in [tokens, fresh, again.clone()] {
            secrets.push(canary("access token", tokens.access));
            secrets.push(canary("refresh token", tokens.refresh));
        }
        let session = application.with(&again).open().await;
        session.call("echo", json!({})).await;
        sessions.push(session);
    }
    secrets.push(canary("verifier", VERIFIER));
    secrets.push(canary("local password", LOCAL_PASSWORD));
    secrets.push(canary("wrong password", "canary-of-a-wrong-password"));
    secrets.push(canary("password at the forge", FORGE_PASSWORD));
    secrets.push(canary("own token", OWN_TOKEN));
    Life { deployment, secrets, answers, sessions }
}

async fn sign_in_again(browser: &mut Browser, application: &Application) -> Tokens {
    let consent = browser.open(&application.question(&[])).await;
    let page = browser.press(&consent, ("choice", "approve"), &[]).await;
    Tokens::of(&application.redeem(&page.code()).await)
}

#[test]
fn a_canary_in_every_secret_is_found_only_where_it_belongs() {
    with_timeout(async {
        let mut life = live().await;
        let deployment = &life.deployment;
        // Requests that are refused, with a secret in every place there is.
        let client = deployment.client();
        let bad = "canary-of-a-bad-request";
        let form = client.with("content-type", "application/x-www-form-urlencoded");
        let basic = STANDARD.encode(format!("nobody:{bad}"));
        for (request, body) in [
            (client.bearer(bad), PING.to_owned()),
            (client.at(&format!("/mcp?access_token={bad}")), initialize("1", "2025-11-25")),
            (
                form.at("/oauth/token"),
                format!("grant_type=refresh_token&client_id=x&refresh_token={bad}"),
            ),
            (
                form.at("/oauth/token").with("authorization", &format!("Basic {basic}")),
                format!("code={bad}"),
            ),
            (form.at("/oauth/revoke"), format!("token={bad}&client_id={bad}")),
            (form.at("/login"), format!("t={bad}&csrf={bad}&password={bad}")),
            (
                form.at("/consent").with("cookie", &format!("mcpb-session={bad}")),
                format!("t={bad}"),
            ),
            (form.at("/login/setup"), format!("t={bad}&name=x&password={bad}&again={bad}")),
            (form.at("/account"), format!("csrf={bad}&token={bad}&action=set_token")),
            (client.at("/oauth/register").bearer(bad), "{}".to_owned()),
        ] {
            let answer = request.post(body).await;
            assert!(answer.status >= 400, "{answer:?}");
            life.answers.push(answer);
        }
        for path in ["/callback/forgejo?code=C&state=C", "/login?t=C", "/login/setup?t=C"] {
            life.answers.push(client.at(&path.replace('C', bad)).ask("GET", "").await);
        }
        life.secrets.push(canary("bad request", bad));
        life.answers.push(client.at("/metrics").ask("GET", "").await);

        let data = deployment.place.path().join("data");
        let keys: Vec<_> =
            files(&data).into_iter().filter(|(name, _)| name.contains("key")).collect();
        assert!(!keys.is_empty(), "{:?}", fs::read_dir(&data));
        for (_, text) in &keys {
            for word in text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=-_".contains(c)) {
                // The names of keys are shorter, and no secret.
                if word.len() >= 40 {
                    life.secrets.push(canary("key", word));
                }
            }
        }
        let mut of_forge = Vec::new();
        for session in &life.sessions[..2] {
            let token = environment(session).await["FORGE_TOKEN"].as_str().unwrap().to_owned();
            of_forge.push(token.clone());
            life.secrets.push(canary("token of the forge", &token));
            // What all tokens of this forge begin with, and so does the refresh token.
            let (head, _) = token.split_once('.').unwrap();
            life.secrets.push(canary("head of the forge's tokens", head));
        }
        life.secrets.push(canary("secret of the application at the forge", FORGE_SECRET));

        // The looks themselves: they find what is there.
        let place = deployment.place.path();
        let log = deployment.broker.log();
        assert_eq!(found(place, FORGE_SECRET.as_bytes()), ["mcp-broker.toml"]);
        assert!(log.contains("TRACE") && log.contains("DEBUG"), "the log tells everything");
        let known = found(place, b"A tool");
        assert!(known.iter().any(|file| file.starts_with("broker")), "in the database: {known:?}");
        assert!(found(place, b"listening").contains(&"log".to_owned()));
        let planted = place.join("planted");
        fs::write(&planted, STANDARD.encode(OWN_TOKEN)).unwrap();
        assert_eq!(found(place, OWN_TOKEN.as_bytes()), ["planted"]);
        fs::remove_file(&planted).unwrap();

        for kind in ["key", "cookie", "parameter", "set-up link", "form token", "refresh token"] {
            assert!(life.secrets.iter().any(|(what, _)| *what == kind), "no {kind} to look for");
        }
        for (what, value) in &life.secrets {
            let mut where_it_is = found(place, value);
            assert!(*what != "key" || !where_it_is.is_empty(), "a key is in its file");
            where_it_is.retain(|file| match *what {
                "key" => !file.contains("key"),
                "secret of the application at the forge" => file != "mcp-broker.toml",
                // It is void once it was used, and the file goes with the next start.
                "set-up link" | "parameter" => file != "setup-link",
                _ => true,
            });
            assert!(where_it_is.is_empty(), "{what} is in {where_it_is:?}");
            for answer in &life.answers {
                assert!(!holds(&answer.body, value), "{what} is in {answer:?} {}", answer.text());
                let headers = format!("{:?}", answer.headers);
                assert!(!holds(headers.as_bytes(), value), "{what} is in {headers}");
            }
        }

        // Each child knows what is its own, and nothing else.
        let belongs = [&*of_forge[0], &*of_forge[1], OWN_TOKEN];
        for (session, own) in life.sessions.iter().zip(belongs) {
            let environ = fs::read(format!("/proc/{}/environ", child(session).await)).unwrap();
            assert!(holds(&environ, own.as_bytes()), "this look would find a secret");
            for (what, value) in &life.secrets {
                let is_own = holds(own.as_bytes(), value);
                assert!(is_own || !holds(&environ, value), "{what} is in a child's environment");
            }
        }
    });
}

/// The files of a directory that are text.
fn files(directory: &Path) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for path in entries(directory) {
        if let Ok(text) = fs::read_to_string(&path) {
            texts.push((name(&path), text));
        }
    }
    texts
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}
