//! Which headers of a child's request do not cross, whatever they say.

use http::HeaderName;

/// Headers of one connection (RFC 9110 section 7.6.1), and what an upstream might take for the word of
/// a proxy that it trusts: who asks, and for which host or path.
const NAMES: [&str; 20] = [
    "alt-used",
    "cf-connecting-ip",
    "client-ip",
    "connection",
    "expect",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "proxy",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-http-host-override",
    "x-real-ip",
];

/// Of these there are many, one for each thing that a proxy may know.
const BEGINNINGS: [&str; 10] = [
    "proxy-",
    "remote-",
    "ssl-client-",
    "x-auth-request-",
    "x-forwarded",
    "x-original-",
    "x-remote-",
    "x-rewrite-",
    "x-ssl-",
    "x-webauth-",
];

/// What is written anew for the upstream, and not taken over.
const ANEW: [&str; 4] = ["authorization", "content-length", "host", "private-token"];

/// Whether a header of this name may cross. To programs that know headers as variables of an environment
/// (RFC 3875 section 4.1.18) an underscore is a hyphen.
pub(super) fn may_cross(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    !NAMES.contains(&&*name)
        && !ANEW.contains(&&*name)
        && !BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_speaks_for_a_trusted_proxy_does_not_cross_however_it_is_spelled() {
        for name in [
            "x-webauth-user",
            "x-forwarded-port",
            "x-forwarded",
            "x_forwarded_for",
            "x-original-url",
            "x-rewrite-url",
            "remote-user",
            "remote_user",
            "proxy",
            "proxy-authorization",
            "content_length",
            "private_token",
            "transfer_encoding",
        ] {
            assert!(!may_cross(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["accept", "x-own", "if-match", "x-github-api-version", "x-user-agent", "sudo"]
        {
            assert!(may_cross(&HeaderName::from_static(name)), "{name}");
        }
    }
}
