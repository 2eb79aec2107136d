//! What the forge remembers: people, applications, grants, codes, browsers, and what was asked.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::options::ForgeOptions;

/// Somebody with an account.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) login: String,
    pub(crate) full_name: String,
    pub(crate) password: String,
    pub(crate) groups: Vec<String>,
    pub(crate) admin: bool,
    /// Locked by the administrator.
    pub(crate) prohibited: bool,
    /// The address was never confirmed.
    pub(crate) inactive: bool,
    /// The password has to be changed before anything else.
    pub(crate) must_change_password: bool,
    /// The one-time code that a password needs beside it.
    pub(crate) otp: Option<String>,
}

/// An application somebody registered.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) client_id: String,
    pub(crate) secret: String,
    pub(crate) confidential: bool,
    pub(crate) redirect_uris: Vec<String>,
    /// Who registered it; nobody in particular for one of the whole forge.
    pub(crate) owner: Option<u64>,
}

/// What a user lets an application do. There is one per user and application, with one counter for
/// all its refresh tokens.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) id: u64,
    pub(crate) user: u64,
    pub(crate) app: u64,
    pub(crate) counter: u64,
    pub(crate) scope: String,
    pub(crate) nonce: String,
}

/// A code on its way to a token request.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) code: String,
    pub(crate) grant: u64,
    pub(crate) challenge: String,
    pub(crate) method: String,
    pub(crate) redirect_uri: String,
    pub(crate) made_at: i64,
}

/// One browser. What an authorization request leaves here, the next one overwrites: two tabs share
/// it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Browser {
    pub(crate) user: Option<u64>,
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) state: String,
    pub(crate) scope: String,
    pub(crate) nonce: String,
    pub(crate) challenge: String,
    pub(crate) method: String,
}

/// An issue. Who opened it is who the token belonged to.
#[derive(Debug, Clone)]
pub(crate) struct Issue {
    pub(crate) repo: String,
    pub(crate) number: u64,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) state: String,
    pub(crate) author: u64,
    pub(crate) comments: Vec<(u64, String)>,
}

/// An organization.
#[derive(Debug, Clone)]
pub(crate) struct Org {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) owner: u64,
}

/// A repository.
#[derive(Debug, Clone)]
pub(crate) struct Repo {
    pub(crate) id: u64,
    pub(crate) owner: u64,
    pub(crate) name: String,
    pub(crate) private: bool,
}

/// How often things happened since the start or the last reset.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Counters {
    /// Requests to the token endpoint, faults included; without those whose code no forge gives.
    pub(crate) token_calls: u64,
    /// Codes that became tokens, by user.
    pub(crate) exchanges: BTreeMap<String, u64>,
    /// Refreshes that were carried out, by user, answered or not.
    pub(crate) refreshes: BTreeMap<String, u64>,
    /// Refused token requests, by error code.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Passwords that were right, by user.
    pub(crate) logins: BTreeMap<String, u64>,
    /// Times that somebody was asked for consent.
    pub(crate) consents: u64,
    /// Userinfo answers, by user.
    pub(crate) userinfo: BTreeMap<String, u64>,
    /// Questions for the version with a token, whatever became of them.
    pub(crate) versions: u64,
    /// Calls of the API, by user.
    pub(crate) api: BTreeMap<String, u64>,
    /// Calls of the API without a usable token.
    pub(crate) api_refused: u64,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: ForgeOptions,
    pub(crate) users: Vec<User>,
    pub(crate) apps: Vec<App>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) codes: Vec<Code>,
    pub(crate) browsers: BTreeMap<String, Browser>,
    pub(crate) orgs: Vec<Org>,
    pub(crate) repos: Vec<Repo>,
    pub(crate) issues: Vec<Issue>,
    pub(crate) counters: Counters,
    /// Access tokens that were given, and those of them that died before their end.
    pub(crate) given: Vec<String>,
    pub(crate) dead: Vec<String>,
    last_id: u64,
}

impl State {
    /// Two people and an administrator, three repositories, no application.
    pub(crate) fn new(options: ForgeOptions) -> Self {
        let user = |id, login: &str, full_name: &str, groups: &[&str]| User {
            full_name: full_name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..User::new(id, login, &format!("{login}-password"))
        };
        let repo = |id, owner, name: &str, private| Repo { id, owner, name: name.into(), private };
        Self {
            options,
            users: vec![
                user(7, "ada", "Ada L", &["engines", "engines:owners"]),
                user(8, "bob", "", &[]),
                User { admin: true, ..user(1, "root", "", &[]) },
            ],
            apps: Vec::new(),
            grants: Vec::new(),
            codes: Vec::new(),
            browsers: BTreeMap::new(),
            orgs: Vec::new(),
            repos: vec![
                repo(1, 7, "engine", false),
                repo(2, 7, "notes", true),
                repo(3, 8, "garden", true),
            ],
            issues: Vec::new(),
            counters: Counters::default(),
            given: Vec::new(),
            dead: Vec::new(),
            last_id: 100,
        }
    }

    /// A number nobody has yet.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn user(&self, id: u64) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    pub(crate) fn named(&self, login: &str) -> Option<&User> {
        self.users.iter().find(|user| user.login.eq_ignore_ascii_case(login))
    }

    pub(crate) fn app(&self, client_id: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.client_id == client_id)
    }

    pub(crate) fn grant(&self, id: u64) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.id == id)
    }

    pub(crate) fn grant_of(&self, user: u64, app: u64) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.user == user && grant.app == app)
    }

    /// Lets `app` act for `user`.
    pub(crate) fn add_grant(&mut self, user: u64, app: u64, scope: &str) -> u64 {
        let id = self.next_id();
        self.grants.push(Grant {
            id,
            user,
            app,
            counter: 1,
            scope: scope.to_owned(),
            nonce: String::new(),
        });
        id
    }

    /// Every access token given so far dies before its end. A token follows from its second, so the
    /// clock goes on by one.
    pub(crate) fn forget_access_tokens(&mut self) {
        self.dead.append(&mut self.given);
        self.options.clock_skew += 1;
    }

    /// Removes a person and everything that is theirs.
    pub(crate) fn remove_user(&mut self, id: u64) {
        self.revoke(id, None);
        let own: Vec<_> = self.apps.iter().filter(|app| app.owner == Some(id)).collect();
        let own: Vec<_> = own.iter().map(|app| app.id).collect();
        self.grants.retain(|grant| !own.contains(&grant.app));
        self.apps.retain(|app| app.owner != Some(id));
        self.issues.retain(|issue| issue.author != id);
        self.issues.iter_mut().for_each(|issue| issue.comments.retain(|own| own.0 != id));
        self.repos.retain(|repo| repo.owner != id);
        self.orgs.retain(|org| org.owner != id);
        self.browsers.retain(|_, browser| browser.user != Some(id));
        self.users.retain(|user| user.id != id);
    }

    /// Takes back what `user` lets applications do: one of them, or all.
    pub(crate) fn revoke(&mut self, user: u64, app: Option<u64>) -> usize {
        let before = self.grants.len();
        self.grants.retain(|grant| grant.user != user || app.is_some_and(|app| grant.app != app));
        let grants = &self.grants;
        self.codes.retain(|code| grants.iter().any(|grant| grant.id == code.grant));
        before - self.grants.len()
    }

    /// Registers an application.
    pub(crate) fn add_app(&mut self, mut app: App) -> App {
        app.id = self.next_id();
        self.apps.push(app.clone());
        app
    }
}

impl User {
    pub(crate) fn new(id: u64, login: &str, password: &str) -> Self {
        Self {
            id,
            login: login.to_owned(),
            full_name: String::new(),
            password: password.to_owned(),
            groups: Vec::new(),
            admin: false,
            prohibited: false,
            inactive: false,
            must_change_password: false,
            otp: None,
        }
    }

    /// Why the forge lets this account in no more, in its words for the person.
    pub(crate) fn bar(&self, root: &str) -> Option<String> {
        if self.prohibited {
            let words = "This account is prohibited from signing in, please contact your site \
                         administrator.";
            Some(words.to_owned())
        } else if self.inactive {
            Some("This account is not activated.".to_owned())
        } else if self.must_change_password {
            Some(format!(
                "You must change your password. Change it at: {root}/user/change_password"
            ))
        } else {
            None
        }
    }

    /// The full name, or the login of who has none.
    pub(crate) fn display_name(&self) -> &str {
        if self.full_name.is_empty() { &self.login } else { &self.full_name }
    }

    pub(crate) fn email(&self) -> String {
        format!("{}@example.org", self.login)
    }

    /// A user as the API shows one.
    pub(crate) fn shown(&self, root: &str) -> Value {
        json!({
            "id": self.id,
            "login": self.login,
            "login_name": "",
            "source_id": 0,
            "full_name": self.full_name,
            "email": self.email(),
            "avatar_url": format!("{root}/avatars/{}", self.login),
            "html_url": format!("{root}/{}", self.login),
            "language": "en-US",
            "is_admin": self.admin,
            "last_login": "2026-01-01T00:00:00Z",
            "created": "2025-01-01T00:00:00Z",
            "restricted": false,
            "active": !self.inactive,
            "prohibit_login": self.prohibited,
            "location": "",
            "pronouns": "",
            "website": "",
            "description": "",
            "visibility": "public",
            "followers_count": 0,
            "following_count": 0,
            "starred_repos_count": 0,
            "username": self.login,
        })
    }
}

impl Org {
    /// An organization as the API shows one.
    pub(crate) fn shown(&self) -> Value {
        json!({ "id": self.id, "name": self.name, "username": self.name, "visibility": "public" })
    }
}

impl App {
    /// Whether `uri` is one of the registered addresses, as the forge compares them: case and one
    /// slash at the end do not matter, and the port of a loopback address does not matter for an
    /// application that keeps no secret.
    pub(crate) fn allows(&self, uri: &str) -> bool {
        let plain = |uri: &str| {
            let uri = uri.to_ascii_lowercase();
            uri.strip_suffix('/').map_or(uri.clone(), ToOwned::to_owned)
        };
        let asked = plain(uri);
        self.redirect_uris.iter().any(|registered| {
            let registered = plain(registered);
            registered == asked
                || (!self.confidential
                    && without_loopback_port(&registered).is_some()
                    && without_loopback_port(&registered) == without_loopback_port(&asked))
        })
    }

    /// An application as the API shows one; `secret` only when it was just made.
    pub(crate) fn shown(&self, secret: &str) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "client_id": self.client_id,
            "client_secret": secret,
            "confidential_client": self.confidential,
            "redirect_uris": self.redirect_uris,
            "created": "2026-01-01T00:00:00Z",
        })
    }
}

/// `http://127.0.0.1:1234/cb` as (`127.0.0.1`, `/cb`); nothing for what is no loopback address.
fn without_loopback_port(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    ["127.0.0.1", "[::1]"].into_iter().find_map(|host| {
        let port = authority.strip_prefix(host)?;
        (port.is_empty() || port.starts_with(':')).then_some((host, path))
    })
}
