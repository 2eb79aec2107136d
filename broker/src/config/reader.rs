//! Takes typed values out of the merged tree and collects what is wrong with them.
//!
//! Every method looks its key up in the table, falls back to the table's default, and after a
//! mistake goes on with a stand-in, so that one run finds everything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Num, Value};

use super::address::{HostName, Listen, Origin, PublicUrl};
use super::kind::{Kind, MOST, Zero};
use super::mistake::{Mistake, Problem, Problems, Source, quoted};
use super::network::Network;
use super::quantity;
use super::table::{Key, KeyPath};
use super::template::{Template, asks_for_a_user};
use super::tree::Tree;

#[derive(Debug)]
pub(super) struct Reader<'a> {
    tree: &'a Tree,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        Self { tree, mistakes: Vec::new(), warnings: Vec::new() }
    }

    /// Records a mistake about `path`, at the place where it was set.
    pub(super) fn refuse(&mut self, path: &KeyPath, problem: Problem) {
        self.mistakes.push(problem.at(path.to_string(), self.tree.source(path)));
    }

    /// Records something an operator should know about `path`.
    pub(super) fn warn(&mut self, path: &KeyPath, problem: Problem) {
        self.warnings.push(problem.at(path.to_string(), self.tree.source(path)));
    }

    /// Whether anybody set `path`.
    pub(super) fn is_set(&self, path: &KeyPath) -> bool {
        self.tree.value(path).is_some()
    }

    /// Where `path` was set.
    pub(super) fn source(&self, path: &KeyPath) -> Source {
        self.tree.source(path)
    }

    pub(super) fn listen(&mut self, path: &KeyPath) -> Option<Listen> {
        self.read(path, |value, kind| Ok(Listen::parse(text(value, kind)?)?))
    }

    pub(super) fn url(&mut self, path: &KeyPath) -> Option<PublicUrl> {
        self.read(path, |value, kind| Ok(PublicUrl::parse(text(value, kind)?)?))
    }

    pub(super) fn path(&mut self, path: &KeyPath) -> Option<PathBuf> {
        self.read(path, |value, kind| {
            let text = filled(value, kind)?;
            if text.starts_with("~/") {
                return Err(Problem::new(format!("{} begins with ~", quoted(text)))
                    .hint("no shell is involved; write the home directory out")
                    .into());
            }
            Ok(PathBuf::from(text))
        })
    }

    /// Text that is not empty, holds no NUL and asks for nothing of a user.
    pub(super) fn text(&mut self, path: &KeyPath) -> Option<String> {
        self.read(path, |value, kind| {
            let text = filled(value, kind)?;
            argument(text)?;
            Ok(text.to_owned())
        })
    }

    pub(super) fn flag(&mut self, path: &KeyPath) -> bool {
        self.read(path, |value, kind| match value {
            Value::Bool(_, flag) => Ok(*flag),
            Value::String(_, text) if matches!(text.as_str(), "true" | "false") => {
                Err(wrong_type(value, kind).hint(format!("write {text} without quotes")).into())
            }
            _ => Err(wrong_type(value, kind).into()),
        })
        .unwrap_or_default()
    }

    pub(super) fn duration(&mut self, path: &KeyPath) -> Duration {
        self.read(path, |value, kind| {
            let duration = match value {
                Value::String(_, text) => quantity::duration(text)?,
                Value::Num(_, number) if whole(*number) == Some(0) => Duration::ZERO,
                Value::Num(_, number) => {
                    let problem = wrong_type(value, kind);
                    return Err(match whole(*number) {
                        Some(seconds) if seconds > 0 => {
                            problem.hint(format!("write the unit, such as \"{seconds}s\""))
                        }
                        _ => problem,
                    }
                    .into());
                }
                _ => return Err(wrong_type(value, kind).into()),
            };
            not_zero(duration.is_zero(), kind)?;
            Ok(duration)
        })
        .unwrap_or_default()
    }

    pub(super) fn size(&mut self, path: &KeyPath) -> usize {
        self.read(path, |value, kind| {
            let size = match value {
                Value::String(_, text) => quantity::size(text)?,
                Value::Num(_, number) => {
                    let bytes = whole(*number).ok_or_else(|| wrong_type(value, kind))?;
                    let bytes =
                        u64::try_from(bytes).map_err(|_| Problem::new("must not be negative"))?;
                    quantity::bounded(bytes)
                        .ok_or_else(|| Problem::new("is too large; the most is \"1024GiB\""))?
                }
                _ => return Err(wrong_type(value, kind).into()),
            };
            not_zero(size == 0, kind)?;
            Ok(size)
        })
        .unwrap_or_default()
    }

    pub(super) fn count(&mut self, path: &KeyPath) -> usize {
        self.read(path, |value, kind| {
            let number = match value {
                Value::Num(_, number) => whole(*number),
                _ => None,
            }
            .ok_or_else(|| {
                let problem = wrong_type(value, kind);
                match (value, kind.zero()) {
                    (Value::String(_, text), _) if text.parse::<u32>().is_ok() => {
                        problem.hint("write the number alone, without quotes or leading zeros")
                    }
                    (_, Some(Zero::Means(what))) => problem.hint(format!("0 means {what}")),
                    _ => problem,
                }
            })?;
            if number < 0 {
                let problem = Problem::new("must not be negative");
                return Err(match kind.zero() {
                    Some(Zero::Means(what)) => problem.hint(format!("0 means {what}")),
                    _ => problem,
                }
                .into());
            }
            not_zero(number == 0, kind)?;
            usize::try_from(number)
                .ok()
                .filter(|_| number <= MOST)
                .ok_or_else(|| Problem::new(format!("is too large; the most is {MOST}")).into())
        })
        .unwrap_or_default()
    }

    /// One of the numbers that the table lists.
    pub(super) fn number(&mut self, path: &KeyPath) -> Option<i64> {
        self.read(path, |value, kind| {
            let Kind::Number(numbers) = kind else { return Err(wrong_type(value, kind).into()) };
            let number = match value {
                Value::Num(_, number) => whole(*number),
                _ => None,
            };
            number.filter(|n| numbers.contains(n)).ok_or_else(|| wrong_type(value, kind).into())
        })
    }

    /// One of the words that the table lists.
    pub(super) fn word(&mut self, path: &KeyPath) -> Option<&'static str> {
        self.read(path, |value, kind| Ok(word(text(value, kind)?, kind)?))
    }

    /// Several of the words that the table lists, each once and at least one.
    pub(super) fn words(&mut self, path: &KeyPath) -> Option<Vec<&'static str>> {
        let words: Vec<&'static str> =
            self.read(path, |value, kind| list(value, kind, |text| word(text, kind)))?;
        if words.is_empty() {
            self.refuse(path, Problem::new("is empty, so nobody could connect"));
        }
        for (index, word) in words.iter().enumerate() {
            if words[..index].contains(word) {
                self.refuse(path, Problem::new(format!("names {word:?} twice")));
            }
        }
        Some(words)
    }

    pub(super) fn origins(&mut self, path: &KeyPath) -> Vec<Origin> {
        self.read(path, |value, kind| list(value, kind, Origin::parse)).unwrap_or_default()
    }

    pub(super) fn hosts(&mut self, path: &KeyPath) -> Vec<HostName> {
        self.read(path, |value, kind| list(value, kind, HostName::parse)).unwrap_or_default()
    }

    pub(super) fn networks(&mut self, path: &KeyPath) -> Vec<Network> {
        self.read(path, |value, kind| list(value, kind, Network::parse)).unwrap_or_default()
    }

    /// Texts that can be arguments.
    pub(super) fn texts(&mut self, path: &KeyPath) -> Vec<String> {
        self.read(path, |value, kind| {
            list(value, kind, |text| argument(text).map(|()| text.to_owned()))
        })
        .unwrap_or_default()
    }

    /// Texts whatever they say; only a NUL is refused.
    pub(super) fn raw_texts(&mut self, path: &KeyPath) -> Vec<String> {
        self.read(path, |value, kind| {
            list(value, kind, |text| match text.contains('\0') {
                true => Err(Problem::new("holds a NUL, which no command line can carry")),
                false => Ok(text.to_owned()),
            })
        })
        .unwrap_or_default()
    }

    /// Names of variables that may be copied to a child.
    pub(super) fn variables(&mut self, path: &KeyPath) -> Vec<String> {
        self.read(path, |value, kind| {
            list(value, kind, |text| {
                variable_name(text)?;
                if text.starts_with(super::layer::PREFIX) {
                    let what = format!("{text} is a setting of the broker, not a child's business");
                    return Err(Problem::new(what).hint("use env for what the server needs"));
                }
                Ok(text.to_owned())
            })
        })
        .unwrap_or_default()
    }

    /// A table of variables with templates. Values are never quoted in a mistake.
    pub(super) fn environment(&mut self, path: &KeyPath) -> BTreeMap<String, Template> {
        let Some(value) = self.tree.value(path) else { return BTreeMap::new() };
        let Value::Dict(_, entries) = value else {
            let what = format!("expected {}", Kind::Environment.expects());
            self.refuse(path, Problem::new(what));
            return BTreeMap::new();
        };
        let mut environment = BTreeMap::new();
        for (name, value) in entries {
            let entry = path.child(name);
            if let Err(problem) = variable_name(name) {
                self.refuse(&entry, problem);
            }
            match value {
                Value::String(_, text) => match Template::parse(text) {
                    Ok(template) => {
                        environment.insert(name.clone(), template);
                    }
                    Err(problems) => {
                        problems.into_iter().for_each(|problem| self.refuse(&entry, problem));
                    }
                },
                _ => {
                    let problem = Problem::new(format!("expected text, found {}", noun(value)));
                    self.refuse(&entry, problem.hint("put the value in quotes"));
                }
            }
        }
        environment
    }

    /// Reads `path` with `parse`. After a mistake the default stands in, if there is one.
    fn read<T>(
        &mut self,
        path: &KeyPath,
        parse: impl Fn(&Value, Kind) -> Result<T, Problems>,
    ) -> Option<T> {
        let key: &'static Key = path.key().expect("the code asks for keys of the table only");
        if let Some(value) = self.tree.value(path) {
            match parse(value, key.kind) {
                Ok(parsed) => return Some(parsed),
                Err(problems) => {
                    problems.into_iter().for_each(|problem| self.refuse(path, problem));
                }
            }
        }
        key.default_value().and_then(|value| parse(&value, key.kind).ok())
    }
}

/// A problem that says what was expected and what was found instead.
fn wrong_type(value: &Value, kind: Kind) -> Problem {
    let found = match value {
        Value::String(_, text) => quoted(text),
        Value::Num(_, number) => whole(*number)
            .map(|number| number.to_string())
            .or_else(|| number.to_f64().map(|number| number.to_string()))
            .unwrap_or_else(|| noun(value).to_owned()),
        Value::Bool(_, flag) => flag.to_string(),
        _ => noun(value).to_owned(),
    };
    Problem::new(format!("expected {}, found {found}", kind.expects()))
}

fn noun(value: &Value) -> &'static str {
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

fn text(value: &Value, kind: Kind) -> Result<&str, Problem> {
    value.as_str().ok_or_else(|| wrong_type(value, kind))
}

/// Text that is not empty and holds no NUL.
fn filled(value: &Value, kind: Kind) -> Result<&str, Problem> {
    let text = text(value, kind)?;
    if text.trim().is_empty() {
        return Err(Problem::new("is empty"));
    }
    if text.contains('\0') {
        return Err(Problem::new("holds a NUL"));
    }
    Ok(text)
}

/// Whether `text` can be part of a command line.
fn argument(text: &str) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(Problem::new("holds a NUL, which no command line can carry"));
    }
    if asks_for_a_user(text) {
        let what = format!("{} would show a user's data in the list of processes", quoted(text));
        return Err(Problem::new(what).hint("use env for it; a command line is public"));
    }
    Ok(())
}

fn variable_name(name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
        return Err(Problem::new(format!("{} cannot be the name of a variable", quoted(name))));
    }
    Ok(())
}

fn not_zero(is_zero: bool, kind: Kind) -> Result<(), Problem> {
    if is_zero && kind.zero() == Some(Zero::Refused) {
        return Err(Problem::new("must be more than zero"));
    }
    Ok(())
}

/// Every text of a list, with a problem for each that is no good.
fn list<T>(
    value: &Value,
    kind: Kind,
    parse: impl Fn(&str) -> Result<T, Problem>,
) -> Result<Vec<T>, Problems> {
    let Value::Array(_, entries) = value else {
        let problem = wrong_type(value, kind);
        return Err(match value {
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
            _ => Err(Problem::new(format!("expected texts in the list, found {}", noun(entry)))
                .hint("put each entry in quotes")),
        };
        match parsed {
            Ok(parsed) => good.push(parsed),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(good) } else { Err(problems) }
}

fn word(text: &str, kind: Kind) -> Result<&'static str, Problem> {
    let (Kind::Word(words) | Kind::Words(words)) = kind else {
        return Err(Problem::new(format!("expected {}", kind.expects())));
    };
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(word);
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
