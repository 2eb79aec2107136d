//! What is taken back is dead within seconds, whoever takes it back and wherever.

use sqlx::Executor;
use tokio::time::{Duration, Instant};

use super::deployment::{Deployment, child};
use crate::{
    application::{Application, Tokens, refusal},
    browser::Browser,
    harness::{is_alive, until_so, with_timeout, within_turns},
    store_harness::stranger,
    wire::{Client, PING, TIMEOUT, Wire, call},
};

/// Ada at work: her application, its tokens, a session, and the child behind it.
struct Work {
    application: Application,
    browser: Browser,
    tokens: Tokens,
    session: Client,
    child: u32,
}

async fn work(deployment: &Deployment) -> Work {
    let application = deployment.application("/mcp").await;
    let mut browser = Browser::default();
    let tokens = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
    let session = application.with(&tokens).open().await;
    let child = child(&session).await;
    Work { application, browser, tokens, session, child }
}

impl Work {
    /// The token is refused, the child is gone, and nothing renews the token.
    async fn is_over(&self) {
        let is_over = async || self.session.post(PING).await.status == 401 && !is_alive(self.child);
        within_turns(Duration::from_secs(5), "the token is refused and the child is gone", is_over)
            .await;
        let refreshed = self.application.refresh(&self.tokens.refresh).await;
        let (status, code) = refusal(&refreshed);
        // A client that was removed is not known any more.
        let expected = [(400, "invalid_grant"), (401, "invalid_client")];
        assert!(expected.contains(&(status, code.as_str())), "{refreshed:?}");
    }
}

async fn run(deployment: &Deployment, args: &[&str]) -> serde_json::Value {
    let (code, out, told) = deployment.place.run(args).await;
    assert_eq!(code, 0, "{told}");
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out}"))
}

#[test]
fn a_refresh_token_given_back_ends_the_session() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let ada = work(&deployment).await;
        let other = Application::connect_as(deployment.client(), "/mcp", "Another tool").await;
        let tokens = deployment.sign_in(&other, "ada").await;
        let other = other.with(&tokens).open().await;
        assert_eq!(ada.application.revoke("mcpr_unknown").await.status, 200);
        assert!(ada.session.is_alive().await);
        assert_eq!(ada.application.revoke(&ada.tokens.refresh).await.status, 200);
        ada.is_over().await;
        assert!(other.is_alive().await, "another client of hers goes on");
    });
}

/// Another sign-in of hers with the same application.
async fn again(deployment: &Deployment, ada: &Work) -> Tokens {
    let mut browser = Browser::default();
    deployment.sign_in_with(&mut browser, &ada.application, "ada", &[]).await
}

/// A call of this session that answers when the witness releases it, once the child has it.
async fn waits(deployment: &Deployment, session: &Client) -> Wire {
    let call = session.send("POST", call("7", "wait", &serde_json::json!({}))).await;
    let witness = &deployment.place.witness;
    until_so("the child has the call", async || witness.read().contains("\"wait\"")).await;
    call
}

#[test]
fn a_revoked_grant_leaves_no_stream_and_no_call_to_a_session_that_another_grant_opened() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let ada = work(&deployment).await;
        let stolen = again(&deployment, &ada).await;
        let thief = ada.session.bearer(&stolen.access);
        let mut stream = thief.listen().await;
        let mut call = waits(&deployment, &thief).await;
        assert_eq!(ada.application.revoke(&stolen.refresh).await.status, 200);
        while stream.event().await.is_some() {}
        let answer = call.answer().await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
        assert_eq!(thief.post(PING).await.status, 401);
        let witness = &deployment.place.witness;
        let is_told = async || witness.read().contains("notifications/cancelled");
        until_so("the child hears of it", is_told).await;
        assert!(ada.session.is_alive().await, "her own grant stands");
        assert!(is_alive(ada.child), "and so does what it opened");
        ada.session.listen().await;
    });
}

#[test]
fn a_session_ends_with_the_last_grant_of_its_owner_and_not_with_the_one_that_opened_it() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let mut ada = work(&deployment).await;
        let second = again(&deployment, &ada).await;
        assert_eq!(ada.application.revoke(&ada.tokens.refresh).await.status, 200);
        ada.session = ada.session.bearer(&second.access);
        assert!(ada.session.is_alive().await && is_alive(ada.child), "another grant stands");
        assert_eq!(ada.application.revoke(&second.refresh).await.status, 200);
        ada.tokens = second;
        ada.is_over().await;
    });
}

#[test]
fn an_access_token_revoked_alone_ends_its_streams_and_calls_and_no_others() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let ada = work(&deployment).await;
        let refreshed = Tokens::of(&ada.application.refresh(&ada.tokens.refresh).await);
        let newer = ada.session.bearer(&refreshed.access);
        let mut call = waits(&deployment, &ada.session).await;
        let mut stream = ada.session.listen().await;
        assert_eq!(ada.application.revoke(&ada.tokens.access).await.status, 200);
        while stream.event().await.is_some() {}
        assert_eq!(call.answer().await.status, 401);
        assert_eq!(ada.session.post(PING).await.status, 401);
        assert!(newer.is_alive().await && is_alive(ada.child), "the grant lives on");
    });
}

#[test]
fn a_standalone_stream_ends_with_its_token_and_a_call_runs_to_its_answer() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "oauth.access_ttl = \"8s\"", "").await;
        let ada = work(&deployment).await;
        let mut call = waits(&deployment, &ada.session).await;
        let mut stream = ada.session.listen().await;
        let begun = Instant::now();
        while stream.event().await.is_some() {}
        assert!(begun.elapsed() < TIMEOUT, "{:?}", begun.elapsed());
        assert_eq!(ada.session.post(PING).await.status, 401, "it ended because it expired");
        deployment.place.witness.release();
        let answer = call.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let refreshed = Tokens::of(&ada.application.refresh(&ada.tokens.refresh).await);
        ada.session.bearer(&refreshed.access).listen().await;
    });
}

#[test]
fn access_removed_on_the_account_page_ends_the_session() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let mut ada = work(&deployment).await;
        let account = deployment.account_page(&mut ada.browser, "ada").await;
        let account = ada.browser.press(&account, ("action", "revoke"), &[]).await;
        assert_eq!(account.answer.status, 200, "{}", account.seen());
        assert!(!account.has_form("action", "revoke"), "{}", account.seen());
        ada.is_over().await;
    });
}

#[test]
fn a_grant_revoked_by_another_process_ends_the_session() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let ada = work(&deployment).await;
        let grants = run(&deployment, &["grant", "list", "--json"]).await;
        assert_eq!(grants.as_array().map(Vec::len), Some(1), "{grants}");
        run(&deployment, &["grant", "revoke", grants[0]["id"].as_str().unwrap(), "--json"]).await;
        ada.is_over().await;
    });
}

#[test]
fn a_client_removed_by_another_process_ends_the_session() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let ada = work(&deployment).await;
        let removed = run(&deployment, &["client", "remove", &ada.application.id, "--json"]).await;
        assert_eq!(removed["revoked"], 1, "{removed}");
        ada.is_over().await;
    });
}

#[test]
fn a_client_of_thousands_is_removed_and_nobody_keeps_a_session() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let ada = work(&deployment).await;
        // They sort before hers, and are revoked in the same second.
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
                   INSERT INTO grants SELECT '!' || i, client, client_name, issuer, subject, \
                   display_name, provider, resource, scope, created, refreshed, revoked, ends \
                   FROM grants, n";
        let mut database = stranger(&deployment.place.path().join("data")).await;
        database.execute(sql).await.unwrap();
        let removed = run(&deployment, &["client", "remove", &ada.application.id, "--json"]).await;
        assert_eq!(removed["revoked"], 2001, "{removed}");
        ada.is_over().await;
    });
}

#[test]
fn a_user_removed_by_another_process_is_signed_out_everywhere() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada", "bob"], "", "").await;
        let mut ada = work(&deployment).await;
        let bob = deployment.sign_in(&ada.application, "bob").await;
        let bob = ada.application.with(&bob).open().await;
        run(&deployment, &["user", "remove", "ada", "--json"]).await;
        ada.is_over().await;
        let page = ada.browser.open(&format!("{}/account", deployment.root())).await;
        assert_eq!(page.url.path(), "/login", "her browser as well: {}", page.seen());
        assert!(bob.is_alive().await, "bob goes on");
    });
}

#[test]
fn a_new_password_ends_what_was_connected_with_the_old_one() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let ada = work(&deployment).await;
        let passwd = async |more: &[&str]| {
            let args = [&["user", "passwd", "ada", "--json"], more].concat();
            let (code, out, told) = deployment.place.run_with(&args, "another-password\n").await;
            assert_eq!(code, 0, "{told}");
            serde_json::from_str::<serde_json::Value>(&out).expect("JSON")
        };
        let kept = passwd(&["--keep-grants"]).await;
        assert_eq!((&kept["changed"], &kept["revoked"]), (&true.into(), &0.into()));
        assert!(ada.session.is_alive().await, "the operator said so");
        let changed = passwd(&[]).await;
        assert_eq!((&changed["changed"], &changed["revoked"]), (&true.into(), &1.into()));
        ada.is_over().await;
    });
}

#[test]
fn a_redeemed_code_in_other_hands_ends_what_came_of_it() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let consent = browser.open(&application.question(&[])).await;
        let code = deployment.approve(&mut browser, &consent, "ada").await.code();
        let tokens = Tokens::of(&application.redeem(&code).await);
        let session = application.with(&tokens).open().await;
        let child = child(&session).await;
        let repeated = application.redeem(&code).await;
        assert_eq!(refusal(&repeated), (400, "invalid_grant".to_owned()));
        assert!(session.is_alive().await, "its own client may have sent it twice");
        let other = Application::connect_as(deployment.client(), "/mcp", "Another tool").await;
        assert_ne!(other.id, application.id);
        let stolen = other.redeem(&code).await;
        assert_eq!(refusal(&stolen), (400, "invalid_grant".to_owned()));
        Work { application, browser, tokens, session, child }.is_over().await;
    });
}

#[test]
fn of_fifty_racing_redemptions_one_wins_and_its_token_lives() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let consent = browser.open(&application.question(&[])).await;
        let code = deployment.approve(&mut browser, &consent, "ada").await.code();
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("code_verifier", crate::application::VERIFIER),
        ];
        let mut racing = Vec::new();
        for _ in 0..50 {
            racing.push(application.send("token_endpoint", &fields).await);
        }
        let mut won = Vec::new();
        for mut wire in racing {
            let answer = wire.answer().await;
            if answer.status == 200 {
                won.push(Tokens::of(&answer));
            } else {
                assert_eq!(refusal(&answer), (400, "invalid_grant".to_owned()));
            }
        }
        let [tokens] = &won[..] else { panic!("{} redemptions won", won.len()) };
        assert!(application.with(tokens).open().await.is_alive().await);
    });
}

#[test]
fn a_refresh_token_that_comes_again_after_the_grace_ends_the_session() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "oauth.refresh_grace = \"0s\"", "").await;
        let mut ada = work(&deployment).await;
        let first = ada.tokens.clone();
        ada.tokens = Tokens::of(&ada.application.refresh(&first.refresh).await);
        assert!(ada.session.bearer(&ada.tokens.access).is_alive().await);
        let reused = ada.application.refresh(&first.refresh).await;
        assert_eq!(refusal(&reused), (400, "invalid_grant".to_owned()));
        ada.session = ada.session.bearer(&ada.tokens.access);
        ada.is_over().await;
    });
}

#[test]
fn fifty_racing_refreshes_get_the_same_successor() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let ada = work(&deployment).await;
        let fields = [("grant_type", "refresh_token"), ("refresh_token", &*ada.tokens.refresh)];
        let mut racing = Vec::new();
        for _ in 0..50 {
            racing.push(ada.application.send("token_endpoint", &fields).await);
        }
        let mut successors = std::collections::BTreeSet::new();
        for mut wire in racing {
            let tokens = Tokens::of(&wire.answer().await);
            successors.insert((tokens.access, tokens.refresh));
        }
        assert_eq!(successors.len(), 1, "{successors:?}");
        let (access, _) = successors.pop_first().unwrap();
        assert!(ada.session.bearer(&access).is_alive().await, "on the same session");
    });
}
