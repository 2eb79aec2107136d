//! What a hostile child may try, against an upstream that remembers everything it is asked.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;

use super::{by_hand::ByHand, given, raw, recorder::Recorder, sessions, size, status};
use crate::{
    harness::{until_so, with_timeout, within},
    people::{deployment::Deployment, forge::ForgeOptions},
    wire::Client,
};

/// Ada's and Bob's sessions at a server whose upstream is a recorder, below the path `/forge`.
async fn before(recorder: &Recorder, more: &str) -> (Deployment, Vec<Client>) {
    let egress = format!("origin = \"{}/forge\"\n{more}", recorder.root());
    let deployment = Deployment::at_forge_by_egress(ForgeOptions::default(), "", &egress).await;
    let sessions = sessions(&deployment, &["ada", "bob"]).await;
    (deployment, sessions)
}

/// The child's address without the path, and its dummy.
async fn dummy(session: &Client) -> (String, String) {
    let (address, dummy) = given(session).await;
    (address.strip_suffix("/forge").expect("the path of the origin").to_owned(), dummy)
}

/// The person's token, as the upstream sees it.
async fn token(recorder: &Recorder, session: &Client) -> String {
    let (address, dummy) = dummy(session).await;
    let bearer = format!("authorization: Bearer {dummy}\r\n");
    assert_eq!(status(&address, "/forge/token", &bearer).await, 200);
    recorder.requests().last().expect("it was asked").token()
}

#[test]
fn a_hostile_child_reaches_nothing_but_its_upstream_and_carries_no_other_persons_token() {
    with_timeout(async {
        let recorder = Recorder::start().await;
        let stranger = ByHand::start().await;
        let elsewhere = stranger.address;
        let (_deployment, sessions) = before(&recorder, "max_rate = 0\n").await;
        let own = token(&recorder, &sessions[0]).await;
        let bobs = token(&recorder, &sessions[1]).await;
        assert_ne!(own, bobs);
        let ((address, dummy), (_, other)) = (dummy(&sessions[0]).await, dummy(&sessions[1]).await);
        let before = recorder.requests().len();
        let auth = format!("authorization: Bearer {dummy}\r\n");
        let smuggled = format!("GET /forge/smuggled HTTP/1.1\r\nhost: x\r\n{auth}\r\n");
        let close = "connection: close\r\n";
        for request in [
            format!(
                "GET http://{elsewhere}/forge HTTP/1.1\r\nhost: {elsewhere}\r\n{auth}{close}\r\n"
            ),
            format!("CONNECT {elsewhere} HTTP/1.1\r\nhost: {elsewhere}\r\n{auth}{close}\r\n"),
            format!("TRACE /forge HTTP/1.1\r\nhost: {address}\r\n{auth}{close}\r\n"),
            format!("GET /forge/../admin HTTP/1.1\r\nhost: {address}\r\n{auth}{close}\r\n"),
            format!("GET /forge/%2e%2e/admin HTTP/1.1\r\nhost: {address}\r\n{auth}{close}\r\n"),
            format!("GET //{elsewhere}/forge HTTP/1.1\r\nhost: {address}\r\n{auth}{close}\r\n"),
            format!("GET @{elsewhere}/forge HTTP/1.1\r\nhost: {address}\r\n{auth}{close}\r\n"),
            format!(
                "GET /forge HTTP/1.1\r\nhost: {address}\r\n{auth}private-token: {other}\r\n{close}\r\n"
            ),
            format!("GET /forge?token={other} HTTP/1.1\r\nhost: {address}\r\n{auth}{close}\r\n"),
            // Two lengths, or a length and chunks, or chunks by another name.
            format!(
                "POST /forge/a HTTP/1.1\r\nhost: {address}\r\n{auth}content-length: 5\r\ncontent-length: 6\r\n{close}\r\nabcde{smuggled}"
            ),
            format!(
                "POST /forge/a HTTP/1.1\r\nhost: {address}\r\n{auth}transfer-encoding: xchunked\r\n{close}\r\n0\r\n\r\n{smuggled}"
            ),
            format!(
                "POST /forge/a HTTP/1.1\r\nhost: {address}\r\n{auth}transfer-encoding : chunked\r\n{close}\r\n0\r\n\r\n{smuggled}"
            ),
            format!(
                "GET /forge/a HTTP/1.1\r\nhost: {address}\r\n{auth}x: a\r\n b: c\r\n{close}\r\n"
            ),
        ] {
            let answer = raw(&address, &request).await;
            assert!(!answer.starts_with("HTTP/1.1 2"), "{request}\n{answer}");
            assert!(!answer.contains(&own) && !answer.contains(&bobs), "{request}\n{answer}");
        }
        let refused = recorder.requests().split_off(before);
        assert!(refused.iter().all(|own| own.target == "/forge/a"), "{refused:?}");
        assert!(!refused.iter().any(|own| own.body == "abcde"), "{refused:?}");

        // What is harmless once it is taken apart arrives as one request, smuggled text as its body.
        let length = smuggled.len();
        for request in [
            format!(
                "POST /forge/b HTTP/1.1\r\nhost: {elsewhere}\r\n{auth}content-length: {length}\r\n{close}\r\n{smuggled}"
            ),
            format!(
                "POST /forge/b HTTP/1.1\r\nhost: {address}\r\n{auth}transfer-encoding: chunked\r\n{close}\r\n{length:x};a=b\r\n{smuggled}\r\n0\r\nx-trailer: 1\r\n\r\n"
            ),
            format!(
                "POST /forge/b HTTP/1.1\r\nhost: {address}\r\n{auth}content-length: {length}\r\nupgrade: h2c\r\nconnection: upgrade, close, host\r\nx-forwarded-host: {elsewhere}\r\n\r\n{smuggled}"
            ),
        ] {
            let before = recorder.requests().len();
            let answer = raw(&address, &request).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{request}\n{answer}");
            let asked = recorder.requests().split_off(before);
            assert_eq!(asked.len(), 1, "{asked:?}");
            assert_eq!((&*asked[0].target, &*asked[0].body), ("/forge/b", smuggled.as_bytes()));
            let mut names: Vec<_> = asked[0].headers.keys().map(|name| name.as_str()).collect();
            names.retain(|name| !["content-length", "transfer-encoding"].contains(name));
            names.sort_unstable();
            assert_eq!(names, ["accept-encoding", "authorization", "host"], "{asked:?}");
        }
        for asked in recorder.requests().split_off(before) {
            assert_eq!(asked.token(), own, "{asked:?}");
            assert_eq!(asked.headers["host"], recorder.address.to_string(), "{asked:?}");
        }
        assert!(!stranger.was_reached().await, "another host was reached");
    });
}

#[test]
fn generated_requests_reach_the_upstream_below_its_path_with_their_own_token_or_nothing() {
    within(Duration::from_mins(5), generated(size(400, 10_000)));
}

/// Sends as many requests, of pieces that are harmless or not.
async fn generated(count: usize) {
    let recorder = Recorder::start().await;
    let (_deployment, sessions) = before(&recorder, "max_rate = 0\n").await;
    let own = token(&recorder, &sessions[0]).await;
    let (address, dummy) = dummy(&sessions[0]).await;
    let before = recorder.requests().len();
    let pieces =
        ["/forge", "/", "..", "%2e%2e", "%2f", "?", "&token=", &dummy, "http://x", "a", ";"];
    let lines = [
        format!("authorization: token {dummy}\r\n"),
        format!("private-token: {dummy}\r\n"),
        format!("x-more: {dummy}\r\n"),
        "connection: authorization\r\n".to_owned(),
        "host: elsewhere.example\r\n".to_owned(),
        "authorization: Bearer other\r\n".to_owned(),
        String::new(),
    ];
    let mut state = 0x9e37_79b9_u32;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        usize::try_from(state).expect("32 bits") % below
    };
    let mut statuses = BTreeSet::new();
    for _ in 0..count {
        let start = ["/forge/", "/forge", "/"][draw(3)];
        let path: String = (0..draw(5)).map(|_| pieces[draw(pieces.len())]).collect();
        let headers: String = (0..draw(4)).map(|_| &*lines[draw(lines.len())]).collect();
        statuses.insert(status(&address, &format!("{start}{path}"), &headers).await);
    }
    let asked = recorder.requests().split_off(before);
    assert!(asked.len() > 20, "some are forwarded: {} {statuses:?}", asked.len());
    for asked in asked {
        assert_eq!(asked.token(), own, "{asked:?}");
        let path = asked.target.split('?').next().unwrap_or_default();
        assert!(path == "/forge" || path.starts_with("/forge/"), "{asked:?}");
        assert!(!format!("{asked:?}").contains(&dummy), "{asked:?}");
    }
}

#[test]
fn a_redirect_is_handed_to_the_child_and_not_followed() {
    with_timeout(async {
        let recorder = Recorder::start().await;
        let stranger = ByHand::start().await;
        let elsewhere = stranger.address;
        let (_deployment, sessions) = before(&recorder, "").await;
        let (address, dummy) = dummy(&sessions[0]).await;
        let request = format!(
            "GET /forge/redirect?http://{elsewhere}/x HTTP/1.1\r\nhost: {address}\r\n\
             private-token: {dummy}\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(&address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
        assert!(answer.contains(&format!("location: http://{elsewhere}/x\r\n")), "{answer}");
        assert_eq!(recorder.requests().len(), 1);
        assert!(!stranger.was_reached().await, "the redirect was followed");
    });
}

#[test]
fn the_upstreams_own_address_in_an_answer_becomes_the_childs_and_others_stay() {
    with_timeout(async {
        let recorder = Recorder::start().await;
        let (_deployment, sessions) = before(&recorder, "").await;
        let (address, dummy) = dummy(&sessions[0]).await;
        let request = |path: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n\
                 connection: close\r\n\r\n"
            )
        };
        let answer = raw(&address, &request("/forge/addresses")).await;
        let upstream = recorder.address;
        assert!(answer.contains(&format!("\"own\":\"http://{address}/forge/a\"")), "{answer}");
        let other = format!("\"other\":\"http://{upstream}.elsewhere.example/\"");
        assert!(answer.contains(&other), "{answer}");
        assert!(answer.contains(&format!("<http://{address}/forge/b>; rel=\"next\"")), "{answer}");
        let later = raw(&address, &request("/forge/later")).await;
        assert!(later.starts_with("HTTP/1.1 429") && later.contains("retry-after: 7"), "{later}");
    });
}

#[test]
fn a_token_that_the_upstream_takes_no_more_is_renewed_once_and_the_request_repeated() {
    with_timeout(async {
        let recorder = Recorder::start().await;
        let (deployment, sessions) = before(&recorder, "").await;
        let first = token(&recorder, &sessions[0]).await;
        let (address, dummy) = dummy(&sessions[0]).await;
        deployment.forge().state().forget_access_tokens();
        recorder.refuse(&first);
        let before = recorder.requests().len();
        let short = "b".repeat(60_000);
        let request = format!(
            "POST /forge/body HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{short}",
            short.len()
        );
        let answer = raw(&address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{}", &answer[..200.min(answer.len())]);
        let asked = recorder.requests().split_off(before);
        let tokens: Vec<String> = asked.iter().map(super::recorder::Recorded::token).collect();
        assert_eq!((tokens.len(), &tokens[0]), (2, &first), "once, and once more");
        assert_ne!(tokens[1], first, "with the renewed one");
        assert!(asked.iter().all(|own| own.body == short), "with the same body");

        // One that is refused for another reason is no reason to renew anything.
        recorder.refuse(&tokens[1]);
        let renewals = deployment.forge().state().counters.token_calls;
        let bearer = format!("authorization: Bearer {dummy}\r\n");
        assert_eq!(status(&address, "/forge/again", &bearer).await, 401);
        assert_eq!(deployment.forge().state().counters.token_calls, renewals);
        sessions[0].call("echo", json!({})).await;
        until_so("it serves on", async || sessions[0].call("echo", json!({})).await.status == 200)
            .await;
    });
}
