//! A look at a credential: asking the upstream whether it still stands, after something failed.
//!
//! ```text
//!  looked at in the last 30 s, and not renewed since ──────────────────────► Paused
//!  the user's own for a server ──► it was noted that it has ended? ────────► Dead
//!                                  else ────────────────────────────────────► Unknown
//!  the token has ended by itself ──────────────────────────────────────────► Unknown
//!  ask the upstream
//!   ├─ it stands ──────► the account was refused before? forget that ──────► Stands
//!   ├─ the token is dead ──► mark it: nobody gets it any more, whoever ────► Dead
//!   │                        needs one has it renewed
//!   ├─ the account is refused ──► mark it, with the upstream's words ──────► AccountRefused
//!   └─ no usable answer ───────────────────────────────────────────────────► Unknown
//! ```

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use tokio::time::timeout;

use super::{
    core::{Core, Held},
    listener::Change,
    look::Look,
    store::{CredentialKey, CredentialRealm},
};
use crate::{
    oauth::{StoreError, TokenStanding},
    single_flight::{Joined, SingleFlight, Turn},
};

/// Looks at the credential under `key`, once for all who ask meanwhile.
pub(super) async fn look(core: &Core, key: &CredentialKey, now: SystemTime) -> Look {
    let flight: &SingleFlight<_, _> = &core.looks;
    let leader = match flight.join(key) {
        Joined::Leader(leader) => leader,
        Joined::Waiter(waiter) => match waiter.turn().await {
            Turn::Outcome(look) => return look,
            // Who asked the upstream has left; its answer was not used.
            Turn::Lead(leader) => {
                core.looked.forget(key);
                leader
            }
        },
    };
    let look = if core.looked.begin(key) {
        match ask(core, key, now).await {
            Ok(look) => look,
            Err(error) => {
                let (provider, error) = (&key.realm, &error as &dyn Error);
                tracing::warn!(%provider, error, "the store did not answer during a look");
                Look::Unknown
            }
        }
    } else {
        Look::Paused
    };
    leader.complete(look.clone());
    look
}

async fn ask(core: &Core, key: &CredentialKey, now: SystemTime) -> Result<Look, StoreError> {
    let Ok(held) = core.read(key).await? else { return Ok(Look::Unknown) };
    if held.pair.dead && matches!(key.realm, CredentialRealm::Server(_)) {
        // Another broker on this store may have noted it, which this one is not told of.
        return Ok(Look::Dead);
    }
    // Of a token that has ended there is nothing to learn: it is dead, whoever it belongs to.
    let is_alive = held.pair.is_usable(Duration::ZERO, now);
    let Some(provider) = core.provider(key).filter(|_| is_alive) else { return Ok(Look::Unknown) };
    let asked = timeout(core.limits.look_timeout, provider.standing(&held.pair.access, now));
    let standing = asked.await.unwrap_or_else(|late| TokenStanding::Unknown(late.into()));
    let (provider, owner) = (&key.realm, &key.subject);
    match standing {
        TokenStanding::Stands => {
            if held.pair.account_refused.is_some() {
                mark(core, key, &held, |pair| pair.account_refused = None).await?;
                tracing::info!(%provider, %owner, "the upstream lets the account in again");
            }
            Ok(Look::Stands)
        }
        TokenStanding::Dead => {
            if !mark(core, key, &held, |pair| pair.dead = true).await? {
                return Ok(Look::Unknown);
            }
            tracing::info!(%provider, %owner, "the upstream takes an access token no more before its end");
            core.tell(key, Change::Died { version: held.token_version() });
            Ok(Look::Dead)
        }
        TokenStanding::Refused { message } => {
            if held.pair.account_refused.as_ref() != Some(&message) {
                mark(core, key, &held, |pair| pair.account_refused = Some(message.clone())).await?;
                tracing::warn!(%provider, %owner, message, "the upstream refuses an account");
                core.tell(key, Change::Died { version: held.token_version() });
            }
            Ok(Look::AccountRefused(message.into()))
        }
        TokenStanding::Unknown(cause) => {
            let error = &*cause;
            tracing::debug!(%provider, %owner, error, "whether a credential stands is not known");
            Ok(Look::Unknown)
        }
    }
}

/// Stores the same tokens with another mark; `false` when something else is stored by now.
pub(super) async fn mark(
    core: &Core,
    key: &CredentialKey,
    held: &Held,
    mark: impl FnOnce(&mut super::pair::Pair),
) -> Result<bool, StoreError> {
    let pair = held.marked(mark);
    let put = core.put(key, &pair, Some(held.version), held.stored).await?;
    Ok(put.is_some())
}
