//! What comes back from the upstream with the browser.

use super::{outgoing::quote, setup::same};
use crate::oauth::{Attempt, Params, SignInError};

/// The upstream sent the browser back without a code.
#[derive(Debug, thiserror::Error)]
#[error("the authorization endpoint answers {code}: {description}")]
struct Refused {
    code: String,
    description: String,
}

/// The code in the query of a callback, or what its error means. The server has checked `state`
/// before; where it is among the parameters it is checked once more. Errors are those of RFC 6749
/// §4.1.2.1 and OpenID Connect Core §3.1.2.6.
pub(crate) fn code<'a>(attempt: &Attempt, reply: &'a Params) -> Result<&'a str, SignInError> {
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
    // `login_required` and its kin answer `prompt=none`, which is never sent: starting again is all
    // there is.
    Err(match error {
        "server_error" | "temporarily_unavailable" => SignInError::Unavailable(cause),
        "login_required"
        | "interaction_required"
        | "consent_required"
        | "account_selection_required" => SignInError::Unacceptable(cause),
        _ => SignInError::Misconfigured(cause),
    })
}

/// A parameter that must not come twice (RFC 6749 §3.1).
pub(crate) fn one<'a>(
    reply: &'a Params,
    name: &'static str,
) -> Result<Option<&'a str>, SignInError> {
    reply.one(name).map_err(|repeated| SignInError::Unacceptable(Box::new(repeated)))
}
