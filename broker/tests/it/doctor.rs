//! `mcp-broker doctor` against servers with one fault each, and against the broker itself.

pub(crate) mod fake;

use std::{fs, io, process::Stdio};

use serde_json::{Value, json};
use tokio::time::timeout;

use self::fake::{Fake, Said, document, good, html, resource, said, server};
use crate::{
    application::Application,
    browser::Browser,
    harness::{free_address, metric, until_so, with_timeout},
    program::{Place, Program},
    terminal::Terminal,
    wire::{TIMEOUT, initialize},
};

const TOKEN: &str = "sesame-open-1234567890";

/// What the doctor finds.
struct Found {
    code: i32,
    report: Value,
    text: String,
}

impl Found {
    async fn at(url: &str, args: &[&str]) -> Self {
        let place = Place::new();
        let token = place.path().join("token");
        fs::write(&token, format!("{TOKEN}\n")).expect("a file");
        let token = token.to_str().expect("text").to_owned();
        let mut all = vec!["doctor", url, "--json"];
        all.extend(args.iter().map(|arg| if *arg == "$TOKEN" { &token } else { *arg }));
        let (code, text, told) = place.run(&all).await;
        let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{told}"));
        assert!(!text.contains(TOKEN) && !told.contains(TOKEN), "a token is printed: {text}{told}");
        assert!(!text.contains("\\u001b"), "what others wrote reaches the terminal: {text}");
        Self { code, report, text }
    }

    fn step(&self, name: &str) -> &Value {
        let steps = self.report["steps"].as_array().expect("steps");
        steps.iter().find(|step| step["step"] == name).expect("the step")
    }

    fn state(&self, name: &str) -> &str {
        self.step(name)["state"].as_str().expect("a state")
    }

    fn failing(&self) -> Vec<&str> {
        let steps = self.report["steps"].as_array().expect("steps").iter();
        let failing = steps.filter(|step| step["state"] == "fails");
        failing.map(|step| step["step"].as_str().expect("a name")).collect()
    }

    /// That this step alone fails, and that what is told of it has these words.
    fn assert_fault(&self, name: &str, words: &[&str]) {
        assert_eq!((self.failing(), self.code), (vec![name], 1), "{}", self.text);
        let faults = self.step(name)["faults"].to_string();
        for word in words {
            assert!(faults.contains(word), "{word:?} is missing in {faults}");
        }
    }
}

const WITH_TOKEN: &[&str] = &["--token-file", "$TOKEN"];

#[test]
fn a_server_without_fault_has_none_found_with_a_token_and_without_a_terminal() {
    with_timeout(async {
        let fake = Fake::start(good).await;
        let url = format!("{}/mcp", fake.base);
        let found = Found::at(&url, WITH_TOKEN).await;
        assert_eq!((found.code, found.failing()), (0, vec![]), "{}", found.text);
        for name in [
            "address",
            "challenge",
            "resource metadata",
            "server metadata",
            "initialize",
            "tools/list",
            "stream",
            "end",
        ] {
            assert_eq!(found.state(name), "ok", "{name}: {}", found.text);
        }
        assert_eq!(found.step("tools/list")["said"], "2 tools");
        assert_eq!(found.state("sign-in"), "not checked");

        let found = Found::at(&url, &[]).await;
        assert_eq!((found.code, found.failing()), (0, vec![]), "{}", found.text);
        assert_eq!(found.state("registration"), "ok");
        assert!(found.step("sign-in")["said"].to_string().contains("no terminal"));
        for name in ["token", "initialize", "tools/list", "stream", "end"] {
            assert_eq!(found.state(name), "not checked", "{name}");
        }
    });
}

#[test]
fn metadata_that_names_another_resource_or_issuer_is_explained() {
    with_timeout(async {
        let named = |wrong: fn(&str) -> String| {
            Fake::start(move |asked, base| match asked.what.as_str() {
                "GET /.well-known/oauth-protected-resource/mcp" => {
                    let mut found = resource(base);
                    found["resource"] = wrong(base).into();
                    document(&found)
                }
                _ => good(asked, base),
            })
        };
        type Wrong = fn(&str) -> String;
        let cases: [(Wrong, &str); 3] = [
            (|base| base.replace("http://", "https://") + "/mcp", "TLS ends at a proxy"),
            (|_| "http://broker.internal:8080/mcp".to_owned(), "another host"),
            (|base| format!("{base}/mcp/"), "slash at the end"),
        ];
        for (wrong, words) in cases {
            let fake = named(wrong).await;
            let found = Found::at(&format!("{}/mcp", fake.base), WITH_TOKEN).await;
            found.assert_fault("resource metadata", &[words]);
            assert_eq!(found.state("tools/list"), "ok", "the rest is looked at all the same");
        }

        let fake = Fake::start(|asked, base| match asked.what.as_str() {
            "GET /.well-known/oauth-authorization-server" => {
                let mut found = server(base);
                found["issuer"] = format!("{base}/").into();
                found["code_challenge_methods_supported"] = json!(["plain"]);
                document(&found)
            }
            _ => good(asked, base),
        })
        .await;
        let found = Found::at(&format!("{}/mcp", fake.base), WITH_TOKEN).await;
        found.assert_fault("server metadata", &["slash at the end", "S256"]);
    });
}

#[test]
fn a_page_of_another_product_is_recognised() {
    with_timeout(async {
        let fake = Fake::start(|_, _| html("200 OK")).await;
        let found = Found::at(&format!("{}/mcp", fake.base), &[]).await;
        found.assert_fault("challenge", &["Another Portal", "another program answers"]);

        let fake = Fake::start(|asked, base| match asked.what.as_str() {
            "POST /mcp" => good(asked, base),
            _ => html("200 OK"),
        })
        .await;
        let found = Found::at(&format!("{}/mcp", fake.base), &[]).await;
        found.assert_fault("resource metadata", &["Another Portal"]);
    });
}

#[test]
fn a_path_that_is_not_forwarded_a_410_and_a_broker_that_is_down_are_told_apart() {
    with_timeout(async {
        for (status, words) in [
            ("404 Not Found", "send this path to the broker"),
            ("410 Gone", "after 404 only"),
            ("502 Bad Gateway", "does the proxy reach it"),
        ] {
            let fake = Fake::start(move |_, _| said(status, "", "")).await;
            let found = Found::at(&format!("{}/mcp", fake.base), &[]).await;
            found.assert_fault("challenge", &[&status[..3], words]);
        }
    });
}

#[test]
fn an_address_without_a_path_is_met_with_the_usual_one() {
    with_timeout(async {
        let fake = Fake::start(good).await;
        let found = Found::at(&fake.base, &[]).await;
        found.assert_fault("challenge", &["404", "try /mcp"]);
    });
}

#[test]
fn a_challenge_that_points_nowhere_is_a_fault_only_for_those_who_would_sign_in() {
    with_timeout(async {
        let fake = Fake::start(|asked, base| match asked.what.as_str() {
            "POST /mcp" if !asked.authorized => {
                said("401 Unauthorized", "www-authenticate: Bearer realm=\"x\"\r\n", "")
            }
            what if what.contains(".well-known") => said("404 Not Found", "", ""),
            _ => good(asked, base),
        })
        .await;
        let url = format!("{}/mcp", fake.base);
        let found = Found::at(&url, &[]).await;
        assert_eq!(found.failing()[0], "challenge", "{}", found.text);
        assert!(found.step("challenge")["faults"].to_string().contains("resource_metadata"));
        let found = Found::at(&url, WITH_TOKEN).await;
        assert_eq!(found.code, 0, "{}", found.text);

        let prompt = "www-authenticate: Basic realm=\"staff\"\r\n";
        let fake = Fake::start(move |_, _| said("401 Unauthorized", prompt, "")).await;
        let found = Found::at(&format!("{}/mcp", fake.base), &[]).await;
        found.assert_fault("challenge", &["basic", "password prompt"]);
    });
}

#[test]
fn a_redirect_is_reported_and_not_followed() {
    with_timeout(async {
        let fake = Fake::start(|asked, base| {
            assert_eq!(asked.what, "POST /mcp", "nobody goes elsewhere");
            let to = base.replace("http://", "https://");
            said("308 Permanent Redirect", &format!("location: {to}/mcp\r\n"), "")
        })
        .await;
        let found = Found::at(&format!("{}/mcp", fake.base), &[]).await;
        found.assert_fault("challenge", &["redirects", "address with https://"]);
    });
}

#[test]
fn a_stream_that_is_held_back_is_blamed_on_buffering() {
    with_timeout(async {
        for head in ["HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", ""] {
            let fake = Fake::start(move |asked, base| match asked.what.as_str() {
                "GET /mcp" => Said::Held(head.to_owned()),
                _ => good(asked, base),
            })
            .await;
            let args = [WITH_TOKEN, &["--patience", "3s"]].concat();
            let found = Found::at(&format!("{}/mcp", fake.base), &args).await;
            found.assert_fault("stream", &["proxy_buffering off"]);
            assert_eq!(found.state("end"), "ok");
        }
    });
}

#[test]
fn a_wrong_token_and_an_odd_session_are_found_where_they_show() {
    with_timeout(async {
        let fake = Fake::start(good).await;
        let found = Found::at(&format!("{}/mcp", fake.base), &["--token", "wrong"]).await;
        found.assert_fault("initialize", &["401", "expired nor revoked"]);

        let fake = Fake::start(|asked, base| {
            if asked.authorized && asked.body.contains("tools/list") {
                return said("404 Not Found", "", "");
            }
            good(asked, base)
        })
        .await;
        let found = Found::at(&format!("{}/mcp", fake.base), WITH_TOKEN).await;
        found.assert_fault("tools/list", &["several brokers"]);
    });
}

#[test]
fn dns_tcp_and_http_are_told_apart() {
    with_timeout(async {
        let port = free_address().port();
        let found = Found::at(&format!("http://127.0.0.1:{port}/mcp"), &[]).await;
        found.assert_fault("address", &["TCP", "refuses", "nothing listens"]);
        let states = found.report["steps"].as_array().expect("steps").iter().skip(1);
        assert!(states.into_iter().all(|step| step["state"] == "not checked"));

        let found = Found::at("http://no-such-host.invalid/mcp", &[]).await;
        found.assert_fault("address", &["DNS", "no-such-host.invalid"]);

        let fake = Fake::start(|_, _| Said::Whole("SSH-2.0-OpenSSH_9\r\n".to_owned())).await;
        let found = Found::at(&format!("{}/mcp", fake.base), &[]).await;
        found.assert_fault("challenge", &["does not speak HTTP"]);
    });
}

/// The settings that put the built-in server in the obliging one's place.
const DEMO: [&str; 4] = [
    "--set",
    concat!("server.main.command=", env!("CARGO_BIN_EXE_mcp-broker")),
    "--set",
    "server.main.args=[\"demo-server\"]",
];

fn url(broker: &Program) -> String {
    format!("http://{}/mcp", broker.client.address)
}

#[test]
fn the_broker_itself_is_well_when_it_is_open() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&DEMO).await;
        let found = Found::at(&url(&broker), &[]).await;
        assert_eq!((found.code, found.failing()), (0, vec![]), "{}", found.text);
        for name in ["challenge", "initialize", "tools/list", "stream", "end"] {
            assert_eq!(found.state(name), "ok", "{name}: {}", found.text);
        }
        assert_eq!(found.step("initialize")["notes"], json!([]), "{}", found.text);
        assert_eq!(found.step("end")["notes"], json!([]), "{}", found.text);
        until_so("its one session is counted as ended", async || {
            metric(&broker.client, r#"mcp_broker_reaped_total{reason="deleted"}"#).await == 1
        })
        .await;

        // The same port, asked for TLS.
        let https = url(&broker).replace("http://", "https://");
        let found = Found::at(&https, &[]).await;
        found.assert_fault("address", &["TLS", "not with TLS"]);
    });
}

#[test]
fn the_broker_itself_is_well_with_a_token() {
    with_timeout(async {
        let place = Place::new();
        let args = [&DEMO[..], &["--set", "auth.verifiers=[\"static\"]"]].concat();
        let broker = place.serve(&args).await;
        let (_, token, _) = place.run(&["token", "add", "ada"]).await;
        fs::write(place.path().join("token"), &token).expect("a file");
        let ada = broker.client.bearer(token.trim());
        until_so("the broker knows the token", async || {
            ada.post(initialize("1", "2025-11-25")).await.status == 200
        })
        .await;
        let args = ["doctor", &url(&broker), "--token-file", "token"];
        let (code, text, told) = place.run(&args).await;
        assert_eq!(code, 0, "{text}{told}");
        assert!(!text.contains(token.trim()), "{text}");
        assert!(text.contains("Nothing that was checked fails."), "{text}");
        assert!(text.contains("names no resource_metadata"), "{text}");
    });
}

/// The demo server behind the broker's own sign-in, and an account to sign in with.
async fn signing_in(place: &Place) -> Program {
    // Nothing out there is asked.
    signing_in_with(place, "oauth.client_id_metadata=false").await
}

/// The same with one setting more.
async fn signing_in_with(place: &Place, setting: &str) -> Program {
    let sign_in = ["--set", "auth.verifiers=[\"oauth\"]", "--set", setting];
    let broker = place.serve(&[&DEMO[..], &sign_in].concat()).await;
    assert_eq!(place.run_with(&["user", "add", "ada"], PASSWORD).await.0, 0);
    broker
}

const PASSWORD: &str = "correct horse battery";

#[test]
fn the_broker_itself_is_well_where_people_sign_in() {
    with_timeout(async {
        let place = Place::new();
        let broker = signing_in(&place).await;
        let known = ["challenge", "resource metadata", "server metadata"];

        let found = Found::at(&url(&broker), &[]).await;
        assert_eq!((found.code, found.failing()), (0, vec![]), "{}", found.text);
        for name in known.into_iter().chain(["registration"]) {
            assert_eq!(found.state(name), "ok", "{name}: {}", found.text);
            let expected = if name == "registration" { 1 } else { 0 };
            let notes = found.step(name)["notes"].as_array().map_or(0, Vec::len);
            assert_eq!(notes, expected, "{name}: {}", found.text);
        }
        for name in ["sign-in", "token", "initialize", "tools/list", "stream", "end"] {
            assert_eq!(found.state(name), "not checked", "{name}: {}", found.text);
        }

        let application = Application::connect(&broker.client, "/mcp").await;
        let tokens = application.authorize(&mut Browser::default(), ("ada", PASSWORD), &[]).await;
        let token = tokens.access.as_str();
        let args = ["doctor", &url(&broker), "--json", "--token", token];
        let (code, text, told) = place.run(&args).await;
        assert!(!text.contains(token) && !told.contains(token), "{text}{told}");
        let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{told}"));
        let found = Found { code, report, text };
        assert_eq!((found.code, found.failing()), (0, vec![]), "{}", found.text);
        for name in known.into_iter().chain(["initialize", "tools/list", "stream", "end"]) {
            assert_eq!(found.state(name), "ok", "{name}: {}", found.text);
            assert_eq!(found.step(name)["notes"], json!([]), "{name}: {}", found.text);
        }
        for name in ["registration", "sign-in", "token"] {
            assert_eq!(found.state(name), "not checked", "{name}: {}", found.text);
        }
    });
}

#[test]
fn a_broker_that_cannot_fetch_what_it_says_clients_may_bring_is_found_out() {
    with_timeout(async {
        // A name that no broker fetches from, wherever this runs.
        let inside = ["--client-id", "https://localhost/oauth/client.json"];
        let place = Place::new();
        let broker = signing_in_with(&place, "oauth.client_id_metadata=true").await;
        let found = Found::at(&url(&broker), &inside).await;
        found.assert_fault("registration", &["cannot fetch", "error page", "client_id_metadata"]);

        let place = Place::new();
        let broker = signing_in_with(&place, "oauth.client_id_metadata=auto").await;
        let advertised = async || {
            let path = "/.well-known/oauth-authorization-server";
            let metadata = broker.client.at(path).ask("GET", "").await.json();
            metadata["client_id_metadata_document_supported"].clone()
        };
        assert_eq!(advertised().await, true);
        for _ in 0..2 {
            let found = Found::at(&url(&broker), &inside).await;
            assert_eq!((found.code, found.failing()), (0, vec![]), "{}", found.text);
            let notes = found.step("registration")["notes"].to_string();
            assert!(notes.contains("clients have to register"), "{notes}");
            assert_eq!(advertised().await, false);
        }
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program under test is nobody's child")]
fn a_person_at_a_terminal_signs_in_and_nothing_is_left_behind() {
    with_timeout(async {
        let place = Place::new();
        let broker = signing_in(&place).await;
        let mut terminal = Terminal::open();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-broker"));
        command.args(["doctor", &url(&broker), "--json"]).env_clear().kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(terminal.end());
        let doctor = command.spawn().expect("it starts");
        drop(command);

        // The last parameter, and the end of its line.
        let screen = terminal.shows("scope=mcp\r\n").await;
        let address = screen.lines().find_map(|line| line.trim().strip_prefix("http"));
        let address = format!("http{}", address.expect("an address"));
        let mut browser = Browser::default();
        let consent = browser.open(&address).await;
        let last = browser.approve(&consent, ("ada", PASSWORD)).await;
        assert_eq!(last.answer.status, 200, "{}", last.seen());
        let output = timeout(TIMEOUT, doctor.wait_with_output()).await.expect("in time");
        let output = output.expect("it ran");
        let text = String::from_utf8(output.stdout).expect("text");
        let report = serde_json::from_str(&text).expect("JSON");
        let found = Found { code: output.status.code().expect("a code"), report, text };
        assert_eq!((found.code, found.failing()), (0, vec![]), "{}", found.text);
        let steps = found.report["steps"].as_array().expect("steps");
        for step in steps {
            assert_eq!(step["state"], "ok", "{step}");
        }
        let notes = found.step("end")["notes"].to_string();
        assert!(notes.contains("the doctor's tokens were revoked"), "{notes}");
        let (_, grants, _) = place.run(&["grant", "list", "--json"]).await;
        assert_eq!(grants.trim(), "[]", "the sign-in was taken back: {}", found.text);
    });
}

#[test]
fn a_server_on_a_host_of_its_own_is_followed_to_the_broker_and_back() {
    with_timeout(async {
        // The broker's own name has a port, which has to be known before it starts.
        let port = free_address().port();
        let place = Place::new();
        let program = env!("CARGO_BIN_EXE_mcp-broker");
        place.configure(&format!(
            "[server.notes]\ncommand = \"{program}\"\nargs = [\"demo-server\"]\nhost = \"localhost\"\n"
        ));
        let file = place.path().join("mcp-broker.toml");
        let text = fs::read_to_string(&file).expect("it is there");
        let (listen, verifiers) = (r#"listen = "127.0.0.1:0""#, r#"auth.verifiers = ["none"]"#);
        let public = format!("public_url = \"http://127.0.0.1:{port}\"\n");
        let text = public + &text.replace(listen, &format!("listen = \"127.0.0.1:{port}\""));
        let text = text.replace(verifiers, r#"auth.verifiers = ["oauth", "static"]"#);
        fs::write(file, text).expect("it can be written");
        let (code, token, told) = place.run(&["token", "add", "ada"]).await;
        assert_eq!(code, 0, "{told}");
        fs::write(place.path().join("token"), token).expect("a file");
        let token = place.path().join("token").display().to_string();
        let _broker = place.serve(&[]).await;

        let url = format!("http://localhost:{port}/mcp");
        let found = Found::at(&url, &["--token-file", &token]).await;
        assert_eq!((found.code, found.failing()), (0, vec![]), "{}", found.text);
        assert_eq!(found.state("stream"), "ok", "{}", found.text);
        let metadata = found.step("resource metadata")["said"].to_string();
        assert!(metadata.contains(&format!("authorization server http://127.0.0.1:{port}")));
        // The other servers, and this one under its path, are at the broker's own address.
        for path in ["notes/mcp", "main/mcp"] {
            let url = format!("http://localhost:{port}/{path}");
            let found = Found::at(&url, &["--token-file", &token]).await;
            found.assert_fault("challenge", &["404", "serves one server, at /mcp"]);
        }
    });
}

#[test]
fn a_certificate_is_judged_as_clients_judge_it() {
    with_timeout(async {
        let place = Place::new();
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let (cert, key) = (place.path().join("cert.pem"), place.path().join("key.pem"));
        fs::write(&cert, made.cert.pem()).expect("a file");
        fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
        let (cert, key) = (cert.to_str().expect("text"), key.to_str().expect("text"));
        place.configure(&format!("[tls]\ncert = {cert:?}\nkey = {key:?}\n"));
        let broker = place.serve(&DEMO).await;
        let port = broker.client.address.port();
        let named = format!("https://localhost:{port}/mcp");

        let found = Found::at(&named, &[]).await;
        found.assert_fault("address", &["TLS", "authority", "--ca-file"]);
        let found = Found::at(&named, &["--ca-file", cert]).await;
        assert_eq!((found.code, found.failing()), (0, vec![]), "{}", found.text);
        let number = format!("https://127.0.0.1:{port}/mcp");
        let found = Found::at(&number, &["--ca-file", cert]).await;
        found.assert_fault("address", &["TLS", "for another name"]);
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program under test is nobody's child")]
fn no_proxy_is_taken_from_the_environment() {
    with_timeout(async {
        let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        proxy.set_nonblocking(true).expect("a socket option");
        let address = format!("http://{}", proxy.local_addr().expect("an address"));
        let fake = Fake::start(good).await;
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-broker"));
        command.args(["doctor", &format!("{}/mcp", fake.base), "--token", TOKEN]).env_clear();
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
            command.env(name, &address);
        }
        let output = command.kill_on_drop(true).output().await.expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let asked = proxy.accept().map_err(|error| error.kind());
        assert_eq!(asked.err(), Some(io::ErrorKind::WouldBlock), "nobody asked the proxy");
    });
}

#[test]
fn what_is_no_address_or_no_token_is_refused_before_anything_is_asked() {
    with_timeout(async {
        let place = Place::new();
        for url in ["mcp.example.org", "ftp://a.example/mcp", "https://ada:pw@a.example/mcp"] {
            let (code, _, told) = place.run(&["doctor", url]).await;
            assert_eq!(code, 64, "{url}: {told}");
        }
        let args = ["doctor", "http://127.0.0.1:9/mcp", "--token-file", "missing"];
        assert_eq!(place.run(&args).await.0, 69);
        let args = ["doctor", "http://127.0.0.1:9/mcp", "--patience", "soon"];
        assert_eq!(place.run(&args).await.0, 64);
    });
}
