//! Tokens that people gave for a server, and that their upstream refused. There is no provider to ask about
//! such a token, so the upstream's word decides: one 401 may have another reason, and two without any other
//! answer between them have this one.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use auth::upstream::CredentialKey;
use http::StatusCode;

/// Tokens that are remembered. One more is not, so that it takes its upstream longer to be believed.
const MAX_TOKENS: usize = 10_000;

/// The tokens whose last answer was a refusal, by their versions.
#[derive(Debug, Default)]
pub(super) struct RefusedTokens(Mutex<HashMap<CredentialKey, u64>>);

impl RefusedTokens {
    /// Notes how the upstream answered to the token of `version` under `key`. `true` when it has ended.
    pub(super) fn note(&self, key: &CredentialKey, version: u64, status: StatusCode) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if status != StatusCode::UNAUTHORIZED {
            // What is wrong with the upstream says nothing of a token.
            if !status.is_server_error() && !all.is_empty() {
                all.remove(key);
            }
            return false;
        }
        if all.get(key) == Some(&version) {
            all.remove(key);
            return true;
        }
        if all.len() < MAX_TOKENS || all.contains_key(key) {
            all.insert(key.clone(), version);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use auth::upstream::CredentialRealm;

    use super::*;

    fn key(subject: &str) -> CredentialKey {
        CredentialKey {
            realm: CredentialRealm::Server("notes".into()),
            issuer: "local".into(),
            subject: subject.into(),
        }
    }

    #[test]
    fn a_token_has_ended_when_two_answers_in_a_row_refuse_it() {
        let refused = RefusedTokens::default();
        let says = |subject, version, status: u16| {
            let status = StatusCode::from_u16(status).expect("a status");
            refused.note(&key(subject), version, status)
        };
        assert!(!says("ada", 1, 401));
        assert!(!says("ada", 1, 404), "it was read");
        assert!(!says("ada", 1, 401));
        assert!(!says("bob", 1, 401), "another person's");
        assert!(!says("ada", 1, 503), "that is no word on it");
        assert!(says("ada", 1, 401));
        assert!(!says("ada", 2, 401), "another token");
        assert!(!says("ada", 3, 401), "and another one");
        assert!(says("ada", 3, 401));
    }

    #[test]
    fn an_upstream_that_refuses_many_people_fills_no_memory() {
        let refused = RefusedTokens::default();
        for number in 0..=MAX_TOKENS {
            refused.note(&key(&number.to_string()), 1, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(refused.0.lock().expect("no panic").len(), MAX_TOKENS);
        assert!(refused.note(&key("0"), 1, StatusCode::UNAUTHORIZED));
    }
}
