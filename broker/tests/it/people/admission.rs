//! Whom the operator's rules let in.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{deployment::Deployment, forge::ForgeOptions};
use crate::{
    application::{Application, refusal},
    browser::{Browser, Page},
    harness::{until_so, with_timeout},
    program::Place,
    wire::Client,
};

/// People sign in at a forge with these lines in its table.
async fn at_forge(rules: &str) -> Deployment {
    Deployment::at_forge(ForgeOptions::default(), "", rules).await
}

/// Where `name` comes to who wants to use `application`.
async fn arrives(deployment: &Deployment, application: &Application, name: &str) -> Page {
    let mut browser = Browser::default();
    let consent = browser.open(&application.question(&[])).await;
    deployment.approve(&mut browser, &consent, name).await
}

fn is_turned_away(page: &Page) -> bool {
    page.answer.status == 403 && page.answer.text().contains("not admitted")
}

async fn people(deployment: &Deployment) -> Vec<Value> {
    let (code, listed, told) = deployment.place.run(&["person", "list", "--json"]).await;
    assert_eq!(code, 0, "{told}");
    serde_json::from_str(&listed).expect("JSON")
}

#[test]
fn only_whom_a_rule_names_signs_in_and_nothing_of_anybody_else_is_kept() {
    with_timeout(async {
        for (rules, ada, bob) in [
            ("allow = [\"id:7\"]", true, false),
            ("allow = [\"login:Ada\"]", true, false),
            ("allow = \"everyone\"\ndeny = [\"login:bob\"]", true, false),
            ("deny = [\"id:7\"]", false, true),
            ("allow = [\"org:nowhere\", \"group:nobody\"]", false, false),
        ] {
            let deployment = at_forge(rules).await;
            let application = deployment.application("/mcp").await;
            for (name, is_let_in) in [("ada", ada), ("bob", bob)] {
                let page = arrives(&deployment, &application, name).await;
                assert_eq!(is_turned_away(&page), !is_let_in, "{rules}, {name}: {}", page.seen());
                assert_eq!(page.is_away(), is_let_in, "{rules}, {name}: {}", page.seen());
            }
            let let_in = usize::from(ada) + usize::from(bob);
            assert_eq!(people(&deployment).await.len(), let_in, "{rules}");
        }
    });
}

#[test]
fn members_of_an_organization_come_in_and_stay_as_long_as_they_are_members() {
    with_timeout(async {
        let options = ForgeOptions { access_ttl: 4, ..ForgeOptions::default() };
        let deployment = Deployment::at_forge(options, "", "allow = [\"org:acme\"]").await;
        let application = deployment.application("/mcp").await;
        join(&deployment, "ada", &["acme", "acme:devs"]);
        join(&deployment, "bob", &["other"]);
        assert!(is_turned_away(&arrives(&deployment, &application, "bob").await));
        let ada = deployment.sign_in(&application, "ada").await;
        let session = application.with(&ada).open().await;
        assert_eq!(session.call("who", json!({})).await.json()["result"]["login"], "ada");
        join(&deployment, "ada", &["other"]);
        // Within seconds the forge gives another pair, and says that she has left.
        until_so("she is out", async || session.call("who", json!({})).await.status == 401).await;
        assert_nothing_is_left(&deployment).await;
        assert!(is_turned_away(&arrives(&deployment, &application, "ada").await));
        let refreshed = application.refresh(&ada.refresh).await;
        assert_eq!(refusal(&refreshed), (400, "invalid_grant".to_owned()));
    });
}

/// Without a refresh of any client.
async fn assert_nothing_is_left(deployment: &Deployment) {
    until_so("no grant and no session is left", async || {
        let (_, grants, _) = deployment.place.run(&["grant", "list", "--json"]).await;
        let (_, sessions, _) = deployment.place.run(&["session", "list", "--json"]).await;
        grants.trim() == "[]" && sessions.trim() == "[]"
    })
    .await;
}

#[test]
fn who_leaves_what_a_server_asks_for_is_out_when_the_forge_says_so() {
    with_timeout(async {
        let options = ForgeOptions { access_ttl: 4, ..ForgeOptions::default() };
        let mut deployment = Deployment::at_forge(options, "", "").await;
        let rule = "default = true\nallow = [\"forgejo/org:acme\"]";
        restart(&mut deployment, |text| text.replace("default = true", rule)).await;
        let application = deployment.application("/mcp").await;
        join(&deployment, "ada", &["acme"]);
        let ada = deployment.sign_in(&application, "ada").await;
        let session = application.with(&ada).open().await;
        assert_eq!(session.call("who", json!({})).await.json()["result"]["login"], "ada");
        join(&deployment, "ada", &["other"]);
        until_so("she is out", async || session.call("who", json!({})).await.status == 401).await;
        assert_nothing_is_left(&deployment).await;
    });
}

/// The broker starts again with `change` made to its configuration.
async fn restart(deployment: &mut Deployment, change: impl Fn(String) -> String) {
    let file = deployment.place.path().join("mcp-broker.toml");
    let text = fs::read_to_string(&file).expect("the configuration");
    fs::write(&file, change(text)).expect("it is written");
    let address = deployment.client().address.to_string();
    deployment.broker.signal(Signal::TERM);
    assert_eq!(deployment.broker.ends().await, Some(0));
    let client = Client::new(deployment.client().address);
    deployment.broker = deployment.place.serve(&["--listen", &address]).await;
    deployment.broker.client = client;
}

fn join(deployment: &Deployment, name: &str, groups: &[&str]) {
    let mut state = deployment.forge().state();
    let user = state.users.iter_mut().find(|own| own.login == name).expect("an account");
    user.groups = groups.iter().map(|own| (*own).to_owned()).collect();
}

#[test]
fn a_server_may_be_for_fewer_people_than_the_broker() {
    with_timeout(async {
        let mut deployment = Deployment::of(&["ada", "bob"], "", "").await;
        restart(&mut deployment, |text| {
            text.replace("default = true", "default = true\nallow = [\"local/login:ada\"]")
        })
        .await;
        let application = deployment.application("/mcp").await;
        for (name, is_let_in) in [("ada", true), ("bob", false)] {
            let mut browser = Browser::default();
            let consent = browser.open(&application.question(&[])).await;
            let page = deployment.approve(&mut browser, &consent, name).await;
            assert_eq!(page.is_away(), is_let_in, "{name}: {}", page.seen());
            assert_eq!(is_turned_away(&page), !is_let_in, "{name}: {}", page.seen());
            // The pages of the broker itself are another matter.
            let account = deployment.account_page(&mut browser, name).await;
            assert_eq!(account.answer.status, 200, "{name}: {}", account.seen());
        }
    });
}

#[test]
fn a_rule_that_is_added_later_ends_the_refreshes_of_whom_it_keeps_out() {
    with_timeout(async {
        let mut deployment = at_forge("").await;
        let application = deployment.application("/mcp").await;
        let ada = deployment.sign_in(&application, "ada").await;
        let bob = deployment.sign_in(&application, "bob").await;
        restart(&mut deployment, |text| format!("{text}\nallow = [\"login:ada\"]\n")).await;
        // Nobody asked for logins before, so the forge is asked with each one's own token.
        let kept = application.refresh(&ada.refresh).await;
        assert_eq!(kept.status, 200, "{kept:?}");
        let ended = application.refresh(&bob.refresh).await;
        assert_eq!(refusal(&ended), (400, "invalid_grant".to_owned()));
        let (_, grants, _) = deployment.place.run(&["grant", "list", "--json"]).await;
        let grants: Value = serde_json::from_str(&grants).expect("JSON");
        assert_eq!(grants.as_array().map(Vec::len), Some(1), "{grants}");
    });
}

#[test]
fn where_anybody_can_make_an_account_the_operator_says_who_is_meant() {
    with_timeout(async {
        let place = Place::new();
        let github = "[server.notes]\ncommand = \"cat\"\n[auth]\nidentity = [\"github\"]\n\
                      [auth.github]\nclient_id = \"x\"\nclient_secret = \"y\"\n";
        let oidc = github.replace("github", "oidc");
        for (table, more) in [
            (github.to_owned(), ""),
            (oidc.clone(), "issuer = \"https://accounts.google.com\"\n"),
            (oidc.clone(), "issuer = \"https://login.microsoftonline.com/common/v2.0\"\n"),
        ] {
            let file = place.path().join("mcp-broker.toml");
            let name = if table.contains("oidc") { "oidc" } else { "github" };
            fs::write(&file, format!("{table}{more}")).expect("it is written");
            for command in ["check", "serve"] {
                let (code, out, told) = place.run(&[command]).await;
                assert_eq!(code, 78, "{command}: {out}{told}");
                assert!(told.contains(&format!("auth.{name}.allow")), "{told}");
                assert!(told.contains("allow = \"everyone\""), "{told}");
            }
            for rule in ["allow = \"everyone\"", "allow = [\"login:ada\", \"team:acme/devs\"]"] {
                fs::write(&file, format!("{table}{more}{rule}\n")).expect("it is written");
                let (code, out, told) = place.run(&["check"]).await;
                assert_eq!(code, 0, "{rule}: {out}{told}");
            }
        }
        let own = format!("{oidc}issuer = \"https://id.example.org\"\n");
        fs::write(place.path().join("mcp-broker.toml"), own).expect("it is written");
        assert_eq!(place.run(&["check"]).await.0, 0, "an issuer of one's own");
    });
}

#[test]
fn a_rule_that_is_none_is_a_mistake_with_its_place() {
    with_timeout(async {
        let place = Place::new();
        for (rule, words) in [
            ("allow = [\"ada\"]", "\"ada\" is not a rule"),
            ("allow = []", "is empty"),
            ("allow = \"ada\"", "everyone"),
            ("deny = [\"team:acme\"]", "\"team:acme\" is not a rule"),
        ] {
            let text = format!(
                "[server.notes]\ncommand = \"cat\"\n[auth]\nidentity = [\"forgejo\"]\n\
                 [auth.forgejo]\nurl = \"https://git.example.org\"\nclient_id = \"x\"\n\
                 client_secret = \"y\"\n{rule}\n"
            );
            fs::write(place.path().join("mcp-broker.toml"), text).expect("it is written");
            let (code, _, told) = place.run(&["check"]).await;
            assert_eq!(code, 78, "{rule}: {told}");
            assert!(told.contains(words), "{rule}: {told}");
        }
    });
}
