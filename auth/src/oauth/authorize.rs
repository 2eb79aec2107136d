//! The authorization endpoint: checks the request, and asks for approval.

use crate::UnixTime;
use std::{net::IpAddr, time::SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode};

use super::{
    Answer, AuthServer, AuthorizeRequest, Browser, Client, ClientView, Code, Consent, ConsentPage,
    Form, Landing, Origin, Page, Params, Purpose, Resource, ServerView, Standing, StoreError,
    Transaction, UserView, Warning,
    browser::Visit,
    client::ClientError,
    document::DocumentError,
    faults,
    limiter::address_group,
    redirect::{BadRedirect, matches, scheme_of, shown, with_answer},
    resource::Target,
    scope,
    secret::{CODE, Secret},
    send_back::{Return, Wrong},
    server::query,
};

/// The longest `state` that is carried along, in bytes.
const MAX_STATE: usize = 4096;

impl AuthServer {
    pub(crate) async fn authorize(
        &self,
        request: &Request<Bytes>,
        peer: IpAddr,
        now: SystemTime,
    ) -> Answer {
        let Some(params) = query(request) else {
            return faults::bad_request("it is too long");
        };
        // Until client and redirect address are known to belong together, nothing is redirected.
        let (client, redirect_uri) = match self.who_asks(&params, peer, now).await {
            Ok(known) => known,
            Err(answer) => return answer,
        };
        let state = params.one("state").ok().flatten();
        let back = Return { redirect_uri: &redirect_uri, state };
        let asked = match self.what_is_asked(&params, &client, &redirect_uri) {
            Ok(asked) => asked,
            Err(wrong) => {
                let refused = self.refuse((request, now), &client, &back, wrong).await;
                return refused.unwrap_or_else(|error| Answer::store_down_page(&error));
            }
        };
        match self.ask((request, peer, now), &params, &client, asked).await {
            Ok(answer) => answer,
            Err(error) => Answer::store_down_page(&error),
        }
    }

    /// Client and redirect address, or the page that says why not.
    async fn who_asks(
        &self,
        params: &Params,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<(Client, String), Answer> {
        let repeated = |_| faults::bad_request("a parameter is repeated");
        let id = params
            .one("client_id")
            .map_err(repeated)?
            .ok_or_else(|| faults::bad_request("client_id is missing"))?;
        let client = self.find_client(id, peer, now).await.map_err(|error| match error {
            ClientError::Unknown => faults::unknown_client(id),
            ClientError::Document(DocumentError::TooMany { retry_after }) => {
                faults::too_many(retry_after)
            }
            ClientError::Document(error) if error.is_outage() => {
                faults::document_unavailable(id, &error.to_string())
            }
            ClientError::Document(DocumentError::Schemes(schemes)) => faults::bad_scheme(&schemes),
            ClientError::Document(error) => faults::bad_document(id, &error.to_string()),
            ClientError::Store(error) => Answer::store_down_page(&error),
        })?;
        let redirect_uri = match params.one("redirect_uri").map_err(repeated)? {
            Some(requested) => client
                .redirect_uris
                .iter()
                .any(|own| matches(own, requested, client.is_public()))
                .then_some(requested),
            // OAuth 2.1 §4.1.1: optional when only one was registered.
            None => match &client.redirect_uris[..] {
                [only] => Some(only.as_str()),
                _ => return Err(faults::bad_request("redirect_uri is missing")),
            },
        };
        let requested = params.one("redirect_uri").ok().flatten().unwrap_or_default();
        let redirect_uri = redirect_uri.ok_or_else(|| self.refused_redirect(requested))?;
        // The list of schemes may have become shorter since the registration.
        if self.urls.redirects.check(redirect_uri).is_err() {
            return Err(self.refused_redirect(redirect_uri));
        }
        let redirect_uri = redirect_uri.to_owned();
        Ok((client, redirect_uri))
    }

    /// The page for an address that is not redirected to. An address whose scheme is not on the list
    /// was left out at the registration, so to register again does not help.
    pub(crate) fn refused_redirect(&self, address: &str) -> Answer {
        match self.urls.redirects.check(address) {
            Err(BadRedirect::Scheme) => faults::bad_scheme(&scheme_of(address)),
            _ => faults::bad_redirect(address),
        }
    }

    /// Everything else about the request.
    fn what_is_asked(
        &self,
        params: &Params,
        client: &Client,
        redirect_uri: &str,
    ) -> Result<AuthorizeRequest, Wrong> {
        let one =
            |name| params.one(name).map_err(|_| ("invalid_request", "a parameter is repeated"));
        let state = one("state")?;
        if state.is_some_and(|state| state.len() > MAX_STATE) {
            return Err(("invalid_request", "state is too long"));
        }
        if one("request")?.is_some() {
            return Err(("request_not_supported", "request objects are not supported"));
        }
        if one("request_uri")?.is_some() {
            return Err(("request_uri_not_supported", "request objects are not supported"));
        }
        match one("response_type")? {
            Some("code") => {}
            Some(_) => {
                return Err(("unsupported_response_type", "only the response type code is known"));
            }
            None => return Err(("invalid_request", "response_type is missing")),
        }
        if one("response_mode")?.is_some_and(|mode| mode != "query") {
            return Err(("invalid_request", "only the response mode query is known"));
        }
        let challenge = one("code_challenge")?
            .ok_or(("invalid_request", "code_challenge is missing, PKCE is required"))?;
        // An absent method means plain (RFC 7636 §4.3), which protects nothing.
        if one("code_challenge_method")? != Some("S256") {
            return Err(("invalid_request", "code_challenge_method must be S256"));
        }
        let base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if challenge.len() != 43 || !challenge.bytes().all(base64url) {
            return Err(("invalid_request", "code_challenge is malformed"));
        }
        let resource = self
            .resource(params)
            .ok_or(("invalid_target", "the resource is not one of this server"))?;
        let scope = scope::granted(one("scope")?, &self.config.scopes, &resource.scope)
            .ok_or(("invalid_scope", "the scope is unknown"))?;
        let prompt = one("prompt")?.unwrap_or_default();
        Ok(AuthorizeRequest {
            reauthenticate: prompt.split(' ').any(|own| own == "login" || own == "select_account"),
            client: client.id.clone(),
            client_name: client.display_name(),
            redirect_uri: redirect_uri.to_owned(),
            state: state.map(str::to_owned),
            challenge: challenge.to_owned(),
            resource: self.urls.metadata.resources.address(resource),
            scope,
            refreshes: client.refreshes,
        })
    }

    /// What the `resource` parameters mean; they may be repeated
    /// (RFC 8707 §2) but must all mean the same server.
    fn resource(&self, params: &Params) -> Option<&Resource> {
        let resources = &self.urls.metadata.resources;
        let mut meant = None;
        for indicator in params.all("resource") {
            let resource = match resources.resolve(indicator)? {
                Target::One(resource) => resource,
                Target::Whole => resources.default(),
            };
            if meant.is_some_and(|other: &Resource| other.name != resource.name) {
                return None;
            }
            meant = Some(resource);
        }
        Some(meant.unwrap_or_else(|| resources.default()))
    }

    /// Answers at once where nothing needs to be asked, and shows the consent page otherwise.
    async fn ask(
        &self,
        (request, peer, now): (&Request<Bytes>, IpAddr, SystemTime),
        params: &Params,
        client: &Client,
        mut asked: AuthorizeRequest,
    ) -> Result<Answer, StoreError> {
        let prompt = params.one("prompt").ok().flatten().unwrap_or_default();
        let prompted = |what| prompt.split(' ').any(|own| own == what);
        let visit = self.visit(request.headers(), now).await?;
        if let Some(user) = visit.user() {
            // Who signs in with another account is not held up by the one that is refused.
            if !asked.reauthenticate
                && let Some(page) = self.refused_account(user, &asked.resource, now).await?
            {
                return Ok(page);
            }
            asked.reauthenticate |= self.wants_sign_in(user, &asked.resource, now).await?;
        }
        let landing = self.urls.redirects.check(&asked.redirect_uri);
        // A program on this computer, or a scheme, proves nothing about who is asking
        // (RFC 8252 §8.6): such clients are always asked about.
        let may_be_silent = Self::came_directly(request.headers())
            && landing == Ok(Landing::Web)
            && !asked.reauthenticate
            && !prompted("consent");
        if let Some(session) = &visit.session
            && may_be_silent
            && self
                .store
                .is_consented(&Consent::of(&session.user, &asked, UnixTime::of(now)))
                .await?
        {
            // Nobody presses a button here, so a program could go on as long as it likes.
            let counted = (self.silent.take(*session.cookie.as_bytes(), now))
                .and_then(|()| self.sign_ins.take(peer, (), now));
            return match counted {
                Ok(()) => self.send_code(asked, session, now).await,
                Err(wait) => Ok(faults::too_many(wait)),
            };
        }
        let back = Return { redirect_uri: &asked.redirect_uri, state: asked.state.as_deref() };
        if prompted("none") {
            let error = if visit.session.is_some() { "consent_required" } else { "login_required" };
            return self
                .refuse((request, now), client, &back, (error, "the user has to be asked"))
                .await;
        }
        let handle = self.minter.secret("");
        let page = self.consent_page(&visit, &handle, client, &asked, landing.ok());
        let transaction = Transaction {
            handle: handle.hash(),
            expires: UnixTime::of(now).plus(self.config.transaction_ttl),
            purpose: Purpose::Authorize(Box::new(asked)),
            binding: None,
            upstream: None,
            peer: address_group(peer),
        };
        if let Err(wait) = self.open_transaction(transaction, peer, now).await? {
            return Ok(faults::too_many(wait));
        }
        Ok(self.greet(&visit, Answer::page(StatusCode::OK, page)))
    }

    fn consent_page(
        &self,
        visit: &Visit,
        handle: &Secret,
        client: &Client,
        asked: &AuthorizeRequest,
        landing: Option<Landing>,
    ) -> Page {
        let mut warnings = Vec::new();
        match landing {
            Some(Landing::Loopback) => warnings.push(Warning::Loopback),
            Some(Landing::Installed) => warnings.push(Warning::InstalledApp),
            Some(Landing::Web) | None => {}
        }
        let standing = match client.origin {
            Origin::Operator => Standing::Operator,
            Origin::Document => Standing::Host(shown(&client.id)),
            Origin::Registration => Standing::Nobody,
        };
        if standing == Standing::Nobody {
            warnings.push(Warning::UnverifiedName);
        }
        let user = visit.user().filter(|_| !asked.reauthenticate);
        let csrf = match user {
            Some(_) => self.csrf(visit, handle.expose()),
            None => self.csrf(&visit.of_anyone(), handle.expose()),
        };
        let server = self.urls.metadata.resources.by_address(&asked.resource);
        let asked_for = |name: &str| asked.scope.split(' ').any(|own| own == name);
        Page::Consent(Box::new(ConsentPage {
            form: Form {
                action: format!("{}/consent", self.urls.path),
                hidden: vec![("t", handle.expose().to_owned()), ("csrf", csrf.expose().to_owned())],
            },
            client: ClientView {
                name: client.display_name(),
                standing,
                uri: client.uri.clone(),
                redirect: shown(&asked.redirect_uri),
            },
            server: ServerView {
                name: server.map(|server| server.name.clone()).unwrap_or_default(),
                title: server.map(|server| server.title.clone()).unwrap_or_default(),
                address: asked.resource.clone(),
            },
            scopes: self
                .config
                .scopes
                .iter()
                .filter(|scope| asked_for(&scope.name))
                .cloned()
                .collect(),
            user: user.map(|user| UserView {
                display_name: user.display_name.clone(),
                provider: self
                    .provider(&user.provider)
                    .map_or_else(|| user.provider.clone(), |provider| provider.label().to_owned()),
            }),
            warnings,
        }))
    }

    /// Sends the browser back with a code for whoever is signed in there.
    pub(crate) async fn send_code(
        &self,
        request: AuthorizeRequest,
        session: &Browser,
        now: SystemTime,
    ) -> Result<Answer, StoreError> {
        let user = &session.user;
        let redirect_uri = request.redirect_uri.clone();
        let (client, state) = (request.client.clone(), request.state.clone());
        if self.urls.redirects.check(&redirect_uri).is_err() {
            return Ok(self.refused_redirect(&redirect_uri));
        }
        let secret = self.minter.secret(CODE);
        let now = UnixTime::of(now);
        let consent = Consent::of(user, &request, now);
        let code = Code {
            hash: secret.hash(),
            grant_id: self.minter.name(),
            user: user.clone(),
            request,
            issued: now,
            expires: now.plus(self.config.code_ttl),
            used: false,
        };
        self.store.issue_code(code, consent).await?;
        // Whoever removes a user ends the sign-ins first and then burns the codes that are on their
        // way. Looking again after the code was stored leaves no moment between the two.
        if self.store.browser(&session.cookie, now).await?.is_none() {
            self.store.burn_code(&secret.hash(), now).await?;
            self.store.forget_consents(&session.user, &client).await?;
            return Ok(faults::gone());
        }
        let mut answer = vec![("code", secret.expose())];
        answer.extend(state.as_deref().map(|state| ("state", state)));
        answer.push(("iss", self.issuer()));
        Ok(Answer::see_other(&with_answer(&redirect_uri, &answer)))
    }
}
