//! Requests and answers whose ends two readers may see at different places, and what must not come of it.

use tokio::{io::AsyncReadExt, time::timeout};

use super::{
    by_hand::ByHand, given, raw, raw_child::RawChild, recorder::Recorder, scripted::Scripted,
    sessions,
};
use crate::{
    harness::with_timeout,
    people::{deployment::Deployment, forge::ForgeOptions},
    wire::TIMEOUT,
};

/// What has to come of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The upstream is told nothing that it could take for a whole request.
    Refused(u16),
    /// The upstream sees one request with this body.
    Body(&'static str),
    /// It sees this one, and what is behind it as another one of the same child.
    Both(&'static str),
}

#[test]
fn a_request_has_one_end_and_what_is_behind_it_is_the_childs_own_next_one() {
    use Expected::{Body, Both, Refused};
    with_timeout(async {
        let recorder = Recorder::start().await;
        let child = RawChild::of(&format!("{}/forge", recorder.root())).await;
        let dummy = &child.dummy;
        let auth = format!("authorization: Bearer {dummy}\r\n");
        let next = child.request("GET /forge/next", "connection: close\r\n\r\n");
        let posted = |headers: &str, body: &str| {
            child.request("POST /forge/p", &format!("{headers}\r\n{body}"))
        };
        let chunked =
            |body: &str| posted("transfer-encoding: chunked\r\nconnection: close\r\n", body);
        let long = |length| "e".repeat(length);
        let mut unexpected = Vec::new();
        for (what, request, expected) in [
            (
                "a length and chunks: the chunks count, and nothing is read behind them",
                posted(
                    "content-length: 5\r\ntransfer-encoding: chunked\r\n",
                    &format!("2\r\nab\r\n0\r\n\r\n{next}"),
                ),
                Body("ab"),
            ),
            (
                "chunks and a length by another name",
                posted(
                    "transfer-encoding: chunked\r\ncontent_length: 50\r\n",
                    &format!("2\r\nab\r\n0\r\n\r\n{next}"),
                ),
                Both("ab"),
            ),
            (
                "a length and chunks by another name",
                posted("content-length: 2\r\ntransfer_encoding: chunked\r\n", &format!("ab{next}")),
                Both("ab"),
            ),
            (
                "identity and chunked",
                posted(
                    "transfer-encoding: identity, chunked\r\nconnection: close\r\n",
                    "2\r\nab\r\n0\r\n\r\n",
                ),
                Refused(501),
            ),
            (
                "packed and chunked",
                posted(
                    "transfer-encoding: gzip, chunked\r\nconnection: close\r\n",
                    "2\r\nab\r\n0\r\n\r\n",
                ),
                Refused(501),
            ),
            (
                "chunked in two headers",
                posted(
                    "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\nconnection: close\r\n",
                    "2\r\nab\r\n0\r\n\r\n",
                ),
                Refused(501),
            ),
            (
                "chunks in HTTP/1.0",
                format!(
                    "POST /forge/p HTTP/1.0\r\n{auth}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
                ),
                Refused(400),
            ),
            (
                "the same length twice",
                posted("content-length: 2\r\ncontent-length: 2\r\n", &format!("ab{next}")),
                Both("ab"),
            ),
            (
                "a length beyond all numbers",
                posted("content-length: 99999999999999999999\r\n", "ab"),
                Refused(400),
            ),
            ("a negative length", posted("content-length: -2\r\n", "ab"), Refused(400)),
            ("a size in the C form", chunked("0x2\r\nab\r\n0\r\n\r\n"), Refused(400)),
            ("a size with a sign", chunked("+2\r\nab\r\n0\r\n\r\n"), Refused(400)),
            ("a size beyond all numbers", chunked("fffffffffffffffff2\r\nab\r\n"), Refused(400)),
            ("a size with a line feed alone", chunked("2\nab\r\n0\r\n\r\n"), Refused(400)),
            ("a chunk that is longer", chunked("2\r\nabc\r\n0\r\n\r\n"), Refused(400)),
            ("an extension", chunked("2;a=b\r\nab\r\n0;c\r\n\r\n"), Body("ab")),
            (
                "an extension of 15 KiB",
                chunked(&format!("2;{}\r\nab\r\n0\r\n\r\n", long(15_000))),
                Body("ab"),
            ),
            (
                "an extension of 1 MiB",
                chunked(&format!("2;{}\r\nab\r\n0\r\n\r\n", long(1 << 20))),
                Refused(400),
            ),
            (
                "an extension with a line feed alone",
                chunked(&format!("2;a\nab\r\n0\r\n\r\n{next}")),
                Refused(400),
            ),
            (
                "trailers that name the token",
                chunked(&format!("2\r\nab\r\n0\r\n{auth}private-token: {dummy}\r\n\r\n")),
                Body("ab"),
            ),
            (
                "a trailer of 1 MiB",
                chunked(&format!("2\r\nab\r\n0\r\nx: {}\r\n\r\n", long(1 << 20))),
                Refused(400),
            ),
            (
                "a carriage return alone in a value",
                posted("x: a\rb\r\ncontent-length: 0\r\n", ""),
                Refused(400),
            ),
            (
                "a carriage return alone for the end of a line",
                posted("x: a\rcontent-length: 0\r\n", ""),
                Refused(400),
            ),
            (
                "blank lines before a request",
                format!("\r\n\r\n{}", posted("content-length: 2\r\nconnection: close\r\n", "ab")),
                Body("ab"),
            ),
            ("a blank in the target", child.request("GET /forge/a b", "\r\n"), Refused(400)),
            (
                "another version",
                format!("GET /forge/a HTTP/1.2\r\nhost: x\r\n{auth}\r\n"),
                Refused(400),
            ),
            (
                "a method with a blank before it",
                child.request(" GET /forge/a", "\r\n"),
                Refused(400),
            ),
            (
                "a body of a GET",
                child.request("GET /forge/a", &format!("content-length: 2\r\n\r\nab{next}")),
                Both("ab"),
            ),
            (
                "two tokens in one line",
                format!(
                    "GET /forge/a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {dummy}, Bearer x\r\n\
                     connection: close\r\n\r\n"
                ),
                Refused(401),
            ),
            (
                "a token behind a semicolon",
                format!(
                    "GET /forge/a?b=c;access_token={dummy} HTTP/1.1\r\nhost: x\r\n\
                     connection: close\r\n\r\n"
                ),
                Refused(401),
            ),
            (
                "a value that is no ASCII",
                posted("x: \u{e9}\r\ncontent-length: 2\r\nconnection: close\r\n", "ab"),
                Body("ab"),
            ),
        ] {
            let before = recorder.requests().len();
            let answer = child.raw(&request).await;
            let asked = recorder.requests().split_off(before);
            let shown = &request[..request.len().min(600)];
            let told = format!("{what}\n{shown}\n{answer}\n{asked:?}");
            let code = answer.split(' ').nth(1).unwrap_or("none");
            let bodies: Vec<&[u8]> = asked.iter().map(|own| &*own.body).collect();
            let is_so = match expected {
                Refused(status) => code == status.to_string() && asked.is_empty(),
                Body(body) => bodies == [body.as_bytes()],
                Both(body) => bodies == [body.as_bytes(), b""] && asked[1].target == "/forge/next",
            };
            if !is_so {
                unexpected.push(told.clone());
            }
            for asked in asked {
                asked.token();
                let both = ["content-length", "transfer-encoding"];
                let both = both.iter().all(|name| asked.headers.contains_key(*name));
                assert!(!both && !asked.headers.contains_key("private-token"), "{told}");
                assert!(!asked.headers.keys().any(|name| name.as_str().contains('_')), "{told}");
            }
        }
        assert!(unexpected.is_empty(), "{}", unexpected.join("\n\n"));
    });
}

#[test]
fn an_expectation_is_met_when_the_body_is_wanted_and_a_refusal_wants_none() {
    with_timeout(async {
        let recorder = Recorder::start().await;
        let child = RawChild::of(&recorder.root()).await;
        let request = child.request("POST /p", "expect: 100-continue\r\ncontent-length: 2\r\n\r\n");
        for (token, first) in [(&*child.dummy, "HTTP/1.1 100"), ("none", "HTTP/1.1 401")] {
            let mut stream = child.send(&request.replace(&child.dummy, token)).await;
            let mut answer = [0; 12];
            let read = timeout(TIMEOUT, stream.read_exact(&mut answer)).await;
            read.expect("in time").expect("an answer");
            assert_eq!(String::from_utf8_lossy(&answer), first);
        }
    });
}

#[test]
fn two_dummies_on_one_connection_are_two_people() {
    with_timeout(async {
        let recorder = Recorder::start().await;
        let egress = format!("origin = \"{}\"\nmax_rate = 0\n", recorder.root());
        let deployment = Deployment::at_forge_by_egress(ForgeOptions::default(), "", &egress).await;
        let sessions = sessions(&deployment, &["ada", "bob"]).await;
        let ((address, adas), (_, bobs)) = (given(&sessions[0]).await, given(&sessions[1]).await);
        let request = |path: &str, dummy: &str, more: &str| {
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {dummy}\r\n{more}\r\n")
        };
        let all = [
            request("/1", &adas, ""),
            request("/2", &bobs, ""),
            request("/3", &"0".repeat(adas.len()), ""),
            request("/4", &adas, ""),
            request("/5", &bobs, "connection: close\r\n"),
        ];
        let answer = raw(&address, &all.concat()).await;
        let statuses: Vec<&str> = answer
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|own| own.split(' ').next().unwrap_or_default())
            .collect();
        assert_eq!(statuses, ["200", "200", "401", "200", "200"], "{answer}");
        let asked = recorder.requests();
        let targets: Vec<&str> = asked.iter().map(|own| &*own.target).collect();
        assert_eq!(targets, ["/1", "/2", "/4", "/5"]);
        let tokens: Vec<String> = asked.iter().map(super::recorder::Recorded::token).collect();
        assert_ne!(tokens[0], tokens[1]);
        assert_eq!((&tokens[0], &tokens[1]), (&tokens[2], &tokens[3]));
    });
}

#[test]
fn a_dummy_in_a_body_is_text_like_any_other() {
    with_timeout(async {
        let recorder = Recorder::start().await;
        let child = RawChild::of(&recorder.root()).await;
        let dummy = &child.dummy;
        let part = "--b\r\ncontent-disposition: form-data; name=\"access_token\"\r\n\r\n";
        for (kind, body) in [
            ("application/json", format!("{{\"access_token\":\"{dummy}\"}}")),
            ("application/x-www-form-urlencoded", format!("access_token={dummy}")),
            ("multipart/form-data; boundary=b", format!("{part}{dummy}\r\n--b--\r\n")),
        ] {
            let rest = format!(
                "content-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let answer = child.raw(&child.request("POST /p", &rest)).await;
            let asked = recorder.requests().pop().expect("it was asked");
            assert_eq!(asked.body, body, "{kind}");
            let token = asked.token();
            assert!(token != *dummy && !answer.contains(&token), "{kind}: {answer}");
        }
    });
}

#[test]
fn an_answer_whose_end_is_not_clear_ends_nowhere_else_for_the_child() {
    with_timeout(async {
        let stranger = ByHand::start().await;
        let upstream = Scripted::start(stranger.address).await;
        let child = RawChild::of(&format!("http://{}", upstream.address)).await;
        for (line, status) in [
            ("GET /both", 200),
            ("GET /packed-chunks", 502),
            ("GET /folded", 502),
            ("GET /nul", 502),
            ("GET /bad-length", 502),
            ("GET /bare-return", 502),
            ("GET /many-hints", 200),
            ("GET /no-content", 204),
            ("GET /not-modified", 304),
            ("HEAD /head-with-a-body", 200),
        ] {
            let answer = child.ask(line, "").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
            assert!(!answer.contains("plants"), "{line}: {answer}");
            // Whatever it left behind is not the answer to the next request.
            let next = child.ask("GET /next", "").await;
            assert!(next.contains("\r\nok") && !next.contains("plants"), "{line}: {next}");
        }
        let broken = child.ask("GET /bad-chunk", "").await;
        assert!(broken.starts_with("HTTP/1.1 200") && !broken.ends_with("0\r\n\r\n"), "{broken}");
        assert!(!stranger.was_reached().await, "another host was reached");
    });
}
