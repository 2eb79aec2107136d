//! What else a hostile child, or an upstream that is not careful, may try: request by request.

use std::time::Duration;

use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::{
    by_hand::ByHand, given, raw, recorder::Recorder, scripted::Scripted, sent, sessions, status,
};
use crate::{
    harness::{until_so, with_timeout},
    people::{deployment::Deployment, forge::ForgeOptions},
};

/// What has to come of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// It reaches nobody.
    Refused(u16),
    /// It reaches the upstream as one request of the child's own.
    Forwarded,
    /// So do both requests that it has.
    Both,
}

#[test]
fn no_form_of_a_request_leads_elsewhere_or_shows_a_token() {
    use Expected::{Both, Forwarded, Refused};
    with_timeout(async {
        let recorder = Recorder::start().await;
        let stranger = ByHand::start().await;
        let elsewhere = stranger.address;
        let egress = format!("origin = \"{}/forge\"\nmax_rate = 0\n", recorder.root());
        let top = "log.level = \"trace\"";
        let deployment =
            Deployment::at_forge_by_egress(ForgeOptions::default(), top, &egress).await;
        let sessions = sessions(&deployment, &["ada", "bob"]).await;
        let of = async |n: usize| {
            let (address, dummy) = given(&sessions[n]).await;
            let address = address.strip_suffix("/forge").expect("the origin's path").to_owned();
            let bearer = format!("authorization: Bearer {dummy}\r\n");
            assert_eq!(status(&address, "/forge/token", &bearer).await, 200);
            (address, dummy, recorder.requests().last().expect("it was asked").token())
        };
        let ((address, dummy, own), (_, other, bobs)) = (of(0).await, of(1).await);
        let port = address.rsplit(':').next().expect("a port");
        let encoded: String = dummy.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let auth = format!("authorization: token {dummy}\r\n");
        let dead = "0".repeat(dummy.len());
        // The request line, and the headers behind Host.
        let one = |line: &str, headers: &str| {
            format!("{line} HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n")
        };
        let with = |line: &str| one(line, &auth);
        let posted = |headers: &str, body: &str| {
            format!(
                "POST /forge/p HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n{body}"
            )
        };
        let hosted = |host: &str| {
            format!("GET /forge/h HTTP/1.1\r\nhost: {host}\r\n{auth}connection: close\r\n\r\n")
        };
        let mut unexpected = Vec::new();
        for (what, request, expected) in [
            (
                "absolute, of another port here",
                with(&format!("GET http://127.0.0.1:{}/forge", elsewhere.port())),
                Refused(421),
            ),
            (
                "absolute, the upstream's port under another name",
                with(&format!("GET http://localhost:{}/forge", recorder.address.port())),
                Refused(421),
            ),
            (
                "absolute, with a user before our address",
                with(&format!("GET http://{elsewhere}@{address}/forge")),
                Refused(421),
            ),
            (
                "absolute, with our address as the user",
                with(&format!("GET http://{address}@{elsewhere}/forge")),
                Refused(421),
            ),
            (
                "absolute, an upper-case scheme of another host",
                with(&format!("GET HTTP://{elsewhere}/forge")),
                Refused(421),
            ),
            ("absolute, another scheme", with(&format!("GET ftp://{address}/forge")), Refused(421)),
            (
                "absolute, https of a plain upstream",
                with(&format!("GET https://{}/forge", recorder.address)),
                Refused(421),
            ),
            (
                "absolute, the upstream itself",
                with(&format!("GET http://{}/forge/x", recorder.address)),
                Forwarded,
            ),
            (
                "absolute, an upper-case scheme of ours",
                with(&format!("GET HTTP://{address}/forge/x")),
                Forwarded,
            ),
            (
                "absolute, ours as localhost",
                with(&format!("GET http://LOCALHOST:{port}/forge/x")),
                Forwarded,
            ),
            (
                "CONNECT to the upstream",
                with(&format!("CONNECT {}", recorder.address)),
                Refused(405),
            ),
            ("OPTIONS of everything", with("OPTIONS *"), Refused(400)),
            ("a trace in lower case", with("trace /forge/a"), Refused(405)),
            ("the dummy for a method", with(&format!("{dummy} /forge/a")), Refused(405)),
            ("the dummy in the path", with(&format!("GET /forge/{dummy}/a")), Refused(400)),
            (
                "the dummy in the path, encoded twice",
                with(&format!("GET /forge/{}", encoded.replace('%', "%25"))),
                Refused(400),
            ),
            (
                "the dummy in a header's name",
                one("GET /forge/a", &format!("{auth}x-{dummy}: 1\r\n")),
                Forwarded,
            ),
            (
                "the dummy in a cookie, encoded",
                one("GET /forge/a", &format!("{auth}cookie: a={encoded}\r\n")),
                Forwarded,
            ),
            (
                "another parameter, encoded twice",
                one(&format!("GET /forge/a?b={}", encoded.replace('%', "%25")), &auth),
                Forwarded,
            ),
            (
                "PRI, as HTTP/2 begins",
                format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{auth}"),
                Refused(400),
            ),
            ("Host of another port", hosted(&format!("127.0.0.1:{}", elsewhere.port())), Forwarded),
            ("Host with a user", hosted(&format!("{elsewhere}@{address}")), Forwarded),
            ("Host twice", hosted(&format!("{address}\r\nhost: {elsewhere}")), Forwarded),
            (
                "Authorization twice, one of nobody",
                one("GET /forge/a", &format!("authorization: Bearer x\r\n{auth}")),
                Forwarded,
            ),
            (
                "Authorization twice, one of another person",
                one("GET /forge/a", &format!("{auth}authorization: Bearer {other}\r\n")),
                Refused(401),
            ),
            (
                "two people in a Basic pair",
                one("GET /forge/a", &format!("authorization: Basic {}\r\n", basic(&dummy, &other))),
                Refused(401),
            ),
            (
                "another person's in another header",
                one("GET /forge/a", &format!("{auth}private-token: {other}\r\n")),
                Refused(401),
            ),
            (
                "a dead one beside it",
                one("GET /forge/a", &format!("private-token: {dead}\r\n{auth}")),
                Forwarded,
            ),
            (
                "a dead one",
                one("GET /forge/a", &format!("authorization: token {dead}\r\n")),
                Refused(401),
            ),
            (
                "in upper case",
                one("GET /forge/a", &format!("authorization: token {}\r\n", dummy.to_uppercase())),
                Refused(401),
            ),
            (
                "in a cookie alone",
                one("GET /forge/a", &format!("cookie: token={dummy}\r\n")),
                Refused(401),
            ),
            (
                "in Referer alone",
                one("GET /forge/a", &format!("referer: http://x/?token={dummy}\r\n")),
                Refused(401),
            ),
            (
                "in Referer and Cookie too",
                one(
                    "GET /forge/a",
                    &format!("{auth}referer: http://x/{dummy}\r\ncookie: a={dummy}\r\n"),
                ),
                Forwarded,
            ),
            (
                "percent-encoded in the query",
                one(&format!("GET /forge/a?access_token={encoded}&b=c"), ""),
                Forwarded,
            ),
            (
                "percent-encoded in another parameter",
                with(&format!("GET /forge/a?x={encoded}")),
                Forwarded,
            ),
            ("percent-encoded in the path", with(&format!("GET /forge/{encoded}")), Refused(400)),
            (
                "with a scheme of another case",
                one("GET /forge/a", &format!("AUTHORIZATION: bEaReR {dummy}\r\n")),
                Forwarded,
            ),
            (
                "of a scheme that nobody knows",
                one("GET /forge/a", &format!("authorization: Digest {dummy}\r\n")),
                Refused(401),
            ),
            ("folded", one("GET /forge/a", &format!("x: a\r\n {auth}")), Refused(400)),
            (
                "a name with a blank behind",
                one("GET /forge/a", &auth.replace(':', " :")),
                Refused(400),
            ),
            (
                "a bare line feed",
                format!("GET /forge/a HTTP/1.1\nhost: {address}\n{auth}connection: close\n\n"),
                Forwarded,
            ),
            ("a NUL in a header", one("GET /forge/a", &format!("{auth}x: a\0b\r\n")), Refused(400)),
            (
                "TE that asks for trailers",
                one("GET /forge/a", &format!("{auth}te: trailers, gzip\r\n")),
                Forwarded,
            ),
            (
                "an upgrade to a socket",
                one(
                    "GET /forge/a",
                    &format!("{auth}upgrade: websocket\r\nsec-websocket-key: eA==\r\n"),
                ),
                Forwarded,
            ),
            (
                "an expectation",
                posted(&format!("{auth}expect: 100-continue\r\ncontent-length: 2\r\n"), "ab"),
                Forwarded,
            ),
            (
                "the dummy in the body",
                posted(&format!("{auth}content-length: {}\r\n", dummy.len()), &dummy),
                Forwarded,
            ),
            (
                "the dummy in the body alone",
                posted(&format!("content-length: {}\r\n", dummy.len()), &dummy),
                Refused(401),
            ),
            (
                "chunked twice",
                posted(&format!("{auth}transfer-encoding: chunked, chunked\r\n"), "0\r\n\r\n"),
                Refused(501),
            ),
            (
                "chunked and not last",
                posted(&format!("{auth}transfer-encoding: chunked, identity\r\n"), "0\r\n\r\n"),
                Refused(400),
            ),
            (
                "a length with a sign",
                posted(&format!("{auth}content-length: +2\r\n"), "ab"),
                Refused(400),
            ),
            (
                "two lengths in one",
                posted(&format!("{auth}content-length: 2, 2\r\n"), "ab"),
                Refused(400),
            ),
            (
                "a trailer",
                posted(
                    &format!("{auth}trailer: authorization\r\ntransfer-encoding: chunked\r\n"),
                    &format!("2\r\nab\r\n0\r\nauthorization: Bearer {other}\r\n\r\n"),
                ),
                Forwarded,
            ),
            ("HTTP/1.0", format!("GET /forge/a HTTP/1.0\r\n{auth}\r\n"), Forwarded),
            ("HTTP/0.9", format!("GET /forge/a?token={dummy}\r\n\r\n"), Refused(400)),
            (
                "two in a row",
                format!("GET /forge/a HTTP/1.1\r\nhost: x\r\n{auth}\r\n{}", with("GET /forge/b")),
                Both,
            ),
            (
                "a second one without a token",
                format!(
                    "GET /forge/a HTTP/1.1\r\nhost: x\r\n{auth}\r\n{}",
                    one("GET /forge/b", "")
                ),
                Forwarded,
            ),
            (
                "one after a refusal",
                format!("GET /forge/a HTTP/1.1\r\nhost: x\r\n\r\n{}", with("GET /forge/b")),
                Forwarded,
            ),
        ] {
            let before = recorder.requests().len();
            let answer = raw(&address, &request).await;
            let asked = recorder.requests().split_off(before);
            let told = format!("{what}\n{request}\n{answer}\n{asked:?}");
            assert!(!answer.contains(&own) && !answer.contains(&bobs), "{told}");
            let expected_requests = match expected {
                Refused(_) => 0,
                Forwarded => 1,
                Both => 2,
            };
            // What is no HTTP/1.1 may end without an answer.
            let code = answer.split(' ').nth(1).unwrap_or("400");
            let is_so = match expected {
                Refused(status) => code == status.to_string(),
                Forwarded | Both => true,
            };
            if asked.len() != expected_requests || !is_so {
                unexpected.push(told.clone());
            }
            for asked in asked {
                assert_eq!(asked.token(), own, "{told}");
                assert_eq!(asked.headers["host"], recorder.address.to_string(), "{told}");
                let path = asked.target.split('?').next().unwrap_or_default();
                assert!(path == "/forge" || path.starts_with("/forge/"), "{told}");
                let head = format!("{} {:?}", asked.target, asked.headers);
                let decoded = head.replace('%', "");
                assert!(!head.contains(&dummy) && !head.contains(&other), "{told}");
                assert!(!decoded.contains(&encoded.replace('%', "")), "{told}");
                let crossing = ["te", "trailer", "upgrade", "expect", "connection", "cookie"];
                assert!(!crossing.iter().any(|name| asked.headers.contains_key(*name)), "{told}");
            }
        }
        assert!(unexpected.is_empty(), "{}", unexpected.join("\n\n"));
        let log = deployment.broker.log();
        assert!(log.contains("a child's request was answered"), "the log tells of them");
        for secret in [&dummy, &other, &encoded, &own] {
            assert!(!log.contains(secret), "{secret} is in the log");
        }
        assert!(!stranger.was_reached().await, "another host was reached");
    });
}

fn basic(user: &str, password: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};

    STANDARD.encode(format!("{user}:{password}"))
}

#[test]
fn an_upstream_that_repeats_the_token_or_misbehaves_tells_the_child_the_dummy() {
    with_timeout(async {
        let stranger = ByHand::start().await;
        let upstream = Scripted::start(stranger.address).await;
        let egress = format!("origin = \"http://{}\"\nmax_rate = 0\n", upstream.address);
        let deployment = Deployment::at_forge_by_egress(ForgeOptions::default(), "", &egress).await;
        let sessions = sessions(&deployment, &["ada", "bob"]).await;
        let (address, dummy) = given(&sessions[0]).await;
        let ask = async |path: &str, dummy: &str| {
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n\
                 te: trailers\r\nconnection: close\r\n\r\n"
            );
            raw(&address, &request).await
        };
        let token = ask("/token", &dummy).await;
        let token = token.split("\r\n\r\n").nth(1).expect("a body").to_owned();
        assert!(token.len() > 40 && token != dummy, "{token}");
        for (path, first) in [
            ("/echo", "HTTP/1.1 200"),
            ("/away", "HTTP/1.1 307"),
            ("/hints", "HTTP/1.1 200"),
            ("/shown", "HTTP/1.1 200"),
            ("/shown-as-json", "HTTP/1.1 200"),
            ("/shown-as-events", "HTTP/1.1 200"),
            ("/trailers", "HTTP/1.1 200"),
            ("/message", "HTTP/1.1 200"),
            ("/reason", "HTTP/1.1 200"),
            ("/switch", "HTTP/1.1 502"),
            ("/two-lengths", "HTTP/1.1 502"),
        ] {
            let answer = ask(path, &dummy).await;
            assert!(answer.starts_with(first), "{path}: {answer}");
            assert!(!answer.contains(&token), "{path}: {answer}");
        }
        let answer = ask("/echo", &dummy).await.to_ascii_lowercase();
        assert!(answer.contains(&format!("x-seen: bearer {dummy}")), "{answer}");
        for gone in ["x-hop", "alt-svc", "proxy-authenticate"] {
            assert!(!answer.contains(gone), "{gone} is for one connection: {answer}");
        }
        assert!(ask("/shown", &dummy).await.contains(&format!("{dummy}\"")));
        assert!(ask("/away", &dummy).await.contains(&format!("access_token={dummy}")));

        // An answer that nobody asked for is nobody's: not the next one's, and not another person's.
        let (_, bobs) = given(&sessions[1]).await;
        for _ in 0..20 {
            ask("/extra", &dummy).await;
            for dummy in [&dummy, &bobs] {
                let answer = ask("/next", dummy).await;
                assert!(answer.contains("\r\nok") && !answer.contains("plants"), "{answer}");
            }
        }
        assert!(!stranger.was_reached().await, "another host was reached");
    });
}

#[test]
fn a_child_that_opens_connections_and_says_nothing_keeps_no_other_out() {
    with_timeout(async {
        let deployment = Deployment::at_forge_by_egress(ForgeOptions::default(), "", "").await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let (address, dummy) = given(&session).await;
        let bearer = format!("authorization: Bearer {dummy}\r\n");
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(TcpStream::connect(&address).await.expect("it listens"));
        }
        assert_eq!(status(&address, "/api/v1/user", &bearer).await, 200);
        until_so("the oldest makes room", async || {
            matches!(
                timeout(Duration::from_millis(50), silent[0].read(&mut [0])).await,
                Ok(Ok(0) | Err(_))
            )
        })
        .await;

        // Those of one child that are in use are bounded too, and it is told.
        let request = format!("GET /api/v1/user HTTP/1.1\r\nhost: {address}\r\n{bearer}\r\n");
        let mut own = Vec::new();
        let mut refused = false;
        for _ in 0..300 {
            let mut stream = sent(&address, &request).await;
            let mut first = [0; 12];
            stream.read_exact(&mut first).await.expect("an answer");
            refused |= &first == b"HTTP/1.1 429";
            own.push(stream);
        }
        assert!(refused, "300 connections of one child");
        drop(own);
        until_so("there is room again", async || {
            status(&address, "/api/v1/user", &bearer).await == 200
        })
        .await;
    });
}
