//! The answer to the consent page.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, header::SET_COOKIE};

use super::{
    Answer, AuthServer, Params, Purpose, StoreError, TransactionKey, faults, send_back::Return,
    sign_in::binding_name,
};
use crate::{TokenHash, UnixTime};

/// What the user pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Approve,
    Switch,
    Deny,
}

impl AuthServer {
    pub(crate) async fn consent_form(
        &self,
        request: &Request<Bytes>,
        form: &Params,
        now: SystemTime,
    ) -> Answer {
        match self.decide(request, form, now).await {
            Ok(answer) => answer,
            Err(error) => Answer::store_down_page(&error),
        }
    }

    async fn decide(
        &self,
        request: &Request<Bytes>,
        form: &Params,
        now: SystemTime,
    ) -> Result<Answer, StoreError> {
        let Ok(Some(handle)) = form.one("t") else { return Ok(faults::gone()) };
        let visit = self.visit(request.headers(), now).await?;
        // Bound to whoever is signed in if the page named a user, and to the browser alone if it
        // said that one signs in next.
        let names_the_user = self.is_ours(request, form, &visit, handle);
        if !names_the_user && !self.is_ours(request, form, &visit.of_anyone(), handle) {
            return Ok(faults::forged());
        }
        let choice = match form.one("choice") {
            Ok(Some("approve")) => Choice::Approve,
            Ok(Some("switch")) => Choice::Switch,
            Ok(Some("deny")) => Choice::Deny,
            _ => return Ok(faults::bad_form()),
        };
        let hash = TokenHash::of(handle);
        let moment = UnixTime::of(now);
        let asked = match self.store.transaction(&hash, moment).await?.map(|own| own.purpose) {
            Some(Purpose::Authorize(asked)) => asked,
            Some(Purpose::Page(_)) | None => return Ok(faults::gone()),
        };
        let known = choice == Choice::Approve && names_the_user && !asked.reauthenticate;
        let session = visit.session.as_ref().filter(|_| known);
        if let Some(session) = session
            && let Some(page) = self.refused_account(&session.user, &asked.resource, now).await?
        {
            return Ok(page);
        }
        if choice == Choice::Deny || session.is_some() {
            let key = TransactionKey::Handle(&hash);
            if self.store.take_transaction(key, moment).await?.is_none() {
                return Ok(faults::gone());
            }
            return match session {
                Some(session) => self.send_code(*asked, session, now).await,
                None => {
                    let back =
                        Return { redirect_uri: &asked.redirect_uri, state: asked.state.as_deref() };
                    Ok(self.send_error(&back, ("access_denied", "the user declined")))
                }
            };
        }
        // From the approval on the sign-in belongs to this browser: the cookie goes out now and not
        // before, and whoever brings the sign-in to its end must have it.
        let binding = self.minter.secret("");
        if !self.store.approve_transaction(&hash, binding.hash(), moment).await? {
            return self.approved_already(request, handle, &hash, moment).await;
        }
        let cookie = self.urls.cookies.set(
            &binding_name(&hash),
            binding.expose(),
            self.config.transaction_ttl,
        );
        Ok(self.to_login(handle).with(SET_COOKIE, cookie))
    }

    /// A second press of the button is no mistake, in the browser that pressed it first.
    async fn approved_already(
        &self,
        request: &Request<Bytes>,
        handle: &str,
        hash: &TokenHash,
        now: UnixTime,
    ) -> Result<Answer, StoreError> {
        let transaction = self.store.transaction(hash, now).await?;
        let bound = transaction.is_some_and(|own| self.is_bound(request.headers(), &own));
        Ok(if bound { self.to_login(handle) } else { faults::gone() })
    }

    fn to_login(&self, handle: &str) -> Answer {
        Answer::see_other(&self.urls.address(&format!("/login?t={handle}")))
    }
}
