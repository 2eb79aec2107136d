//! The way through sign-in, with a person made of a task. What needs no person is tested from
//! outside, in `tests/it/doctor.rs`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use super::*;

const TOKEN: &str = "sesame-open-1234567890";

/// What the server does wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Wrong {
    #[default]
    Nothing,
    Issuer,
    NoIssuer,
    Denied,
    Token,
    Audience,
    Stays,
}

/// Far longer than anything here takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An authorization server with an MCP endpoint; what it was asked.
struct World {
    base: String,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    _tasks: JoinSet<()>,
}

impl World {
    async fn start(wrong: Wrong) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let (own, log) = (base.clone(), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (base, log) = (own.clone(), Arc::clone(&log));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (base, log) = (base.clone(), Arc::clone(&log));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.expect("a body").to_bytes();
                        let body = String::from_utf8(body.to_vec()).expect("text");
                        let what = format!("{} {}", head.method, head.uri.path());
                        log.lock().unwrap().push((what.clone(), body.clone()));
                        let authorized = head
                            .headers
                            .get("authorization")
                            .is_some_and(|value| value == format!("Bearer {TOKEN}").as_str());
                        let query = head.uri.query().unwrap_or_default();
                        Ok::<_, std::convert::Infallible>(answer(
                            &base, wrong, &what, query, &body, authorized,
                        ))
                    }
                });
                connections.spawn(async move {
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { base, asked, _tasks: tasks }
    }

    fn asked(&self, what: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(known, _)| known == what).map(|(_, body)| body.clone()).collect()
    }

    /// Goes the way, with a person who opens every address in a browser.
    async fn examine(&self) -> Value {
        let (opened, mut addresses) = mpsc::unbounded_channel::<Url>();
        let mut person = JoinSet::new();
        person.spawn(async move {
            while let Some(address) = addresses.recv().await {
                // A browser that lost its way comes first.
                let (_, location) = browse(&address).await;
                let landing: Url = location.expect("a redirect").parse().expect("an address");
                let mut lost = landing.clone();
                lost.set_query(Some("state=forged&code=forged"));
                assert!(browse(&lost).await.0.starts_with("HTTP/1.1 404"));
                browse(&landing).await;
            }
        });
        let invite = |url: &Url| opened.send(url.clone()).expect("a person");
        let roots = Roots::load(None).expect("roots");
        let url: Url = format!("{}/mcp", self.base).parse().expect("an address");
        let manner = Manner { token: None, client_id: None, sign_in: TIMEOUT, first_byte: TIMEOUT };
        let wire = Wire::new(&roots, TIMEOUT);
        let given = url.to_string();
        let report = Visit::new(wire, url, given, manner, Some(&invite)).report().await;
        let told = format!("{report}{}", report.as_json());
        assert!(!told.contains(TOKEN) && !told.contains("the-code"), "{told}");
        report.as_json()
    }
}

fn answer(
    base: &str,
    wrong: Wrong,
    what: &str,
    query: &str,
    body: &str,
    authorized: bool,
) -> Response<Full<bytes::Bytes>> {
    let json = |status: u16, body: Value| {
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .expect("a response")
    };
    let with = |status: u16, name: &str, value: String| {
        Response::builder().status(status).header(name, value).body(Full::default()).expect("one")
    };
    match what {
        "GET /.well-known/oauth-protected-resource/mcp" => json(
            200,
            json!({
                "resource": format!("{base}/mcp"),
                "authorization_servers": [base],
                "scopes_supported": ["mcp"],
            }),
        ),
        "GET /.well-known/oauth-authorization-server" => json(
            200,
            json!({
                "issuer": base,
                "authorization_endpoint": format!("{base}/authorize?tenant=1"),
                "token_endpoint": format!("{base}/token"),
                "registration_endpoint": format!("{base}/register"),
                "revocation_endpoint": format!("{base}/revoke"),
                "code_challenge_methods_supported": ["plain", "S256"],
                "authorization_response_iss_parameter_supported": true,
            }),
        ),
        "POST /register" => {
            let mut client = json!({ "client_id": "doctor-1" });
            if wrong != Wrong::Stays {
                client["registration_client_uri"] = format!("{base}/register/1").into();
                client["registration_access_token"] = "manage".into();
            }
            json(201, client)
        }
        "DELETE /register/1" => with(204, "x", String::new()),
        "GET /authorize" => {
            let asked: HashMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).collect();
            let Some(redirect) = asked.get("redirect_uri") else { return json(400, json!({})) };
            assert_eq!(asked["tenant"], "1", "the endpoint's own query stays");
            assert_eq!(asked["resource"], format!("{base}/mcp"));
            assert_eq!((&*asked["scope"], &*asked["response_type"]), ("mcp", "code"));
            assert_eq!((&*asked["client_id"], asked["code_challenge"].len()), ("doctor-1", 43));
            let mut to: Url = redirect.parse().expect("an address");
            to.query_pairs_mut().append_pair("state", &asked["state"]);
            match wrong {
                Wrong::Issuer => to.query_pairs_mut().append_pair("iss", "https://evil.example"),
                Wrong::NoIssuer => &mut to.query_pairs_mut(),
                _ => to.query_pairs_mut().append_pair("iss", base),
            };
            if wrong == Wrong::Denied {
                to.query_pairs_mut().append_pair("error", "access_denied");
            } else {
                to.query_pairs_mut().append_pair("code", "the-code");
            }
            with(302, "location", to.to_string())
        }
        "POST /token" if body.is_empty() || wrong == Wrong::Token => {
            json(400, json!({ "error": "invalid_grant", "error_description": "No.\u{1b}[2J" }))
        }
        "POST /token" => {
            let form: HashMap<_, _> = url::form_urlencoded::parse(body.as_bytes()).collect();
            assert_eq!((&*form["code"], form["code_verifier"].len()), ("the-code", 43));
            assert_eq!(form["resource"], format!("{base}/mcp"));
            json(200, json!({ "access_token": TOKEN, "token_type": "bearer", "expires_in": 60 }))
        }
        "POST /revoke" => with(200, "x", String::new()),
        "POST /mcp" if !authorized || wrong == Wrong::Audience => {
            let link = format!("{base}/.well-known/oauth-protected-resource/mcp");
            with(401, "www-authenticate", format!("Bearer resource_metadata=\"{link}\""))
        }
        "POST /mcp" => {
            let message: Value = serde_json::from_str(body).expect("JSON");
            match message["method"].as_str() {
                Some("initialize") => {
                    let mut response = json(
                        200,
                        json!({ "jsonrpc": "2.0", "id": message["id"], "result": {
                            "protocolVersion": "2025-11-25",
                            "capabilities": { "tools": {} },
                            "serverInfo": { "name": "world", "version": "1" },
                        }}),
                    );
                    response.headers_mut().insert("mcp-session-id", "1".parse().expect("one"));
                    response
                }
                Some("tools/list") => json(
                    200,
                    json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "tools": [] } }),
                ),
                Some("ping") => with(404, "x", String::new()),
                _ => with(202, "x", String::new()),
            }
        }
        "GET /mcp" => with(405, "allow", "POST, DELETE".to_owned()),
        "DELETE /mcp" => with(204, "x", String::new()),
        _ => with(404, "x", String::new()),
    }
}

/// The head of the answer, and where it redirects to.
async fn browse(url: &Url) -> (String, Option<String>) {
    let address = url.socket_addrs(|| None).expect("an address")[0];
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    let path = &url[url::Position::BeforePath..];
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("text");
    let location = text.lines().find_map(|line| line.strip_prefix("location: "));
    let location = location.map(ToOwned::to_owned);
    (text, location)
}

fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["step"] == name).expect("the step")
}

#[tokio::test]
async fn a_person_signs_in_and_nothing_is_left_behind() {
    let world = World::start(Wrong::Nothing).await;
    let report = world.examine().await;
    assert_eq!(report["ok"], true, "{report:#}");
    for step in report["steps"].as_array().expect("steps") {
        assert_eq!(step["state"], "ok", "{step:#}");
    }
    assert_eq!(report["steps"].as_array().expect("steps").len(), 11);
    assert!(world.asked("POST /revoke")[0].contains(TOKEN), "the token is taken back");
    assert_eq!(world.asked("DELETE /register/1").len(), 1, "the client is taken back");
    assert_eq!(world.asked("DELETE /mcp").len(), 1, "the session is ended");
}

#[tokio::test]
async fn a_client_that_stays_behind_is_told_of() {
    let world = World::start(Wrong::Stays).await;
    let report = world.examine().await;
    assert_eq!(report["ok"], true, "{report:#}");
    assert!(step(&report, "registration")["notes"].to_string().contains("stays behind"));
}

#[tokio::test]
async fn each_fault_of_sign_in_is_found_at_its_step() {
    for (wrong, at, words) in [
        (Wrong::Issuer, "sign-in", "https://evil.example"),
        (Wrong::NoIssuer, "sign-in", "no `iss`"),
        (Wrong::Denied, "sign-in", "access_denied"),
        (Wrong::Token, "token", "invalid_grant: No.[2J"),
        (Wrong::Audience, "initialize", "401"),
    ] {
        let world = World::start(wrong).await;
        let report = world.examine().await;
        let failing: Vec<_> = report["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .filter(|step| step["state"] == "fails")
            .map(|step| step["step"].clone())
            .collect();
        assert_eq!(failing, [at], "{wrong:?}: {report:#}");
        let what = step(&report, at)["faults"][0]["what"].as_str().expect("words");
        assert!(what.contains(words), "{wrong:?}: {what}");
        assert_eq!(world.asked("DELETE /register/1").len(), 1, "{wrong:?}: the client goes");
        let got_token = wrong == Wrong::Audience;
        assert_eq!(world.asked("POST /revoke").len(), usize::from(got_token), "{wrong:?}");
        assert_eq!(step(&report, "end")["state"], "not checked");
    }
}

#[test]
fn durations_have_a_unit() {
    assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
    assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    for bad in ["", "5", "m", "-5m", "0s", "5 m", "99999999999s"] {
        assert!(duration(bad).is_err(), "{bad}");
    }
}
