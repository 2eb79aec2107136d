//! Tokens of others: a broker that signs nobody in, and believes an issuer of signed tokens and a
//! server that is asked about each one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use auth::testing::SigningKey;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    doctor::fake::{Fake, document, said},
    harness::{OBLIGING, metric, until_so, with_timeout},
    program::{Place, Program},
    wire::{Answer, Client, initialize},
};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Somebody who signs tokens.
struct Signer(SigningKey);

impl Signer {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a P-256 key");
        Self(SigningKey::from_der(&key.serialize_der()))
    }

    fn keys(&self) -> Value {
        let mut jwk = self.0.jwk();
        jwk["kid"] = "one".into();
        jwk["alg"] = "ES256".into();
        jwk["use"] = "sig".into();
        json!({ "keys": [jwk] })
    }

    fn token(&self, claims: &Value) -> String {
        self.0.token(&json!({ "typ": "JWT", "alg": "ES256", "kid": "one" }), claims)
    }
}

fn seconds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "tokens are good now")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// The other servers: one publishes keys, the other is asked about tokens.
struct Others {
    signer: Arc<Signer>,
    web: Fake,
    known: Arc<Known>,
}

/// What the asked server knows and was asked.
#[derive(Default)]
struct Known {
    /// Where tokens called `good` are meant for; `None` while the server is down.
    audience: Mutex<Option<String>>,
    asked: Mutex<Vec<String>>,
}

impl Known {
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, audience: Option<String>) {
        *self.audience.lock().unwrap_or_else(PoisonError::into_inner) = audience;
    }
}

impl Others {
    async fn start() -> Self {
        let (signer, known) = (Arc::new(Signer::new()), Arc::<Known>::default());
        let (keys, own) = (signer.keys(), Arc::clone(&known));
        let credentials = format!("Basic {}", STANDARD.encode("broker:hush-hush"));
        let web = Fake::start(move |asked, _| match asked.what.as_str() {
            "GET /keys" => document(&keys),
            "POST /introspect" => {
                assert_eq!(asked.authorization.as_deref(), Some(credentials.as_str()));
                let fields = url::form_urlencoded::parse(asked.body.as_bytes());
                let token = fields.into_owned().find(|(name, _)| name == "token");
                let token = token.expect("the token is asked about").1;
                own.asked.lock().unwrap_or_else(PoisonError::into_inner).push(token.clone());
                let audience = own.audience.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match audience {
                    None => said("503 Service Unavailable", "", ""),
                    Some(audience) if token.starts_with("good") => document(&json!({
                        "active": true, "sub": "ada", "client_id": "tool", "aud": audience,
                        "scope": "mcp", "exp": seconds() + 600,
                    })),
                    Some(_) => document(&json!({ "active": false })),
                }
            }
            _ => said("404 Not Found", "", ""),
        });
        Self { signer, web: web.await, known }
    }

    /// A broker with two servers that believes them, and a token made by hand.
    async fn believed(&self, place: &Place) -> Program {
        let base = &self.web.base;
        place.configure(&format!(
            "[server.other]\ncommand = \"{OBLIGING}\"\nargs = [\"{}\"]\ntitle = \"The other\"\nisolation.level = \"none\"\n\
             [auth.jwt]\nissuer = \"{base}/\"\njwks_uri = \"{base}/keys\"\n\
             [auth.introspection]\nendpoint = \"{base}/introspect\"\n\
             issuer = \"https://asked.example\"\nclient_id = \"broker\"\n\
             client_secret = \"hush-hush\"\n",
            place.witness.path(),
        ));
        let verifiers = "auth.verifiers=[\"static\", \"jwt\", \"introspection\"]";
        place.serve(&["--set", verifiers]).await
    }

    fn claims(&self, audience: &str) -> Value {
        json!({
            "iss": format!("{}/", self.web.base), "sub": "ada", "client_id": "tool",
            "aud": audience, "scope": "openid mcp", "exp": seconds() + 600, "iat": seconds(),
        })
    }

    fn token(&self, audience: &str) -> String {
        self.signer.token(&self.claims(audience))
    }
}

fn base(broker: &Program) -> String {
    format!("http://{}", broker.client.address)
}

/// Whether the bearer opens a session at the path.
async fn status(client: &Client, path: &str, token: &str) -> u16 {
    client.at(path).bearer(token).post(initialize("1", "2025-11-25")).await.status
}

fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate").expect("a challenge")
}

#[test]
fn without_sign_in_of_its_own_a_broker_leads_clients_to_those_it_believes() {
    with_timeout(async {
        let (place, others) = (Place::new(), Others::start().await);
        let broker = others.believed(&place).await;
        let base = base(&broker);
        for (path, resource, title) in [
            ("", "/mcp", "main"),
            ("/mcp", "/mcp", "main"),
            ("/main/mcp", "/main/mcp", "main"),
            ("/other/mcp", "/other/mcp", "The other"),
        ] {
            let answer = broker.client.at(&format!("{WELL_KNOWN}{path}")).ask("GET", "").await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(
                answer.json(),
                json!({
                    "resource": format!("{base}{resource}"),
                    // The slash at its end is part of an issuer's name.
                    "authorization_servers": [
                        format!("{}/", others.web.base),
                        "https://asked.example",
                    ],
                    "scopes_supported": ["mcp"],
                    "bearer_methods_supported": ["header"],
                    "resource_name": title,
                })
            );
        }
        for path in ["/mcp", "/main/mcp", "/other/mcp"] {
            let answer = broker.client.at(path).post(initialize("1", "2025-11-25")).await;
            assert_eq!(answer.status, 401);
            let expected = format!("Bearer resource_metadata=\"{base}{WELL_KNOWN}{path}\"");
            assert_eq!(challenge(&answer), expected);
        }
        let metadata = broker.client.at(WELL_KNOWN);
        assert_eq!(metadata.post("{}").await.status, 405);
        let page = metadata.with("origin", "http://localhost:6274");
        assert_eq!(page.ask("OPTIONS", "").await.status, 204, "pages may read it");
        assert!(page.ask("GET", "").await.header("access-control-allow-origin").is_some());
        for path in ["/.well-known/oauth-authorization-server", "/oauth/token", "/login"] {
            let answer = broker.client.at(path).ask("GET", "").await;
            assert_eq!(answer.status, 404, "{path} is elsewhere");
        }
        let front = broker.client.at("/").with("accept", "text/html").ask("GET", "").await;
        assert!(front.text().contains("sign in once"), "{}", front.text());
    });
}

#[test]
fn a_signed_token_counts_at_the_server_it_is_meant_for_and_for_its_scope() {
    with_timeout(async {
        let (place, others) = (Place::new(), Others::start().await);
        let broker = others.believed(&place).await;
        let (base, client) = (base(&broker), &broker.client);
        others.known.set(Some(format!("{base}/mcp")));
        // The default server has two addresses, and both are its own.
        for audience in ["/mcp", "/main/mcp"] {
            let token = others.token(&format!("{base}{audience}"));
            assert_eq!(status(client, "/mcp", &token).await, 200, "{audience}");
            assert_eq!(status(client, "/main/mcp", &token).await, 200, "{audience}");
            let answer = client.at("/other/mcp").bearer(&token).post("{}").await;
            assert_eq!(answer.status, 401, "{audience}");
            assert!(challenge(&answer).contains("invalid_token"), "{answer:?}");
            assert!(challenge(&answer).contains(&format!("{base}{WELL_KNOWN}/other/mcp")));
        }
        let other = others.token(&format!("{base}/other/mcp"));
        assert_eq!(status(client, "/other/mcp", &other).await, 200);
        assert_eq!(status(client, "/mcp", &other).await, 401);
        assert_eq!(status(client, "/mcp", &others.token("https://elsewhere.example")).await, 401);

        let but = |change: fn(&mut Value)| {
            let mut claims = others.claims(&format!("{base}/mcp"));
            change(&mut claims);
            others.signer.token(&claims)
        };
        let narrow = but(|claims| claims["scope"] = "openid".into());
        let answer = client.bearer(&narrow).post("{}").await;
        assert_eq!(answer.status, 403);
        let told = challenge(&answer);
        assert!(told.contains("insufficient_scope") && told.contains("scope=\"mcp\""), "{told}");
        assert!(told.contains(&format!("{base}{WELL_KNOWN}/mcp")), "{told}");
        let late = but(|claims| claims["exp"] = (seconds() - 600).into());
        assert_eq!(status(client, "/mcp", &late).await, 401);
        let forged = Signer::new().token(&others.claims(&format!("{base}/mcp")));
        assert_eq!(status(client, "/mcp", &forged).await, 401);
        assert_eq!(others.known.asked(), <[String; 0]>::default(), "nobody else was asked");
        let refused = metric(client, r#"mcp_broker_auth_failures_total{reason="wrong_audience"}"#);
        assert!(refused.await >= 4);
    });
}

#[test]
fn verifiers_are_asked_in_order_and_their_users_are_different_people() {
    with_timeout(async {
        let (place, others) = (Place::new(), Others::start().await);
        let broker = others.believed(&place).await;
        let (base, client) = (base(&broker), &broker.client);
        others.known.set(Some(format!("{base}/other/mcp")));
        let (_, by_hand, _) = place.run(&["token", "add", "ada"]).await;
        let by_hand = by_hand.trim();
        until_so("the broker knows the token", async || {
            status(client, "/mcp", by_hand).await == 200
        })
        .await;
        assert_eq!(status(client, "/other/mcp", by_hand).await, 200, "made for the whole broker");
        // Until the broker knew it, the token was nobody else's business either.
        assert_eq!(others.known.asked(), <[String; 0]>::default());

        assert_eq!(status(client, "/other/mcp", "good-1").await, 200);
        assert_eq!(status(client, "/mcp", "good-1").await, 401, "meant for the other server");
        assert_eq!(status(client, "/mcp", "bad-1").await, 401);
        // Of another issuer, so the next one is asked, who does not know it.
        let mut claims = others.claims(&format!("{base}/mcp"));
        claims["iss"] = "https://elsewhere.example".into();
        let foreign = others.signer.token(&claims);
        assert_eq!(status(client, "/mcp", &foreign).await, 401);
        assert_eq!(others.known.asked(), ["good-1", "bad-1", &foreign]);

        let signed = others.token(&format!("{base}/other/mcp"));
        let session = client.at("/other/mcp").bearer(&signed).open().await;
        for token in ["good-1", by_hand] {
            let answer = session.bearer(token).post(crate::wire::PING).await;
            assert_eq!(answer.status, 403, "another issuer's ada is somebody else");
        }
        assert!(session.is_alive().await);

        others.known.set(None);
        let answer = client.at("/other/mcp").bearer("good-2").post("{}").await;
        assert_eq!(answer.status, 503, "nobody is signed out because a server is down");
        answer.assert_retry();
        assert!(session.is_alive().await, "what needs no asking goes on");
    });
}

#[test]
fn where_nobody_issues_tokens_nothing_leads_anywhere() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&["--set", "auth.verifiers=[\"static\"]"]).await;
        let answer = broker.client.post(initialize("1", "2025-11-25")).await;
        assert_eq!((answer.status, challenge(&answer)), (401, "Bearer realm=\"mcp-broker\""));
        assert_eq!(broker.client.at(WELL_KNOWN).ask("GET", "").await.status, 404);

        let jwt =
            ["--set", "auth.verifiers=[\"jwt\"]", "--set", "auth.jwt.issuer=https://id.example"];
        let nowhere = [&["check", "--set", "listen=0.0.0.0:8080"], &jwt[..]].concat();
        let (code, _, told) = place.run(&nowhere).await;
        assert_eq!(code, 78, "tokens cannot be meant for a broker without an address: {told}");
        assert!(told.contains("public_url") && told.contains("auth.jwt.audience"), "{told}");
        let named = ["--set", "auth.jwt.audience=[\"https://mcp.example.org\"]"];
        assert_eq!(place.run(&[&nowhere[..], &named].concat()).await.0, 0);
    });
}
