//! The browser on the other side: who is signed in, and whether a form is ours.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, Request,
    header::{ORIGIN, SET_COOKIE},
};

use super::{Answer, AuthServer, Browser, Grant, Params, Secret, StoreError, User};
use crate::{TokenHash, UnixTime};

/// A random value per browser, which form tokens are bound to.
const BROWSER: &str = "mcpb-browser";
/// How long it is kept; when it goes, whoever is signed in signs in again.
const BROWSER_AGE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Who is signed in.
const SESSION: &str = "mcpb-session";

/// A browser in which somebody is signed in, for our own pages.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who it is.
    pub user: User,
    /// The hidden field `csrf` of every form on the page.
    pub csrf: Secret,
}

/// What tells one browser from another, for one request.
#[derive(Debug)]
pub(crate) struct Visit {
    nonce: Secret,
    /// Whether the nonce is new, so that its cookie has to be set.
    fresh: bool,
    pub(crate) session: Option<Browser>,
}

impl Visit {
    /// Whoever is signed in.
    pub(crate) fn user(&self) -> Option<&User> {
        self.session.as_ref().map(|session| &session.user)
    }

    /// The same browser, whoever is signed in. A page that names nobody is good for whoever sends
    /// it: somebody may have signed in in another tab meanwhile.
    pub(crate) fn of_anyone(&self) -> Self {
        Self { nonce: self.nonce.clone(), fresh: self.fresh, session: None }
    }
}

impl AuthServer {
    /// Who is signed in, in the browser that sent `headers`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn signed_in(
        &self,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Option<SignedIn>, StoreError> {
        let visit = self.visit(headers, now).await?;
        if visit.fresh {
            return Ok(None);
        }
        let csrf = self.csrf(&visit, "account");
        Ok(visit.session.map(|session| SignedIn { user: session.user, csrf }))
    }

    /// Whether a form of our own pages came from them, in this browser: who sent it, or `None` when
    /// it is to be answered with 403.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn own_form(
        &self,
        request: &Request<Bytes>,
        form: &Params,
        now: SystemTime,
    ) -> Result<Option<User>, StoreError> {
        let visit = self.visit(request.headers(), now).await?;
        if !self.is_ours(request, form, &visit, "account") {
            return Ok(None);
        }
        Ok(visit.session.map(|session| session.user))
    }

    /// What `user` has authorized, newest first: at most `limit` grants, beginning behind the one
    /// called `after`. An `after` that is not the user's counts as none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn grants(
        &self,
        user: &User,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Grant>, StoreError> {
        let after = match after {
            Some(grant_id) => self.store.grant(grant_id).await?,
            None => None,
        };
        let after = after.filter(|grant| grant.user.is(user));
        self.store.grants_of(&user.issuer, &user.subject, after.as_ref(), limit).await
    }

    /// Takes back a grant that `user` gave, for the account page. Returns it; `None`, and nothing
    /// changed, when it is not live or somebody else's.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the grant may then be revoked or not.
    pub async fn revoke_own_grant(
        &self,
        user: &User,
        grant_id: &str,
        now: SystemTime,
    ) -> Result<Option<Grant>, StoreError> {
        let grant = self.store.grant(grant_id).await?.filter(|grant| grant.user.is(user));
        let Some(grant) = grant else { return Ok(None) };
        Ok(self.revoke_grant(grant_id, now).await?.then_some(grant))
    }

    /// Signs the browser out that sent `headers`: ends its sign-in and adds to `answer` what removes
    /// its cookie. Tokens of clients are not concerned.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn sign_out(
        &self,
        headers: &HeaderMap,
        answer: &mut HeaderMap,
    ) -> Result<(), StoreError> {
        if let Some(cookie) = self.urls.cookies.read(headers, SESSION) {
            self.store.close_browser(&TokenHash::of(cookie)).await?;
        }
        answer.append(SET_COOKIE, self.urls.cookies.clear(SESSION));
        Ok(())
    }

    pub(crate) async fn visit(
        &self,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Visit, StoreError> {
        let cookies = self.urls.cookies;
        let nonce = cookies.read(headers, BROWSER).filter(|nonce| nonce.len() == 43);
        let session = match cookies.read(headers, SESSION) {
            Some(cookie) => self.store.browser(&TokenHash::of(cookie), UnixTime::of(now)).await?,
            None => None,
        };
        Ok(Visit {
            fresh: nonce.is_none(),
            nonce: nonce.map_or_else(|| self.minter.secret(""), Secret::new),
            session,
        })
    }

    /// The form token for `about`: good in this browser alone, and for whoever `visit` says is signed
    /// in.
    pub(crate) fn csrf(&self, visit: &Visit, about: &str) -> Secret {
        self.key.secret("", "form", &csrf_parts(visit, about))
    }

    /// Whether a form came from a page of ours in the same browser.
    pub(crate) fn is_ours(
        &self,
        request: &Request<Bytes>,
        form: &Params,
        visit: &Visit,
        about: &str,
    ) -> bool {
        let Ok(Some(token)) = form.one("csrf") else { return false };
        !visit.fresh
            && self.is_same_site(request.headers())
            && self.key.is(token, "form", &csrf_parts(visit, about))
    }

    /// What browsers say about where a request comes from. `Referrer-Policy: no-referrer` makes
    /// them send `Origin: null` from our own forms, so `null` is believed only next to a
    /// `Sec-Fetch-ServerUrls` that says the same origin; without either header the form token decides.
    fn is_same_site(&self, headers: &HeaderMap) -> bool {
        let mut sites = headers.get_all("sec-fetch-site").iter();
        let site = sites.next();
        if sites.next().is_some() || site.is_some_and(|site| site != "same-origin") {
            return false;
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) if origin == "null" => site.is_some(),
            (Some(origin), None) => origin == self.urls.origin.as_str(),
            (Some(_), Some(_)) => false,
        }
    }

    /// Whether the user came here on his own (a typed address, a link from another program) or
    /// from our own pages, and not from a page of somebody else.
    pub(crate) fn came_directly(headers: &HeaderMap) -> bool {
        let mut sites = headers.get_all("sec-fetch-site").iter();
        let (Some(site), None) = (sites.next(), sites.next()) else { return false };
        site == "none" || site == "same-origin"
    }

    /// Adds the browser's cookie to an answer if it has none.
    pub(crate) fn greet(&self, visit: &Visit, answer: Answer) -> Answer {
        if !visit.fresh {
            return answer;
        }
        answer.with(SET_COOKIE, self.urls.cookies.set(BROWSER, visit.nonce.expose(), BROWSER_AGE))
    }

    /// Signs `user` in: a new cookie at each sign-in, so that nobody can hand one out beforehand.
    /// Returns it with the `Set-Cookie` value.
    pub(crate) async fn sign_in(
        &self,
        user: &User,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<(Browser, http::HeaderValue), StoreError> {
        if let Some(old) = self.urls.cookies.read(headers, SESSION) {
            self.store.close_browser(&TokenHash::of(old)).await?;
        }
        let cookie = self.minter.secret("");
        let ttl = self.config.browser_ttl;
        let browser = Browser {
            cookie: cookie.hash(),
            user: user.clone(),
            expires: UnixTime::of(now).plus(ttl),
        };
        self.store.open_browser(browser.clone()).await?;
        Ok((browser, self.urls.cookies.set(SESSION, cookie.expose(), ttl)))
    }
}

fn csrf_parts<'a>(visit: &'a Visit, about: &'a str) -> [&'a [u8]; 3] {
    let session: &[u8] =
        visit.session.as_ref().map_or(&[], |session| session.cookie.as_bytes().as_slice());
    [visit.nonce.expose().as_bytes(), about.as_bytes(), session]
}
