//! Who may sign in, and who may use a server.

use auth::admission::{Rule, Rules};

use super::error::{Problem, Problems};
use super::key::Key;
use super::setting::value::Given;
use super::setting::{Single, shape};
use super::toml::{quote, quote_all};

/// Rules that name people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleList(pub Vec<Rule>);

/// What two keys say together.
pub(super) fn rules(allow: Option<&RuleList>, deny: Option<&RuleList>) -> Rules {
    let list = |rules: &RuleList| rules.0.clone();
    Rules { allow: allow.map(list), deny: deny.map(list).unwrap_or_default() }
}

impl Single for Option<RuleList> {
    type Shape = shape::Other;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        let rule = |text: &str| text.parse::<Rule>().map_err(|bad| Problem::new(bad.to_string()));
        if given.text().is_ok_and(|text| text == "everyone") {
            return Ok(Some(RuleList(vec![Rule::Everyone])));
        }
        let rules = given.each(rule)?;
        if rules.is_empty() {
            // It reads as "nobody" to some and as "no rule" to others.
            let hint = "write rules, \"everyone\", or leave the key out";
            return Err(Problem::new("is empty").hint(hint).into());
        }
        Ok(Some(RuleList(rules)))
    }

    fn toml(&self, _: &Key) -> Option<String> {
        let RuleList(rules) = self.as_ref()?;
        Some(match &rules[..] {
            [Rule::Everyone] => quote(&Rule::Everyone),
            rules => quote_all(rules),
        })
    }
}

/// Issuers at which anybody can make an account. A `*` stands for one part of a host's name.
const OPEN: [&str; 26] = [
    "https://github.com",
    "https://gitlab.com",
    "https://bitbucket.org",
    "https://accounts.google.com",
    "https://appleid.apple.com",
    "https://login.live.com",
    "https://login.microsoftonline.com/common",
    "https://login.microsoftonline.com/organizations",
    "https://login.microsoftonline.com/consumers",
    // The tenant of all personal accounts.
    "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad",
    "https://api.login.yahoo.com",
    "https://access.line.me",
    "https://kauth.kakao.com",
    "https://id.twitch.tv/oauth2",
    "https://discord.com",
    "https://slack.com",
    "https://www.facebook.com",
    "https://limited.facebook.com",
    "https://www.linkedin.com",
    "https://www.paypal.com",
    "https://orcid.org",
    // Shared houses where a tenant lets anybody make an account unless its owner forbids it.
    "https://*.auth0.com",
    "https://*.*.auth0.com",
    "https://*.clerk.accounts.dev",
    "https://*.kinde.com",
    "https://securetoken.google.com",
];

/// Whether anybody can make an account at this issuer.
pub(super) fn is_open_to_anybody(issuer: &str) -> bool {
    let issuer = issuer.to_ascii_lowercase();
    OPEN.iter().any(|open| {
        let (open_host, open_path) = parts(open);
        let (host, path) = parts(&issuer);
        is_host(open_host, host)
            && path
                .strip_prefix(open_path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The host and the path of an address, without the port that is the usual one.
fn parts(address: &str) -> (&str, &str) {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.strip_suffix(":443").unwrap_or(host);
    (host.strip_suffix('.').unwrap_or(host), path.trim_end_matches('/'))
}

fn is_host(open: &str, host: &str) -> bool {
    let (open, host): (Vec<_>, Vec<_>) = (open.split('.').collect(), host.split('.').collect());
    open.len() == host.len()
        && open.iter().zip(&host).all(|(open, own)| *open == "*" || open == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_where_anybody_can_make_an_account_are_told_from_ones_own() {
        for open in [
            "https://github.com",
            "https://GitHub.com/",
            "https://github.com:443",
            "https://accounts.google.com",
            "https://login.microsoftonline.com/common/v2.0",
            "https://login.microsoftonline.com/organizations/v2.0",
            "https://login.microsoftonline.com/consumers",
            "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
            "https://acme.auth0.com/",
            "https://acme.eu.auth0.com/",
            "https://gitlab.com",
            "https://securetoken.google.com/some-project",
        ] {
            assert!(is_open_to_anybody(open), "{open}");
        }
        for own in [
            "https://github.example.org",
            "https://github.com.example.org",
            "https://git.example.org",
            "https://login.microsoftonline.com/5f2d1c7e-0000-4000-8000-000000000000/v2.0",
            "https://login.microsoftonline.com/commonwealth/v2.0",
            "https://id.acme.example",
            "https://auth0.com.example.org",
            "https://codeberg.org",
        ] {
            assert!(!is_open_to_anybody(own), "{own}");
        }
    }
}
