//! The account page: applications with access, sessions, and upstream credentials.

pub(super) mod action;

use askama::Template;
use auth::{
    UnixTime,
    oauth::{Secret, UserView, Withdrawal},
};

use super::{filters, layout::Layout, when::Timestamp};

/// Everything on a user's account page. Its forms go to `/account` and are read by [`AccountAction::read`](action::AccountAction::read).
#[derive(Debug, Clone)]
pub struct AccountPage {
    /// Whose page it is.
    pub user: UserView,
    /// The hidden field `csrf` of every form.
    pub csrf: Secret,
    /// The time of the request; ages count from here.
    pub now: UnixTime,
    /// What just happened, after a form was sent.
    pub notice: Option<Notice>,
    /// Applications that have access.
    pub clients: Vec<ClientGrant>,
    /// The last of [`clients`](Self::clients), when there are more behind it, for the query `after`.
    pub more_clients: Option<String>,
    /// What runs for them.
    pub sessions: Vec<SessionView>,
    /// The user's upstream credentials; without any, the page has no section for them.
    pub connections: Vec<ConnectionView>,
    /// Servers that take a token of the user's own; without any, the page has no section for them.
    pub user_tokens: Vec<ServerTokenView>,
}

/// The outcome of a form, as a whole sentence. The page's title begins with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It was done.
    Done(String),
    /// It was not done, and why.
    Problem(String),
}

/// An application that has access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientGrant {
    /// Names the grant in forms.
    pub grant_id: String,
    /// What the application calls itself.
    pub client: String,
    /// The server it may use.
    pub server: String,
    /// What it may do there, as scopes separated by spaces.
    pub scope: String,
    /// Timestamp the user approved.
    pub since: UnixTime,
    /// Timestamp it last renewed its access.
    pub refreshed: UnixTime,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The beginning of its id, to tell it from others and to find it in the log.
    pub id: String,
    /// Names the session in forms. Not the session's id, which is a secret of the client.
    pub handle: String,
    /// The server it is with.
    pub server: String,
    /// The application it belongs to.
    pub client: String,
    /// What it is doing.
    pub state: SessionState,
    /// Timestamp it was opened.
    pub since: UnixTime,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Its process is being started, for the first time or again.
    Starting,
    /// Its process runs.
    Running,
    /// It has no process; the next request starts one.
    Asleep,
    /// Its process is being stopped.
    Ending,
}

impl SessionState {
    fn words(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Asleep => "asleep, wakes when used",
            Self::Ending => "ending",
        }
    }
}

/// An upstream credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    /// Names the connection in forms.
    pub provider: String,
    /// What people call the provider.
    pub label: String,
    /// Who the user is there.
    pub username: String,
    /// Whether it can be used.
    pub state: ConnectionState,
    /// Timestamp it ends for good, if it is not renewed by itself.
    pub expires: Option<UnixTime>,
    /// Why the provider does not let the account in, in its own words.
    pub refused: Option<String>,
    /// Rights that the servers here were set up for and the provider did not grant.
    pub missing: Vec<String>,
    /// Rights for want of which the upstream refused requests of servers.
    pub lacking: Vec<RefusedRight>,
    /// Where the user withdraws the earlier consent that leaves them out.
    pub withdrawal: Option<Withdrawal>,
    /// What the user can do about it.
    pub actions: Vec<ConnectionAction>,
}

/// A right that a token lacks, by the word of the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRight {
    /// As the upstream calls it.
    pub name: String,
    /// How many requests of servers were refused for want of it.
    pub times: u64,
}

/// Whether an upstream credential can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// It can.
    Good,
    /// The provider no longer accepts it; only another sign-in helps.
    SignInAgain,
    /// The provider does not answer, or refuses the broker itself; the user can do nothing about it.
    Unavailable,
}

/// What the user can do about an upstream credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionAction {
    /// Sign in again: a link to `/login`.
    SignInAgain,
    /// Remove it: [`AccountAction::RemoveConnection`](action::AccountAction::RemoveConnection).
    Remove,
}

/// A server that takes a token of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTokenView {
    /// Names the server in forms.
    pub server: String,
    /// What people call it.
    pub title: String,
    /// Whether there is a token; it is never shown.
    pub is_set: bool,
    /// Whether the upstream accepts it no more, so that the user has to replace it.
    pub has_ended: bool,
    /// Rights for want of which the upstream refused requests of the server.
    pub lacking: Vec<RefusedRight>,
}

#[derive(Template)]
#[template(path = "account.html")]
pub(super) struct Account<'a> {
    pub(super) layout: &'a Layout,
    pub(super) page: &'a AccountPage,
}

impl Account<'_> {
    fn when(&self, moment: &UnixTime) -> Timestamp {
        Timestamp::of(*moment, self.page.now)
    }

    fn offers(&self, connection: &ConnectionView, action: ConnectionAction) -> bool {
        connection.actions.contains(&action)
    }
}
