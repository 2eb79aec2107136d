//! What is told when an authorization ends early.

use std::fmt;

use super::{Grant, left::Left};

/// A grant was taken back: by its user, its client, the operator, or because a code or refresh
/// token of it was used twice. Whatever was opened with its tokens must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The user's issuer.
    pub issuer: String,
    /// The user's subject.
    pub subject: String,
    /// The client that acted.
    pub client: String,
    /// Names the grant: [`Principal::grant_id`](crate::Principal::grant_id) of what its tokens opened.
    pub grant_id: String,
    /// What the user and the client are left with: their sessions go on where another grant stands.
    pub left: Left,
}

impl From<&Grant> for Revoked {
    /// As if nothing was [left](super::left_after).
    fn from(grant: &Grant) -> Self {
        Self {
            issuer: grant.user.issuer.clone(),
            subject: grant.user.subject.clone(),
            client: grant.client.clone(),
            grant_id: grant.grant_id.clone(),
            left: Left::Nothing,
        }
    }
}

/// Hears about revocations, after they are durable and before the one who asked is answered.
pub trait RevocationListener: fmt::Debug + Send + Sync {
    /// `revoked` has ended. Must return at once; long work goes elsewhere.
    fn revoked(&self, revoked: &Revoked);

    /// One access token of the grant `grant_id` was taken back, and the grant lives on: what was let in
    /// with that token ends. `token_id` is its [`Principal::token_id`](crate::Principal::token_id).
    fn access_revoked(&self, grant_id: &str, token_id: &str) {
        let _ = (grant_id, token_id);
    }
}
