//! What tokens are for, whichever issuer they are of and whatever a reload brings.

use std::{collections::BTreeMap, fs, sync::Arc};

use auth::{
    StaticTokenStore, TokenHash, TokenRecord, UnixTime,
    oauth::{AuthStore, AuthorizeRequest, Code, Consent, NewToken, Redeemed, User},
    testing::MemoryStore,
};

use super::{
    app::App,
    providers::audiences,
    revocations::{Grants, all_revoked_since},
};
use crate::{
    clock::Clock,
    config::{Config, Sources},
    store::Store,
};

const BASE: &str = "https://mcp.example.org";
/// Two servers, and another authorization server that knows all tokens.
const TWO: &str = "verifiers = [\"introspection\"]\n\
     [auth.introspection]\nendpoint = \"https://id.example.org/introspect\"\n\
     client_id = \"broker\"\nclient_secret = \"a secret\"\n";
const FILES_FIRST: &str = "[server.files]\ncommand = \"files\"\ndefault = true\n\
     [server.forge]\ncommand = \"forge\"\n";
const FORGE_FIRST: &str = "[server.forge]\ncommand = \"forge\"\ndefault = true\n\
     [server.files]\ncommand = \"files\"\n[server.later]\ncommand = \"later\"\n";

fn config(directory: &std::path::Path, servers: &str) -> Config {
    let file = directory.join("mcp-broker.toml");
    let data_dir = directory.join("data");
    let text = format!("public_url = \"{BASE}\"\ndata_dir = {data_dir:?}\n[auth]\n{TWO}{servers}");
    fs::write(&file, text).expect("a file");
    let environment: BTreeMap<String, String> = BTreeMap::new();
    let mut sources = Sources::new(&environment);
    sources.config = Some(file);
    Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).config
}

async fn app(config: Config) -> Arc<App> {
    let environment: BTreeMap<String, String> = BTreeMap::new();
    App::start(config, Arc::new(environment), BASE, Clock::new(auth::testing::now))
        .await
        .expect("it starts")
}

#[tokio::test]
async fn a_token_of_another_issuer_for_one_server_is_not_for_the_other_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = config(directory.path(), FILES_FIRST);
    let app = app(config.clone()).await;
    assert!(app.access.people().is_none(), "sign-in is off");
    for (claim, server) in [("/mcp", "files"), ("/files/mcp", "files"), ("/forge/mcp", "forge")] {
        let rules = audiences(&config, BASE);
        let claim = format!("{BASE}{claim}");
        let rule = rules.iter().find(|rule| rule.claim == claim).expect("each address has a rule");
        for other in ["files", "forge"] {
            let covered = rule.covers.covers(app.access.resource(other));
            assert_eq!(covered, other == server, "{claim} at {other}");
        }
    }
}

#[tokio::test]
async fn a_reload_neither_adds_a_server_nor_makes_another_one_the_default() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = app(config(directory.path(), FILES_FIRST)).await;
    let changes = app.reload(&config(directory.path(), FORGE_FIRST));
    let later = changes.iter().find(|change| change.key == "server.later").expect("it is reported");
    assert!(!later.applied);
    let state = app.state();
    assert!(state.server_at("/later/mcp").is_none(), "what is not laid out is not served");
    let default = state.server_at("/mcp").expect("a default server");
    assert_eq!(&*default.name, "files");
}

#[tokio::test]
async fn what_was_allowed_at_one_default_server_is_not_allowed_at_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let first =
        app(config(directory.path(), FILES_FIRST)).await.access.resource("files").to_owned();
    let next = app(config(directory.path(), FORGE_FIRST)).await;
    assert_ne!(first, next.access.resource("forge"));
    assert_eq!(first, next.access.resource("files"), "and stays allowed where it was");
}

#[tokio::test]
async fn revoked_static_tokens_are_swept_also_where_nobody_signs_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = config(directory.path(), FILES_FIRST);
    let hash = TokenHash::of("mcpb_of-ada");
    let store = Store::open(&config.data_dir).await.expect("it opens");
    let long_ago = UnixTime(1);
    let record = TokenRecord {
        id: "t1".into(),
        name: "ada".into(),
        sha256: hash,
        created: long_ago,
        expires: None,
        revoked: None,
    };
    store.add_static_token(record, long_ago).await.expect("the store answers");
    store.revoke_static_token("t1", long_ago).await.expect("the store answers");
    let app = app(config).await;
    assert!(app.access.people().is_none(), "no client signs in here");
    let swept = async {
        while store.static_token(&hash).await.expect("the store answers").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), swept).await.expect("it is swept");
}

/// A grant of its own, taken back at `now`.
async fn revoked(store: &MemoryStore, n: usize, now: UnixTime) {
    let user = User {
        issuer: "https://forge.example".into(),
        subject: n.to_string(),
        display_name: "Ada".into(),
        provider: "forge".into(),
    };
    let request = AuthorizeRequest {
        client: "popular".into(),
        client_name: "Popular".into(),
        redirect_uri: "https://client.example/cb".into(),
        state: None,
        challenge: "c".repeat(43),
        resource: format!("{BASE}/files/mcp"),
        scope: "mcp".into(),
        refreshes: false,
        reauthenticate: false,
    };
    let consent = Consent::of(&user, &request, now);
    let hash = TokenHash::of(&n.to_string());
    let grant_id = format!("family-{n}");
    let code = Code {
        hash,
        grant_id,
        user,
        request,
        issued: now,
        expires: UnixTime(now.0 + 60),
        used: false,
    };
    store.issue_code(code, consent).await.expect("the store answers");
    let access =
        NewToken { hash: TokenHash::of(&format!("access-{n}")), expires: UnixTime(now.0 + 60) };
    let redeemed = store.redeem_code(&hash, access, None, now).await.expect("the store answers");
    assert!(matches!(redeemed, Redeemed::Fresh(_)));
}

#[tokio::test]
async fn a_client_that_is_removed_takes_the_sessions_of_all_its_users_along() {
    let (store, now) = (MemoryStore::new(), UnixTime(1_800_000_000));
    for n in 0..1201 {
        revoked(&store, n, now).await;
    }
    assert_eq!(store.remove_client("popular", now).await.expect("the store answers").len(), 1201);
    let heard = all_revoked_since(&Grants(Arc::new(store)), now).await.expect("the store answers");
    assert_eq!(heard.len(), 1201, "all in one second, and none is missed");
}
