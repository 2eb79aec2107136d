//! A server with several upstreams, attachments that lead elsewhere, and rights that are missing.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    given, raw,
    recorder::{Recorded, Recorder},
    sessions, status,
};
use crate::{
    browser::Browser,
    harness::{OBLIGING, with_timeout},
    people::{
        deployment::{Deployment, environment},
        forge::ForgeOptions,
    },
    program::Place,
};

#[test]
fn a_server_with_two_upstreams_reaches_each_by_its_own_address_and_is_the_same_person_there() {
    with_timeout(async {
        let (api, uploads) = (Recorder::start().await, Recorder::start().await);
        let tables = format!(
            "origin = \"{}/forge\"\n[server.main.egress.uploads]\norigin = \"{}\"\n",
            api.root(),
            uploads.root()
        );
        let options = ForgeOptions::default();
        let deployment = Deployment::at_forge_with_uploads(options, &tables).await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let (address, dummy) = given(&session).await;
        let address = address.strip_suffix("/forge").expect("the origin's path").to_owned();
        let uploading = environment(&session).await["UPLOADS_URL"].as_str().map(str::to_owned);
        assert_eq!(uploading, Some(format!("http://{address}/~uploads")));
        let bearer = format!("authorization: Bearer {dummy}\r\n");
        assert_eq!(status(&address, "/forge/a", &bearer).await, 200);
        assert_eq!(status(&address, "/~uploads/b?c", &bearer).await, 200);
        let (first, second) = (api.requests().remove(0), uploads.requests().remove(0));
        assert_eq!((&*first.target, &*second.target), ("/forge/a", "/b?c"));
        assert_eq!(first.token(), second.token());
        assert_eq!(second.headers["host"], uploads.address.to_string());
        for elsewhere in ["/b", "/~other/b", "/forge/~uploads/../../b"] {
            assert_eq!(status(&address, elsewhere, &bearer).await, 400, "{elsewhere}");
        }

        // Either address in an answer of either becomes the child's.
        let request = format!(
            "GET /~uploads/forge/says?{} HTTP/1.1\r\nhost: {address}\r\n{bearer}\
             connection: close\r\n\r\n",
            api.root()
        );
        let answer = raw(&address, &request).await;
        assert!(answer.contains(&format!("\"http://{address}/forge/x\"")), "{answer}");
        assert!(answer.contains("location: /~uploads/y\r\n"), "{answer}");
    });
}

#[test]
fn a_server_that_sends_its_token_to_any_address_gives_away_a_dummy_and_its_own_files_come() {
    with_timeout(async {
        let (upstream, stranger) = (Recorder::start().await, Recorder::start().await);
        let egress = format!("origin = \"{}/forge\"\n", upstream.root());
        let deployment = Deployment::at_forge_by_egress(ForgeOptions::default(), "", &egress).await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let (_, dummy) = given(&session).await;
        let arguments = json!({ "path": format!("/attachments?{}", stranger.root()) });
        let got = session.call("download", arguments).await.json()["result"]["got"].clone();
        let expected = json!([
            { "status": "200", "body": "an attachment of the forge" },
            { "status": "200", "body": "" },
        ]);
        assert_eq!(got, expected, "both were fetched");

        let collected = stranger.requests();
        assert_eq!(collected.len(), 1);
        assert_eq!(collected[0].headers["authorization"], format!("token {dummy}"));
        let asked = upstream.requests();
        let token = asked[0].token();
        assert!(asked.iter().all(|own| own.token() == token), "{asked:?}");
        assert_ne!(token, dummy);
        assert!(!format!("{collected:?}").contains(&token), "{collected:?}");
        // And what was collected is worth nothing.
        let forge = deployment.forge().root();
        let bearer = format!("authorization: token {dummy}\r\n");
        let forge = forge.trim_start_matches("http://");
        assert_eq!(status(forge, "/api/v1/user", &bearer).await, 401);
    });
}

#[test]
fn a_server_whose_network_is_egress_reaches_its_upstream_and_nothing_else() {
    with_timeout(async {
        // In a sandbox it is so by default.
        only_its_upstream("network = \"egress\"").await;
        only_its_upstream("level = \"sandbox\"").await;
        only_its_upstream("").await;
    });
}

async fn only_its_upstream(isolation: &str) {
    let (upstream, stranger) = (Recorder::start().await, Recorder::start().await);
    let root = upstream.root();
    let tables = format!("origin = \"{root}/forge\"\n[server.main.isolation]\n{isolation}\n");
    let deployment = Deployment::at_forge_by_egress(ForgeOptions::default(), "", &tables).await;
    let sessions = sessions(&deployment, &["ada", "bob"]).await;
    for session in &sessions {
        let arguments = json!({ "path": format!("/attachments?{}", stranger.root()) });
        let got = session.call("download", arguments).await.json()["result"]["got"].clone();
        let own = json!({ "status": "200", "body": "an attachment of the forge" });
        assert_eq!(got, json!([own, { "error": "connection refused" }]), "{isolation}");
    }
    let (asked, mut tokens) = (upstream.requests(), BTreeSet::new());
    tokens.extend(asked.iter().map(Recorded::token));
    assert_eq!((asked.len(), tokens.len()), (4, 2), "each is themselves: {asked:?}");
    assert!(stranger.requests().is_empty(), "{isolation}");
    let (given, _) = given(&sessions[0]).await;
    let address = given.strip_suffix("/forge").expect("the origin's path");
    let outside = TcpStream::connect(address).await;
    assert!(outside.is_err(), "it is in the child's own network");
}

#[test]
fn a_dummy_is_good_at_the_listener_of_its_own_child_and_at_no_other() {
    with_timeout(async {
        let upstream = Recorder::start().await;
        let origin = format!("origin = \"{}\"\n", upstream.root());
        let tables = format!(
            "{origin}[server.main.isolation]\nnetwork = \"egress\"\n\
             [server.open]\ncommand = \"{OBLIGING}\"\nargs = [\"$W\"]\nupstream = \"forgejo\"\n\
             isolation.level = \"none\"\n\
             env = {{ FORGE_URL = \"${{egress.base_url}}\", FORGE_TOKEN = \"${{egress.token}}\" }}\n\
             [server.open.egress]\n{origin}"
        );
        let deployment = Deployment::at_forge_by_egress(ForgeOptions::default(), "", &tables).await;
        let walled = sessions(&deployment, &["ada"]).await.remove(0);
        let application = deployment.application("/open/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let open = application.with(&tokens).open().await;
        let (address, own) = given(&open).await;
        let (_, walled) = given(&walled).await;
        let asked = async |dummy: &str| {
            status(&address, "/a", &format!("authorization: Bearer {dummy}\r\n")).await
        };
        assert_eq!((asked(&own).await, asked(&walled).await), (200, 401));
        assert_eq!(upstream.requests().len(), 1);
    });
}

#[test]
fn where_there_are_no_namespaces_a_server_whose_network_is_egress_reaches_one_port_and_no_other() {
    with_timeout(async {
        let Some(place) = Place::without_namespaces().await else { return };
        let (upstream, stranger) = (Recorder::start().await, Recorder::start().await);
        let root = upstream.root();
        let tables =
            format!("origin = \"{root}/forge\"\n[server.main.isolation]\nnetwork = \"egress\"\n");
        let deployment = Deployment::at_forge_by_egress_at(place, &tables).await;
        for session in sessions(&deployment, &["ada", "bob"]).await {
            let arguments = json!({ "path": format!("/attachments?{}", stranger.root()) });
            let got = session.call("download", arguments).await.json()["result"]["got"].clone();
            let own = json!({ "status": "200", "body": "an attachment of the forge" });
            assert_eq!(got, json!([own, { "error": "permission denied" }]));
        }
        assert!(stranger.requests().is_empty());
        let log = deployment.broker.log();
        assert!(log.contains("goes by TCP port here"), "{log}");
        let (code, told, _) = deployment.place.run(&["check"]).await;
        let words = "network egress by TCP port, which does not tell hosts apart";
        assert!(code == 0 && told.contains(words), "{told}");
    });
}

#[test]
fn a_right_that_the_upstream_misses_is_shown_to_the_person_whom_it_concerns() {
    with_timeout(async {
        let upstream = Recorder::start().await;
        let egress = format!("origin = \"{}\"\n", upstream.root());
        let deployment = Deployment::at_forge_by_egress(ForgeOptions::default(), "", &egress).await;
        let sessions = sessions(&deployment, &["ada", "bob"]).await;
        let (address, dummy) = given(&sessions[0]).await;
        let bearer = format!("authorization: Bearer {dummy}\r\n");
        for _ in 0..2 {
            assert_eq!(status(&address, "/forge/lacking", &bearer).await, 403);
        }
        let page =
            async |name: &str| deployment.account_page(&mut Browser::default(), name).await.seen();
        let adas = page("ada").await;
        assert!(adas.contains("write:user") && adas.contains("(2 times)"), "{adas}");
        assert!(!page("bob").await.contains("write:user"));
        let metric = "mcp_broker_egress_lacking_rights_total{server=\"main\"}";
        assert_eq!(crate::harness::metric(deployment.client(), metric).await, 2);
        let value: Value = sessions[0].call("echo", json!({})).await.json();
        assert!(value["result"].is_object(), "it is no reason to sign in again: {value}");
    });
}

#[test]
fn a_token_of_the_users_own_stays_in_the_broker_too_and_goes_out_as_the_upstream_wants_it() {
    const TOKEN: &str = "token-from-elsewhere-5d2c";
    with_timeout(async {
        let upstream = Recorder::start().await;
        let tables = format!(
            "[server.notes]\ncommand = \"{OBLIGING}\"\nargs = [\"$W\"]\nupstream = \"user\"\n\
             isolation.network = \"any\"\n\
             env = {{ FORGE_URL = \"${{egress.base_url}}\", FORGE_TOKEN = \"${{egress.token}}\" }}\n\
             [server.notes.egress]\norigin = \"{}\"\nstyle = \"private-token\"\n",
            upstream.root()
        );
        let deployment = Deployment::of(&["ada"], "", &tables).await;
        let application = deployment.application("/notes/mcp").await;
        let mut browser = Browser::default();
        let tokens = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        let account = deployment.account_page(&mut browser, "ada").await;
        browser.press(&account, ("action", "set_token"), &[("token", TOKEN)]).await;
        let session = application.with(&tokens).open().await;
        assert!(!environment(&session).await.to_string().contains(TOKEN));
        let (address, dummy) = given(&session).await;
        let query = format!("/forge/lacking?access_token={dummy}");
        assert_eq!(status(&address, &query, "").await, 403);
        let asked = upstream.requests().remove(0);
        assert_eq!(asked.headers["private-token"], TOKEN);
        assert!(asked.target == "/forge/lacking" && !asked.headers.contains_key("authorization"));
        let account = deployment.account_page(&mut browser, "ada").await;
        assert!(account.seen().contains("write:user"), "{}", account.seen());
    });
}
