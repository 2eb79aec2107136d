//! What a grant's scope allows, as a forge reads it: in doubt, everything.

use super::options::ForgeOptions;

/// Parts of the API that scopes tell apart.
const CATEGORIES: [&str; 9] = [
    "activitypub",
    "admin",
    "issue",
    "misc",
    "notification",
    "organization",
    "package",
    "repository",
    "user",
];

/// Words of OpenID Connect, which allow nothing of the API.
const OPENID: [&str; 4] = ["openid", "profile", "email", "groups"];

/// Whether `scope` allows to read, or to write, a part of the API.
pub(crate) fn allows(scope: &str, category: &str, write: bool, options: &ForgeOptions) -> bool {
    if !options.enforce_scopes {
        return true;
    }
    let words: Vec<_> =
        scope.split(' ').filter(|word| !word.is_empty() && !OPENID.contains(word)).collect();
    let known: Vec<_> = words.iter().copied().filter(|word| is_known(word)).collect();
    let api = known.iter().any(|word| *word != "public-only");
    let strict = options.strict_scope_words && known.len() < words.len();
    if !api || strict || known.contains(&"all") {
        return true;
    }
    known.iter().any(|word| match word.split_once(':') {
        Some(("write", of)) => of == category,
        Some(("read", of)) => of == category && !write,
        _ => false,
    })
}

/// The parts of the API that a route belongs to: a token needs each of them.
pub(crate) fn needed(parts: &[&str]) -> &'static [&'static str] {
    match parts {
        ["repos", _, _, "issues" | "labels" | "milestones", ..] | ["repos", "issues", "search"] => {
            &["issue"]
        }
        ["notifications", ..] | ["repos", _, _, "notifications", ..] => &["notification"],
        ["repos", ..] => &["repository"],
        ["orgs", _, "repos"] => &["organization", "repository"],
        ["orgs" | "teams", ..] => &["organization"],
        ["user", "orgs"] | ["users", _, "orgs", ..] => &["user", "organization"],
        ["user" | "users", .., "repos"] => &["user", "repository"],
        ["admin", ..] => &["admin"],
        _ => &["user"],
    }
}

/// Whether `scope` hides what is private.
pub(crate) fn public_only(scope: &str, options: &ForgeOptions) -> bool {
    options.enforce_scopes && scope.split(' ').any(|word| word == "public-only")
}

fn is_known(word: &str) -> bool {
    matches!(word, "all" | "public-only")
        || word
            .split_once(':')
            .is_some_and(|(verb, of)| matches!(verb, "read" | "write") && CATEGORIES.contains(&of))
}
