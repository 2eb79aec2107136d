//! What the client is told beside a denial: the value of `WWW-Authenticate`.

use http::HeaderValue;

use crate::{BearerError, Denied, Refusal};

/// Builds the `WWW-Authenticate` values of one protected resource (RFC 6750 §3).
///
/// With a metadata address (RFC 9728 §5.1) every challenge names it, so that a client finds its way
/// to the authorization server. Without one, as long as no authorization server is configured,
/// `realm="mcp-broker"` stands in: RFC 6750 §3 demands at least one parameter after the scheme.
///
/// The fixed answers are built once; handing one out counts a reference and allocates nothing.
#[derive(Debug, Clone)]
pub struct Challenge {
    locator: String,
    missing: HeaderValue,
    invalid_request: HeaderValue,
    invalid_token: HeaderValue,
}

impl Challenge {
    /// Challenges that point at `resource_metadata`, an absolute URL, or at nothing.
    ///
    /// Bytes that have no place in a URL are percent-encoded, so no value can break out of its
    /// quotes or its header.
    #[must_use]
    pub fn new(resource_metadata: Option<&str>) -> Self {
        let locator = match resource_metadata {
            Some(url) => parameter("resource_metadata", url),
            None => parameter("realm", "mcp-broker"),
        };
        Self {
            missing: header(&format!("Bearer {locator}")),
            invalid_request: header(&format!("Bearer error=\"invalid_request\", {locator}")),
            invalid_token: header(&format!("Bearer error=\"invalid_token\", {locator}")),
            locator,
        }
    }

    /// For a request without a token: no `error=` (RFC 6750 §3.1), goes with 401.
    #[must_use]
    pub fn missing(&self) -> HeaderValue {
        self.missing.clone()
    }

    /// For credentials that cannot be read, goes with 400.
    #[must_use]
    pub fn invalid_request(&self) -> HeaderValue {
        self.invalid_request.clone()
    }

    /// For a bad token, goes with 401.
    #[must_use]
    pub fn invalid_token(&self) -> HeaderValue {
        self.invalid_token.clone()
    }

    /// For a good token that may not do this, goes with 403. `needed` is the whole list of scopes,
    /// separated by spaces.
    #[must_use]
    pub fn insufficient_scope(&self, needed: &str) -> HeaderValue {
        let scope = parameter("scope", needed);
        header(&format!("Bearer error=\"insufficient_scope\", {scope}, {}", self.locator))
    }

    /// The value that goes with `denied`, or `None` where a challenge would be wrong: an undecided
    /// request must not make the client drop its token.
    #[must_use]
    pub fn answer(&self, denied: &Denied) -> Option<HeaderValue> {
        match denied {
            Denied::NoCredentials => Some(self.missing()),
            Denied::BadRequest(BearerError::Several) => Some(self.invalid_request()),
            // Another token would not help.
            Denied::Refused(Refusal::Blocked) | Denied::VerifierUnavailable { .. } => None,
            // A token that cannot be one is a bad token: its client should get another.
            Denied::BadRequest(BearerError::Malformed | BearerError::TooLong)
            | Denied::Refused(_) => Some(self.invalid_token()),
            Denied::InsufficientScope { needed } => Some(self.insufficient_scope(needed)),
        }
    }
}

/// `name="value"`, with `value` reduced to what RFC 6750 §3 allows in a scope: printable ASCII
/// without quote and backslash. Anything else becomes `%XX`, which a URL means anyway and which
/// keeps a scope's oddity visible. So no quoted pair is ever needed, and clients that do not know
/// how to undo one read the value right.
fn parameter(name: &str, value: &str) -> String {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(name.len() + value.len() + 3);
    text.push_str(name);
    text.push_str("=\"");
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                write!(text, "%{byte:02X}").expect("a string takes every write");
            }
            plain => text.push(char::from(plain)),
        }
    }
    text.push('"');
    text
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("parameters are printable ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VerifierUnavailable;

    const URL: &str = "https://mcp.example.org/.well-known/oauth-protected-resource/mcp";

    #[test]
    fn without_a_token_the_challenge_names_the_metadata_and_no_error() {
        let value = Challenge::new(Some(URL)).answer(&Denied::NoCredentials).unwrap();
        assert_eq!(value, format!("Bearer resource_metadata=\"{URL}\""));
    }

    #[test]
    fn a_refused_token_is_an_invalid_token_whatever_the_reason() {
        let challenge = Challenge::new(Some(URL));
        for refusal in
            [Refusal::Unknown, Refusal::Expired, Refusal::Revoked, Refusal::WrongAudience]
        {
            let value = challenge.answer(&Denied::Refused(refusal)).unwrap();
            let expected = format!("Bearer error=\"invalid_token\", resource_metadata=\"{URL}\"");
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn a_missing_scope_is_named_with_the_metadata() {
        let denied = Denied::InsufficientScope { needed: "mcp:read mcp:call".into() };
        assert_eq!(
            Challenge::new(Some(URL)).answer(&denied).unwrap(),
            format!(
                "Bearer error=\"insufficient_scope\", scope=\"mcp:read mcp:call\", \
                 resource_metadata=\"{URL}\""
            ),
        );
    }

    #[test]
    fn unreadable_credentials_are_an_invalid_request() {
        let denied = Denied::BadRequest(BearerError::Several);
        let value = Challenge::new(Some(URL)).answer(&denied).unwrap();
        let expected = format!("Bearer error=\"invalid_request\", resource_metadata=\"{URL}\"");
        assert_eq!(value, expected);
    }

    #[test]
    fn a_bearer_that_cannot_be_a_token_is_an_invalid_token() {
        for error in [BearerError::Malformed, BearerError::TooLong] {
            let value = Challenge::new(Some(URL)).answer(&Denied::BadRequest(error)).unwrap();
            let expected = format!("Bearer error=\"invalid_token\", resource_metadata=\"{URL}\"");
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn an_undecided_request_is_not_challenged() {
        let denied = Denied::VerifierUnavailable {
            verifier: "fake".into(),
            source: VerifierUnavailable::new("down"),
        };
        assert_eq!(Challenge::new(Some(URL)).answer(&denied), None);
    }

    #[test]
    fn without_metadata_the_realm_keeps_the_challenge_well_formed() {
        let challenge = Challenge::new(None);
        assert_eq!(challenge.missing(), "Bearer realm=\"mcp-broker\"");
        assert_eq!(
            challenge.invalid_token(),
            "Bearer error=\"invalid_token\", realm=\"mcp-broker\""
        );
    }

    #[test]
    fn no_value_breaks_out_of_its_quotes_or_its_header() {
        let url = "https://a/\", error=\"x\\\"\r\nSet-Cookie: b=c\u{7f}é";
        assert_eq!(
            Challenge::new(Some(url)).missing(),
            "Bearer resource_metadata=\"https://a/%22, error=%22x%5C%22%0D%0ASet-Cookie: \
             b=c%7F%C3%A9\"",
        );
        let scope = Challenge::new(None).insufficient_scope("a\" b\n");
        assert_eq!(
            scope,
            "Bearer error=\"insufficient_scope\", scope=\"a%22 b%0A\", realm=\"mcp-broker\""
        );
    }
}
