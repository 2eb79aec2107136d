//! The secret a request carries, and how it is read from the headers.

use std::fmt;

use http::{HeaderMap, header::AUTHORIZATION};
use zeroize::Zeroizing;

/// A bearer token as it came over the wire.
///
/// `Debug` prints stars, there is neither `Display` nor a comparison, and the memory is wiped on
/// drop. The copy inside the request's own header buffer is not ours to wipe.
pub struct Bearer(Zeroizing<String>);

impl Bearer {
    /// The longest token accepted, in bytes. Signed tokens with many claims stay below 4 KiB;
    /// twice that leaves room and still bounds what one request can make us hash.
    pub const MAX_LEN: usize = 8 * 1024;

    /// Takes the one bearer token out of `headers`.
    ///
    /// `Ok(None)` means that the request does not try to use a bearer: there is no `Authorization`
    /// header, or it names another scheme (`Basic`). RFC 6750 §3.1 puts "an unsupported
    /// authentication method" beside "no authentication information at all" and asks for a
    /// challenge without an error code in both cases.
    ///
    /// The scheme's case does not matter (RFC 9110 §11.1); the token must be a `token68`
    /// (RFC 9110 §11.2, the `b64token` of RFC 6750 §2.1).
    ///
    /// # Errors
    ///
    /// [`BearerError`] when the header is there and cannot be meant: repeated, empty, without a
    /// token, with a token outside the alphabet, or too long. RFC 6750 §3.1 calls this
    /// `invalid_request`, status 400.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, BearerError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        // Even two equal headers are refused: a proxy in front may have judged the other one.
        if values.next().is_some() {
            return Err(BearerError::Several);
        }
        let value = value.as_bytes();
        let scheme_len = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, rest) = value.split_at(scheme_len);
        if scheme.is_empty() || !scheme.iter().all(|byte| is_tchar(*byte)) {
            return Err(BearerError::Malformed);
        }
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Ok(None);
        }
        let token = &rest[rest.iter().take_while(|byte| **byte == b' ').count()..];
        if token.len() > Self::MAX_LEN {
            return Err(BearerError::TooLong);
        }
        Self::parse(token).map(Some).ok_or(BearerError::Malformed)
    }

    /// A bearer from bytes known to come from elsewhere than a request, or `None` if they are not a
    /// `token68` of at most [`MAX_LEN`](Self::MAX_LEN) bytes.
    #[must_use]
    pub fn parse(token: impl AsRef<[u8]>) -> Option<Self> {
        let token = token.as_ref();
        let body = token.iter().take_while(|byte| is_token68(**byte)).count();
        let padding = token[body..].iter().take_while(|byte| **byte == b'=').count();
        if body == 0 || body + padding != token.len() || token.len() > Self::MAX_LEN {
            return None;
        }
        let text = str::from_utf8(token).expect("the token68 alphabet is ASCII");
        Some(Self(Zeroizing::new(text.to_owned())))
    }

    /// Wraps what was minted here; the caller knows that the alphabet holds.
    pub(crate) fn minted(token: Zeroizing<String>) -> Self {
        Self(token)
    }

    /// The secret itself. The long name is on purpose: every use should catch the reader's eye.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(***)")
    }
}

/// Why an `Authorization` header could not be read. Nothing of the header is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// More than one `Authorization` header.
    #[error("more than one authorization header")]
    Several,
    /// Not `scheme SP token`, or a token outside the `token68` alphabet.
    #[error("the authorization header is malformed")]
    Malformed,
    /// The token is longer than [`Bearer::MAX_LEN`].
    #[error("the bearer token is longer than {max} bytes", max = Bearer::MAX_LEN)]
    TooLong,
}

/// RFC 9110 §11.2.
fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)
}

/// RFC 9110 §5.6.2: what a scheme's name is made of.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<String>, BearerError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        Ok(Bearer::from_headers(&headers)?.map(|bearer| bearer.expose().to_owned()))
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_the_token_is_kept_as_it_is() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            let value = format!("{scheme} aZ09-._~+/==");
            assert_eq!(read(&[value.as_bytes()]), Ok(Some("aZ09-._~+/==".into())));
        }
        assert_eq!(read(&[b"Bearer    spaced"]), Ok(Some("spaced".into())), "1*SP, RFC 9110 §11.4");
    }

    #[test]
    fn no_header_and_another_scheme_are_both_no_bearer() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"Basic YWRhOnNlY3JldA=="]), Ok(None));
        assert_eq!(read(&[b"Bearerish x"]), Ok(None));
        assert_eq!(read(&[b"Negotiate"]), Ok(None));
    }

    #[test]
    fn two_authorization_headers_are_an_error_even_when_they_agree() {
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), Err(BearerError::Several));
        assert_eq!(read(&[b"Basic a", b"Bearer a"]), Err(BearerError::Several));
    }

    #[test]
    fn a_header_that_cannot_be_meant_is_an_error() {
        let bad: [&[u8]; 12] = [
            b"",
            b" ",
            b"Bearer",
            b"Bearer ",
            b"Bearer =",
            b"Bearer a b",
            b"Bearer a,b",
            b"Bearer a=b",
            b"Bearer \"a\"",
            b"Bearer\ta",
            b"Bearer \xffa",
            b"Bearer a ",
        ];
        for value in bad {
            assert_eq!(read(&[value]), Err(BearerError::Malformed), "{value:?}");
        }
    }

    #[test]
    fn a_token_of_eight_kibibytes_is_the_longest() {
        let longest = format!("Bearer {}", "a".repeat(Bearer::MAX_LEN));
        assert!(read(&[longest.as_bytes()]).unwrap().is_some());
        let longer = format!("{longest}a");
        assert_eq!(read(&[longer.as_bytes()]), Err(BearerError::TooLong));
    }

    #[test]
    fn debug_shows_stars_and_nothing_of_the_secret() {
        let bearer = Bearer::parse("canary-7f3a").unwrap();
        assert_eq!(format!("{bearer:?} {bearer:#?}"), "Bearer(***) Bearer(***)");
    }
}
