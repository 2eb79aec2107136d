//! The environment of a child.

use std::collections::BTreeMap;

use figment::value::Value;

use super::value::noun;
use super::{Entry, Setting};
use crate::config::environment::PREFIX;
use crate::config::error::{Problem, quoted};
use crate::config::key::Key;
use crate::config::path::KeyPath;
use crate::config::reader::Reader;
use crate::config::template::Template;
use crate::config::toml::quote;

/// Values are never quoted in a mistake.
impl Setting for BTreeMap<String, Template> {
    fn read(reader: &mut Reader<'_>, path: &KeyPath, key: &Key) -> Self {
        let entries = match reader.value(path) {
            None => return Self::new(),
            Some(Value::Dict(_, entries)) => entries,
            Some(_) => {
                reader.refuse(path, Problem::new(format!("expected {}", key.kind.expects())));
                return Self::new();
            }
        };
        let mut environment = Self::new();
        for (name, value) in entries {
            let entry = path.child(name);
            if let Err(problem) = variable_name(name) {
                reader.refuse(&entry, problem);
            }
            match value {
                Value::String(_, text) => match Template::parse(text) {
                    Ok(template) => {
                        environment.insert(name.clone(), template);
                    }
                    Err(problems) => {
                        problems.into_iter().for_each(|problem| reader.refuse(&entry, problem));
                    }
                },
                _ => {
                    let problem = Problem::new(format!("expected text, found {}", noun(value)));
                    reader.refuse(&entry, problem.hint("put the value in quotes"));
                }
            }
        }
        environment
    }

    fn list(&self, path: &KeyPath, key: &Key, into: &mut Vec<Entry>) {
        if self.is_empty() {
            into.push(Entry { path: path.clone(), key: *key, value: Some("{}".to_owned()) });
        }
        for (variable, template) in self {
            let value = Some(quote(&template.to_text()));
            into.push(Entry { path: path.child(variable), key: *key, value });
        }
    }
}

/// Whether a variable of the broker's own environment may be copied to a child.
pub(super) fn passed_name(name: &str) -> Result<(), Problem> {
    variable_name(name)?;
    if name.starts_with(PREFIX) {
        let what = format!("{name} is a setting of the broker and never passed to a server");
        return Err(Problem::new(what).hint("use env for what the server needs"));
    }
    Ok(())
}

fn variable_name(name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
        return Err(Problem::new(format!("{} cannot be the name of a variable", quoted(name))));
    }
    Ok(())
}
