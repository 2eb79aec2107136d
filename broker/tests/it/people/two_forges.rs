//! Two forges of one kind in one broker: each has its own button, callback and credentials, and each
//! server's child gets the token of the forge that its server names.

use std::fs;

use serde_json::json;
use tokio::net::TcpListener;

use super::{
    deployment::environment,
    forge::{self, Forge, ForgeOptions},
};
use crate::{
    application::{Application, Tokens},
    browser::Browser,
    harness::{OBLIGING, with_timeout},
    program::{Place, Program},
    wire::Client,
};

const NAMES: [&str; 2] = ["work", "codeberg"];

struct TwoForges {
    broker: Program,
    forges: [Forge; 2],
    _place: Place,
}

impl TwoForges {
    /// The server `main` uses the forge `work`, the server `public` the forge `codeberg`.
    async fn start() -> Self {
        let mut forges = Vec::new();
        for _ in NAMES {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            forges.push(forge::start(listener, None, ForgeOptions::default()));
        }
        let forges: [Forge; 2] = forges.try_into().expect("two of them");
        let place = Place::new();
        let mut text = format!(
            "data_dir = \"{}\"\nauth.verifiers = [\"oauth\"]\nauth.identity = {NAMES:?}\n",
            place.path().join("data").display()
        );
        for ((name, server), forge) in NAMES.iter().zip(["main", "public"]).zip(&forges) {
            let root = forge.root();
            text += &format!(
                "[server.{server}]\ncommand = \"{OBLIGING}\"\nargs = [\"{}\"]\nisolation.level = \"none\"\n\
                 default = {}\nstop_grace = \"300ms\"\nupstream = \"{name}\"\n\
                 env = {{ FORGE_URL = \"{root}\", FORGE_TOKEN = \"${{upstream.access_token}}\" }}\n\
                 [auth.{name}]\nkind = \"forgejo\"\nurl = \"{root}\"\nclient_id = \"at-{name}\"\n\
                 client_secret = \"hush-of-{name}\"\nscopes = [\"read:user\"]\n\
                 label = \"Forge at {name}\"\n",
                place.witness.path(),
                server == "main",
            );
        }
        fs::write(place.path().join("mcp-broker.toml"), text).expect("a file");
        let broker = place.serve(&["--listen", "127.0.0.1:0"]).await;
        for (name, forge) in NAMES.iter().zip(&forges) {
            let back = format!("http://{}/callback/{name}", broker.client.address);
            forge.add_app(&format!("at-{name}"), &format!("hush-of-{name}"), &back);
        }
        // Tokens of the double follow from the numbers of users and grants: a token of the one is
        // none of the other's when these differ.
        for _ in 0..50 {
            forges[1].state().next_id();
        }
        Self { broker, forges, _place: place }
    }

    /// Signs a user in with `browser` for the server at `path`, which leads to its forge and asks for
    /// no choice; a session there.
    async fn session(&self, browser: &mut Browser, path: &str, user: &str) -> Client {
        let application = Application::connect(&self.broker.client, path).await;
        let consent = browser.open(&application.question(&[])).await;
        let mut page = browser.press(&consent, ("choice", "approve"), &[]).await;
        let password = format!("{user}-password");
        while !page.is_away() {
            page = browser.identify(&page, (user, &password)).await;
        }
        let tokens = Tokens::of(&application.redeem(&page.code()).await);
        application.with(&tokens).open().await
    }
}

#[test]
fn each_childs_token_is_that_of_the_forge_its_server_names() {
    with_timeout(async {
        let deployment = TwoForges::start().await;
        let sessions = [
            deployment.session(&mut Browser::default(), "/mcp", "ada").await,
            deployment.session(&mut Browser::default(), "/public/mcp", "bob").await,
        ];
        for (session, (own, other)) in sessions.iter().zip([(0, 1), (1, 0)]) {
            let name = ["ada", "bob"][own];
            let who = session.call("who", json!({})).await.json();
            assert_eq!(who["result"], json!({ "status": "200", "login": name }));
            assert_eq!(deployment.forges[own].counters().api[name], 1);
            assert_eq!(deployment.forges[other].counters().api.get(name), None);
        }
        let tokens = [environment(&sessions[0]).await, environment(&sessions[1]).await];
        assert_ne!(tokens[0]["FORGE_TOKEN"], tokens[1]["FORGE_TOKEN"]);
    });
}

#[test]
fn the_account_page_says_which_forges_account_it_shows() {
    with_timeout(async {
        let deployment = TwoForges::start().await;
        let names = ["work", "codeberg"];
        for (path, user, own, other) in
            [("/mcp", "ada", names[0], names[1]), ("/public/mcp", "ada", names[1], names[0])]
        {
            let mut browser = Browser::default();
            deployment.session(&mut browser, path, user).await;
            let address = deployment.broker.client.address;
            let page = browser.open(&format!("http://{address}/account")).await;
            let text = page.answer.text();
            let count = |name: &str| text.matches(&format!("Forge at {name}")).count();
            assert!(count(own) >= 2, "the sign-in and the connection: {}", page.seen());
            assert_eq!(count(other), 0, "{}", page.seen());
        }
    });
}

#[test]
fn a_browser_signed_in_at_one_forge_is_sent_to_the_other_for_its_server() {
    with_timeout(async {
        let deployment = TwoForges::start().await;
        let mut browser = Browser::default();
        deployment.session(&mut browser, "/mcp", "ada").await;
        let session = deployment.session(&mut browser, "/public/mcp", "bob").await;
        let who = session.call("who", json!({})).await.json();
        assert_eq!(who["result"], json!({ "status": "200", "login": "bob" }));
    });
}
