//! What every way to sign in has to pass.

use std::{
    error::Error,
    sync::Arc,
    task::{Context, Waker},
    time::SystemTime,
};

use super::peer;
use crate::{
    admission::Wanted,
    oauth::{Attempt, Begin, IdentityProvider, Params, Secret},
};

/// Names of parameters that our own forms use.
const RESERVED: [&str; 4] = ["t", "csrf", "provider", "step"];

/// An attempt to sign in at the provider called `name`, as the authorization server would make it.
#[must_use]
pub fn attempt(name: &str) -> Attempt {
    Attempt {
        callback: format!("https://mcp.example.org/callback/{name}"),
        state: Secret::new("state-7d1f0c"),
        nonce: Secret::new("nonce-7d1f0c"),
        code_verifier: Secret::new("verifier-7d1f0c-0123456789-0123456789-01234"),
        peer: peer(),
        wanted: Wanted::default(),
    }
}

/// What holds for every provider, whatever it talks to (which must answer):
///
/// - Its name is a lowercase word that does not change; its label is not empty.
/// - It begins with an absolute address that carries the attempt's `state`, or with a form whose
///   fields have names of their own; the same attempt begins the same way twice.
/// - It signs nobody in for an empty, a repeated, a refused or a forged reply, and renews nothing for
///   a forged refresh token.
/// - A call abandoned at once or after its first poll breaks nothing.
/// - Neither its `Debug` nor its errors show anything of an attempt.
///
/// # Panics
///
/// When one of these does not hold; the message says which.
pub async fn provider_contract(provider: Arc<dyn IdentityProvider>, now: SystemTime) {
    let name = provider.name().to_owned();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    assert!(!name.is_empty() && name.bytes().all(word), "a name is a lowercase word: {name:?}");
    assert_eq!(provider.name(), name, "a name does not change");
    let label = provider.label();
    let plain = !label.trim().is_empty() && !label.contains(char::is_control);
    assert!(plain, "{name} has no label that fits a button: {label:?}");

    let attempt = attempt(&name);
    begins(&*provider, &attempt, now).await;
    let replies: [&[(&str, &str)]; 6] = [
        &[],
        &[
            ("code", "forged"),
            ("name", "nobody"),
            ("username", "nobody"),
            ("password", "forged"),
            ("ticket", "forged"),
        ],
        &[("code", "forged"), ("code", "forged"), ("username", "nobody"), ("username", "nobody")],
        &[("error", "access_denied"), ("state", "state-7d1f0c")],
        &[("error", "server_error"), ("error_description", "a\r\nforged line of a log")],
        &[("code", "\u{0}"), ("username", "\u{0}"), ("password", "\u{0}")],
    ];
    for reply in replies {
        let reply: Params = reply.iter().copied().collect();
        drop(provider.finish(&attempt, &reply, now));
        let mut started = provider.finish(&attempt, &reply, now);
        let _ = started.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(started);
        let Err(error) = provider.finish(&attempt, &reply, now).await else {
            panic!("{name} signs somebody in for {reply:?}");
        };
        keeps_to_itself(&name, &error);
    }
    let forged = Secret::new("refresh-7d1f0c");
    let Err(error) = provider.renew(&forged, now).await else {
        panic!("{name} renews for a forged refresh token");
    };
    keeps_to_itself(&name, &error);
    let shown = format!("{provider:?} {provider:#?}");
    assert!(!shown.contains("7d1f0c"), "{name} shows an attempt in its Debug");
}

async fn begins(provider: &dyn IdentityProvider, attempt: &Attempt, now: SystemTime) {
    let name = provider.name();
    let begun = provider.begin(attempt, now).await;
    let begun = begun.unwrap_or_else(|error| panic!("{name} does not begin: {error:?}"));
    let again = provider.begin(attempt, now).await.ok();
    assert_eq!(Some(&begun), again.as_ref(), "{name} keeps something from attempt to attempt");
    match begun {
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
}

/// Errors end in the log, with every cause.
fn keeps_to_itself(name: &str, error: &(dyn Error + 'static)) {
    assert!(!format!("{error:?}").contains("7d1f0c"), "{name} shows an attempt in an error");
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        assert!(!text.contains("7d1f0c"), "{name} shows an attempt in an error: {text}");
        assert!(!text.contains(char::is_control), "{name} lets a stranger write a line: {text:?}");
        next = error.source();
    }
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
