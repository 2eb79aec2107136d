//! The page that makes the first account, for the holder of the set-up link.

use askama::Template;
use auth::oauth::{Params, Secret};

use super::{filters, layout::Layout};

/// What the set-up link leads to.
#[derive(Debug, Clone)]
pub enum SetupPage {
    /// The form for a name and a password.
    Form(SetupForm),
    /// The link was used, or is too old.
    Spent,
    /// The account is there.
    Done {
        /// Its name.
        name: String,
    },
}

/// The form for a name and a password. It goes to `/login/setup` and is read by
/// [`SetupAnswer::read`]. It needs no other proof than the link's own secret, which no foreign page
/// knows.
#[derive(Debug, Clone)]
pub struct SetupForm {
    /// The secret of the link, sent along as `t`.
    pub secret: Secret,
    /// The name that was filled in before, if any.
    pub name: String,
    /// The shortest password that is taken, in characters.
    pub min_password: usize,
    /// What was wrong with it.
    pub problems: Vec<SetupProblem>,
}

/// What was wrong with a name or a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupProblem {
    /// Another account has the name.
    NameTaken,
    /// The name cannot be used.
    NameBad,
    /// The password is too short.
    PasswordShort,
    /// The password is longer than a password may be.
    PasswordLong,
    /// The two passwords are not the same.
    PasswordsDiffer,
}

impl SetupProblem {
    /// The field it is about.
    fn field(self) -> Field {
        match self {
            Self::NameTaken | Self::NameBad => Field::Name,
            Self::PasswordShort | Self::PasswordLong => Field::Password,
            Self::PasswordsDiffer => Field::Again,
        }
    }
}

/// A field of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Password,
    Again,
}

/// What was filled in.
#[derive(Debug, Clone)]
pub struct SetupAnswer {
    /// The secret of the link.
    pub secret: Secret,
    /// The name, as it was typed.
    pub name: String,
    /// The password.
    pub password: Secret,
    /// The password once more.
    pub again: Secret,
}

impl SetupAnswer {
    /// Reads the form. `None` without the link's secret, or when a field comes twice; what was left
    /// empty is empty.
    #[must_use]
    pub fn read(form: &Params) -> Option<Self> {
        let one = |name| Some(form.one(name).ok()?.unwrap_or_default());
        let secret = one("t").filter(|secret| !secret.is_empty())?;
        Some(Self {
            secret: Secret::new(secret),
            name: one("name")?.trim().to_owned(),
            password: Secret::new(one("password")?),
            again: Secret::new(one("again")?),
        })
    }

    /// Whether both passwords are the same.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.password.expose() == self.again.expose()
    }
}

#[derive(Template)]
#[template(path = "setup.html")]
pub(super) struct Setup<'a> {
    pub(super) layout: &'a Layout,
    pub(super) page: &'a SetupPage,
}

impl Setup<'_> {
    fn message(form: &SetupForm, problem: &SetupProblem) -> String {
        let min = form.min_password;
        match problem {
            SetupProblem::NameTaken => "This name is taken. Choose another one.".to_owned(),
            SetupProblem::NameBad => {
                "This name cannot be used. Take letters from a to z, digits, dots, dashes, \
                 underscores, plus and at signs, and begin with a letter or a digit."
                    .to_owned()
            }
            SetupProblem::PasswordShort => {
                format!("The password is too short. It needs at least {min} characters.")
            }
            SetupProblem::PasswordLong => "The password is too long.".to_owned(),
            SetupProblem::PasswordsDiffer => {
                "The two passwords are not the same. Type both again.".to_owned()
            }
        }
    }

    /// Whether `field` has a problem.
    fn has_problem(form: &SetupForm, field: Field) -> bool {
        form.problems.iter().any(|problem| problem.field() == field)
    }

    /// The ids of the problems with `field`, as they stand in the page, for `aria-describedby`.
    fn problem_ids(form: &SetupForm, field: Field) -> String {
        let numbered = form.problems.iter().zip(1..);
        let ids = numbered.filter(|(problem, _)| problem.field() == field);
        ids.map(|(_, number)| format!("problem-{number}")).collect::<Vec<_>>().join(" ")
    }
}
