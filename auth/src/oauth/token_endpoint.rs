//! The token endpoint: codes and refresh tokens for access tokens.

use std::{net::IpAddr, time::SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    Answer, AuthServer, Code, Grant, NewToken, Params, Redeemed, Repeat, Rotated, Rotation, Secret,
    StoreError,
    client::Caller,
    resource::Target,
    scope,
    secret::{ACCESS, REFRESH, same},
};
use crate::{TokenHash, UnixTime, admission::Admitted, token::push_base64url};

/// What is sent to the client.
struct Issued<'a> {
    access: Secret,
    expires: UnixTime,
    refresh: Option<Secret>,
    scope: &'a str,
}

fn invalid_grant(description: &'static str) -> Answer {
    Answer::bad("invalid_grant", description)
}

impl AuthServer {
    pub(crate) async fn token(
        &self,
        request: &Request<Bytes>,
        form: &Params,
        peer: IpAddr,
        now: SystemTime,
    ) -> Answer {
        let Ok(grant_type) = form.one("grant_type") else {
            return Answer::bad("invalid_request", "a parameter is repeated");
        };
        let caller = match self.caller(request, form, now).await {
            Ok(caller) => caller,
            Err(answer) => return answer,
        };
        let outcome = match grant_type {
            None => Ok(Answer::bad("invalid_request", "grant_type is missing")),
            Some("authorization_code") => self.redeem(&caller, form, UnixTime::of(now)).await,
            Some("refresh_token") => self.refresh(&caller, form, peer, now).await,
            Some(_) => Ok(Answer::bad("unsupported_grant_type", "the grant type is unknown")),
        };
        outcome.unwrap_or_else(|error| Answer::store_down(&error))
    }

    /// RFC 6749 §4.1.3. The code's own record never changes but for its being used, so the checks
    /// may read it first; the exchange itself is one step of the store.
    async fn redeem(
        &self,
        caller: &Caller,
        form: &Params,
        now: UnixTime,
    ) -> Result<Answer, StoreError> {
        let fields = ["code", "redirect_uri", "code_verifier"].map(|name| form.one(name));
        let [Ok(presented), Ok(redirect_uri), Ok(verifier)] = fields else {
            return Ok(Answer::bad("invalid_request", "a parameter is repeated"));
        };
        let Some(presented) = presented else {
            return Ok(Answer::bad("invalid_request", "code is missing"));
        };
        let Some(verifier) = verifier else {
            return Ok(Answer::bad("invalid_request", "code_verifier is missing"));
        };
        let hash = TokenHash::of(presented);
        let Some(code) = self.store.code(&hash).await? else {
            return Ok(invalid_grant("the code is unknown"));
        };
        if code.request.client != caller.id {
            // A client that got hold of another one's code must not even spend it. If the code was
            // redeemed already, it has leaked, and so may have what it was redeemed for.
            if code.used {
                self.burn(&hash, now).await?;
            }
            return Ok(invalid_grant("the code was issued to another client"));
        }
        if let Err(answer) = self.proves(&code, redirect_uri, verifier, form) {
            self.burn(&hash, now).await?;
            return Ok(answer);
        }
        let access = self.minter.secret(ACCESS);
        let refresh =
            (code.request.refreshes && caller.refreshes).then(|| self.minter.secret(REFRESH));
        let access_token =
            NewToken { hash: access.hash(), expires: now.plus(self.config.access_ttl) };
        let refresh_token = refresh.as_ref().map(|secret| NewToken {
            hash: secret.hash(),
            expires: now.plus(self.config.refresh_ttl),
        });
        match self.store.redeem_code(&hash, access_token, refresh_token, now).await? {
            Redeemed::Fresh(grant) => {
                self.make_room(&grant, now).await;
                let expires = now.plus(self.config.access_ttl);
                Ok(issued(now, &Issued { access, expires, refresh, scope: &grant.scope }))
            }
            // OAuth 2.1 §4.1.3 forbids to answer a second time, even the same.
            Redeemed::Repeated => Ok(invalid_grant("the code was used a moment ago")),
            Redeemed::Replayed(revoked) => {
                if let Some(grant) = revoked {
                    self.announce(&grant, "its code was used twice").await;
                }
                Ok(invalid_grant("the code was used before"))
            }
            Redeemed::Gone => Ok(invalid_grant("the code has expired")),
        }
    }

    /// Revokes what `grant` is one too many of. The code is spent, so its tokens go out in any case;
    /// what cannot be revoked now, the next redemption will.
    async fn make_room(&self, grant: &Grant, now: UnixTime) {
        match self.store.revoke_surplus(grant, self.config.max_grants, now).await {
            Ok(surplus) => {
                for grant in &surplus {
                    self.announce(grant, "its client was authorized too often").await;
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "surplus grants not revoked");
            }
        }
    }

    /// Spends a code, and revokes what it was redeemed for.
    async fn burn(&self, code: &TokenHash, now: UnixTime) -> Result<(), StoreError> {
        if let Some(grant) = self.store.burn_code(code, now).await? {
            self.announce(&grant, "its code was used twice").await;
        }
        Ok(())
    }

    /// Whether the caller is the one the code was made for, and asks for what was approved. A wrong
    /// answer spends the code.
    fn proves(
        &self,
        code: &Code,
        redirect_uri: Option<&str>,
        verifier: &str,
        form: &Params,
    ) -> Result<(), Answer> {
        // OAuth 2.1 §4.1.3 does not ask for the address any more; where it is sent, it counts.
        if redirect_uri.is_some_and(|own| own != code.request.redirect_uri) {
            return Err(invalid_grant("redirect_uri differs from the authorization request"));
        }
        if !verifies(verifier, &code.request.challenge) {
            return Err(invalid_grant("code_verifier does not match"));
        }
        self.same_resource(form, &code.request.resource)
    }

    /// RFC 8707 §2.2: a token request may name the resource again, and no other one.
    fn same_resource(&self, form: &Params, granted: &str) -> Result<(), Answer> {
        let resources = &self.urls.metadata.resources;
        let same = form.all("resource").all(|indicator| match resources.resolve(indicator) {
            Some(Target::One(resource)) => resources.address(resource) == granted,
            Some(Target::Whole) => true,
            None => false,
        });
        if same {
            return Ok(());
        }
        Err(Answer::bad("invalid_target", "the resource is not the one that was granted"))
    }

    /// RFC 6749 §6, with rotation.
    async fn refresh(
        &self,
        caller: &Caller,
        form: &Params,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<Answer, StoreError> {
        let (Ok(presented), Ok(asked)) = (form.one("refresh_token"), form.one("scope")) else {
            return Ok(Answer::bad("invalid_request", "a parameter is repeated"));
        };
        let Some(presented) = presented else {
            return Ok(Answer::bad("invalid_request", "refresh_token is missing"));
        };
        let hash = TokenHash::of(presented);
        let Some(token) = self.store.refresh_token(&hash).await? else {
            return Ok(invalid_grant("the refresh token is unknown"));
        };
        let grant = token.grant;
        if grant.client != caller.id {
            return Ok(invalid_grant("the refresh token was issued to another client"));
        }
        if let Err(answer) = self.same_resource(form, &grant.resource) {
            return Ok(answer);
        }
        let Some(scope) = scope::narrowed(asked, &grant.scope) else {
            return Ok(Answer::bad("invalid_scope", "the scope exceeds what was granted"));
        };
        if Box::pin(self.admitted(&grant.user, &grant.resource, now)).await? == Admitted::No {
            self.end_of(&grant, now).await?;
            return Ok(invalid_grant("the user is not let in any more"));
        }
        if self.wants_sign_in(&grant.user, &grant.resource, now).await? {
            return Ok(invalid_grant("the user has to sign in again at the identity provider"));
        }
        let (clock, now) = (now, UnixTime::of(now));
        let salt = self.minter.salt();
        let (access, refresh) = self.successors(presented, &salt);
        let expires = now.plus(self.config.access_ttl);
        let rotation = Rotation {
            token: hash,
            salt,
            access: NewToken { hash: access.hash(), expires },
            scope: scope.clone(),
            refresh: NewToken { hash: refresh.hash(), expires: now.plus(self.config.refresh_ttl) },
            grace: self.config.refresh_grace,
        };
        match self.store.rotate_refresh(rotation, now).await? {
            Rotated::Fresh(_) => {
                self.repeats.first(&hash, peer, (clock, self.config.refresh_grace));
                let refresh = Some(refresh);
                Ok(issued(now, &Issued { access, expires, refresh, scope: &scope }))
            }
            Rotated::Repeated(repeat) => {
                self.repeats.again(&hash, peer, clock, &repeat.grant);
                Ok(self.repeat(presented, &repeat, now))
            }
            Rotated::Reused(revoked) => {
                if let Some(grant) = revoked {
                    self.announce(&grant, "a refresh token was used twice").await;
                }
                Ok(invalid_grant("the refresh token was used before"))
            }
            Rotated::Gone => Ok(invalid_grant("the refresh token has expired or was revoked")),
        }
    }

    /// The successors of a refresh token: derived from the token itself, a salt that the store
    /// keeps with it, and our key.
    ///
    /// Only hashes are stored, yet a repeated rotation must give the same successors again: whoever
    /// presents the token brings what is missing to derive them. Neither the database with the key
    /// nor an old token without the database gives any token away.
    fn successors(&self, presented: &str, salt: &[u8; 32]) -> (Secret, Secret) {
        let parts: [&[u8]; 2] = [salt, presented.as_bytes()];
        (
            self.key.secret(ACCESS, "access successor", &parts),
            self.key.secret(REFRESH, "refresh successor", &parts),
        )
    }

    fn repeat(&self, presented: &str, repeat: &Repeat, now: UnixTime) -> Answer {
        let (access, refresh) = self.successors(presented, &repeat.salt);
        // Another key derives other tokens, which nobody stored.
        if access.hash() != repeat.access.hash || refresh.hash() != repeat.refresh.hash {
            tracing::warn!("a rotation was repeated after the server key changed");
            return invalid_grant("the refresh token was used before");
        }
        let (expires, refresh) = (repeat.access.expires, Some(refresh));
        issued(now, &Issued { access, expires, refresh, scope: &repeat.scope })
    }
}

/// RFC 6749 §5.1.
fn issued(now: UnixTime, issued: &Issued<'_>) -> Answer {
    let mut body = json!({
        "access_token": issued.access.expose(),
        "token_type": "Bearer",
        "expires_in": now.until(issued.expires).as_secs(),
        "scope": issued.scope,
    });
    if let Some(refresh) = &issued.refresh {
        body["refresh_token"] = refresh.expose().into();
    }
    Answer::json(StatusCode::OK, &body)
}

/// RFC 7636 §4.6, compared in constant time.
fn verifies(verifier: &str, challenge: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return false;
    }
    let mut derived = String::with_capacity(43);
    push_base64url(&mut derived, &Sha256::digest(verifier.as_bytes()));
    same(&derived, challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_checked_as_rfc_7636_appendix_b_does() {
        let (verifier, challenge) = (
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        );
        assert!(verifies(verifier, challenge));
        assert!(!verifies(challenge, challenge), "that would be plain");
        assert!(!verifies(&verifier[1..], challenge));
        assert!(!verifies(&format!("{}=", &verifier[1..]), challenge));
        assert!(!verifies(&"a".repeat(129), challenge));
    }
}
