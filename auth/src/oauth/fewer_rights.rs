//! The upstream granted less than the operator configured, or grants nothing because of an earlier
//! consent: the person withdraws that and tries again, or goes on without.

use std::sync::Arc;

use http::{StatusCode, header::SET_COOKIE};

use super::{
    Answer, AuthServer, Browser, FewerRightsPage, IdentityProvider, Page, Params, Purpose, Secret,
    StoreError, Transaction, TransactionKey,
    browser::Visit,
    faults,
    sign_in::{Step, binding_name, waiting},
};
use crate::UnixTime;

/// What the form's token is for.
const LABEL: &str = "fewer rights";

impl AuthServer {
    /// Shows what is `missing`; with nothing named, only that something is. The sign-in stays open
    /// under a new handle: whoever is signed in by `session` may go on without.
    pub(crate) async fn offer_fewer_rights(
        &self,
        step: &Step<'_>,
        transaction: Transaction,
        provider: &Arc<dyn IdentityProvider>,
        session: Option<&Browser>,
        missing: Vec<String>,
    ) -> Result<Answer, StoreError> {
        let (handle, binding) = (self.minter.secret(""), self.minter.secret(""));
        let unbind = self.urls.cookies.clear(&binding_name(&transaction.handle));
        let reopened = Transaction {
            handle: handle.hash(),
            binding: Some(binding.hash()),
            upstream: None,
            peer: transaction.peer,
            expires: UnixTime::of(step.now).plus(self.config.transaction_ttl),
            purpose: transaction.purpose,
        };
        let client = waiting(&reopened);
        let bound = binding_name(&reopened.handle);
        if let Err(wait) = self.open_transaction(reopened, step.peer, step.now).await? {
            return Ok(faults::too_many(wait));
        }
        let visit = self.visit(step.request.headers(), step.now).await?;
        let form = |what| self.login_page_form(&visit, handle.expose(), provider.name(), what);
        let go_on = session.map(|session| {
            let mut form = form("accept");
            let token = self.key.secret("", LABEL, &parts(&handle, session));
            form.hidden.push(("fewer", token.expose().to_owned()));
            form
        });
        let page = FewerRightsPage {
            provider: provider.label().to_owned(),
            client,
            missing,
            withdrawal: provider.withdrawal(),
            again: form("begin"),
            go_on,
        };
        let answer = Answer::page(StatusCode::OK, Page::FewerRights(Box::new(page)));
        let bind = self.urls.cookies.set(&bound, binding.expose(), self.config.transaction_ttl);
        Ok(self.greet(&visit, answer.with(SET_COOKIE, bind).with(SET_COOKIE, unbind)))
    }

    /// The person goes on without what is missing. The form's token is of this handle and of the
    /// sign-in that was shown the page, so that no other sign-in in this browser is taken for it.
    pub(crate) async fn go_on_without(
        &self,
        step: &Step<'_>,
        visit: &Visit,
        handle: &str,
        transaction: &Transaction,
        form: &Params,
    ) -> Result<Answer, StoreError> {
        let handle = Secret::new(handle);
        let token = form.one("fewer").ok().flatten().unwrap_or_default();
        let is_the_same = |own: &&Browser| self.key.is(token, LABEL, &parts(&handle, own));
        let Some(session) = visit.session.as_ref().filter(is_the_same) else {
            return Ok(faults::gone());
        };
        let key = TransactionKey::Handle(&transaction.handle);
        let taken = self.store.take_transaction(key, UnixTime::of(step.now)).await?;
        let Some(taken) = taken else { return Ok(faults::gone()) };
        if let Some(sink) = &self.credentials {
            sink.accept_missing(&session.user).await?;
        }
        let unbind = self.urls.cookies.clear(&binding_name(&taken.handle));
        let answer = self.arrive(taken.purpose, session, step.now).await?;
        Ok(answer.with(SET_COOKIE, unbind))
    }

    /// Goes on with what a sign-in was for.
    pub(crate) async fn arrive(
        &self,
        purpose: Purpose,
        session: &Browser,
        now: std::time::SystemTime,
    ) -> Result<Answer, StoreError> {
        match purpose {
            Purpose::Authorize(asked) => self.send_code(*asked, session, now).await,
            Purpose::Page(next) => Ok(Answer::see_other(&self.urls.address(&next))),
        }
    }
}

fn parts<'a>(handle: &'a Secret, session: &'a Browser) -> [&'a [u8]; 2] {
    [handle.expose().as_bytes(), session.cookie.as_bytes()]
}
