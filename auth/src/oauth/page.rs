//! What the pages show. Whoever renders them needs no OAuth: texts are plain (to be escaped),
//! forms come with their hidden fields, and [`Answer`](super::Answer) brings status and headers.

use super::{Field, Withdrawal};

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// Do you want to let this application in?
    Consent(Box<ConsentPage>),
    /// Who are you?
    SignIn(Box<SignInPage>),
    /// The provider granted less than the servers here need.
    FewerRights(Box<FewerRightsPage>),
    /// Something is wrong, and this is what to do.
    Error(ErrorPage),
    /// Something is wrong, and the application can be told.
    Leave(Box<LeavePage>),
}

/// A form that is sent with POST to `action`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// The path, or absolute address, it goes to.
    pub action: String,
    /// Fields nobody sees; all of them must be sent.
    pub hidden: Vec<(&'static str, String)>,
}

/// The question for approval. Its form takes one more parameter, the pressed button:
/// `choice` = `approve`, `deny`, or, where [`user`](Self::user) is known, `switch` (approve and
/// sign in as somebody else).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentPage {
    /// Where the answer goes.
    pub form: Form,
    /// Who asks.
    pub client: ClientView,
    /// What the client will be able to reach.
    pub server: ServerView,
    /// What it will be allowed to do.
    pub scopes: Vec<ScopeView>,
    /// Who is signed in already, if anybody.
    pub user: Option<UserView>,
    /// To be shown prominently.
    pub warnings: Vec<Warning>,
}

/// An application, as it may be shown: control and direction characters are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientView {
    /// What it calls itself, or its identifier's host, or "An application".
    pub name: String,
    /// Who vouches for the name.
    pub standing: Standing,
    /// Its home page's address, to be shown as text or as a link without referrer.
    pub uri: Option<String>,
    /// Where the answer will go: the host of the redirect address with its port, or the scheme of
    /// an installed application. In ASCII (punycode), so no letter looks like another.
    pub redirect: String,
}

/// Who vouches for what a client says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The operator of this broker.
    Operator,
    /// The host its metadata was fetched from.
    Host(String),
    /// Nobody.
    Nobody,
}

/// A server behind the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerView {
    /// Its name in the configuration.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Its address.
    pub address: String,
}

/// A scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeView {
    /// Its name on the wire.
    pub name: String,
    /// What it allows, in a sentence.
    pub description: String,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// What people call the user.
    pub display_name: String,
    /// The label of the provider that vouches.
    pub provider: String,
}

/// Something the user should think about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// The answer goes to a program on the user's own computer, and any program there could have
    /// asked: approve only if you just started this.
    Loopback,
    /// The answer goes to an installed application, chosen by the scheme; the same holds.
    InstalledApp,
    /// The name is the client's own word.
    UnverifiedName,
}

/// The question who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInPage {
    /// The application that waits, if one does.
    pub client: Option<String>,
    /// Ways to sign in, one button each; each has its own form. Empty when `ask` is the only way.
    pub choices: Vec<Choice>,
    /// Fields to fill in, of the way that was chosen.
    pub ask: Option<Ask>,
}

/// One way to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The provider's name.
    pub provider: String,
    /// What the button says.
    pub label: String,
    /// What the button sends.
    pub form: Form,
}

/// Fields to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The provider's name.
    pub provider: String,
    /// The provider's label.
    pub label: String,
    /// What is sent, beside the fields.
    pub form: Form,
    /// The fields.
    pub fields: Vec<Field>,
    /// What was wrong with the last try.
    pub problem: Option<Problem>,
}

/// What was wrong with a try to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Name or password; which one is not told.
    WrongCredentials,
    /// Too many tries.
    TooMany {
        /// Seconds to wait.
        retry_after: u64,
    },
}

/// An earlier consent at the provider is in the way of what the servers here need now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FewerRightsPage {
    /// What people call the provider.
    pub provider: String,
    /// The application that waits, if one does.
    pub client: Option<String>,
    /// What is missing, in the provider's words; empty when only that something is was told.
    pub missing: Vec<String>,
    /// Where the user withdraws the earlier consent.
    pub withdrawal: Option<Withdrawal>,
    /// Signs in again.
    pub again: Form,
    /// Goes on without what is missing, where that is possible.
    pub go_on: Option<Form>,
}

/// What is wrong, and what to do. All three texts are whole sentences for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPage {
    /// A fixed word for tests, logs and support.
    pub code: &'static str,
    /// The heading.
    pub title: &'static str,
    /// What happened. May quote what came in, cut and cleaned.
    pub detail: String,
    /// What the user, or somebody else, can do now.
    pub advice: &'static str,
}

/// An application asked for something that it does not get. It hears of it only when the user follows a
/// link: the address may be anybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavePage {
    /// The error of RFC 6749 §4.1.2.1, which the link says as well.
    pub code: &'static str,
    /// What the application calls itself, as in [`ClientView::name`].
    pub client: String,
    /// Where the link leads to, as in [`ClientView::redirect`].
    pub place: String,
    /// What was wrong, as a part of a sentence.
    pub detail: String,
    /// An https address or one of an installed application, with the error, `state` and `iss` in it.
    pub link: String,
}

/// `text` without what could deceive on a page (control characters, direction changes, invisible
/// characters), with blanks collapsed, and at most `max` characters long.
#[must_use]
pub fn plain(text: &str, max: usize) -> String {
    let visible: String = text
        .chars()
        .filter_map(|c| match c {
            c if c.is_whitespace() => Some(' '),
            c if c.is_control() => None,
            // Soft hyphen, direction marks, overrides and isolates, zero-width and tag characters.
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' => None,
            c => Some(c),
        })
        .collect();
    let mut words = visible.split_whitespace();
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        text.push(' ');
        text.push_str(word);
    }
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_taken_out_of_a_name() {
        assert_eq!(plain("Pay\u{202e}lap\u{202c}  \t x\u{0}\u{200b}", 200), "Paylap x");
        assert_eq!(plain("<script>alert(1)</script>", 200), "<script>alert(1)</script>");
        assert_eq!(plain(&"ä".repeat(300), 3), "äää…");
    }
}
