//! A request as the handlers see it, and the answers they give.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

/// An answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// A request whose body has arrived.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Fields,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Names and values, of a query or a form.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `a=b&c=d`.
    pub(crate) fn read(text: &str) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(name), decoded(value))
        };
        Self(text.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    /// The first value under `name`, or nothing as an empty text, which is how a forge reads forms.
    pub(crate) fn of(&self, name: &str) -> &str {
        self.0.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }
}

impl Call {
    /// The body as a form, in JSON too: a forge takes both.
    pub(crate) fn form(&self) -> Fields {
        if !self.header("content-type").starts_with("application/json") {
            return Fields::read(&String::from_utf8_lossy(&self.body));
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice(&self.body) else {
            return Fields::default();
        };
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Fields(fields.into_iter().map(|(name, value)| (name, text(value))).collect())
    }

    /// The body as JSON, `null` when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header's text, empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// A cookie's value.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(found, value)| (found == name).then_some(value))
    }

    /// Name and password of Basic authentication.
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        let encoded = scheme(self.header("authorization"), "basic")?;
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (name, password) = text.split_once(':')?;
        Some((name.to_owned(), password.to_owned()))
    }

    /// The token of `Authorization: Bearer` or `Authorization: token`.
    pub(crate) fn token(&self) -> Option<&str> {
        let header = self.header("authorization");
        scheme(header, "bearer").or_else(|| scheme(header, "token"))
    }
}

fn scheme<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let (scheme, rest) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case(name).then(|| rest.trim())
}

/// An answer with a body of one kind.
pub(crate) fn answer(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Answer {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(Full::new(body.into()))
        .expect("status and type are ours")
}

/// An answer in JSON, with the forge's own spelling of the type.
pub(crate) fn json(status: StatusCode, body: &Value) -> Answer {
    answer(status, "application/json;charset=utf-8", body.to_string())
}

/// A page.
pub(crate) fn page(status: StatusCode, title: &str, inner: &str) -> Answer {
    let text = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title></head>\
         <body><h1>{0}</h1>{inner}</body></html>",
        escaped(title)
    );
    answer(status, "text/html;charset=utf-8", text)
}

/// Go there with GET.
pub(crate) fn see_other(place: &str) -> Answer {
    Response::builder()
        .status(StatusCode::SEE_OTHER)
        .header(header::LOCATION, place)
        .body(Full::default())
        .unwrap_or_else(|_| page(StatusCode::BAD_REQUEST, "Bad address", ""))
}

/// `uri` with `fields` added to its query.
pub(crate) fn with_query(uri: &str, fields: &[(&str, &str)]) -> String {
    let mut text = uri.to_owned();
    for (name, value) in fields {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(name);
        text.push('=');
        text.push_str(&encoded(value));
    }
    text
}

/// Text for a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Text for a page or an attribute.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text from a query.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' if tail.len() >= 2 => {
                let digits = std::str::from_utf8(&tail[..2]).unwrap_or("");
                if let Ok(byte) = u8::from_str_radix(digits, 16) {
                    bytes.push(byte);
                    rest = &tail[2..];
                } else {
                    bytes.push(b'%');
                }
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
