//! The sign-in page.

use askama::Template;
use auth::oauth::{Field, FieldKind, Problem, SignInPage};

use super::{filters, layout::Layout};

#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignIn<'a> {
    pub(super) layout: &'a Layout,
    pub(super) page: &'a SignInPage,
}

impl SignIn<'_> {
    fn attempt_problem(&self) -> Option<Problem> {
        self.page.ask.as_ref()?.problem
    }

    /// What went wrong, for the title and the alert.
    fn problem(&self) -> Option<&'static str> {
        Some(match self.attempt_problem()? {
            Problem::WrongCredentials => "Wrong name or password",
            Problem::TooMany { .. } => "Too many tries",
        })
    }

    fn remedy(&self) -> String {
        match self.attempt_problem() {
            Some(Problem::TooMany { retry_after }) => {
                format!("Wait {}, then try again.", waiting(retry_after))
            }
            Some(Problem::WrongCredentials) | None => "Check both and try again.".to_owned(),
        }
    }

    /// Whether the fields were filled in wrongly.
    fn fields_are_wrong(&self) -> bool {
        self.attempt_problem() == Some(Problem::WrongCredentials)
    }

    fn kind(&self, field: &Field) -> &'static str {
        match field.kind {
            FieldKind::Text => "text",
            FieldKind::Password => "password",
        }
    }
}

/// A time to wait in words, rounded up.
fn waiting(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..=90 => (seconds.max(1), "second"),
        _ => (seconds.div_ceil(60), "minute"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_words_and_never_too_short() {
        let told: Vec<_> = [0, 1, 2, 90, 91, 121].map(waiting).into();
        assert_eq!(
            told,
            ["1 second", "1 second", "2 seconds", "90 seconds", "2 minutes", "3 minutes"]
        );
    }
}
