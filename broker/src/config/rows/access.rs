//! The rows of who may connect: verifiers, ways to sign in, the authorization server.

use super::{IDENTITIES, VERIFIERS, row};
use crate::config::{
    kind::{Kind, Zero},
    table::Key,
};

const CLIENT_SECRET: &str = "The secret that belongs to client_id.";
const CLIENT_SECRET_FILE: &str = "A file that holds the secret, so that it need not stand here. A line \
     break at its end is no part of it.";

const fn client_id(path: &'static str) -> Key {
    row(path, Kind::Text, "", "The identifier the broker was registered with.")
        .computed("not set")
        .example(r#""5f2d1c7e-mcp-broker""#)
}

const fn secret(path: &'static str, doc: &'static str) -> Key {
    row(path, Kind::Text, "", doc).computed("not set").example(r#""change-me""#).secret()
}

const fn secret_file(path: &'static str, doc: &'static str) -> Key {
    row(path, Kind::Path, "", doc)
        .computed("not set")
        .example(r#""/run/secrets/mcp-broker-client""#)
}

/// In the order of the example.
pub(super) static KEYS: &[Key] = &[
    row(
        "auth.verifiers",
        Kind::Words(VERIFIERS),
        "",
        "Who judges a bearer token, in order: \"oauth\" knows the tokens that people get by signing \
         in here, \"static\" those made by `mcp-broker token add`, \"jwt\" and \"introspection\" \
         those of an outside authorization server; \"none\" lets everybody in as one shared owner.",
    )
    .computed(
        "[\"oauth\", \"static\"]; [\"static\"] without public_url, unless listen is a loopback address",
    )
    .example(r#"["oauth", "static", "jwt", "introspection"]"#),
    row(
        "auth.identity",
        Kind::Words(IDENTITIES),
        r#"["local"]"#,
        "How people sign in, in the order of the buttons. \"local\" are the accounts of `mcp-broker \
         user add`; each of the others needs its own table below. It counts while \"oauth\" is among \
         the verifiers.",
    )
    .example(r#"["local", "forgejo", "gitea", "oidc", "github"]"#),
    row(
        "auth.ca_file",
        Kind::Path,
        "",
        "Certificates (PEM) of private authorities that are believed, besides those the machine knows, \
         wherever the broker asks somebody: identity providers, outside authorization servers, \
         metadata documents of clients.",
    )
    .computed("not set")
    .example(r#""/etc/mcp-broker/ca.pem""#),
    row(
        "auth.none.allow_remote",
        Kind::Bool,
        "false",
        "Accept the verifier \"none\" although other machines can connect. Whoever reaches the port \
         can then use every server.",
    ),
    row("auth.static.tokens_file", Kind::Path, "", "The file that holds the hashes of the tokens.")
        .computed("tokens.json in data_dir")
        .example(r#""/var/lib/mcp-broker/tokens.json""#),
    row("auth.jwt.issuer", Kind::Text, "", "Who signs the tokens: their `iss`, exactly.")
        .computed("not set")
        .example(r#""https://id.example.org""#),
    row("auth.jwt.jwks_uri", Kind::Text, "", "Where the issuer publishes its keys.")
        .computed("what the issuer's OpenID configuration says")
        .example(r#""https://id.example.org/keys""#),
    row(
        "auth.jwt.audience",
        Kind::Texts,
        "[]",
        "Whom a token must be meant for: one of these has to be in its `aud`.",
    )
    .computed("the address of the server that is asked, such as PUBLIC_URL/mcp")
    .example(r#"["https://mcp.example.org"]"#),
    row("auth.introspection.endpoint", Kind::Text, "", "Where tokens are asked about.")
        .computed("not set")
        .example(r#""https://id.example.org/introspect""#),
    row("auth.introspection.issuer", Kind::Text, "", "Under which name its users are known here.")
        .computed("the origin of endpoint")
        .example(r#""https://id.example.org""#),
    row(
        "auth.introspection.audience",
        Kind::Texts,
        "[]",
        "Whom a token must be meant for: one of these has to be in its `aud`.",
    )
    .computed("the address of the server that is asked, such as PUBLIC_URL/mcp")
    .example(r#"["https://mcp.example.org"]"#),
    client_id("auth.introspection.client_id"),
    secret("auth.introspection.client_secret", CLIENT_SECRET),
    secret_file("auth.introspection.client_secret_file", CLIENT_SECRET_FILE),
    row("auth.forgejo.url", Kind::Text, "", "The forge's address.")
        .computed("not set")
        .example(r#""https://git.example.org""#),
    client_id("auth.forgejo.client_id"),
    secret("auth.forgejo.client_secret", CLIENT_SECRET),
    secret_file("auth.forgejo.client_secret_file", CLIENT_SECRET_FILE),
    row(
        "auth.forgejo.scopes",
        Kind::Texts,
        r#"["read:user", "write:repository", "write:issue", "read:organization"]"#,
        "What the broker may do there in a user's name; the forge's own words such as \
         read:repository. The forge grants everything for words it does not know, so the broker does \
         not start with one.",
    ),
    row("auth.forgejo.label", Kind::Text, "", "What its button on the sign-in page says.")
        .computed("the host")
        .example(r#""git.example.org""#),
    row("auth.gitea.url", Kind::Text, "", "The forge's address.")
        .computed("not set")
        .example(r#""https://gitea.example.org""#),
    client_id("auth.gitea.client_id"),
    secret("auth.gitea.client_secret", CLIENT_SECRET),
    secret_file("auth.gitea.client_secret_file", CLIENT_SECRET_FILE),
    row(
        "auth.gitea.scopes",
        Kind::Texts,
        r#"["read:user", "write:repository", "write:issue", "read:organization"]"#,
        "What the broker may do there in a user's name; the forge's own words such as \
         read:repository. The forge grants everything for words it does not know, so the broker does \
         not start with one.",
    ),
    row("auth.gitea.label", Kind::Text, "", "What its button on the sign-in page says.")
        .computed("the host")
        .example(r#""gitea.example.org""#),
    row("auth.oidc.issuer", Kind::Text, "", "The provider's issuer; its configuration is found from there.")
        .computed("not set")
        .example(r#""https://id.example.org""#),
    client_id("auth.oidc.client_id"),
    secret("auth.oidc.client_secret", CLIENT_SECRET),
    secret_file("auth.oidc.client_secret_file", CLIENT_SECRET_FILE),
    row(
        "auth.oidc.scopes",
        Kind::Texts,
        r#"["openid", "profile"]"#,
        "What is asked for; openid is always among it. offline_access lets credentials be renewed at \
         many providers.",
    ),
    row("auth.oidc.label", Kind::Text, "", "What its button on the sign-in page says.")
        .computed("the host")
        .example(r#""Company account""#),
    row(
        "auth.github.url",
        Kind::Text,
        r#""https://github.com""#,
        "The address, for GitHub Enterprise Server.",
    ),
    client_id("auth.github.client_id"),
    secret("auth.github.client_secret", CLIENT_SECRET),
    secret_file("auth.github.client_secret_file", CLIENT_SECRET_FILE),
    row(
        "auth.github.scopes",
        Kind::Texts,
        r#"["read:user"]"#,
        "What the broker may do there in a user's name.",
    ),
    row("auth.github.label", Kind::Text, "", "What its button on the sign-in page says.")
        .computed("the host")
        .example(r#""GitHub""#),
    row(
        "oauth.access_ttl",
        Kind::Duration(Zero::Refused),
        r#""1h""#,
        "How long an access token lives. Clients renew it by themselves.",
    ),
    row(
        "oauth.refresh_ttl",
        Kind::Duration(Zero::Refused),
        r#""30d""#,
        "How long a refresh token lives, counted anew with each use: who stays away longer signs in \
         again.",
    ),
    row(
        "oauth.refresh_grace",
        Kind::Duration(Zero::Means("a refresh cannot be repeated")),
        r#""2m""#,
        "How long a refresh may be repeated with the same outcome, for clients that lose an answer \
         or refresh from two machines at once. Later reuse revokes the whole authorization.",
    ),
    row(
        "oauth.browser_ttl",
        Kind::Duration(Zero::Refused),
        r#""12h""#,
        "How long a browser stays signed in to the broker's own pages.",
    ),
    row(
        "oauth.registration",
        Kind::Word(&["open", "token", "off"]),
        r#""open""#,
        "Who may register a client (RFC 7591): anybody within limits, who has registration_token, \
         or nobody. Clients the broker does not know otherwise need it to connect.",
    ),
    secret("oauth.registration_token", "The bearer token that registration = \"token\" asks for."),
    secret_file("oauth.registration_token_file", "A file that holds registration_token."),
    row(
        "oauth.client_id_metadata",
        Kind::Bool,
        "true",
        "Whether a client may be known by the https address of its metadata document, which the \
         broker then fetches.",
    ),
    row(
        "oauth.redirect_schemes",
        Kind::Texts,
        r#"["cursor", "vscode", "vscode-insiders", "claude"]"#,
        "Schemes of installed applications that may be sent an authorization code, besides https \
         and programs on the user's own machine.",
    ),
];
