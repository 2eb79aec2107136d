//! Bad days: slow and hung answers, other people's error pages, lost answers, wrong clocks.

use http::{Method, StatusCode};

use super::{FORM, ask, forge, form, get, post, refresh, sign_in, text};
use crate::forge::{Fault, Forge, ForgeOptions};

async fn try_refresh(forge: &Forge, refresh_token: &str) -> Option<StatusCode> {
    let body = form(&[
        ("grant_type", "refresh_token"),
        ("client_id", "broker"),
        ("client_secret", "hush"),
        ("refresh_token", refresh_token),
    ]);
    let reply = ask(forge, Method::POST, "/login/oauth/access_token", &[FORM], &body).await;
    reply.map(|reply| reply.status)
}

#[tokio::test]
async fn a_lost_answer_is_a_lost_chain() {
    let forge = forge(ForgeOptions::default()).await;
    let kept = text(&sign_in(&forge, "ada", "").await, "refresh_token");
    forge
        .change_options(|options| options.token_faults = vec![Fault::DropBefore, Fault::DropAfter]);
    assert_eq!(try_refresh(&forge, &kept).await, None);
    assert!(forge.counters().refreshes.is_empty(), "nothing was done");
    assert_eq!(try_refresh(&forge, &kept).await, None);
    assert_eq!(forge.counters().refreshes["ada"], 1, "it was done, and nobody knows the result");
    refresh(&forge, &kept).await.refused("unauthorized_client", "token was already used");
}

#[tokio::test]
async fn a_proxy_answers_in_html_and_nothing_happens() {
    let forge = forge(ForgeOptions::default()).await;
    let kept = text(&sign_in(&forge, "ada", "").await, "refresh_token");
    forge.change_options(|options| {
        options.token_faults = vec![Fault::BadGateway, Fault::Unavailable, Fault::TooMany];
    });
    for status in [502, 503, 429] {
        let reply = refresh(&forge, &kept).await;
        assert_eq!(reply.status.as_u16(), status);
        assert!(reply.header("content-type").starts_with("text/html"));
        assert_eq!(reply.header("retry-after").is_empty(), status == 502);
    }
    assert_eq!(refresh(&forge, &kept).await.status, StatusCode::OK);
    assert_eq!(forge.counters().token_calls, 5);
}

#[tokio::test]
async fn a_hung_request_ends_when_it_is_let_go() {
    let forge = forge(ForgeOptions::default()).await;
    let kept = text(&sign_in(&forge, "ada", "").await, "refresh_token");
    forge.change_options(|options| options.token_faults = vec![Fault::Hang]);
    let hung = try_refresh(&forge, &kept);
    tokio::pin!(hung);
    // Until it has come in, there is nothing to let go of.
    loop {
        tokio::select! {
            done = &mut hung => panic!("it did not hang: {done:?}"),
            () = tokio::task::yield_now() => {}
        }
        if forge.state().options.token_faults.is_empty() {
            break;
        }
    }
    forge.release();
    assert_eq!(hung.await, Some(StatusCode::BAD_GATEWAY));
    assert!(forge.counters().refreshes.is_empty());
}

#[tokio::test]
async fn an_access_token_ends_when_the_forge_s_clock_says_so() {
    let forge = forge(ForgeOptions { access_ttl: 2, ..ForgeOptions::default() }).await;
    let body = sign_in(&forge, "ada", "").await;
    assert_eq!(body["expires_in"], 2);
    let header = format!("token {}", text(&body, "access_token"));
    let status = async || get(&forge, "/api/v1/user", &[("authorization", &header)]).await.status;
    assert_eq!(status().await, StatusCode::OK);
    forge.change_options(|options| options.clock_skew = 3);
    assert_eq!(status().await, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&forge, &text(&body, "refresh_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn options_are_changed_over_http_and_wrong_ones_refused() {
    let forge = forge(ForgeOptions::default()).await;
    let body = "{\"access_ttl\": 3, \"token_faults\": [\"drop_after\"]}";
    let options = post(&forge, "/_test/options", &[], body).await.json();
    assert_eq!(
        (options["access_ttl"].as_i64(), options["clock_skew"].as_i64()),
        (Some(3), Some(0))
    );
    let reply = post(&forge, "/_test/options", &[], "{\"acces_ttl\": 3}").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.text().contains("acces_ttl"), "{}", reply.text());
    let counters = get(&forge, "/_test/counters", &[]).await.json();
    assert_eq!(counters["token_calls"], 0);
}
