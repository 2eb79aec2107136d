//! The names of one broker: loopback names that people use as if they were one, and a host for a server
//! alone.

use serde_json::{Value, json};

use super::{deployment::Deployment, forge::ForgeOptions};
use crate::{
    harness::{Harness, with_timeout},
    wire::{Client, initialize},
};

const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
const SERVER: &str = "/.well-known/oauth-authorization-server";

async fn read(client: &Client, path: &str) -> Value {
    let answer = client.at(path).ask("GET", "").await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// The names of this machine to itself, with the port of the broker.
fn loopback(client: &Client) -> [String; 3] {
    let port = client.address.port();
    ["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}"))
}

/// Registers an application, and returns the address of a question that is answered at once.
async fn question(client: &Client, resource: &str) -> String {
    let registration = json!({ "redirect_uris": ["http://127.0.0.1:9/back"] });
    let registered = client.at("/oauth/register").post(registration.to_string()).await;
    let id = registered.json()["client_id"].as_str().expect("an id").to_owned();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in [
        ("client_id", id.as_str()),
        ("redirect_uri", "http://127.0.0.1:9/back"),
        ("response_type", "code"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
        ("prompt", "none"),
        ("resource", resource),
    ] {
        query.append_pair(name, value);
    }
    format!("/oauth/authorize?{}", query.finish())
}

#[test]
fn localhost_and_its_addresses_each_describe_themselves_and_one_sign_in_keeps_one_issuer() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let main = deployment.client();
        for name in loopback(main) {
            let (client, base) = (main.with("host", &name), format!("http://{name}"));
            let stranger = client.post(initialize("1", "2025-11-25")).await;
            let challenge = stranger.header("www-authenticate").expect("a challenge");
            assert!(challenge.contains(&format!("\"{base}{RESOURCE}\"")), "{challenge}");
            let resource = read(&client, RESOURCE).await;
            assert_eq!(resource["resource"], format!("{base}/mcp"));
            assert_eq!(resource["authorization_servers"], json!([base]));
            let server = read(&client, SERVER).await;
            assert_eq!(server["issuer"], base);
            for endpoint in ["authorization_endpoint", "token_endpoint", "registration_endpoint"] {
                let address = server[endpoint].as_str().expect("an address");
                assert!(address.starts_with(&format!("{base}/oauth/")), "{address}");
            }
            let asked = question(&client, &format!("{base}/mcp")).await;
            let answer = client.at(&asked).ask("GET", "").await;
            let location = answer.header("location").expect("a redirect");
            let iss: String = url::form_urlencoded::byte_serialize(base.as_bytes()).collect();
            assert!(location.ends_with(&format!("iss={iss}")), "{location}");
        }
        let foreign = main.with("host", "localhost.evil.example").at(RESOURCE).ask("GET", "").await;
        assert_eq!(foreign.status, 403, "a Host from outside describes nothing");
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        for name in loopback(main) {
            let client = main.with("host", &name).bearer(&tokens.access);
            assert!(client.open().await.is_alive().await, "the token is good at {name}");
        }
    });
}

#[test]
fn a_sign_in_that_an_upstream_must_send_back_happens_under_the_name_that_it_knows() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let client = deployment.client();
        let (local, own) = (client.with("host", &loopback(client)[0]), deployment.root());
        let name = &loopback(client)[0];
        let resource = read(&local, RESOURCE).await;
        assert_eq!(resource["resource"], format!("http://{name}/mcp"));
        assert_eq!(resource["authorization_servers"], json!([own]), "where people sign in");
        assert_eq!(read(&local, SERVER).await["issuer"], own);
        let asked = question(&local, &format!("http://{name}/mcp")).await;
        let moved = local.at(&asked).ask("GET", "").await;
        assert_eq!((moved.status, moved.header("set-cookie")), (303, None));
        assert_eq!(moved.header("location"), Some(format!("{own}{asked}").as_str()));
        let answer = client.at(&asked).ask("GET", "").await;
        let location = answer.header("location").expect("a redirect");
        assert!(location.contains("iss=http%3A%2F%2F127.0.0.1"), "{location}");
    });
}

#[test]
fn a_server_with_a_host_of_its_own_is_found_and_used_there_at_mcp() {
    with_timeout(async {
        let settings = [
            "public_url=https://mcp.example.org",
            "auth.verifiers=[\"oauth\", \"static\"]",
            "server.main.host=forge.example.org",
        ];
        let harness = Harness::with_tokens(&["ada"], &settings).await;
        let (host, public) = ("forge.example.org", "mcp.example.org");
        let own = harness.client.with("host", host);
        let stranger = own.post(initialize("1", "2025-11-25")).await;
        assert_eq!(stranger.status, 401);
        let challenge = stranger.header("www-authenticate").expect("a challenge");
        let metadata = format!("\"https://{host}{RESOURCE}\"");
        assert!(challenge.contains(&metadata), "{challenge}");
        for path in [RESOURCE, "/.well-known/oauth-protected-resource"] {
            let resource = read(&own, path).await;
            assert_eq!(resource["resource"], "https://forge.example.org/mcp");
            assert_eq!(resource["authorization_servers"], json!(["https://mcp.example.org"]));
        }
        let main = harness.client.with("host", public);
        let resource = read(&main, "/.well-known/oauth-protected-resource/main/mcp").await;
        assert_eq!(resource["resource"], "https://mcp.example.org/main/mcp", "as before");
        let ada = harness.of("ada").with("host", host);
        let session = ada.open().await;
        assert!(ada.at("/mcp/").open().await.is_alive().await);
        let elsewhere = session.with("host", public).at("/main/mcp");
        assert!(elsewhere.is_alive().await, "it is the same server");
        assert_eq!(own.at("/healthz").ask("GET", "").await.status, 200);
        for path in [
            "/",
            "/main/mcp",
            "/readyz",
            "/metrics",
            "/account",
            "/login",
            SERVER,
            "/oauth/token",
            "/oauth/register",
            "/oauth/authorize",
        ] {
            assert_eq!(own.at(path).ask("GET", "").await.status, 404, "{path}");
        }
        let asked = question(&main, "https://forge.example.org/mcp").await;
        let answer = main.at(&asked).ask("GET", "").await;
        let location = answer.header("location").expect("the address names the server");
        assert!(location.contains("error=login_required"), "{location}");
        let browser = main.with("accept", "text/html").at("/").ask("GET", "").await;
        assert!(browser.text().contains("https://forge.example.org/mcp"), "{}", browser.text());
    });
}
