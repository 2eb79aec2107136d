//! Clients that run inside of a web page: what they may read before they have a token.

use serde_json::{Value, json};

use super::deployment::Deployment;
use crate::harness::with_timeout;

const PAGE: &str = "https://inspector.example.net";

#[test]
fn a_web_page_of_any_origin_finds_its_way_to_a_token_and_no_further() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let page = deployment.client().with("origin", PAGE);
        let form = page.with("content-type", "application/x-www-form-urlencoded");
        let registration = json!({ "redirect_uris": ["https://inspector.example.net/back"] });
        for (client, path, body, status) in [
            (&page, "/.well-known/oauth-protected-resource/mcp", None, 200),
            (&page, "/.well-known/oauth-protected-resource", None, 200),
            (&page, "/.well-known/oauth-authorization-server", None, 200),
            (&page, "/.well-known/openid-configuration/mcp/", None, 200),
            (&page, "/oauth/register", Some(registration.to_string()), 201),
            (&form, "/oauth/token", Some("grant_type=refresh_token".to_owned()), 401),
            (&form, "/oauth/revoke", Some("token=x&client_id=y".to_owned()), 401),
        ] {
            let client = client.at(path);
            let preflight = client
                .with("access-control-request-method", "POST")
                .with("access-control-request-headers", "content-type,mcp-protocol-version")
                .ask("OPTIONS", "")
                .await;
            assert_eq!(preflight.status, 204, "{path}");
            let answer = match body {
                Some(body) => client.post(body).await,
                None => client.ask("GET", "").await,
            };
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
            for answer in [&preflight, &answer] {
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
                assert_eq!(answer.header("access-control-allow-credentials"), None, "{path}");
            }
            let hidden = client.with("origin", "null").ask("OPTIONS", "").await;
            assert_eq!(hidden.header("access-control-allow-origin"), Some("*"), "{path}");
        }
        let query = "/oauth/authorize?client_id=x&redirect_uri=y";
        for path in
            ["/mcp", "/account", "/login", "/consent", "/oauth/introspect", query, "/metrics"]
        {
            let answer = page.at(path).ask("GET", "").await;
            assert_eq!(answer.status, 403, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        }
        let foreign = page.at("/oauth/token").with("host", "evil.example.net").post("x").await;
        assert_eq!(foreign.status, 403, "a foreign name is a foreign name");
        assert_eq!(foreign.header("access-control-allow-origin"), None);
        let told: Value = foreign.json();
        assert!(told["error"]["message"].as_str().is_some_and(|words| words.contains("Host")));
    });
}
