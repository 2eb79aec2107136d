//! One of every page, for the tests and for the gallery in `rigs/pages.rs`, which includes this
//! file: both see the same views.

use auth::{
    UnixTime,
    oauth::{
        Ask, Choice, ClientView, ConsentPage, ErrorPage, FewerRightsPage, Field, FieldKind, Form,
        LeavePage, Page, Problem, ScopeView, Secret, ServerView, SignInPage, Standing, UserView,
        Warning, Withdrawal,
    },
};

use super::{
    AccountPage, AuthMode, ClientGrant, ConnectionAction, ConnectionState, ConnectionView,
    EndpointView, FrontPage, Notice, Pages, RefusedRight, ServerTokenView, SessionState,
    SessionView, SetupForm, SetupPage, SetupProblem,
};

/// When the samples were looked at.
pub(crate) const NOW: UnixTime = UnixTime(1_790_000_000);

fn form(action: &str, hidden: &[(&'static str, &str)]) -> Form {
    let hidden = hidden.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Form { action: action.to_owned(), hidden }
}

fn user() -> UserView {
    UserView { display_name: "ada".into(), provider: "git.example.org".into() }
}

/// The question for approval, of a client with this standing.
pub(crate) fn consent(
    name: &str,
    standing: Standing,
    redirect: &str,
    warnings: &[Warning],
    user: Option<UserView>,
) -> ConsentPage {
    ConsentPage {
        form: form("/consent", &[("t", "handle"), ("csrf", "token")]),
        client: ClientView {
            name: name.into(),
            uri: match &standing {
                Standing::Host(host) => Some(format!("https://{host}/product")),
                Standing::Operator | Standing::Nobody => None,
            },
            standing,
            redirect: redirect.into(),
        },
        server: ServerView {
            name: "forgejo".into(),
            title: "Forgejo".into(),
            address: "https://mcp.example.org/forgejo/mcp".into(),
        },
        scopes: vec![ScopeView {
            name: "mcp".into(),
            description: "Use this server’s tools, with your own account behind them".into(),
        }],
        user,
        warnings: warnings.into(),
    }
}

fn fields() -> Vec<Field> {
    let field = |name: &str, label: &str, kind, autocomplete| Field {
        name: name.into(),
        label: label.into(),
        kind,
        autocomplete,
    };
    vec![
        field("username", "Name", FieldKind::Text, "username"),
        field("password", "Password", FieldKind::Password, "current-password"),
    ]
}

fn sign_in(client: Option<&str>, problem: Option<Problem>) -> Page {
    let hidden = [("t", "handle"), ("csrf", "token"), ("provider", "local"), ("step", "finish")];
    Page::SignIn(Box::new(SignInPage {
        client: client.map(str::to_owned),
        choices: Vec::new(),
        ask: Some(Ask {
            provider: "local".into(),
            label: "an account of this server".into(),
            form: form("/login", &hidden),
            fields: fields(),
            problem,
        }),
    }))
}

fn choices() -> Page {
    let choice = |provider: &str, label: &str| Choice {
        provider: provider.into(),
        label: label.into(),
        form: form("/login", &[("t", "handle"), ("csrf", "token"), ("step", "begin")]),
    };
    Page::SignIn(Box::new(SignInPage {
        client: Some("Claude Code".into()),
        choices: vec![
            choice("forgejo", "git.example.org"),
            choice("github", "GitHub"),
            choice("local", "Name and password"),
        ],
        ask: None,
    }))
}

/// Every kind of page of the authorization server, with a name for its address.
pub(crate) fn pages() -> Vec<(&'static str, Page)> {
    let asked = |page: ConsentPage| Page::Consent(Box::new(page));
    let loopback = [Warning::Loopback, Warning::UnverifiedName];
    let long = "An application with a very long name ".repeat(6);
    let host =
        "a-very-long-host-name-without-any-place-to-break-it.tenant-4711.example-hosting.com:8443";
    vec![
        (
            "consent-loopback",
            asked(consent("Claude Code", Standing::Nobody, "127.0.0.1:33418", &loopback, None)),
        ),
        (
            "consent-web",
            asked(consent(
                "Claude",
                Standing::Host("claude.ai".into()),
                "claude.ai",
                &[],
                Some(user()),
            )),
        ),
        (
            "consent-installed",
            asked(consent(
                "Cursor",
                Standing::Operator,
                "cursor:",
                &[Warning::InstalledApp],
                Some(user()),
            )),
        ),
        (
            "consent-long",
            asked(consent(&long, Standing::Nobody, host, &loopback[1..], Some(user()))),
        ),
        ("sign-in", sign_in(Some("Claude Code"), None)),
        ("sign-in-choice", choices()),
        ("sign-in-wrong", sign_in(None, Some(Problem::WrongCredentials))),
        ("sign-in-wait", sign_in(None, Some(Problem::TooMany { retry_after: 300 }))),
        (
            "error",
            Page::Error(ErrorPage {
                code: "unknown_client",
                title: "Unknown application",
                detail: "This server does not know the application “4f1c0e”.".into(),
                advice: "Go back to your application, remove this connection there, and add it \
                         again.",
            }),
        ),
        ("fewer-rights", fewer_rights(&["write:issue", "read:organization"], true)),
        ("fewer-rights-unnamed", fewer_rights(&[], false)),
        ("leave", leave("Claude Code", "app.example.org", "the scope is unknown")),
    ]
}

/// What somebody sees whose earlier consent leaves something out.
fn fewer_rights(missing: &[&str], may_go_on: bool) -> Page {
    let hidden = [("t", "handle"), ("csrf", "token"), ("provider", "forgejo"), ("step", "begin")];
    Page::FewerRights(Box::new(FewerRightsPage {
        provider: "git.example.org".into(),
        client: Some("Claude Code".into()),
        missing: missing.iter().map(|right| (*right).to_owned()).collect(),
        withdrawal: Some(withdrawal()),
        again: form("/login", &hidden),
        go_on: may_go_on.then(|| form("/login", &hidden)),
    }))
}

fn withdrawal() -> Withdrawal {
    Withdrawal {
        address: "https://git.example.org/user/settings/applications".into(),
        application: Some("MCP broker".into()),
    }
}

/// The way out to an application that does not get what it asked for.
pub(crate) fn leave(client: &str, place: &str, detail: &str) -> Page {
    Page::Leave(Box::new(LeavePage {
        code: "invalid_scope",
        client: client.into(),
        place: place.into(),
        detail: detail.into(),
        link: "https://app.example.org/callback?error=invalid_scope&state=%22%3E".into(),
    }))
}

fn grant(grant_id: &str, client: &str, days: u64, minutes: u64) -> ClientGrant {
    ClientGrant {
        grant_id: grant_id.into(),
        client: client.into(),
        server: "Forgejo".into(),
        scope: "mcp".into(),
        since: UnixTime(NOW.0 - days * 86_400),
        refreshed: UnixTime(NOW.0 - minutes * 60),
    }
}

fn session(id: &str, client: &str, state: SessionState, minutes: u64) -> SessionView {
    SessionView {
        id: id.into(),
        handle: format!("handle-of-{id}"),
        server: "Forgejo".into(),
        client: client.into(),
        state,
        since: UnixTime(NOW.0 - minutes * 60),
    }
}

fn connection(label: &str, state: ConnectionState, expires: Option<UnixTime>) -> ConnectionView {
    ConnectionView {
        provider: label.split('.').next().unwrap_or_default().to_lowercase(),
        label: label.into(),
        username: "ada".into(),
        state,
        expires,
        refused: None,
        missing: Vec::new(),
        lacking: Vec::new(),
        withdrawal: None,
        actions: vec![ConnectionAction::SignInAgain, ConnectionAction::Remove],
    }
}

fn user_token(server: &str, title: &str, lacking: &[&str]) -> ServerTokenView {
    let right = |name: &&str| RefusedRight { name: (*name).into(), times: 1 };
    let lacking = lacking.iter().map(right).collect();
    let (server, title) = (server.into(), title.into());
    ServerTokenView { server, title, is_set: true, has_ended: false, lacking }
}

/// A user's own page with some of everything.
pub(crate) fn account(notice: Option<Notice>) -> AccountPage {
    let long = "An application with a very long name ".repeat(6);
    AccountPage {
        user: user(),
        csrf: Secret::new("csrf-token"),
        now: NOW,
        notice,
        clients: vec![
            grant("grant-1", "Claude Code", 40, 3),
            grant("grant-2", "Visual Studio Code", 2, 90),
            grant("grant-3", &long, 1, 0),
        ],
        more_clients: Some("grant-3".into()),
        sessions: vec![
            session("4f1c0e9a", "Claude Code", SessionState::Running, 12),
            session("b72d11c3", "Visual Studio Code", SessionState::Asleep, 3_000),
            session("09ee4d58", "Claude Code", SessionState::Ending, 200),
        ],
        connections: vec![
            connection("git.example.org", ConnectionState::Good, None),
            ConnectionView {
                missing: vec!["write:issue".into()],
                withdrawal: Some(withdrawal()),
                ..connection("forge.example.org", ConnectionState::Good, None)
            },
            ConnectionView {
                refused: Some("This account is prohibited from signing in.".into()),
                ..connection("locked.example.org", ConnectionState::Good, None)
            },
            ConnectionView {
                lacking: vec![RefusedRight { name: "write:user".into(), times: 3 }],
                ..connection("wiki.example.org", ConnectionState::Good, None)
            },
            connection("GitHub", ConnectionState::SignInAgain, None),
            connection("codeberg.org", ConnectionState::Unavailable, None),
            connection("sso.example.org", ConnectionState::Good, Some(UnixTime(NOW.0 + 7_200))),
        ],
        user_tokens: vec![
            user_token("weather", "Weather", &["read:forecast"]),
            ServerTokenView { is_set: false, ..user_token("tickets", "Tickets", &[]) },
            ServerTokenView { has_ended: true, ..user_token("notes", "Notes", &[]) },
        ],
    }
}

/// A user's own page on the first day.
pub(crate) fn empty_account() -> AccountPage {
    AccountPage {
        clients: Vec::new(),
        more_clients: None,
        sessions: Vec::new(),
        connections: Vec::new(),
        user_tokens: Vec::new(),
        ..account(None)
    }
}

/// The set-up form with these problems.
pub(crate) fn setup(name: &str, problems: &[SetupProblem]) -> SetupPage {
    SetupPage::Form(SetupForm {
        secret: Secret::new("link-secret"),
        name: name.into(),
        min_password: 12,
        problems: problems.into(),
    })
}

/// The front page of a broker with two servers.
pub(crate) fn front(auth: AuthMode) -> FrontPage {
    let endpoint = |name: &str, title: &str| EndpointView {
        name: name.into(),
        title: title.into(),
        address: format!("https://mcp.example.org/{name}/mcp"),
    };
    FrontPage {
        endpoints: vec![endpoint("forgejo", "Forgejo"), endpoint("weather", "Weather")],
        auth,
    }
}

/// Every page, as HTML, with a name for its address.
pub(crate) fn all(site: &Pages) -> Vec<(&'static str, String)> {
    let mut all: Vec<_> =
        pages().into_iter().map(|(name, page)| (name, site.render(&page))).collect();
    let done = Notice::Done("Access of Visual Studio Code was removed.".into());
    let problem = Notice::Problem("This is not a token: it has a blank in it.".into());
    let faults =
        [SetupProblem::NameBad, SetupProblem::PasswordShort, SetupProblem::PasswordsDiffer];
    let one = FrontPage {
        endpoints: front(AuthMode::Open).endpoints[..1].to_vec(),
        ..front(AuthMode::Open)
    };
    all.extend([
        ("account", site.account(&account(None))),
        ("account-done", site.account(&account(Some(done)))),
        ("account-problem", site.account(&account(Some(problem)))),
        ("account-empty", site.account(&empty_account())),
        ("setup", site.setup(&setup("", &[]))),
        ("setup-problems", site.setup(&setup("Ada Lovelace", &faults))),
        ("setup-spent", site.setup(&SetupPage::Spent)),
        ("setup-done", site.setup(&SetupPage::Done { name: "ada".into() })),
        ("front", site.front(&front(AuthMode::SignIn))),
        ("front-token", site.front(&front(AuthMode::Token))),
        ("front-open", site.front(&one)),
    ]);
    all
}
