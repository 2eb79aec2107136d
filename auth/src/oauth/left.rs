//! What the owner of a revoked grant is left with.

use super::{Grant, store::AuthStore, stored::StoreError};

/// How many grants are read at a time.
const PAGE: usize = 200;

/// What the user and the client of a revoked grant are left with: other grants that still stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// None: everything of theirs ends.
    Nothing,
    /// One for another server, none for the same.
    OtherServers,
    /// One for the same server: their sessions there go on.
    SameServer,
}

/// What the user and the client of `grant`, which was revoked, are left with.
///
/// # Errors
///
/// [`StoreError`].
///
/// # Cancel safety
///
/// Nothing is changed.
pub async fn left_after(store: &dyn AuthStore, grant: &Grant) -> Result<Left, StoreError> {
    let mut left = Left::Nothing;
    let mut after: Option<Grant> = None;
    loop {
        let user = &grant.user;
        let page = store.grants_of(&user.issuer, &user.subject, after.as_ref(), PAGE).await?;
        for other in &page {
            if other.client != grant.client || other.grant_id == grant.grant_id {
                continue;
            }
            if other.resource == grant.resource {
                return Ok(Left::SameServer);
            }
            left = Left::OtherServers;
        }
        if page.len() < PAGE {
            return Ok(left);
        }
        after = page.into_iter().last();
    }
}
