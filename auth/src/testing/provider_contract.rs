//! What every way to sign in has to pass.

use std::{sync::Arc, time::SystemTime};

use super::peer;
use crate::oauth::{Attempt, Begin, IdentityProvider, Params, Secret};

/// Names of parameters that our own forms use.
const RESERVED: [&str; 4] = ["t", "csrf", "provider", "step"];

/// What holds for every provider, whatever it talks to (which must answer):
///
/// - Its name is a lowercase word that does not change; its label is not empty.
/// - It begins with an absolute address that carries the attempt's `state`, or with a form whose
///   fields have names of their own.
/// - It signs nobody in for an empty or a forged reply.
/// - Its `Debug` shows nothing of an attempt.
///
/// # Panics
///
/// When one of these does not hold; the message says which.
pub async fn provider_contract(provider: Arc<dyn IdentityProvider>, now: SystemTime) {
    let name = provider.name().to_owned();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    assert!(!name.is_empty() && name.bytes().all(word), "a name is a lowercase word: {name:?}");
    assert_eq!(provider.name(), name, "a name does not change");
    assert!(!provider.label().is_empty(), "{name} has no label");

    let attempt = Attempt {
        callback: format!("https://mcp.example.org/callback/{name}"),
        state: Secret::new("state-7d1f0c"),
        nonce: Secret::new("nonce-7d1f0c"),
        code_verifier: Secret::new("verifier-7d1f0c-0123456789-0123456789-01234"),
        peer: peer(),
    };
    let begun = provider.begin(&attempt, now).await;
    match begun.unwrap_or_else(|error| panic!("{name} does not begin: {error:?}")) {
        Begin::Redirect(address) => {
            let url = url::Url::parse(&address).expect("an absolute address");
            assert!(matches!(url.scheme(), "http" | "https"), "{name} leads to {address}");
            let mut states = url.query_pairs().filter(|(own, _)| own == "state");
            let state = states.next().map(|(_, value)| value.into_owned());
            assert_eq!(state.as_deref(), Some("state-7d1f0c"), "{name} loses the state");
            assert!(states.next().is_none(), "{name} sends two states");
            assert!(!address.contains(attempt.code_verifier.expose()), "{name} tells the verifier");
        }
        Begin::Form(fields) => {
            assert!(!fields.is_empty(), "{name} asks for nothing");
            for field in &fields {
                let reserved = RESERVED.contains(&field.name.as_str());
                assert!(!reserved, "{name} takes our own field {}", field.name);
            }
        }
    }
    let forged =
        [("code", "forged"), ("username", "nobody"), ("name", "nobody"), ("password", "forged")];
    for reply in [Params::default(), forged.into_iter().collect()] {
        let outcome = provider.finish(&attempt, &reply, now).await;
        assert!(outcome.is_err(), "{name} signs somebody in for {reply:?}");
    }
    let shown = format!("{provider:?}");
    assert!(!shown.contains("7d1f0c"), "{name} shows an attempt in its Debug");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{now, provider};

    #[tokio::test]
    async fn the_fake_form_keeps_the_contract_itself() {
        provider_contract(provider("local", true).0, now()).await;
    }

    #[tokio::test]
    #[should_panic(expected = "signs somebody in")]
    async fn the_contract_notices_who_believes_any_code() {
        provider_contract(provider("forge", false).0, now()).await;
    }
}
