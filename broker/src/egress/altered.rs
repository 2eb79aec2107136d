//! What a head says of the bytes of its body, where the child gets others than the upstream sent.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// What is true of the upstream's bytes alone: their length, their digests, and that a part of them can
/// be asked for.
const OF_THE_BYTES: [HeaderName; 6] = [
    header::ACCEPT_RANGES,
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// The head of an answer whose body is rewritten. Its entity tag stays as a weak one: the meaning is the
/// same, and the bytes are not (RFC 9110 section 8.8.1), so that a client does not put two parts together.
pub(super) fn loosen(headers: &mut HeaderMap) {
    for name in &OF_THE_BYTES {
        headers.remove(name);
    }
    if let Some(tag) = headers.get_mut(header::ETAG)
        && let Some(weak) = weak(tag)
    {
        *tag = weak;
    }
}

/// The head of an answer that says that `asked` is still right: with the tag as the child knows it.
pub(super) fn confirm(status: StatusCode, asked: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let (true, Some(asked)) = (status == StatusCode::NOT_MODIFIED, asked) else { return };
    if let Some(tag) = headers.get_mut(header::ETAG)
        && let Some(weak) = weak(tag)
        && memchr::memmem::find(asked.as_bytes(), weak.as_bytes()).is_some()
    {
        *tag = weak;
    }
}

fn weak(tag: &HeaderValue) -> Option<HeaderValue> {
    let is_strong = tag.as_bytes().starts_with(b"\"");
    is_strong.then(|| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok())?
}

/// `If-Match` compares strongly (RFC 9110 section 13.1.1), so the tags that we made weak are as they were.
/// Those that were weak at the upstream match nothing there in either form.
pub(super) fn restore(headers: &mut HeaderMap) {
    let header::Entry::Occupied(mut asked) = headers.entry(header::IF_MATCH) else { return };
    for value in asked.iter_mut() {
        let Ok(text) = value.to_str() else { continue };
        // What is between quotation marks is a tag, and may have any letters.
        let outside = |(at, part): (usize, &str)| match at % 2 {
            0 => part.replace("W/", ""),
            _ => part.to_owned(),
        };
        let strong: Vec<String> = text.split('"').enumerate().map(outside).collect();
        if let Ok(strong) = HeaderValue::from_str(&strong.join("\"")) {
            *value = strong;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn an_answer_that_is_rewritten_promises_nothing_of_the_upstreams_bytes() {
        let mut own = headers(&[
            ("content-length", "7"),
            ("accept-ranges", "bytes"),
            ("content-md5", "x"),
            ("digest", "x"),
            ("content-digest", "x"),
            ("repr-digest", "x"),
            ("etag", "\"a\""),
            ("last-modified", "Sun, 29 Nov 2026 17:01:18 GMT"),
        ]);
        loosen(&mut own);
        let left = [("etag", "W/\"a\""), ("last-modified", "Sun, 29 Nov 2026 17:01:18 GMT")];
        assert_eq!(own, headers(&left));
        loosen(&mut own);
        assert_eq!(own, headers(&left), "it is weak already");
    }

    #[test]
    fn a_tag_that_was_made_weak_still_saves_what_the_upstream_has_under_the_strong_one() {
        for (asked, becomes) in [
            ("W/\"a\"", "\"a\""),
            ("\"a\", W/\"W/\" , W/\"bW/\"", "\"a\", \"W/\" , \"bW/\""),
            ("*", "*"),
        ] {
            let mut own = headers(&[("if-match", asked), ("if-none-match", asked)]);
            restore(&mut own);
            assert_eq!(own, headers(&[("if-match", becomes), ("if-none-match", asked)]));
        }
    }

    #[test]
    fn an_answer_that_nothing_changed_has_the_tag_that_was_asked_about() {
        for (asked, becomes) in
            [("W/\"a\"", "W/\"a\""), ("\"a\"", "\"a\""), ("\"b\", W/\"a\"", "W/\"a\"")]
        {
            let mut own = headers(&[("etag", "\"a\"")]);
            confirm(StatusCode::NOT_MODIFIED, Some(&HeaderValue::from_static(asked)), &mut own);
            assert_eq!(own["etag"], becomes);
        }
    }
}
