//! The error pages, in one place: what is wrong, and what a person can do.

use http::StatusCode;

use super::{Answer, ErrorPage, page::plain};

fn bad(code: &'static str, title: &'static str, detail: String, advice: &'static str) -> Answer {
    Answer::error_page(StatusCode::BAD_REQUEST, ErrorPage { code, title, detail, advice })
}

fn forbidden(
    code: &'static str,
    title: &'static str,
    detail: String,
    advice: &'static str,
) -> Answer {
    Answer::error_page(StatusCode::FORBIDDEN, ErrorPage { code, title, detail, advice })
}

const CONNECT_AGAIN: &str =
    "Go back to your application, remove this connection there, and add it again.";
const START_AGAIN: &str = "Go back to your application and connect again.";
const TELL_MAKER: &str = "Please report this to the maker of the application.";
const TELL_OPERATOR: &str = "Please tell the operator of this server.";

pub(crate) fn bad_form() -> Answer {
    bad("bad_form", "This did not work", "The form could not be read.".into(), START_AGAIN)
}

pub(crate) fn bad_request(what: &str) -> Answer {
    let detail = format!("The application sent a request that cannot be understood: {what}.");
    bad("invalid_request", "The application made a mistake", detail, TELL_MAKER)
}

pub(crate) fn unknown_client(id: &str) -> Answer {
    let detail = format!("This server does not know the application “{}”.", plain(id, 100));
    bad("unknown_client", "Unknown application", detail, CONNECT_AGAIN)
}

pub(crate) fn bad_document(id: &str, why: &str) -> Answer {
    let detail = format!(
        "The application names itself by the address “{}”, which cannot be used: {why}.",
        plain(id, 200)
    );
    bad("invalid_client", "The application cannot be verified", detail, TELL_MAKER)
}

pub(crate) fn document_unavailable(id: &str, why: &str) -> Answer {
    let detail = format!(
        "The application describes itself at “{}”. This server could not fetch that description: {why}.",
        plain(id, 200)
    );
    Answer::error_page(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorPage {
            code: "client_unreachable",
            title: "This server cannot check the application",
            detail,
            advice: "The application is not to blame. Connect again in a minute. If that does not \
                     help, tell the operator of this server: it must be able to make connections to \
                     that address.",
        },
    )
    .retry_after(60)
}

pub(crate) fn bad_scheme(schemes: &str) -> Answer {
    let detail = format!(
        "The application wants the answer at an address of a kind that this server does not send \
         answers to: {schemes}."
    );
    let advice = "Ask the operator of this server to add it to oauth.redirect_schemes, or use an \
                  application that is known here.";
    bad("unknown_scheme", "The application is not allowed here", detail, advice)
}

pub(crate) fn bad_redirect(address: &str) -> Answer {
    let detail = format!(
        "The application wants the answer at “{}”, which is not an address it registered.",
        plain(address, 200)
    );
    bad("invalid_redirect_uri", "The application's address is wrong", detail, CONNECT_AGAIN)
}

pub(crate) fn gone() -> Answer {
    bad(
        "expired",
        "This page is no longer valid",
        "The sign-in took too long, was finished already, or was started in another window.".into(),
        START_AGAIN,
    )
}

pub(crate) fn forged() -> Answer {
    forbidden(
        "cross_site",
        "This request was stopped",
        "It did not come from a page of this server in this browser.".into(),
        START_AGAIN,
    )
}

pub(crate) fn other_browser() -> Answer {
    forbidden(
        "other_browser",
        "This sign-in was started in another browser",
        "It can only be finished in the browser in which it was approved.".into(),
        "If somebody sent you a link that led here, close this page. Otherwise connect again.",
    )
}

pub(crate) fn no_provider() -> Answer {
    bad(
        "unknown_provider",
        "This way to sign in does not exist",
        "The server offers other ways to sign in.".into(),
        START_AGAIN,
    )
}

pub(crate) fn not_admitted() -> Answer {
    forbidden(
        "not_admitted",
        "You cannot use this server",
        "You signed in, but your account is not admitted here.".into(),
        "Ask the operator of this server for access.",
    )
}

pub(crate) fn blocked() -> Answer {
    forbidden(
        "blocked",
        "Your account is blocked here",
        "The operator of this server has blocked your account.".into(),
        "If you think that this is a mistake, ask the operator of this server.",
    )
}

/// `message` is the provider's own, cut and cleaned.
pub(crate) fn account_refused(provider: &str, message: &str) -> Answer {
    forbidden(
        "account_refused",
        "Your account is not let in there",
        format!("{} refuses your account and says: “{message}”", plain(provider, 100)),
        "Settle this there. Everything here works again once your account does.",
    )
}

pub(crate) fn declined() -> Answer {
    forbidden(
        "declined",
        "You did not sign in",
        "The sign-in was cancelled.".into(),
        "You can close this page.",
    )
}

pub(crate) fn unacceptable() -> Answer {
    bad(
        "bad_reply",
        "The sign-in failed",
        "The answer of the sign-in service does not belong to this sign-in.".into(),
        START_AGAIN,
    )
}

pub(crate) fn provider_down() -> Answer {
    Answer::error_page(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorPage {
            code: "provider_unavailable",
            title: "The sign-in service does not answer",
            detail: "This server could not reach the service you sign in with.".into(),
            advice: "Try again in a few minutes.",
        },
    )
    .retry_after(30)
}

pub(crate) fn misconfigured() -> Answer {
    Answer::error_page(
        StatusCode::INTERNAL_SERVER_ERROR,
        ErrorPage {
            code: "provider_misconfigured",
            title: "The sign-in is not set up right",
            detail: "The sign-in service does not accept this server.".into(),
            advice: TELL_OPERATOR,
        },
    )
}

pub(crate) fn too_many(seconds: u64) -> Answer {
    Answer::error_page(
        StatusCode::TOO_MANY_REQUESTS,
        ErrorPage {
            code: "too_many",
            title: "Too many requests",
            detail: "This server is asked too often right now.".into(),
            advice: "Wait a little, then reload this page.",
        },
    )
    .retry_after(seconds)
}
