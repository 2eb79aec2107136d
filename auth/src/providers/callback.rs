//! What comes back from the upstream with the browser.

use super::{exchange::Blame, outgoing::quote, setup::same};
use crate::oauth::{Attempt, Params, SignInError};

/// The upstream sent the browser back without a code.
#[derive(Debug, thiserror::Error)]
#[error("the authorization endpoint answers {code}: {description}")]
struct Refused {
    code: String,
    description: String,
}

/// The code in the query of a callback, or what its error means. The server has checked `state`
/// before; where it is among the parameters it is checked once more.
///
/// `judge` reads the errors of RFC 6749 §4.1.2.1 and OpenID Connect Core §3.1.2.6.
pub(crate) fn code<'a>(
    attempt: &Attempt,
    reply: &'a Params,
    judge: fn(&str, &str) -> Blame,
) -> Result<&'a str, SignInError> {
    let state = one(reply, "state")?;
    if state.is_some_and(|state| !same(state, attempt.state.expose())) {
        return Err(SignInError::Unacceptable("the state belongs to another attempt".into()));
    }
    let Some(error) = one(reply, "error")? else {
        let code = one(reply, "code")?;
        return code.ok_or_else(|| SignInError::Unacceptable("there is no code".into()));
    };
    if error == "access_denied" {
        return Err(SignInError::Declined);
    }
    let description = one(reply, "error_description")?.unwrap_or_default();
    let cause = Box::new(Refused { code: quote(error, &[]), description: quote(description, &[]) });
    Err(match judge(error, description) {
        Blame::User => SignInError::Unacceptable(cause),
        Blame::Operator => SignInError::Misconfigured(cause),
        Blame::Upstream => SignInError::Unavailable(cause),
    })
}

/// A parameter that must not come twice (RFC 6749 §3.1).
pub(crate) fn one<'a>(
    reply: &'a Params,
    name: &'static str,
) -> Result<Option<&'a str>, SignInError> {
    reply.one(name).map_err(|repeated| SignInError::Unacceptable(Box::new(repeated)))
}

/// By the letter of the standards. `login_required` and its kin answer `prompt=none`, which is never
/// sent: starting again is all there is.
pub(crate) fn by_the_book(code: &str, _description: &str) -> Blame {
    match code {
        "server_error" | "temporarily_unavailable" => Blame::Upstream,
        "login_required"
        | "interaction_required"
        | "consent_required"
        | "account_selection_required" => Blame::User,
        _ => Blame::Operator,
    }
}
