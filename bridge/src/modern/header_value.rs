//! Header values that mirror a value of the body (MCP 2026-07-28 transports, "Value Encoding").

use std::borrow::Cow;

/// The header's value is no text in the form that the specification gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header's value is not well-formed")]
pub struct BadValue;

/// What a header says whose value has no other form than its own characters.
///
/// # Errors
/// [`BadValue`] when it has other characters than visible ASCII, space and tab.
pub fn plain(value: &[u8]) -> Result<&str, BadValue> {
    let value = value.trim_ascii();
    // Without a way out in between, so that many bytes are looked at in one step.
    let is_odd = |byte: &u8| !matches!(byte, b'\t' | b' '..=b'~');
    if value.iter().fold(false, |odd, byte| odd | is_odd(byte)) {
        return Err(BadValue);
    }
    std::str::from_utf8(value).map_err(|_| BadValue)
}

/// What a header says: its own characters, or those inside `=?base64?…?=`.
///
/// # Errors
/// [`BadValue`] when it has other characters than visible ASCII, space and tab, or its Base64 is none.
pub fn decode(value: &[u8]) -> Result<Cow<'_, str>, BadValue> {
    let text = plain(value)?;
    let inside = text.strip_prefix("=?base64?").and_then(|text| text.strip_suffix("?="));
    match inside {
        Some(coded) => {
            let bytes = base64(coded).ok_or(BadValue)?;
            String::from_utf8(bytes).map(Cow::Owned).map_err(|_| BadValue)
        }
        None => Ok(Cow::Borrowed(text)),
    }
}

/// Base64 with padding (RFC 4648 section 4); `None` when it is anything else.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut held, mut bits) = (0_u32, 0);
    for byte in digits.bytes() {
        held = held << 6 | u32::from(digit(byte)?);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xFF) as u8);
        }
    }
    // What is left over must be nothing, or two texts would mean the same.
    (held & ((1 << bits) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The form that hides every character, as the specification has clients write it.
    pub(crate) fn coded(text: &str) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut coded = String::from("=?base64?");
        for chunk in text.as_bytes().chunks(3) {
            let held = chunk.iter().fold(0_u32, |held, byte| held << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for place in 0..4 {
                let digit = DIGITS[(held >> (18 - 6 * place) & 63) as usize] as char;
                coded.push(if place <= chunk.len() { digit } else { '=' });
            }
        }
        coded + "?="
    }

    #[test]
    fn values_are_read_in_both_forms() {
        for (coded, plain) in [
            ("us-west1", "us-west1"),
            ("  padded by the transport\t", "padded by the transport"),
            ("=?base64?SGVsbG8sIOS4lueVjA==?=", "Hello, 世界"),
            ("=?base64?IHBhZGRlZCA=?=", " padded "),
            ("=?base64?bGluZTEKbGluZTI=?=", "line1\nline2"),
            ("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", "=?base64?literal?="),
            ("=?base64?SGVsbG8=", "=?base64?SGVsbG8="),
            ("SGVsbG8=?=", "SGVsbG8=?="),
            ("=?BASE64?SGVsbG8=?=", "=?BASE64?SGVsbG8=?="),
            ("=?base64??=", ""),
            ("", ""),
        ] {
            assert_eq!(decode(coded.as_bytes()).as_deref(), Ok(plain), "{coded}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for bad in [
            "=?base64?SGVsbG8?=",
            "=?base64?SGVsbG8===?=",
            "=?base64?SGVs!!!bG8=?=",
            "=?base64?SGVsbG9=?=",
            "=?base64?/w==?=",
            "Hello, 世界",
            "bell\u{7}",
        ] {
            assert_eq!(decode(bad.as_bytes()), Err(BadValue), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_survives_its_coding(text in ".*") {
            let header = coded(&text);
            let decoded = decode(header.as_bytes());
            proptest::prop_assert_eq!(decoded.as_deref(), Ok(&*text));
        }
    }
}
