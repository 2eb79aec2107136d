//! Which event replaces a child, when, and by what: one table for the whole broker.
//!
//! A child has its user's credential either in its environment, for its whole life, or in a file
//! that it reads again (`token_file`).
//!
//! | Event | Credential in a file | Credential in the environment |
//! |---|---|---|
//! | the vault renewed it | deliver | replace when idle, wake at once |
//! | the user stored another: signed in again, set a token | deliver | replace when the calls under way have ended, wake at once |
//! | the user removed it | stop now, sleep | stop now, sleep |
//! | the upstream takes it no more before its end, or refuses the account | the next call finds it due | the same |
//! | the upstream refused to renew it | keep: what was given out works until its end | the same |
//! | a renewed one could not be written to the file, no call waits | replace when idle, wake at once | – |
//! | the same, and a call waits | replace when the calls under way have ended, wake at once | – |
//! | a call finds it due: there is a newer one | deliver | replace when the calls under way have ended, wake at once |
//! | – the child has the newest already | keep | keep |
//! | – the user has to sign in, or the upstream refuses the account | stop now, sleep | stop now, sleep |
//! | – no newer one can be had now, this one still works | keep | keep |
//! | – no newer one can be had now, this one has ended | stop when idle, sleep | stop when idle, sleep |

use auth::upstream::CredentialKey;
use session::{AfterStop, Registry, Replacement, StopWhen};

use super::child::Child;

/// What happened to the credential of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The vault renewed it before its end.
    Renewed,
    /// The user stored another one.
    Stored,
    /// The user removed it.
    Removed,
    /// The upstream refused to renew it.
    Refused,
    /// The upstream takes the token of this version no more, or does not let its account in.
    Died {
        /// Of the token.
        version: u64,
    },
    /// A newer one could not be written to the child's file.
    NotDelivered {
        /// Whether a call waits for it.
        for_call: bool,
    },
    /// A call is about to start and the credential is about to end.
    Due(Found),
}

/// What the vault had for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A credential that is newer than the child's.
    Newer,
    /// Nothing newer: the child has been replaced meanwhile, or its server takes no credential now.
    Same,
    /// Nothing, until the user signs in or the upstream lets the account in again.
    Ended,
    /// Nothing for now: an outage, say, which is not the user's fault.
    Unavailable {
        /// Whether the upstream still accepts what the child has.
        works: bool,
    },
}

/// What becomes of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It stays as it is.
    Keep,
    /// It stays, and its next call asks the vault for a newer credential.
    Distrust,
    /// It stays, and gets the newer credential through its file.
    Deliver,
    /// It is stopped, and perhaps followed by another one.
    Replace(Replacement),
}

/// The table above.
pub(crate) fn decide(event: Event, is_renewed_in_place: bool) -> Decision {
    use AfterStop::{Asleep, Awake};
    use StopWhen::{Drained, Idle, Now};
    let replace = |when, then| Decision::Replace(Replacement { when, then });
    match event {
        Event::Renewed | Event::Stored | Event::Due(Found::Newer) if is_renewed_in_place => {
            Decision::Deliver
        }
        Event::Renewed | Event::NotDelivered { for_call: false } => replace(Idle, Awake),
        Event::Stored | Event::Due(Found::Newer) | Event::NotDelivered { for_call: true } => {
            replace(Drained, Awake)
        }
        Event::Removed | Event::Due(Found::Ended) => replace(Now, Asleep),
        Event::Due(Found::Unavailable { works: false }) => replace(Idle, Asleep),
        Event::Died { .. } => Decision::Distrust,
        Event::Refused | Event::Due(Found::Same | Found::Unavailable { works: true }) => {
            Decision::Keep
        }
    }
}

/// Applies `event` to every child that has the credential of `key`. Returns whether one of them
/// waits for a newer credential in its file; those are marked stale.
pub(crate) fn apply<A, C: Child, E>(
    sessions: &Registry<A, C, E>,
    key: &CredentialKey,
    event: Event,
) -> bool
where
    A: Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut undelivered = false;
    for is_renewed_in_place in [false, true] {
        let concerns = |child: &C| {
            let own = child.credential()?;
            (own.is_of(key) && own.is_renewed_in_place() == is_renewed_in_place)
                .then(|| own.clone())
        };
        match decide(event, is_renewed_in_place) {
            Decision::Keep => {}
            Decision::Distrust => {
                let Event::Died { version } = event else { continue };
                sessions.look(
                    |owner| owner.issuer() == key.issuer && owner.subject() == key.subject,
                    |view| concerns(view.backend).map(|own| own.mark_dead(version)),
                );
            }
            Decision::Deliver => {
                let stale = sessions.look(
                    |owner| owner.issuer() == key.issuer && owner.subject() == key.subject,
                    |view| concerns(view.backend).map(|own| own.mark_stale()).is_some(),
                );
                undelivered |= stale.contains(&true);
            }
            Decision::Replace(how) => {
                sessions.replace(|view| concerns(view.backend).is_some(), how);
            }
        }
    }
    undelivered
}

#[cfg(test)]
mod tests;
