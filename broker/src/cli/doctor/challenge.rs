//! A request without a token, and where its refusal points.

use http::{HeaderMap, StatusCode, header};
use url::Url;

use super::{
    compare::same_origin,
    messages::Reply,
    outcome::{Fault, Outcome, shown},
    trouble::unexpected,
    wire::Answer,
};

/// What the endpoint says to those who bring no token.
#[derive(Debug)]
pub(super) enum Challenge {
    /// It let the doctor in: the answer to `initialize`.
    Open(Reply),
    /// Sign in first. Where the metadata is, and the scopes to ask for, if it says so.
    SignIn { metadata: Option<Url>, scope: Option<String> },
}

/// Judges a refusal.
pub(super) fn judge(url: &Url, answer: &Answer, has_token: bool) -> Outcome<Challenge> {
    if answer.status != StatusCode::UNAUTHORIZED {
        return unexpected(url, answer, "401").into();
    }
    let challenges = parse(&answer.headers);
    let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") else {
        let others: Vec<_> = challenges.iter().map(|challenge| challenge.scheme.as_str()).collect();
        return if others.is_empty() {
            Fault::new(
                "401 without WWW-Authenticate: Bearer, so clients do not learn where to sign in",
                "does the proxy strip that header, or answer in the broker's place?",
            )
        } else {
            Fault::new(
                format!("401 with a challenge of another kind ({})", shown(&others.join(", "))),
                "a password prompt of the proxy? MCP clients cannot answer it; leave signing in to \
                 the broker",
            )
        }
        .into();
    };
    let scope = bearer.parameter("scope").map(ToOwned::to_owned);
    let Some(link) = bearer.parameter("resource_metadata") else {
        let value = Challenge::SignIn { metadata: None, scope };
        let what =
            "the challenge names no resource_metadata, so clients cannot sign in by themselves";
        if has_token {
            let said = "401; tokens by hand only";
            return Outcome::ok(value, said).with(Vec::new(), vec![what.to_owned()]);
        }
        let hint = "if everybody gets a token by hand (`mcp-broker token add`), give it with \
                    --token-file; else configure the broker's own sign-in (`auth.verifiers`)";
        return Outcome::ok(value, "").with(vec![Fault::new(what, hint)], Vec::new());
    };
    let Ok(metadata) = Url::parse(link) else {
        let fault = Fault::new(
            format!("resource_metadata is {:?}, which is no absolute address", shown(link)),
            "set `public_url` of the broker",
        );
        return Outcome::ok(Challenge::SignIn { metadata: None, scope }, "")
            .with(vec![fault], Vec::new());
    };
    let mut faults = Vec::new();
    let mut notes = Vec::new();
    if !same_origin(&metadata, url) {
        if metadata.host() == url.host() {
            faults.push(Fault::new(
                format!(
                    "the challenge points to {}, which differs from your address in scheme or port",
                    shown(metadata.as_str())
                ),
                "TLS ends at a proxy, and the broker does not know: set its `public_url` to the \
                 address clients use",
            ));
        } else {
            notes.push(format!("the metadata is on another host: {}", shown(metadata.as_str())));
        }
    }
    if bearer.parameter("error").is_some() {
        notes.push("the challenge has an error although there was no token (RFC 6750 §3.1)".into());
    }
    let said = format!("401, points to {}", shown(metadata.as_str()));
    Outcome::ok(Challenge::SignIn { metadata: Some(metadata), scope }, said).with(faults, notes)
}

/// One challenge of `WWW-Authenticate`.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    /// In lower case.
    scheme: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl Offer {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of all `WWW-Authenticate` headers (RFC 9110 §11.6.1). What makes no sense is
/// skipped.
fn parse(headers: &HeaderMap) -> Vec<Offer> {
    let mut found: Vec<Offer> = Vec::new();
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        let text = String::from_utf8_lossy(value.as_bytes());
        for piece in split(&text) {
            let mut piece = piece.trim();
            // A scheme stands before a blank, or alone; a parameter has `=` in its first word.
            let first = piece.split_whitespace().next().unwrap_or_default();
            if !first.is_empty() && !first.contains('=') {
                found.push(Offer { scheme: first.to_ascii_lowercase(), parameters: Vec::new() });
                piece = piece[first.len()..].trim();
            }
            if let (Some((name, value)), Some(offer)) = (piece.split_once('='), found.last_mut()) {
                let name = name.trim().to_ascii_lowercase();
                offer.parameters.push((name, unquoted(value.trim())));
            }
        }
    }
    found
}

/// Splits at commas that are not inside quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    pieces
}

fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let Some(inner) = inner else { return value.to_owned() };
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parsed(values: &[&'static str]) -> Vec<Offer> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        parse(&headers)
    }

    #[test]
    fn a_bearer_challenge_is_found_among_others() {
        for values in [
            &[r#"Basic realm="a, b", Bearer resource_metadata="https://h/x", scope="a b""#][..],
            &[r#"Basic realm="x""#, r#"bearer Resource_Metadata=https://h/x , scope="a b""#],
            &[r#"Negotiate, Bearer scope="a \b", resource_metadata="https://h/x""#],
        ] {
            let all = parsed(values);
            let bearer = all.iter().find(|offer| offer.scheme == "bearer").expect("one");
            assert_eq!(bearer.parameter("resource_metadata"), Some("https://h/x"), "{values:?}");
            assert_eq!(bearer.parameter("scope"), Some("a b"), "{values:?}");
        }
        assert_eq!(parsed(&["", ",,", "=x"]), []);
    }
}
