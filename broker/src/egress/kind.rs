//! What the body of an answer is, and so what may be looked for in it.

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// What a body is to a reader on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// JSON, which may hold addresses to follow.
    Json,
    /// Another text, or it is not said what it is.
    Text,
    /// Files, a part of something, or something packed.
    Opaque,
}

impl BodyKind {
    /// That of an answer with this head.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let of = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let is_plain =
            of(header::CONTENT_ENCODING).is_none_or(|own| own.eq_ignore_ascii_case("identity"));
        if !is_plain || status == StatusCode::PARTIAL_CONTENT {
            return Self::Opaque;
        }
        let kind = of(header::CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.split_once('/') {
            Some(("application" | "text", "json" | "jsonl" | "ndjson" | "x-ndjson")) => Self::Json,
            Some((_, kind)) if kind.ends_with("+json") => Self::Json,
            // A message is a request that is shown, as in an answer to TRACE.
            Some(("text" | "message", _)) | None => Self::Text,
            Some(("application", kind)) if TEXTS.contains(&kind) || kind.ends_with("+xml") => {
                Self::Text
            }
            Some(_) => Self::Opaque,
        }
    }
}

/// Kinds of `application` that are texts.
const TEXTS: [&str; 9] = [
    "http",
    "ecmascript",
    "javascript",
    "toml",
    "x-javascript",
    "x-www-form-urlencoded",
    "x-yaml",
    "xml",
    "yaml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_whole_and_not_packed_is_read_and_addresses_are_in_json() {
        let of = |status, headers: &[(&'static str, &'static str)]| {
            let header = |(name, value): &(&'static str, &'static str)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            BodyKind::of(status, &headers.iter().map(header).collect())
        };
        for (kind, expected) in [
            ("application/json; charset=utf-8", BodyKind::Json),
            ("Application/JSON", BodyKind::Json),
            ("application/problem+json", BodyKind::Json),
            ("application/x-ndjson", BodyKind::Json),
            ("text/json", BodyKind::Json),
            ("message/http", BodyKind::Text),
            ("text/html", BodyKind::Text),
            ("text/event-stream", BodyKind::Text),
            ("application/xml", BodyKind::Text),
            ("application/atom+xml", BodyKind::Text),
            ("", BodyKind::Text),
            ("application/octet-stream", BodyKind::Opaque),
            ("application/x-git-upload-pack-result", BodyKind::Opaque),
            ("image/svg", BodyKind::Opaque),
        ] {
            assert_eq!(of(StatusCode::OK, &[("content-type", kind)]), expected, "{kind}");
            assert_eq!(of(StatusCode::NOT_FOUND, &[("content-type", kind)]), expected, "{kind}");
            let part = of(StatusCode::PARTIAL_CONTENT, &[("content-type", kind)]);
            assert_eq!(part, BodyKind::Opaque, "{kind}");
            let packed = [("content-type", kind), ("content-encoding", "gzip")];
            assert_eq!(of(StatusCode::OK, &packed), BodyKind::Opaque, "{kind}");
        }
        assert_eq!(of(StatusCode::OK, &[]), BodyKind::Text);
    }
}
