//! Scopes, as lists separated by spaces.

use super::ScopeView;

/// Scopes of OpenID Connect that clients send along out of habit. They mean nothing here, and
/// refusing them would only lock those clients out.
const HABITS: [&str; 6] = ["openid", "profile", "email", "address", "phone", "offline_access"];

/// What `asked` comes down to: known scopes in the order of the configuration, each once; the
/// default when nothing in particular was asked for. `None` when an unknown scope was.
pub(crate) fn granted(asked: Option<&str>, known: &[ScopeView], default: &str) -> Option<String> {
    let mut asked: Vec<&str> = asked.unwrap_or_default().split_ascii_whitespace().collect();
    asked.retain(|scope| known.iter().any(|own| own.name == *scope) || !HABITS.contains(scope));
    if asked.is_empty() {
        asked = default.split_ascii_whitespace().collect();
    }
    if !asked.iter().all(|scope| known.iter().any(|own| own.name == *scope)) {
        return None;
    }
    let names: Vec<&str> =
        known.iter().map(|own| own.name.as_str()).filter(|name| asked.contains(name)).collect();
    Some(names.join(" "))
}

/// `asked`, if it stays within `granted`; habits are dropped. Nothing asked is all of it.
pub(crate) fn narrowed(asked: Option<&str>, granted: &str) -> Option<String> {
    let has = |scope: &&str| granted.split(' ').any(|own| own == *scope);
    let asked: Vec<&str> = asked
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter(|scope| has(scope) || !HABITS.contains(scope))
        .collect();
    if asked.is_empty() {
        return Some(granted.to_owned());
    }
    if !asked.iter().all(has) {
        return None;
    }
    let kept: Vec<&str> = granted.split(' ').filter(|own| asked.contains(own)).collect();
    Some(kept.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<ScopeView> {
        ["mcp:read", "mcp:call"]
            .map(|name| ScopeView { name: name.into(), description: String::new() })
            .into()
    }

    #[test]
    fn asked_scopes_are_ordered_once_and_habits_are_ignored() {
        let granted = |asked| granted(asked, &known(), "mcp:read");
        assert_eq!(granted(None).as_deref(), Some("mcp:read"));
        assert_eq!(granted(Some("openid offline_access")).as_deref(), Some("mcp:read"));
        assert_eq!(
            granted(Some("mcp:call openid mcp:read mcp:call")).as_deref(),
            Some("mcp:read mcp:call")
        );
        assert_eq!(granted(Some("mcp:admin")), None);
        assert_eq!(granted(Some("mcp:read mcp:admin")), None);
    }

    #[test]
    fn a_scope_can_be_narrowed_and_not_widened() {
        assert_eq!(narrowed(None, "a b").as_deref(), Some("a b"));
        assert_eq!(narrowed(Some("b offline_access"), "a b").as_deref(), Some("b"));
        assert_eq!(narrowed(Some("b c"), "a b"), None);
    }
}
