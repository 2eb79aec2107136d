//! What led to an error, for the log and for a person at a terminal.

use std::iter::successors;

/// `error` and its causes on one line, for an operator at a terminal.
pub(crate) fn error_with_causes(error: &dyn std::error::Error) -> String {
    match error_chain(error) {
        causes if causes.is_empty() => error.to_string(),
        causes => format!("{error}: {causes}"),
    }
}

/// The causes of `error`, outermost first, without `error` itself; empty when it has none.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let chain = successors(error.source(), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
