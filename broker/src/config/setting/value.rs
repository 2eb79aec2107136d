//! What every reader of a value does first, and says when it is of the wrong type.

use std::path::Path;

use figment::value::{Num, Value};

use crate::config::error::{Problem, Problems, quoted};
use crate::config::kind::{Kind, Zero};
use crate::config::template::asks_for_a_user;

/// A value that is to be read.
#[derive(Debug)]
pub struct Given<'a> {
    pub(in crate::config) value: &'a Value,
    pub(in crate::config) kind: Kind,
    /// Whether it is the operator's own command line, which is passed as it is, `${user.…}` in it
    /// included.
    pub(in crate::config) verbatim: bool,
}

impl<'a> Given<'a> {
    /// A problem that says what was expected and what was found instead.
    pub(in crate::config) fn wrong_type(&self) -> Problem {
        let found = match self.value {
            Value::String(_, text) => quoted(text),
            Value::Num(_, number) => whole(*number)
                .map(|number| number.to_string())
                .or_else(|| number.to_f64().map(|number| number.to_string()))
                .unwrap_or_else(|| noun(self.value).to_owned()),
            Value::Bool(_, flag) => flag.to_string(),
            _ => noun(self.value).to_owned(),
        };
        Problem::new(format!("expected {}, found {found}", self.kind.expects()))
    }

    pub(in crate::config) fn text(&self) -> Result<&'a str, Problem> {
        self.value.as_str().ok_or_else(|| self.wrong_type())
    }

    /// Text that is not empty and holds no NUL.
    pub(super) fn filled(&self) -> Result<&'a str, Problem> {
        let text = self.text()?;
        if text.trim().is_empty() {
            return Err(Problem::new("is empty"));
        }
        if text.contains('\0') {
            return Err(Problem::new("holds a NUL"));
        }
        Ok(text)
    }

    /// A number without a fraction.
    pub(in crate::config) fn whole(&self) -> Option<i64> {
        match self.value {
            Value::Num(_, number) => whole(*number),
            _ => None,
        }
    }

    /// Refuses zero where it has no meaning.
    pub(super) fn not_zero(&self, is_zero: bool) -> Result<(), Problem> {
        if is_zero && self.kind.zero() == Some(Zero::Refused) {
            return Err(Problem::new("must be more than zero"));
        }
        Ok(())
    }

    /// Every text of a list, with a problem for each that is no good.
    pub(in crate::config) fn each<T>(
        &self,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Result<Vec<T>, Problems> {
        let Value::Array(_, entries) = self.value else {
            let problem = self.wrong_type();
            return Err(match self.value {
                Value::String(_, text) => problem.hint(format!("write [{text:?}]")),
                _ => problem,
            }
            .into());
        };
        let mut good = Vec::with_capacity(entries.len());
        let mut problems = Problems::new();
        for entry in entries {
            let parsed = match entry {
                Value::String(_, text) => parse(text),
                _ => {
                    Err(Problem::new(format!("expected texts in the list, found {}", noun(entry)))
                        .hint("put each entry in quotes"))
                }
            };
            match parsed {
                Ok(parsed) => good.push(parsed),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(good) } else { Err(problems) }
    }
}

/// What a value is, in a word.
pub(super) fn noun(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "text",
        Value::Bool(..) => "true or false",
        Value::Num(..) => "a number",
        Value::Empty(..) => "nothing",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    }
}

fn whole(number: Num) -> Option<i64> {
    match number {
        Num::F32(_) | Num::F64(_) => None,
        _ => number
            .to_i128()
            .and_then(|number| i64::try_from(number).ok())
            .or_else(|| number.to_u128().and_then(|number| i64::try_from(number).ok())),
    }
}

/// Whether `text` can be part of a command line.
pub(in crate::config) fn argument(text: &str) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(Problem::new("holds a NUL, which no command line can carry"));
    }
    if asks_for_a_user(text) {
        let what = format!("{} would show a user's data in the list of processes", quoted(text));
        return Err(Problem::new(what).hint("use env for it; a command line is public"));
    }
    Ok(())
}

/// Which of `words` is `text`.
pub(in crate::config) fn word(text: &str, words: &[&str]) -> Result<usize, Problem> {
    if let Some(index) = words.iter().position(|word| *word == text) {
        return Ok(index);
    }
    let known: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let known = known.join(", ");
    let problem = Problem::new(format!("{} is not one of {known}", quoted(text)));
    let near = words.iter().find(|word| strsim::osa_distance(word, &text.to_lowercase()) <= 2);
    Err(match near {
        Some(word) => problem.hint(format!("did you mean {word:?}?")),
        None => problem,
    })
}

/// A path in quotes, for a mistake.
pub(in crate::config) fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// The mistake about a file or directory that is not there.
pub(in crate::config) fn absent(what: &str, path: &Path) -> Problem {
    Problem::new(format!("there is no {what} {}", quoted_path(path)))
}
