//! Signing in: the choice of providers, their forms, and the way back from them.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::SET_COOKIE};

use super::{
    Answer, Ask, Attempt, AuthServer, Begin, Choice, Field, Form, Identity, IdentityProvider, Page,
    Params, Problem, Purpose, Secret, SignInError, SignInPage, StoreError, Transaction,
    TransactionKey, User, browser::Visit, faults, limiter::address_group, page::plain,
    send_back::Return, server::query,
};
use crate::{TokenHash, UnixTime};

/// The cookie that ties a sign-in to the browser that approved it. Each sign-in has its own, so
/// that two tabs do not take each other's away.
pub(crate) fn binding_name(handle: &TokenHash) -> String {
    format!("mcpb-bind-{}", hex::encode(&handle.as_bytes()[..6]))
}

/// One request on the way through a sign-in.
pub(crate) struct Step<'a> {
    pub(crate) request: &'a Request<Bytes>,
    pub(crate) peer: IpAddr,
    pub(crate) now: SystemTime,
}

impl AuthServer {
    /// `GET /login`: with `t` it continues a client's request; without, it signs in for our own
    /// pages and returns to the path in `next`, `/account` unless said otherwise.
    pub(crate) async fn login(
        &self,
        request: &Request<Bytes>,
        peer: IpAddr,
        now: SystemTime,
    ) -> Answer {
        let Some(params) = query(request) else {
            return faults::bad_request("it is too long");
        };
        let step = Step { request, peer, now };
        let outcome = match params.one("t") {
            Ok(Some(handle)) => self.continue_login(&step, handle).await,
            Ok(None) => self.start_login(&step, params.one("next").ok().flatten()).await,
            Err(_) => Ok(faults::gone()),
        };
        outcome.unwrap_or_else(|error| Answer::store_down_page(&error))
    }

    async fn continue_login(&self, step: &Step<'_>, handle: &str) -> Result<Answer, StoreError> {
        let hash = TokenHash::of(handle);
        let Some(transaction) = self.store.transaction(&hash, UnixTime::of(step.now)).await? else {
            return Ok(faults::gone());
        };
        let headers = step.request.headers();
        if !self.is_bound(headers, &transaction) {
            return Ok(faults::other_browser());
        }
        let visit = self.visit(headers, step.now).await?;
        let answer = self.offer(step, &visit, handle, &transaction).await?;
        Ok(self.greet(&visit, answer))
    }

    async fn start_login(&self, step: &Step<'_>, next: Option<&str>) -> Result<Answer, StoreError> {
        // A path of our own and nothing a browser could take for another host.
        let next = next
            .filter(|next| next.starts_with('/') && !next.starts_with("//"))
            .filter(|next| next.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_".contains(&b)))
            .unwrap_or("/account");
        let (handle, binding) = (self.minter.secret(""), self.minter.secret(""));
        let transaction = Transaction {
            handle: handle.hash(),
            purpose: Purpose::Page(next.to_owned()),
            // Nobody has to approve his own visit.
            binding: Some(binding.hash()),
            upstream: None,
            peer: address_group(step.peer),
            expires: UnixTime::of(step.now).plus(self.config.transaction_ttl),
        };
        let opened = self.open_transaction(transaction.clone(), step.peer, step.now).await?;
        if let Err(wait) = opened {
            return Ok(faults::too_many(wait));
        }
        let visit = self.visit(step.request.headers(), step.now).await?;
        let answer = self.offer(step, &visit, handle.expose(), &transaction).await?;
        let cookie = self.urls.cookies.set(
            &binding_name(&transaction.handle),
            binding.expose(),
            self.config.transaction_ttl,
        );
        Ok(self.greet(&visit, answer.with(SET_COOKIE, cookie)))
    }

    /// The providers that this sign-in may go to.
    fn offered(
        &self,
        transaction: &Transaction,
    ) -> impl Iterator<Item = &Arc<dyn IdentityProvider>> {
        let required = match &transaction.purpose {
            Purpose::Authorize(asked) => self.required_provider(&asked.resource),
            Purpose::Page(_) => None,
        };
        self.providers.iter().filter(move |own| required.is_none_or(|name| own.name() == name))
    }

    /// Buttons for all ways to sign in, or the only way at once.
    async fn offer(
        &self,
        step: &Step<'_>,
        visit: &Visit,
        handle: &str,
        transaction: &Transaction,
    ) -> Result<Answer, StoreError> {
        let offered: Vec<_> = self.offered(transaction).collect();
        if let [only] = offered[..] {
            return self.begin(step, visit, handle, transaction, only).await;
        }
        let choices = offered
            .into_iter()
            .map(|provider| Choice {
                provider: provider.name().to_owned(),
                label: provider.label().to_owned(),
                form: self.login_page_form(visit, handle, provider.name(), "begin"),
            })
            .collect();
        let page = SignInPage { client: waiting(transaction), choices, ask: None };
        Ok(Answer::page(StatusCode::OK, Page::SignIn(Box::new(page))))
    }

    /// `POST /login`: a provider was chosen (`step` = `begin`), or its form filled in (`finish`).
    pub(crate) async fn login_form(
        &self,
        request: &Request<Bytes>,
        form: &Params,
        peer: IpAddr,
        now: SystemTime,
    ) -> Answer {
        let step = Step { request, peer, now };
        self.login_step(&step, form).await.unwrap_or_else(|error| Answer::store_down_page(&error))
    }

    async fn login_step(&self, step: &Step<'_>, form: &Params) -> Result<Answer, StoreError> {
        let Ok(Some(handle)) = form.one("t") else { return Ok(faults::gone()) };
        let headers = step.request.headers();
        let visit = self.visit(headers, step.now).await?;
        if !self.is_ours(step.request, form, &visit.of_anyone(), handle) {
            return Ok(faults::forged());
        }
        let hash = TokenHash::of(handle);
        let Some(transaction) = self.store.transaction(&hash, UnixTime::of(step.now)).await? else {
            return Ok(faults::gone());
        };
        if !self.is_bound(headers, &transaction) {
            return Ok(faults::other_browser());
        }
        let Some(provider) = form
            .one("provider")
            .ok()
            .flatten()
            .and_then(|name| self.offered(&transaction).find(|own| own.name() == name))
        else {
            return Ok(faults::no_provider());
        };
        match form.one("step") {
            Ok(Some("begin")) => self.begin(step, &visit, handle, &transaction, provider).await,
            Ok(Some("finish")) => {
                self.fill_in(step, &visit, handle, &transaction, provider, form).await
            }
            Ok(Some("accept")) => {
                self.go_on_without(step, &visit, handle, &transaction, form).await
            }
            _ => Ok(faults::bad_form()),
        }
    }

    /// Sends the browser to the provider, or shows its form.
    async fn begin(
        &self,
        step: &Step<'_>,
        visit: &Visit,
        handle: &str,
        transaction: &Transaction,
        provider: &Arc<dyn IdentityProvider>,
    ) -> Result<Answer, StoreError> {
        let state = self.minter.secret("");
        let attempt = self.attempt(provider.name(), &state, step.peer);
        match provider.begin(&attempt, step.now).await {
            Ok(Begin::Redirect(address)) => {
                let now = UnixTime::of(step.now);
                let kept = self
                    .store
                    .begin_upstream(&transaction.handle, provider.name(), state.hash(), now)
                    .await?;
                Ok(if kept { Answer::see_other(&address) } else { faults::gone() })
            }
            Ok(Begin::Form(fields)) => {
                Ok(self.ask_fields(visit, handle, transaction, provider, fields, None))
            }
            Err(error) => self.failed(provider.name(), error),
        }
    }

    /// A form was filled in. The sign-in stays open until it succeeds, so that a typing error is
    /// not the end of it.
    async fn fill_in(
        &self,
        step: &Step<'_>,
        visit: &Visit,
        handle: &str,
        transaction: &Transaction,
        provider: &Arc<dyn IdentityProvider>,
        form: &Params,
    ) -> Result<Answer, StoreError> {
        let state = self.minter.secret("");
        let attempt = self.attempt(provider.name(), &state, step.peer);
        // Whoever is sent elsewhere comes back with a state that was checked, and not by a form.
        let fields = match provider.begin(&attempt, step.now).await {
            Ok(Begin::Form(fields)) => fields,
            Ok(Begin::Redirect(_)) => return Ok(faults::bad_form()),
            Err(error) => return self.failed(provider.name(), error),
        };
        let problem = match provider.finish(&attempt, form, step.now).await {
            Ok(identity) => {
                let key = TransactionKey::Handle(&transaction.handle);
                return match self.store.take_transaction(key, UnixTime::of(step.now)).await? {
                    Some(taken) => self.complete(step, taken, provider, identity).await,
                    None => Ok(faults::gone()),
                };
            }
            Err(SignInError::WrongCredentials) => Problem::WrongCredentials,
            Err(SignInError::TooMany { retry_after }) => {
                Problem::TooMany { retry_after: retry_after.as_secs().max(1) }
            }
            Err(error) => return self.failed(provider.name(), error),
        };
        Ok(self.ask_fields(visit, handle, transaction, provider, fields, Some(problem)))
    }

    fn ask_fields(
        &self,
        visit: &Visit,
        handle: &str,
        transaction: &Transaction,
        provider: &Arc<dyn IdentityProvider>,
        fields: Vec<Field>,
        problem: Option<Problem>,
    ) -> Answer {
        let (status, wait) = match problem {
            None => (StatusCode::OK, None),
            Some(Problem::WrongCredentials) => (StatusCode::UNAUTHORIZED, None),
            Some(Problem::TooMany { retry_after }) => {
                (StatusCode::TOO_MANY_REQUESTS, Some(retry_after))
            }
        };
        let ask = Ask {
            provider: provider.name().to_owned(),
            label: provider.label().to_owned(),
            form: self.login_page_form(visit, handle, provider.name(), "finish"),
            fields,
            problem,
        };
        let page = SignInPage { client: waiting(transaction), choices: Vec::new(), ask: Some(ask) };
        let answer = Answer::page(status, Page::SignIn(Box::new(page)));
        match wait {
            Some(seconds) => answer.retry_after(seconds),
            None => answer,
        }
    }

    /// `GET /callback/{provider}`.
    pub(crate) async fn callback(
        &self,
        provider: &str,
        request: &Request<Bytes>,
        peer: IpAddr,
        now: SystemTime,
    ) -> Answer {
        let Some(params) = query(request) else {
            return faults::bad_request("it is too long");
        };
        let step = Step { request, peer, now };
        self.come_back(&step, provider, &params)
            .await
            .unwrap_or_else(|error| Answer::store_down_page(&error))
    }

    async fn come_back(
        &self,
        step: &Step<'_>,
        name: &str,
        params: &Params,
    ) -> Result<Answer, StoreError> {
        let Some(provider) = self.provider(name) else { return Ok(faults::no_provider()) };
        let Ok(Some(state)) = params.one("state") else { return Ok(faults::gone()) };
        // Taken before anything is judged: a state serves once, whatever comes of it.
        let hash = TokenHash::of(state);
        let key = TransactionKey::State(&hash);
        let Some(transaction) = self.store.take_transaction(key, UnixTime::of(step.now)).await?
        else {
            return Ok(faults::gone());
        };
        if transaction.upstream.as_ref().is_none_or(|upstream| upstream.provider != name) {
            return Ok(faults::unacceptable());
        }
        if !self.is_bound(step.request.headers(), &transaction) {
            return Ok(faults::other_browser());
        }
        let attempt = self.attempt(name, &Secret::new(state), step.peer);
        match provider.finish(&attempt, params, step.now).await {
            Ok(identity) => self.complete(step, transaction, provider, identity).await,
            Err(SignInError::Declined) => Ok(match &transaction.purpose {
                Purpose::Authorize(asked) => {
                    let back =
                        Return { redirect_uri: &asked.redirect_uri, state: asked.state.as_deref() };
                    self.send_error(&back, ("access_denied", "the user declined to sign in"))
                }
                Purpose::Page(_) => faults::declined(),
            }),
            Err(SignInError::EarlierConsent) => {
                tracing::warn!(provider = name, "an earlier consent at the upstream is in the way");
                self.offer_fewer_rights(step, transaction, provider, None, Vec::new()).await
            }
            Err(error) => self.failed(name, error),
        }
    }

    /// The user is known: keep the upstream credential, sign the browser in, and go on with what
    /// the sign-in was for.
    async fn complete(
        &self,
        step: &Step<'_>,
        transaction: Transaction,
        provider: &Arc<dyn IdentityProvider>,
        identity: Identity,
    ) -> Result<Answer, StoreError> {
        let name = provider.name();
        let keyed = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        if !keyed(&identity.issuer) || !keyed(&identity.subject) {
            tracing::error!(provider = name, "identity without issuer or subject");
            return Ok(faults::misconfigured());
        }
        // Before anything is kept.
        if self.store.is_blocked(&identity.issuer, &identity.subject).await? {
            tracing::warn!(provider = name, owner = %identity.subject, "a blocked person signed in");
            return Ok(faults::blocked());
        }
        if let Some(admission) = &self.admission {
            let resource = match &transaction.purpose {
                Purpose::Authorize(asked) => Some(asked.resource.as_str()),
                Purpose::Page(_) => None,
            };
            if !Box::pin(admission.judge(name, &identity, resource, step.now)).await? {
                return Ok(faults::not_admitted());
            }
        }
        if let (Some(sink), Some(credential)) = (&self.credentials, &identity.credential) {
            sink.keep(name, &identity, credential, step.now).await?;
        }
        let display_name = plain(&identity.display_name, 100);
        let user = User {
            display_name: Some(display_name)
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| plain(&identity.subject, 100)),
            issuer: identity.issuer.clone(),
            subject: identity.subject.clone(),
            provider: name.to_owned(),
        };
        let (session, cookie) = self.sign_in(&user, step.request.headers(), step.now).await?;
        // Only now, with the sign-in stored: somebody who was removed before is noticed here, and
        // whoever removes him later finds the sign-in and ends it.
        if self.store.is_blocked(&identity.issuer, &identity.subject).await? {
            self.store.close_browser(&session.cookie).await?;
            if let Some(sink) = &self.credentials {
                sink.forget(name, &identity).await?;
            }
            return Ok(faults::blocked());
        }
        match provider.confirm(&identity).await {
            Ok(true) => {}
            Ok(false) => {
                self.store.close_browser(&session.cookie).await?;
                return Ok(faults::not_admitted());
            }
            Err(error) => {
                self.store.close_browser(&session.cookie).await?;
                return self.failed(name, error);
            }
        }
        let missing = match (&self.credentials, &identity.credential) {
            (Some(sink), Some(_)) => sink.missing_rights(&user).await?,
            _ => Vec::new(),
        };
        if !missing.is_empty() {
            let own = Some(&session);
            let page = self.offer_fewer_rights(step, transaction, provider, own, missing).await?;
            return Ok(page.with(SET_COOKIE, cookie));
        }
        let unbind = self.urls.cookies.clear(&binding_name(&transaction.handle));
        let answer = self.arrive(transaction.purpose, &session, step.now).await?;
        Ok(answer.with(SET_COOKIE, cookie).with(SET_COOKIE, unbind))
    }

    /// Whether the browser that sent `headers` is the one that approved `transaction`.
    pub(crate) fn is_bound(&self, headers: &HeaderMap, transaction: &Transaction) -> bool {
        let cookie = self.urls.cookies.read(headers, &binding_name(&transaction.handle));
        match (cookie, &transaction.binding) {
            (Some(cookie), Some(binding)) => TokenHash::of(cookie) == *binding,
            _ => false,
        }
    }

    /// Everything an attempt needs follows from its state, so nothing of it is stored.
    fn attempt(&self, provider: &str, state: &Secret, peer: IpAddr) -> Attempt {
        let parts: [&[u8]; 2] = [provider.as_bytes(), state.expose().as_bytes()];
        Attempt {
            callback: self.urls.address(&format!("/callback/{provider}")),
            nonce: self.key.secret("", "upstream nonce", &parts),
            code_verifier: self.key.secret("", "upstream verifier", &parts),
            state: state.clone(),
            peer,
            wanted: self.admission.as_ref().map(|own| own.wanted(provider)).unwrap_or_default(),
        }
    }

    pub(crate) fn login_page_form(
        &self,
        visit: &Visit,
        handle: &str,
        provider: &str,
        step: &'static str,
    ) -> Form {
        Form {
            action: format!("{}/login", self.urls.path),
            hidden: vec![
                ("t", handle.to_owned()),
                ("csrf", self.csrf(&visit.of_anyone(), handle).expose().to_owned()),
                ("provider", provider.to_owned()),
                ("step", step.to_owned()),
            ],
        }
    }

    /// What people call a provider.
    pub(crate) fn label<'a>(&'a self, provider: &'a str) -> &'a str {
        self.provider(provider).map_or(provider, |own| own.label())
    }

    /// The page for a failed attempt. Causes go to the log; what an upstream wrote goes nowhere.
    fn failed(&self, provider: &str, error: SignInError) -> Result<Answer, StoreError> {
        let cause = &error as &dyn std::error::Error;
        let answer = match error {
            SignInError::Store(error) => return Err(error),
            SignInError::Declined => faults::declined(),
            SignInError::NotAdmitted => faults::not_admitted(),
            SignInError::AccountRefused { message } => {
                tracing::warn!(provider, message, "the upstream refuses an account");
                faults::account_refused(self.label(provider), &message)
            }
            // The way back from the upstream has a page of its own for it.
            SignInError::EarlierConsent => faults::unacceptable(),
            SignInError::WrongCredentials => faults::unacceptable(),
            SignInError::TooMany { retry_after } => faults::too_many(retry_after.as_secs().max(1)),
            SignInError::Unacceptable(_) => {
                tracing::warn!(provider, error = cause, "sign-in reply not acceptable");
                faults::unacceptable()
            }
            SignInError::Unavailable(_) => {
                tracing::warn!(provider, error = cause, "identity provider unavailable");
                faults::provider_down()
            }
            SignInError::Misconfigured(_) => {
                tracing::error!(provider, error = cause, "identity provider misconfigured");
                faults::misconfigured()
            }
        };
        Ok(answer)
    }
}

/// The application that waits for a sign-in.
pub(crate) fn waiting(transaction: &Transaction) -> Option<String> {
    match &transaction.purpose {
        Purpose::Authorize(asked) => Some(asked.client_name.clone()),
        Purpose::Page(_) => None,
    }
}
