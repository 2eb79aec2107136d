//! What is told when an authorization ends early.

use std::fmt;

use super::Grant;

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
}

impl From<&Grant> for Revoked {
    fn from(grant: &Grant) -> Self {
        Self {
            issuer: grant.user.issuer.clone(),
            subject: grant.user.subject.clone(),
            client: grant.client.clone(),
            grant_id: grant.grant_id.clone(),
        }
    }
}

/// Hears about revocations, after they are durable and before the one who asked is answered.
pub trait RevocationListener: fmt::Debug + Send + Sync {
    /// `revoked` has ended. Must return at once; long work goes elsewhere.
    fn revoked(&self, revoked: &Revoked);

    /// One access token of the grant `grant_id` was taken back; the grant lives on. Only what remembers single
    /// tokens needs to know.
    fn access_revoked(&self, grant_id: &str) {
        let _ = grant_id;
    }
}
