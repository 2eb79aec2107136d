//! The cookies that tie a browser to what it did.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::COOKIE};

/// Names and attributes of our cookies.
///
/// Behind https every name begins with `__Host-`, which browsers accept only from this very host
/// over https and for every path, so no neighbour under the same domain can plant one. Over plain
/// http (a broker on loopback) that prefix does not work, and other names are used: neither kind
/// is ever read in the place of the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cookies {
    pub(crate) secure: bool,
}

impl Cookies {
    fn full_name(self, name: &str) -> String {
        if self.secure { format!("__Host-{name}") } else { name.to_owned() }
    }

    /// The value of cookie `name`; `None` when it is absent, or there twice with different values.
    pub(crate) fn read<'a>(self, headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let wanted = self.full_name(name);
        let mut values = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(own, _)| *own == wanted)
            .map(|(_, value)| value);
        let first = values.next()?;
        values.all(|other| other == first).then_some(first)
    }

    /// A `Set-Cookie` value. `Lax`, because the way back from an upstream is a navigation from
    /// another site.
    pub(crate) fn set(self, name: &str, value: &str, age: Duration) -> HeaderValue {
        let name = self.full_name(name);
        let secure = if self.secure { "; Secure" } else { "" };
        let age = age.as_secs();
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}; Max-Age={age}");
        HeaderValue::from_str(&text).expect("names and values are of the token alphabet")
    }

    /// A `Set-Cookie` value that removes the cookie.
    pub(crate) fn clear(self, name: &str) -> HeaderValue {
        self.set(name, "", Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn over_https_only_the_host_prefix_counts() {
        let cookies = Cookies { secure: true };
        let lines = headers(&["a=1; __Host-b=2", "b=3"]);
        assert_eq!(cookies.read(&lines, "b"), Some("2"));
        assert_eq!(cookies.read(&lines, "a"), None);
        assert_eq!(Cookies { secure: false }.read(&lines, "b"), Some("3"));
        let set = cookies.set("b", "x", Duration::from_secs(9));
        assert_eq!(set, "__Host-b=x; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=9");
    }

    #[test]
    fn a_cookie_with_two_values_has_none() {
        let cookies = Cookies { secure: false };
        assert_eq!(cookies.read(&headers(&["a=1; a=2"]), "a"), None);
        assert_eq!(cookies.read(&headers(&["a=1; a=1"]), "a"), Some("1"));
    }
}
