//! What providers say of a person, as far as rules ask for it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a provider says of a person. `None` is what it does not say, or was not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The person's present login. Logins change hands.
    pub login: Option<String>,
    /// Groups as they are called there, organizations by their name, and teams as `ORG/TEAM`.
    pub groups: Option<Vec<String>>,
    /// Mail addresses.
    pub mails: Option<Vec<Mail>>,
    /// The claims that rules name; `null` for one that is not there.
    pub claims: Map<String, Value>,
    /// What was asked for, once it is kept.
    #[serde(default)]
    pub(super) asked: Wanted,
}

/// A mail address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The address.
    pub address: String,
    /// Whether the provider says that it belongs to the person.
    pub verified: bool,
}

/// What is to be found out about people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The login: a rule names one.
    pub login: bool,
    /// Organizations, teams and groups.
    pub groups: bool,
    /// Mail addresses.
    pub mails: bool,
    /// The names of claims.
    pub claims: Vec<String>,
}

impl Wanted {
    /// Whether everything is wanted that is here.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Facts {
    /// What the claims of OpenID Connect say (Core §5.1): `email` with `email_verified`, `groups`, and
    /// those that are wanted by name.
    #[must_use]
    pub fn of_claims(claims: &Map<String, Value>, wanted: &Wanted, login: Option<String>) -> Self {
        let text = |name| claims.get(name).and_then(Value::as_str);
        let list = |value: &Value| match value {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => {
                many.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        let is_true = |value: &Value| *value == Value::Bool(true) || *value == "true";
        let mail = || Mail {
            address: text("email").unwrap_or_default().to_owned(),
            verified: claims.get("email_verified").is_some_and(is_true),
        };
        let named =
            |name: &String| (name.clone(), claims.get(name).cloned().unwrap_or(Value::Null));
        Self {
            login,
            groups: claims.get("groups").filter(|_| wanted.groups).map(list),
            mails: text("email").filter(|_| wanted.mails).map(|_| vec![mail()]),
            claims: wanted.claims.iter().map(named).collect(),
            asked: Wanted::default(),
        }
    }

    /// What is known of an account that has a login and nothing else.
    #[must_use]
    pub fn of_login(login: &str, wanted: &Wanted) -> Self {
        let login = Some(login.to_owned());
        let none = Self::of_claims(&Map::new(), wanted, login);
        Self { groups: Some(Vec::new()), mails: Some(Vec::new()), ..none }
    }

    /// Whether everything was asked for that is wanted now.
    pub(super) fn cover(&self, wanted: &Wanted) -> bool {
        let asked = &self.asked;
        (asked.login || !wanted.login)
            && (asked.groups || !wanted.groups)
            && (asked.mails || !wanted.mails)
            && wanted.claims.iter().all(|name| asked.claims.contains(name))
    }
}
