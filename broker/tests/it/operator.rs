//! The program as its operator meets it: exit codes, tokens, reload, other sockets.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use rustix::process::Signal;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use sqlx::ConnectOptions;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::{
    harness::{is_alive, until_so, with_timeout, within_turns},
    program::{Place, Program},
    wire::{Client, PING, Wire, initialize},
};

#[test]
fn without_configuration_it_serves_the_demo_and_says_how_to_connect() {
    with_timeout(async {
        let place = Place::new();
        fs::remove_file(place.path().join("mcp-broker.toml")).expect("it is there");
        let mut broker = place.serve(&["--listen", "127.0.0.1:0"]).await;
        let stranger = broker.client.post("{}").await;
        assert_eq!(stranger.status, 401, "people sign in, also at the first try");
        let (code, token, _) = place.run(&["token", "add", "curl"]).await;
        assert_eq!(code, 0);
        let client = broker.client.bearer(token.trim());
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        until_so("the broker knows the token", async || client.post(list).await.status != 401)
            .await;
        let tools = client.open().await.post(list).await.json()["result"]["tools"].clone();
        assert!(tools.as_array().is_some_and(|tools| tools.len() > 2), "{tools}");
        broker.signal(Signal::TERM);
        assert_eq!(broker.ends().await, Some(0), "{}", broker.log());
        let banner = broker.output().await;
        let endpoint = format!("http://{}/mcp", broker.client.address);
        for line in [
            "make an account for yourself".to_owned(),
            "the link is in ".to_owned(),
            format!("claude mcp add --transport http broker {endpoint}"),
            "code --add-mcp".to_owned(),
            "mcpServers".to_owned(),
            format!("curl -si {endpoint}"),
        ] {
            assert!(banner.contains(&line), "{line} is missing in {banner}");
        }
        for said in [banner, broker.log()] {
            assert!(!said.contains("/login/setup"), "a log has readers: {said}");
        }
    });
}

#[test]
fn the_printed_curl_line_works_as_printed_also_with_another_data_directory_and_twice() {
    with_timeout(async {
        let place = Place::new();
        fs::remove_file(place.path().join("mcp-broker.toml")).expect("it is there");
        let elsewhere = format!("data_dir={}", place.path().join("else where").display());
        let mut broker = place.serve(&["--listen", "127.0.0.1:0", "--set", &elsewhere]).await;
        let line = loop {
            let line = broker.line().await;
            assert!(!line.is_empty(), "the line of curl is printed");
            if line.trim_start().starts_with("curl ") {
                break line;
            }
        };
        let target = format!("curl -si http://{}/mcp", broker.client.address);
        assert!(line.contains(&target), "{line}");
        // What the shell puts in for the token.
        let command = line.split_once("Bearer $(").and_then(|(_, rest)| rest.rsplit_once(")\""));
        let (command, _) = command.expect("a token is made on the way");
        for name in ["first", "second"] {
            let command = command.replace("$(date +%s)", name);
            let (code, token, said) = place.shell(&command).await;
            assert_eq!(code, 0, "{said}");
            let client = broker.client.bearer(token.trim());
            assert_eq!(client.post(initialize("1", "2025-11-25")).await.status, 200, "{line}");
        }
    });
}

#[test]
fn what_follows_two_dashes_is_served() {
    with_timeout(async {
        let place = Place::new();
        let witness = place.witness.path();
        let args =
            ["serve", "--listen", "127.0.0.1:0", "--", crate::harness::OBLIGING, witness, "--x"];
        let broker = place.serve(&args).await;
        let session = broker.client.open().await;
        let report = session.call("report", serde_json::Value::Null).await.json();
        assert_eq!(report["result"]["arguments"], serde_json::json!(["--x"]));
    });
}

#[test]
fn exit_codes_are_64_for_usage_69_for_a_port_that_is_taken_and_78_for_mistakes() {
    with_timeout(async {
        let place = Place::new();
        assert_eq!(place.run(&["--nonsense"]).await.0, 64);
        assert_eq!(place.run(&["token", "frobnicate"]).await.0, 64);
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("its address").to_string();
        let (code, _, log) = place.run(&["--listen", &address]).await;
        assert_eq!(code, 69, "{log}");
        assert!(log.contains(&address), "{log}");
        fs::create_dir_all(place.path().join("data/tokens.json")).expect("a directory");
        let (code, _, log) = place.run(&["--set", "auth.verifiers=[\"static\"]"]).await;
        assert_eq!(code, 69, "{log}");
        place.configure("[sesion]\nmax = 1\n");
        let (code, _, told) = place.run(&["serve"]).await;
        assert_eq!(code, 78, "{told}");
        assert!(told.contains("session"), "the nearest key is named: {told}");
        assert_eq!(place.run(&["--version"]).await.0, 0);
        assert_eq!(place.run(&["--help"]).await.0, 0);
    });
}

#[test]
fn a_start_that_is_refused_names_the_key_and_what_heals_it() {
    with_timeout(async {
        let place = Place::new();
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("its address").to_string();
        let for_metrics = format!("metrics.listen=\"{address}\"");
        fs::write(place.path().join("file"), "").expect("a file");
        let unmade = format!("data_dir=\"{}\"", place.path().join("file/below").display());
        let socket = format!("unix:{}", place.path().join("missing/socket").display());
        let signed_in = "auth.verifiers=[\"static\"]";
        let elsewhere = ["--listen", "192.0.2.1:0", "--set", signed_in];
        let cases: [(&[&str], [&str; 2]); 5] = [
            (&["--listen", &address], ["listen: ", "stop it, or set another address"]),
            (&["--set", &for_metrics], ["metrics.listen: ", "stop it, or set another address"]),
            (&elsewhere, ["listen: ", "an address that this machine has"]),
            (&["--listen", &socket], ["listen: ", "make the directory"]),
            (&["--set", &unmade], ["file/below", "set a data_dir"]),
        ];
        for (args, said) in cases {
            let (code, _, log) = place.run(args).await;
            assert_eq!(code, 69, "{args:?}: {log}");
            assert!(said.iter().all(|part| log.contains(part)), "{args:?}: {log}");
        }
    });
}

#[test]
fn check_reports_every_mistake_with_its_key_and_line() {
    with_timeout(async {
        let place = Place::new();
        let (code, said, _) = place.run(&["check"]).await;
        assert_eq!((code, said.contains("is valid")), (0, true), "{said}");
        place.configure("[session]\nmax = \"many\"\nidel = \"1s\"\n[http]\nmax_body = 0\n");
        let (code, _, told) = place.run(&["check"]).await;
        assert_eq!(code, 78);
        let file = fs::read_to_string(place.path().join("mcp-broker.toml")).expect("a file");
        for (key, line) in [
            ("session.max", "max = \"many\""),
            ("session.idel", "idel ="),
            ("http.max_body", "max_body"),
        ] {
            let number = 1 + file.lines().position(|text| text.starts_with(line)).expect("a line");
            assert!(told.contains(key), "{key} in {told}");
            assert!(told.contains(&format!(":{number}")), "{number} in {told}");
        }
    });
}

#[test]
fn none_is_refused_where_other_machines_can_connect() {
    with_timeout(async {
        let place = Place::new();
        let args = ["--listen", "0.0.0.0:0", "--set", "auth.verifiers=[\"none\"]"];
        let (code, _, told) = place.run(&args).await;
        assert_eq!(code, 78);
        assert!(told.contains("auth.verifiers"), "{told}");
        let allowed = [args[0], args[1], args[2], args[3], "--set", "auth.none.allow_remote=true"];
        let broker = place.serve(&allowed).await;
        assert!(broker.log().contains("every client that reaches the port"), "{}", broker.log());
    });
}

#[test]
fn a_token_is_printed_once_and_works_until_it_is_revoked_with_its_sessions() {
    with_timeout(async {
        let place = Place::new();
        let mut broker = place.serve(&["--set", "auth.verifiers=[\"static\"]"]).await;
        let (code, said, _) = place.run(&["token", "add", "ada"]).await;
        assert_eq!((code, said.lines().count()), (0, 1), "the token stands alone on its line");
        let ada = broker.client.bearer(said.trim());
        // The broker looks a token up that it does not know: it is good at once.
        let session = ada.open().await;
        let mut stream = session.listen().await;
        let (_, listed, _) = place.run(&["token", "list", "--json"]).await;
        assert!(listed.contains("ada") && !listed.contains(said.trim()), "{listed}");
        for name in ["broker.db", "broker.db-wal"] {
            let file = place.path().join("data").join(name);
            let mode = fs::metadata(&file).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
            let bytes = fs::read(&file).expect("a file");
            let token = said.trim().as_bytes();
            assert!(!bytes.windows(token.len()).any(|part| part == token), "{name}");
        }

        assert_eq!(place.run(&["token", "add", "ada"]).await.0, 1, "the name is taken");
        assert_eq!(place.run(&["token", "revoke", "ada"]).await.0, 0);
        let is_over = async || {
            let children = place.witness.children();
            !children.into_iter().any(is_alive) && session.post(PING).await.status == 401
        };
        within_turns(Duration::from_secs(3), "the token is worth nothing", is_over).await;
        while stream.event().await.is_some() {}
        assert_eq!(place.run(&["token", "revoke", "ada"]).await.0, 1, "there is none");
        broker.signal(Signal::TERM);
        assert_eq!(broker.ends().await, Some(0));
    });
}

#[test]
fn a_token_revoked_and_added_again_under_its_name_leaves_the_thief_no_stream() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&["--set", "auth.verifiers=[\"static\"]"]).await;
        let add = async || {
            let (code, token, told) = place.run(&["token", "add", "ada"]).await;
            assert_eq!(code, 0, "{told}");
            broker.client.bearer(token.trim())
        };
        let thief = add().await.open().await;
        let mut stream = thief.listen().await;
        assert_eq!(place.run(&["token", "revoke", "ada"]).await.0, 0);
        // Before the broker has looked for what was revoked.
        let own = add().await.open().await;
        while stream.event().await.is_some() {}
        assert_eq!(thief.post(PING).await.status, 401);
        assert!(own.is_alive().await, "the owner goes on under the other token");
        own.listen().await;
    });
}

/// What an earlier version kept its static tokens in: one of this name, whose secret is `token`.
fn token_file(name: &str, token: &str) -> String {
    let hash = auth::TokenHash::of(token).to_hex();
    format!(
        "{{\"version\":1,\"tokens\":[{{\"id\":\"{}\",\"name\":\"{name}\",\"sha256\":\"{hash}\",\
         \"created\":1,\"expires\":null}}]}}",
        &hash[..12]
    )
}

#[test]
fn a_token_file_of_an_earlier_version_is_imported_once_and_refused_when_it_reappears() {
    with_timeout(async {
        let place = Place::new();
        let data = place.path().join("data");
        let file = data.join("tokens.json");
        fs::create_dir(&data).expect("a directory");
        fs::write(&file, token_file("ada", "mcpb_of-ada")).expect("a file");
        let only_static = ["--set", "auth.verifiers=[\"static\"]"];
        let mut broker = place.serve(&only_static).await;
        broker.client.bearer("mcpb_of-ada").open().await;
        assert!(!file.exists() && data.join("tokens.json.imported").exists());
        assert_eq!(place.run(&["token", "revoke", "ada"]).await.0, 0);
        broker.signal(Signal::TERM);
        assert_eq!(broker.ends().await, Some(0), "{}", broker.log());

        fs::write(&file, token_file("ada", "mcpb_of-ada")).expect("a file");
        for command in ["check", "serve"] {
            let (code, _, told) = place.run(&[&[command][..], &only_static].concat()).await;
            assert_eq!(code, 78, "{told}");
            for words in ["auth.static.tokens_file", "tokens.json", "remove the file"] {
                assert!(told.contains(words), "{command}: {words} is missing in {told}");
            }
        }
        let (code, _, told) = place.run(&["token", "list"]).await;
        assert_eq!(code, 69, "{told}");
        assert!(told.contains("remove the file"), "{told}");
        fs::remove_file(&file).expect("a file");
        let (code, listed, _) = place.run(&["token", "list", "--json"]).await;
        assert_eq!((code, listed.trim()), (0, "[]"), "what was revoked did not come back");
    });
}

#[test]
fn sighup_applies_what_can_be_applied_and_names_what_needs_a_restart() {
    with_timeout(async {
        let place = Place::new();
        place.configure("[session]\nmax = 1\nplace_wait = \"0s\"\n");
        let broker = place.serve(&[]).await;
        let first = broker.client.open().await;
        assert_eq!(broker.client.post(initialize("1", "2025-11-25")).await.status, 503);
        place.configure("[session]\nmax = 2\nplace_wait = \"0s\"\n[http]\nmax_connections = 77\n");
        broker.signal(Signal::HUP);
        until_so("it is read again", async || broker.log().contains("configuration reloaded"))
            .await;
        broker.client.open().await;
        assert!(first.is_alive().await, "sessions stay");
        let log = broker.log();
        let about = |key: &str| log.lines().find(|line| line.contains(key)).map(str::to_owned);
        let restart = about("http.max_connections").expect("a line");
        assert!(restart.contains("restart"), "{restart}");
        let applied = about("session.max").expect("a line");
        assert!(!applied.contains("restart"), "{applied}");

        place.configure("[session]\nmax = \"two\"\n");
        broker.signal(Signal::HUP);
        until_so("it is refused", async || {
            broker.log().contains("keeping the current configuration")
        })
        .await;
        assert!(first.is_alive().await);
        assert_eq!(broker.client.post(initialize("1", "2025-11-25")).await.status, 503);
    });
}

#[test]
fn a_unix_socket_serves_its_group_is_cleared_up_and_taken_over_from_a_killed_broker() {
    with_timeout(async {
        let place = Place::new();
        let path = place.path().join("socket");
        let listen = format!("unix:{}", path.display());
        let mut broker = place.serve(&["--listen", &listen]).await;
        let client = broker.client.with("host", "localhost");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let ask = async |client: &Client| {
            let mut wire = Wire::over(UnixStream::connect(&path).await.expect("somebody listens"));
            client.send_on(&mut wire, "POST", initialize("1", "2025-11-25")).await;
            wire.answer().await.status
        };
        assert_eq!(ask(&client).await, 200);
        assert_eq!(ask(&client.with("host", "evil.example.com")).await, 403);
        assert_eq!(place.run(&["--listen", &listen]).await.0, 69, "somebody listens there");
        assert_eq!(place.run(&["healthcheck", "--set", &format!("listen={listen}")]).await.0, 0);
        broker.signal(Signal::KILL);
        broker.ends().await;
        assert!(path.exists());
        let mut again = place.serve(&["--listen", &listen]).await;
        assert_eq!(ask(&client).await, 200);
        again.signal(Signal::TERM);
        assert_eq!(again.ends().await, Some(0));
        assert!(!path.exists());
    });
}

#[test]
fn a_broker_whose_database_another_process_holds_is_not_ready_until_it_lets_go() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&[]).await;
        let ready = broker.client.at("/readyz");
        assert_eq!(ready.ask("GET", "").await.status, 200, "and just now a change succeeded");
        let file = place.path().join("data/broker.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
        let mut other = options.connect().await.expect("it opens");
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.expect("it takes the lock");
        assert_eq!(ready.ask("GET", "").await.status, 503);
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("it lets go");
        until_so("it is ready again", async || ready.ask("GET", "").await.status == 200).await;
    });
}

#[test]
fn healthcheck_says_whether_a_broker_is_ready() {
    with_timeout(async {
        let place = Place::new();
        let mut broker = place.serve(&[]).await;
        let address = broker.client.address;
        let ready = format!("http://{address}/readyz");
        let (code, said, _) = place.run(&["healthcheck", &ready]).await;
        assert_eq!((code, said.trim()), (0, "ready"));
        assert_eq!(place.run(&["healthcheck", &format!("http://{address}/x")]).await.0, 1);
        broker.signal(Signal::TERM);
        broker.ends().await;
        assert_eq!(place.run(&["healthcheck", &ready]).await.0, 1);
    });
}

#[test]
fn tls_serves_both_versions_of_http_and_sighup_changes_the_certificate() {
    with_timeout(async {
        let place = Place::new();
        let certificate = |place: &Place| {
            let names = vec!["localhost".to_owned()];
            let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
            fs::write(place.path().join("cert.pem"), made.cert.pem()).expect("a file");
            fs::write(place.path().join("key.pem"), made.signing_key.serialize_pem())
                .expect("a file");
            made.cert.der().clone()
        };
        let first = certificate(&place);
        let (cert, key) = (place.path().join("cert.pem"), place.path().join("key.pem"));
        place.configure(&format!(
            "[tls]\ncert = \"{}\"\nkey = \"{}\"\n",
            cert.display(),
            key.display(),
        ));
        let broker = place.serve(&[]).await;
        let client =
            broker.client.with("host", &format!("localhost:{}", broker.client.address.port()));
        let mut wire = tls(&broker, &first, &[b"http/1.1"]).await.expect("a handshake").0;
        client.send_on(&mut wire, "POST", initialize("1", "2025-11-25")).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
        let (_, chosen) = tls(&broker, &first, &[b"h2", b"http/1.1"]).await.expect("a handshake");
        assert_eq!(chosen.as_deref(), Some(&b"h2"[..]));

        let mut plain = Wire::connect(broker.client.address).await;
        client.send_on(&mut plain, "POST", initialize("1", "2025-11-25")).await;
        assert!(plain.closes().await, "plain HTTP is not answered");

        let second = certificate(&place);
        assert!(tls(&broker, &second, &[]).await.is_none(), "it is not in force yet");
        broker.signal(Signal::HUP);
        let renewed = async || tls(&broker, &second, &[]).await.is_some();
        until_so("the certificate is renewed", renewed).await;
        client.send_on(&mut wire, "POST", initialize("1", "2025-11-25")).await;
        assert_eq!(wire.answer().await.status, 200, "open connections go on");
    });
}

/// A connection that trusts nothing but `certificate`, and the protocol chosen.
async fn tls(
    broker: &Program,
    certificate: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> Option<(Wire, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(broker.client.address).await.expect("somebody listens");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    Some((Wire::over(stream), chosen))
}
