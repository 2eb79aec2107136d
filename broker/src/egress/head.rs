//! The head of a child's request is taken apart and built anew: the dummy is found and taken out, what
//! belongs to one connection stays here, and the address becomes one of the origin's.
//!
//! Nothing here knows a token; it comes last, from [`Head::authorize`].

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts, uri::PathAndQuery,
};

use super::{
    client::{MAX_FIELDS, MAX_HEAD},
    crossing::may_cross,
    refusal::Refusal,
    routes::{Route, Routes},
    target,
};
use crate::config::EgressStyle;

/// Forges take a token here too.
pub(super) const PRIVATE_TOKEN: HeaderName = HeaderName::from_static("private-token");

/// Base64 as clients write it, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A token as a password, for [`EgressStyle::Basic`].
pub(super) fn basic_pair(token: &str) -> String {
    format!("oauth2:{token}")
}

/// A head without any credential, addressed to the origin.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

/// Everything in a head that may be a dummy.
pub(super) fn candidates(head: &Parts) -> Vec<String> {
    let mut found = Vec::new();
    for value in head.headers.get_all(header::AUTHORIZATION) {
        let Some((scheme, rest)) =
            value.to_str().ok().and_then(|text| text.trim().split_once([' ', '\t']))
        else {
            continue;
        };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") {
            found.push(rest.to_owned());
        } else if scheme.eq_ignore_ascii_case("basic")
            && let Ok(pair) = BASE64.decode(rest)
        {
            // A user's name may be in any encoding (RFC 7617 section 2).
            let pair = String::from_utf8_lossy(&pair).into_owned();
            match pair.split_once(':') {
                Some((user, password)) => found.extend([user, password].map(str::to_owned)),
                None => found.push(pair),
            }
        }
    }
    let own = head.headers.get_all(PRIVATE_TOKEN).iter();
    found.extend(own.filter_map(|value| value.to_str().ok()).map(|text| text.trim().to_owned()));
    found.extend(target::credentials(head.uri.query().unwrap_or_default()));
    found
}

/// Whether a head has more than may cross, in either direction; `line` bytes of it stand before its fields.
/// The parsers let somewhat more in, to have it refused in words.
pub(super) fn is_too_long(line: usize, headers: &HeaderMap) -> bool {
    // With what stands between and behind the two (RFC 9112 section 5).
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    headers.len() > MAX_FIELDS || line + headers.iter().map(field).sum::<usize>() > MAX_HEAD
}

/// How long the first line of a request is, with all that belongs to it (RFC 9112 section 3).
fn request_line(head: &Parts) -> usize {
    let uri = &head.uri;
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = uri.authority().map_or(0, |named| named.as_str().len());
    head.method.as_str().len() + authority + target + " HTTP/1.1\r\n\r\n".len()
}

/// The head as the upstream may see it, still without a token, and which upstream that is. `is_base`
/// knows the names under which the child reaches us.
pub(super) fn rebuild<'a>(
    head: &Parts,
    dummy: &str,
    routes: &'a Routes,
    is_base: impl Fn(&str) -> bool,
) -> Result<(Head, &'a Route), Refusal> {
    if is_too_long(request_line(head), &head.headers) {
        return Err(Refusal::LongHead);
    }
    if !is_coded_plainly(&head.headers) {
        return Err(Refusal::TransferCoding);
    }
    if !is_forwarded(&head.method) || head.method.as_str().contains(dummy) {
        return Err(Refusal::Method);
    }
    let path = head.uri.path();
    if target::holds(path, dummy) {
        return Err(Refusal::DummyInPath);
    }
    let (route, path) = routes.find(&head.uri, is_base)?;
    let query = head.uri.query().and_then(|query| target::without(query, dummy));
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let target = target.parse::<PathAndQuery>().map_err(|_| Refusal::Path)?;
    let uri = route.origin.address_of(target).ok_or(Refusal::Path)?;
    Ok((Head { method: head.method.clone(), uri, headers: forwarded(&head.headers, dummy) }, route))
}

/// Whether a body comes as it is or in chunks: only that coding is taken off on the way, and none is put
/// on again.
pub(super) fn is_coded_plainly(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = values.next();
    first.is_none_or(|own| own.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
        && values.next().is_none()
}

/// Not those that make a tunnel, or whose answer is the request with the token in it. Some upstreams do
/// not care for upper and lower case.
fn is_forwarded(method: &Method) -> bool {
    !["CONNECT", "TRACE", "TRACK"].iter().any(|own| method.as_str().eq_ignore_ascii_case(own))
}

fn forwarded(headers: &HeaderMap, dummy: &str) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let crosses = |name: &HeaderName| {
        may_cross(name)
            && !name.as_str().contains(dummy)
            && !named.iter().any(|own| own == name.as_str())
    };
    let mut forwarded = HeaderMap::with_capacity(headers.len() + 1);
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        if crosses(name) && !target::holds(&text, dummy) {
            forwarded.append(name.clone(), value.clone());
        }
    }
    forwarded
}

impl Head {
    /// Puts `token` in, as the upstream wants it. `false` when it cannot stand in a header.
    pub(super) fn authorize(&mut self, token: &str, style: EgressStyle) -> bool {
        let (name, value) = match style {
            EgressStyle::Bearer => (header::AUTHORIZATION, format!("Bearer {token}")),
            EgressStyle::Token => (header::AUTHORIZATION, format!("token {token}")),
            EgressStyle::Basic => {
                let pair = STANDARD.encode(basic_pair(token));
                (header::AUTHORIZATION, format!("Basic {pair}"))
            }
            EgressStyle::PrivateToken => (PRIVATE_TOKEN, token.to_owned()),
        };
        let Ok(mut value) = HeaderValue::from_str(&value) else { return false };
        value.set_sensitive(true);
        self.headers.insert(name, value);
        true
    }
}

#[cfg(test)]
mod tests;
