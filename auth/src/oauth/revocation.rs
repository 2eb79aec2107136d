//! Revocation (RFC 7009) and introspection (RFC 7662).

use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;

use super::{
    Answer, AuthServer, Grant, Params, StoreError,
    client::invalid_client,
    secret::{ACCESS, REFRESH},
};
use crate::{TokenHash, UnixTime};

impl AuthServer {
    /// Takes a token back. A refresh token takes its whole family along; an access token goes
    /// alone. What is unknown, or somebody else's, is answered like what was taken back
    /// (RFC 7009 §2.2), and nothing happens to it.
    pub(crate) async fn revoke(
        &self,
        request: &Request<Bytes>,
        form: &Params,
        now: SystemTime,
    ) -> Answer {
        let token = match form.one("token") {
            Ok(Some(token)) => token,
            Ok(None) => return Answer::bad("invalid_request", "token is missing"),
            Err(_) => return Answer::bad("invalid_request", "a parameter is repeated"),
        };
        let caller = match self.caller(request, form, now).await {
            Ok(caller) => caller,
            Err(answer) => return answer,
        };
        match self.take_back(&caller.id, token, UnixTime::of(now)).await {
            Ok(()) => Answer::empty(),
            // Never 200: the client would believe that the token is dead.
            Err(error) => Answer::store_down(&error),
        }
    }

    async fn take_back(&self, client: &str, token: &str, now: UnixTime) -> Result<(), StoreError> {
        // The prefix says which kind it is, so the hint is not needed.
        let hash = TokenHash::of(token);
        if token.starts_with(REFRESH) {
            let Some(known) = self.store.refresh_token(&hash).await? else { return Ok(()) };
            if known.grant.client == client
                && let Some(grant) = self.store.revoke_grant(&known.grant.grant_id, now).await?
            {
                self.announce(&grant, "its client gave it back").await;
            }
        } else if token.starts_with(ACCESS) {
            let Some(known) = self.store.access_token(&hash).await? else { return Ok(()) };
            if known.grant.client == client && self.store.revoke_access(&hash).await? {
                self.forget_access(&known.grant, &hash);
            }
        }
        Ok(())
    }

    /// Tells what a token is worth (RFC 7662), to those who [may know](super::client::Caller::introspects).
    pub(crate) async fn introspect(
        &self,
        request: &Request<Bytes>,
        form: &Params,
        now: SystemTime,
    ) -> Answer {
        let caller = match self.caller(request, form, now).await {
            Ok(caller) => caller,
            Err(answer) => return answer,
        };
        if !caller.introspects() {
            return invalid_client(
                request.headers().contains_key(http::header::AUTHORIZATION),
                "introspection is for clients with a secret that the operator of this server made",
            );
        }
        let token = match form.one("token") {
            Ok(Some(token)) => token,
            Ok(None) => return Answer::bad("invalid_request", "token is missing"),
            Err(_) => return Answer::bad("invalid_request", "a parameter is repeated"),
        };
        match self.worth(token, UnixTime::of(now)).await {
            Ok(answer) => answer,
            Err(error) => Answer::store_down(&error),
        }
    }

    async fn worth(&self, token: &str, now: UnixTime) -> Result<Answer, StoreError> {
        let inactive = || Answer::json(StatusCode::OK, &json!({ "active": false }));
        let hash = TokenHash::of(token);
        let tell = |grant: &Grant, scope: &str, issued: UnixTime, expires: UnixTime, kind: &str| {
            Answer::json(
                StatusCode::OK,
                &json!({
                    "active": true,
                    "iss": self.issuer(),
                    "aud": grant.resource,
                    // A subject is unique under its own issuer only, so that is told with it.
                    "sub": grant.user.subject,
                    "sub_iss": grant.user.issuer,
                    "client_id": grant.client,
                    "scope": scope,
                    "iat": issued.0,
                    "exp": expires.0,
                    "token_type": kind,
                }),
            )
        };
        if token.starts_with(ACCESS)
            && let Some(token) = self.store.access_token(&hash).await?
        {
            let dead = token.revoked || token.grant.revoked.is_some() || now.is_past(token.expires);
            return Ok(if dead {
                inactive()
            } else {
                tell(&token.grant, &token.scope, token.issued, token.expires, "Bearer")
            });
        }
        if token.starts_with(REFRESH)
            && let Some(token) = self.store.refresh_token(&hash).await?
        {
            let dead =
                token.used.is_some() || token.grant.revoked.is_some() || now.is_past(token.expires);
            return Ok(if dead {
                inactive()
            } else {
                tell(&token.grant, &token.grant.scope, token.issued, token.expires, "refresh_token")
            });
        }
        Ok(inactive())
    }
}
