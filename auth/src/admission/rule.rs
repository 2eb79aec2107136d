//! One rule: whom it names.

use std::{fmt, str::FromStr};

use serde_json::Value;
use url::Host;

use super::facts::{Facts, Wanted};

/// Names people. Written as `KIND:VALUE`, or `everyone`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// `everyone`
    Everyone,
    /// `id:SUBJECT`: the person with this immutable id.
    Id(String),
    /// `login:NAME`: the first person who signed in with this login, in lower case.
    Login(String),
    /// `org:NAME`: the members of an organization.
    Org(String),
    /// `team:ORG/TEAM`: the members of a team.
    Team(String),
    /// `group:NAME`: the members of a group, exactly as it is written there.
    Group(String),
    /// `claim:NAME=VALUE`: those of whom the provider says this.
    Claim {
        /// The claim's name.
        name: String,
        /// Its value, or one of its values.
        value: String,
    },
    /// `mail_domain:DOMAIN`: those with a mail address there that the provider has verified.
    MailDomain(String),
    /// `unverified_mail_domain:DOMAIN`: those with a mail address there, verified or not.
    UnverifiedMailDomain(String),
    /// `PROVIDER/KIND:VALUE`: those of the provider with this name alone. Ids and names are unique
    /// under their provider only.
    At {
        /// The provider's name.
        provider: String,
        /// Whom it names there.
        rule: Box<Self>,
    },
}

/// The kinds of rules, as they are written.
const KINDS: &str = "\"everyone\", \"id:…\", \"login:…\", \"org:…\", \"team:ORG/TEAM\", \
                     \"group:…\", \"claim:NAME=VALUE\", \"mail_domain:…\" and \
                     \"unverified_mail_domain:…\", each behind \"PROVIDER/\" for the people \
                     of one provider";

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a rule; rules are {KINDS}")]
pub struct BadRule {
    text: String,
}

/// What is known of a person who is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// The name of the provider.
    pub(super) provider: &'a str,
    pub(super) subject: &'a str,
    /// The logins that rules hold to be this person's.
    pub(super) logins: &'a [String],
    pub(super) facts: &'a Facts,
}

impl Rule {
    /// Whether it names this person; `None` when what is known does not tell.
    pub(super) fn names(&self, known: Known<'_>) -> Option<bool> {
        let facts = known.facts;
        let groups = facts.groups.as_deref();
        // Organizations are called alike in whatever case; groups of other providers are not.
        let belongs = |name: &str| Some(groups?.iter().any(|own| own.eq_ignore_ascii_case(name)));
        match self {
            Self::Everyone => Some(true),
            Self::Id(id) => Some(known.subject == id),
            Self::Login(login) => Some(known.logins.contains(login)),
            Self::Org(name) | Self::Team(name) => belongs(name),
            Self::Group(name) => Some(groups?.contains(name)),
            Self::Claim { name, value } => Some(says(facts.claims.get(name)?, value)),
            Self::MailDomain(domain) => facts.has_mail(domain, true),
            Self::UnverifiedMailDomain(domain) => facts.has_mail(domain, false),
            Self::At { provider, .. } if provider != known.provider => Some(false),
            Self::At { rule, .. } => rule.names(known),
        }
    }

    /// As [`names`](Self::names), for a rule that keeps people out: there an address counts whether it
    /// is verified or not.
    pub(super) fn keeps_out(&self, known: Known<'_>) -> Option<bool> {
        match self {
            Self::MailDomain(domain) => known.facts.has_mail(domain, false),
            Self::At { provider, rule } if provider == known.provider => rule.keeps_out(known),
            other => other.names(known),
        }
    }

    /// The login that it names, among the people of `provider`.
    pub(super) fn login(&self, provider: &str) -> Option<&str> {
        match self {
            Self::Login(login) => Some(login),
            Self::At { provider: own, rule } if own == provider => rule.login(provider),
            _ => None,
        }
    }

    /// Adds what is to be known of people of `provider`.
    pub(super) fn add_to(&self, wanted: &mut Wanted, provider: &str) {
        match self {
            Self::At { provider: own, rule } if own == provider => rule.add_to(wanted, provider),
            Self::At { .. } => {}
            Self::Everyone | Self::Id(_) => {}
            Self::Login(_) => wanted.login = true,
            Self::Org(_) | Self::Team(_) | Self::Group(_) => wanted.groups = true,
            Self::Claim { name, .. } => {
                if !wanted.claims.contains(name) {
                    wanted.claims.push(name.clone());
                }
            }
            Self::MailDomain(_) | Self::UnverifiedMailDomain(_) => wanted.mails = true,
        }
    }
}

impl Facts {
    fn has_mail(&self, domain: &str, verified: bool) -> Option<bool> {
        let at_domain = |address: &str| {
            address.rsplit_once('@').is_some_and(|(_, own)| host(own).as_deref() == Some(domain))
        };
        let mails = self.mails.as_ref()?;
        Some(mails.iter().any(|own| (own.verified || !verified) && at_domain(&own.address)))
    }
}

/// Whether a claim has this value, or has it among others.
fn says(claim: &Value, value: &str) -> bool {
    match claim {
        Value::String(own) => own == value,
        Value::Bool(own) => value == if *own { "true" } else { "false" },
        Value::Number(own) => own.to_string() == value,
        Value::Array(many) => many.iter().any(|own| !own.is_array() && says(own, value)),
        Value::Null | Value::Object(_) => false,
    }
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let bad = || BadRule { text: text.to_owned() };
        if text == "everyone" {
            return Ok(Self::Everyone);
        }
        let (kind, value) = text.split_once(':').ok_or_else(bad)?;
        if let Some((provider, kind)) = kind.split_once('/') {
            let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if provider.is_empty() || !provider.bytes().all(word) || kind.contains('/') {
                return Err(bad());
            }
            let rule = format!("{kind}:{value}").parse().map_err(|_: BadRule| bad())?;
            return Ok(Self::At { provider: provider.to_owned(), rule: Box::new(rule) });
        }
        if value.is_empty() || value.trim() != value || value.contains(char::is_control) {
            return Err(bad());
        }
        let own = value.to_owned();
        Ok(match kind {
            "id" => Self::Id(own),
            "login" => Self::Login(value.to_ascii_lowercase()),
            "org" if !value.contains('/') => Self::Org(own),
            "team" => match value.split_once('/') {
                Some((org, team)) if !org.is_empty() && !team.is_empty() => Self::Team(own),
                _ => return Err(bad()),
            },
            "group" => Self::Group(own),
            "claim" => match value.split_once('=') {
                Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                    Self::Claim { name: name.to_owned(), value: value.to_owned() }
                }
                _ => return Err(bad()),
            },
            "mail_domain" => Self::MailDomain(host(value).ok_or_else(bad)?),
            "unverified_mail_domain" => Self::UnverifiedMailDomain(host(value).ok_or_else(bad)?),
            _ => return Err(bad()),
        })
    }
}

/// A domain in the one form of it: lower case, ASCII, without a dot at its end. `None` for what is none.
fn host(text: &str) -> Option<String> {
    match Host::parse(text.strip_suffix('.').unwrap_or(text)) {
        Ok(Host::Domain(domain)) if !domain.starts_with('.') => Some(domain),
        _ => None,
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("everyone"),
            Self::Id(value) => write!(f, "id:{value}"),
            Self::Login(value) => write!(f, "login:{value}"),
            Self::Org(value) => write!(f, "org:{value}"),
            Self::Team(value) => write!(f, "team:{value}"),
            Self::Group(value) => write!(f, "group:{value}"),
            Self::Claim { name, value } => write!(f, "claim:{name}={value}"),
            Self::MailDomain(value) => write!(f, "mail_domain:{value}"),
            Self::UnverifiedMailDomain(value) => write!(f, "unverified_mail_domain:{value}"),
            Self::At { provider, rule } => write!(f, "{provider}/{rule}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_written_as_it_is_read_and_what_is_none_is_refused() {
        for text in [
            "everyone",
            "id:7",
            "login:ada",
            "org:acme",
            "team:acme/devs",
            "group:/staff/it: all",
            "claim:hd=example.org",
            "claim:role=a=b",
            "mail_domain:example.org",
            "unverified_mail_domain:example.org",
            "work/login:ada",
            "work/team:acme/devs",
        ] {
            assert_eq!(text.parse::<Rule>().expect(text).to_string(), text);
        }
        assert_eq!("login:Ada".parse(), Ok(Rule::Login("ada".into())));
        for bad in [
            "",
            "ada",
            "Everyone",
            "everyone ",
            "id:",
            "id: 7",
            "login:",
            "org:a/b",
            "team:acme",
            "team:/devs",
            "team:acme/",
            "claim:hd",
            "claim:=x",
            "claim:hd=",
            "mail_domain:@a.b",
            "mail_domain:.a.b",
            "mail_domain:.",
            "mail_domain:a b",
            "mail_domain:127.0.0.1",
            "mail:a.b",
            "id:7\n",
            "/id:7",
            "a/b/id:7",
            "A/id:7",
            "a/everyone",
        ] {
            assert!(bad.parse::<Rule>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_provider_does_not_say_names_nobody_for_sure() {
        let facts = |text: Value| serde_json::from_value::<Facts>(text).unwrap();
        let told = facts(json!({
            "login": "ada", "groups": ["Acme", "acme/Devs", "staff"],
            "mails": [
                { "address": "ada@Example.org", "verified": true },
                { "address": "ada@other.org", "verified": false },
                { "address": "ada@Bücher.example.", "verified": true },
            ],
            "claims": { "hd": "example.org", "roles": ["a", "b"], "n": 7, "ok": true, "no": null },
        }));
        let untold = facts(json!({ "claims": {} }));
        let logins = ["ada".to_owned()];
        let names = |rule: &str, facts: &Facts| {
            let rule: Rule = rule.parse().unwrap();
            rule.names(Known { provider: "work", subject: "7", logins: &logins, facts })
        };
        for (rule, expected, without) in [
            ("everyone", Some(true), Some(true)),
            ("id:7", Some(true), Some(true)),
            ("id:77", Some(false), Some(false)),
            ("login:ADA", Some(true), Some(true)),
            ("login:bob", Some(false), Some(false)),
            ("org:acme", Some(true), None),
            ("org:acm", Some(false), None),
            ("team:ACME/devs", Some(true), None),
            ("group:staff", Some(true), None),
            ("group:Staff", Some(false), None),
            ("claim:hd=example.org", Some(true), None),
            ("claim:hd=example.or", Some(false), None),
            ("claim:roles=b", Some(true), None),
            ("claim:n=7", Some(true), None),
            ("claim:ok=true", Some(true), None),
            ("claim:no=null", Some(false), None),
            ("mail_domain:example.org", Some(true), None),
            ("mail_domain:other.org", Some(false), None),
            ("unverified_mail_domain:other.org", Some(true), None),
            ("mail_domain:Example.ORG.", Some(true), None),
            ("mail_domain:xn--bcher-kva.example", Some(true), None),
            ("mail_domain:bücher.example", Some(true), None),
            ("mail_domain:ample.org", Some(false), None),
            ("mail_domain:org", Some(false), None),
            ("work/id:7", Some(true), Some(true)),
            ("work/org:acme", Some(true), None),
            ("other/id:7", Some(false), Some(false)),
            ("other/org:acme", Some(false), Some(false)),
        ] {
            assert_eq!(names(rule, &told), expected, "{rule}");
            assert_eq!(names(rule, &untold), without, "{rule}, untold");
        }
    }
}
