//! Values of a child's environment that are filled in for the user the child works for.
//!
//! `${user.…}`, `${upstream.…}` and `${egress.…}` are replaced when the child is started; `$$` is one `$`;
//! a `$` before anything else is itself. Arguments have no such thing: a command line is visible
//! to every process of the machine, so no user's data goes there.

use std::fmt;

use super::error::{Problem, Problems, quoted};

/// A value with places to fill in.
///
/// `Debug` stars the literal text, because operators write tokens into environments.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a [`Template`].
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that is passed as it is.
    Literal(String),
    /// A place to fill in.
    Variable(Variable),
    /// `${egress.NAME.base_url}`: the address that stands for the upstream of that name.
    BaseUrl(String),
}

/// What a [`Template`] can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// `${user.subject}`: who the session belongs to, as the verifier named them.
    Subject,
    /// `${user.key}`: the same person as 32 hexadecimal digits, for names of files and directories.
    Key,
    /// `${user.issuer}`: who vouches for the subject.
    Issuer,
    /// `${user.client}`: the client the user came with.
    Client,
    /// `${upstream.access_token}`: the user's own token at the server's upstream.
    AccessToken,
    /// `${upstream.username}`: the user's login there; empty when it is not known.
    Username,
    /// `${upstream.token_file}`: the path of the file that has the token.
    TokenFile,
    /// `${egress.base_url}`: the address that stands for the upstream's.
    EgressBaseUrl,
    /// `${egress.token}`: the token that is worth something there only.
    EgressToken,
}

impl Variable {
    /// Everything a template can name.
    pub const ALL: [Self; 9] = [
        Self::Subject,
        Self::Key,
        Self::Issuer,
        Self::Client,
        Self::AccessToken,
        Self::Username,
        Self::TokenFile,
        Self::EgressBaseUrl,
        Self::EgressToken,
    ];

    /// The name between the braces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subject => "user.subject",
            Self::Key => "user.key",
            Self::Issuer => "user.issuer",
            Self::Client => "user.client",
            Self::AccessToken => "upstream.access_token",
            Self::Username => "upstream.username",
            Self::TokenFile => "upstream.token_file",
            Self::EgressBaseUrl => "egress.base_url",
            Self::EgressToken => "egress.token",
        }
    }

    /// Whether users, or strangers who register a client, have a say in what it is.
    const fn is_chosen(self) -> bool {
        matches!(self, Self::Subject | Self::Client | Self::Username)
    }

    /// Whether it takes the user's credential at an upstream to fill it in.
    #[must_use]
    pub const fn is_upstream(self) -> bool {
        matches!(self, Self::AccessToken | Self::Username | Self::TokenFile) || self.is_egress()
    }

    /// Whether it stands for the credential, which stays in the broker.
    #[must_use]
    pub const fn is_egress(self) -> bool {
        matches!(self, Self::EgressBaseUrl | Self::EgressToken)
    }
}

/// A user's value would break out of its place. The value itself is not part of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitValue {
    /// Out of one environment entry.
    #[error("the value of ${{{}}} holds a NUL or a line break", .0.name())]
    Break(Variable),
    /// Out of the directory that it names a part of.
    #[error(
        "the value of ${{{}}} stands beside a `/` and holds `/` or `..`; use ${{user.key}} for paths",
        .0.name()
    )]
    Path(Variable),
}

impl Template {
    /// Reads a template from text; every bad place is reported.
    pub(crate) fn parse(text: &str) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                literal.push('$');
                rest = after;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let Some(end) = inside.find('}') else {
                    problems.push(
                        Problem::new("`${` is never closed")
                            .hint("close it with `}`, or write `$${` for the characters `${`"),
                    );
                    rest = "";
                    break;
                };
                let (name, after) = (&inside[..end], &inside[end + 1..]);
                match Variable::ALL.into_iter().find(|variable| variable.name() == name) {
                    Some(variable) => {
                        if !literal.is_empty() {
                            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                        }
                        pieces.push(Piece::Variable(variable));
                    }
                    None => match named_base_url(name) {
                        Some(origin) => {
                            if !literal.is_empty() {
                                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                            }
                            pieces.push(Piece::BaseUrl(origin.to_owned()));
                        }
                        None => problems.push(unknown(name)),
                    },
                }
                rest = after;
            } else {
                literal.push('$');
            }
        }
        literal.push_str(rest);
        if holds_break(text) {
            problems.push(Problem::new("holds a NUL or a line break").hint(
                "an environment entry is one line; put longer text in a file and pass its path",
            ));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        if problems.is_empty() { Ok(Self { pieces }) } else { Err(problems) }
    }

    /// Whether any place takes the user's credential at an upstream.
    #[must_use]
    pub fn asks_upstream(&self) -> bool {
        let asks = |piece: &Piece| matches!(piece, Piece::Variable(own) if own.is_upstream());
        self.pieces.iter().any(asks) || self.asks_egress()
    }

    /// Whether any place takes what stands for the user's credential, which stays in the broker.
    #[must_use]
    pub fn asks_egress(&self) -> bool {
        self.pieces.iter().any(|piece| match piece {
            Piece::Literal(_) => false,
            Piece::Variable(variable) => variable.is_egress(),
            Piece::BaseUrl(_) => true,
        })
    }

    /// The names of the upstreams whose addresses it takes.
    pub(super) fn origins(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::BaseUrl(name) => Some(name.as_str()),
            Piece::Literal(_) | Piece::Variable(_) => None,
        })
    }

    /// Whether any place takes this.
    #[must_use]
    pub fn asks(&self, variable: Variable) -> bool {
        self.pieces.contains(&Piece::Variable(variable))
    }

    /// The parts in order; never two literals in a row, none for the empty text.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Fills every place with what `value` says, and that of an address with what `base_url` says of
    /// the upstream's name.
    ///
    /// # Errors
    /// When a filled-in value holds a NUL or a line break: a user who chooses a name must not be
    /// able to add entries to an environment. Or when one that users choose stands in a path, beside a
    /// `/`, and leads elsewhere: it holds `/` or `..`, or is `.`.
    pub fn render<'a>(
        &self,
        value: impl Fn(Variable) -> &'a str,
        base_url: impl Fn(&str) -> &'a str,
    ) -> Result<String, UnfitValue> {
        // Joined at once: a text that grows leaves copies of a secret behind.
        let mut texts = Vec::with_capacity(self.pieces.len());
        for (at, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Literal(literal) => texts.push(literal.as_str()),
                // It is the broker's own.
                Piece::BaseUrl(name) => texts.push(base_url(name)),
                Piece::Variable(variable) => {
                    let filled = value(*variable);
                    if holds_break(filled) {
                        return Err(UnfitValue::Break(*variable));
                    }
                    let leads_away = filled.contains('/') || filled.contains("..") || filled == ".";
                    if leads_away && variable.is_chosen() && self.is_in_a_path(at) {
                        return Err(UnfitValue::Path(*variable));
                    }
                    texts.push(filled);
                }
            }
        }
        Ok(texts.concat())
    }

    /// Whether a `/` stands before or behind the piece at this place, with nothing but other places
    /// between.
    fn is_in_a_path(&self, at: usize) -> bool {
        let literal = |piece: &Piece| match piece {
            Piece::Literal(literal) => Some(literal.clone()),
            Piece::Variable(_) | Piece::BaseUrl(_) => None,
        };
        let before = self.pieces[..at].iter().rev().find_map(literal);
        let behind = self.pieces[at..].iter().find_map(literal);
        before.is_some_and(|text| text.ends_with('/'))
            || behind.is_some_and(|text| text.starts_with('/'))
    }

    /// The text that parses to this template. Not for a log: it holds what the operator wrote.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(&literal.replace('$', "$$")),
                Piece::Variable(variable) => {
                    text.push_str(&format!("${{{}}}", variable.name()));
                }
                Piece::BaseUrl(name) => text.push_str(&format!("${{egress.{name}.base_url}}")),
            }
        }
        text
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.pieces).finish()
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("***"),
            Self::Variable(variable) => write!(f, "${{{}}}", variable.name()),
            Self::BaseUrl(name) => write!(f, "${{egress.{name}.base_url}}"),
        }
    }
}

/// The name in `egress.NAME.base_url`.
fn named_base_url(variable: &str) -> Option<&str> {
    let name = variable.strip_prefix("egress.")?.strip_suffix(".base_url")?;
    (!name.is_empty() && !name.contains('.')).then_some(name)
}

/// Whether `text` cannot be one line of an environment.
pub(super) fn holds_break(text: &str) -> bool {
    text.contains(['\0', '\n', '\r'])
}

/// Whether `text` asks for a user's or an upstream's value, in a place that must not have one.
pub(super) fn asks_for_a_user(text: &str) -> bool {
    ["${user.", "${upstream.", "${egress."].iter().any(|own| text.contains(own))
}

fn unknown(name: &str) -> Problem {
    let known = Variable::ALL.iter().map(|variable| format!("${{{}}}", variable.name()));
    let known: Vec<String> = known.chain(["${egress.NAME.base_url}".to_owned()]).collect();
    // What stands between the braces may be a piece of a secret, unless it begins like ours.
    let what = if ["upstream.", "user.", "egress."].iter().any(|own| name.starts_with(own)) {
        format!("there is no variable {}", quoted(name))
    } else {
        "`${` is followed by the name of no variable".to_owned()
    };
    Problem::new(what)
        .hint(format!("known are {}; `$${{` stands for the characters `${{`", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> String {
        let template = Template::parse(text).expect("a good template");
        assert_eq!(Template::parse(&template.to_text()).as_ref(), Ok(&template));
        template
            .render(
                |variable| match variable {
                    Variable::Subject => "ada",
                    Variable::Key => "0123abcd",
                    Variable::Client => "editor",
                    Variable::Issuer => "local",
                    Variable::AccessToken => "t0ken",
                    Variable::Username => "ada_l",
                    Variable::TokenFile => "/run/token",
                    Variable::EgressBaseUrl => "http://127.0.0.1:1",
                    Variable::EgressToken => "dummy",
                },
                |name| if name == "uploads" { "http://127.0.0.1:1/~uploads" } else { "" },
            )
            .expect("good values")
    }

    #[test]
    fn places_are_filled_and_dollars_survive() {
        assert_eq!(fill(""), "");
        assert_eq!(fill("plain"), "plain");
        assert_eq!(fill("u-${user.subject}@${user.client}!"), "u-ada@editor!");
        assert_eq!(fill("$$"), "$");
        assert_eq!(fill("pa$word$"), "pa$word$");
        assert_eq!(fill("$${user.subject}"), "${user.subject}");
        assert_eq!(fill("$$${user.subject}"), "$ada");
        assert_eq!(fill("${egress.uploads.base_url}/a"), "http://127.0.0.1:1/~uploads/a");
    }

    #[test]
    fn unknown_places_name_the_known_ones() {
        let problems =
            Template::parse("${user.name} ${upstream.token} ${egress.url} ${").unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[0].hint.as_deref().unwrap().contains("${user.subject}, ${user.key}"));
        assert!(problems[1].what.contains("upstream.token"), "{problems:?}");
    }

    #[test]
    fn line_breaks_and_nul_are_refused_in_text_and_in_values() {
        for bad in ["a\nb", "a\0", "\r"] {
            assert!(Template::parse(bad).is_err(), "{bad:?}");
            let template = Template::parse("x${user.subject}").expect("good");
            assert_eq!(template.render(|_| bad, |_| ""), Err(UnfitValue::Break(Variable::Subject)));
        }
    }

    #[test]
    fn a_name_that_a_user_chose_leads_out_of_no_directory() {
        let render = |text: &str, value: &'static str| {
            Template::parse(text).expect("a good template").render(|_| value, |_| "")
        };
        for text in
            ["/srv/${user.subject}", "${user.client}/x", "/srv/${user.key}${upstream.username}/x"]
        {
            for bad in ["../bob", "..", "a/b", "/etc", ".", "a/../b"] {
                assert!(matches!(render(text, bad), Err(UnfitValue::Path(_))), "{text} {bad}");
            }
            render(text, "ada.l@example.org").expect("a usual name");
        }
        render("name=${user.subject}", "a/b").expect("in no path");
        render("${user.issuer}/x", "https://id.example").expect("the operator's choice");
    }

    #[test]
    fn debug_does_not_tell_what_the_operator_wrote() {
        let template = Template::parse("hunter2 ${user.client}").expect("good");
        assert_eq!(format!("{template:?}"), "Template([***, ${user.client}])");
    }
}
