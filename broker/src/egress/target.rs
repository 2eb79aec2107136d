//! Paths and queries of children's requests.

use std::borrow::Cow;

/// Parameters that carry a token.
const CREDENTIALS: [&str; 3] = ["access_token", "private_token", "token"];

/// How often an origin, or what stands before it, may decode a path.
const DECODINGS: usize = 3;

/// The values of the parameters that carry a token.
pub(super) fn credentials(query: &str) -> impl Iterator<Item = String> {
    parameters(query).filter_map(|(name, value)| {
        let is_one = CREDENTIALS.contains(&&*decoded_form(name));
        is_one.then(|| decoded_form(value))
    })
}

/// `query` without its credentials and without every parameter that has `dummy` in it; `None` when
/// nothing is left. `token` has other meanings too, so it goes for the dummy's sake only.
pub(super) fn without(query: &str, dummy: &str) -> Option<String> {
    let stays = |pair: &&str| {
        let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded_form(name);
        let is_credential = name == "access_token" || name == "private_token";
        !is_credential && !holds(pair, dummy)
    };
    let left: Vec<&str> = query.split('&').filter(stays).collect();
    (!left.is_empty()).then(|| left.join("&"))
}

/// Whether `dummy` is in `text`, however often that is decoded on the way.
pub(super) fn holds(text: &str, dummy: &str) -> bool {
    let mut read = Cow::Borrowed(text);
    for _ in 0..DECODINGS {
        if read.contains(dummy) || !read.contains('%') {
            break;
        }
        read = Cow::Owned(decoded(&read));
    }
    read.contains(dummy)
}

/// Whether `path` lies below `prefix` however often it is decoded on the way, and wherever slashes and
/// backslashes come from.
pub(super) fn is_below(path: &str, prefix: &str) -> bool {
    if !path.starts_with('/') {
        return false;
    }
    let mut read = path.to_owned();
    for _ in 0..=DECODINGS {
        let has_dots = read.split(['/', '\\']).any(|segment| {
            // Some servers cut a segment's parameters off before they look at it.
            let name = segment.split(';').next().unwrap_or(segment);
            name == "." || name == ".."
        });
        if has_dots || read.contains(|c: char| c.is_ascii_control()) {
            return false;
        }
        let next = decoded(&read);
        if next == read {
            break;
        }
        read = next;
    }
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// `text` with its percent signs resolved, once. What is no UTF-8 is replaced, but for ASCII in two bytes,
/// which some servers read.
pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut read = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                read.push(byte);
                at += 3;
            }
            _ => {
                read.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&shortest(read)).into_owned()
}

/// `read` with each ASCII character in one byte (RFC 3629 section 10).
fn shortest(mut read: Vec<u8>) -> Vec<u8> {
    let is_long = |pair: &[u8]| matches!(pair, [0xc0 | 0xc1, 0x80..=0xbf]);
    while let Some(at) = read.windows(2).position(is_long) {
        let byte = (read[at] & 1) << 6 | (read[at + 1] & 0x3f);
        read.splice(at..at + 2, [byte]);
    }
    read
}

fn decoded_form(text: &str) -> String {
    decoded(&text.replace('+', " "))
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}
