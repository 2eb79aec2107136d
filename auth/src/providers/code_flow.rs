//! The authorization-code flow (RFC 6749 §4.1 with PKCE, RFC 7636), written once for every upstream.

use std::{error::Error, fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use oauth2::AuthType;
use serde::de::DeserializeOwned;
use url::Url;

use super::{
    callback,
    exchange::{self, Exchange, Judge, Tokens},
    outgoing::{LIMITS, Outage, get, is_temporary, json},
    setup::{self, SetupError},
};
use crate::{
    BoxFuture,
    admission::{Facts, Wanted},
    oauth::{
        Attempt, Begin, Fetch, Identity, IdentityProvider, Inspection, Params, RenewError, Secret,
        SignInError, TokenStanding, UpstreamCredential, Withdrawal,
    },
};

/// Signs people in at an upstream that speaks OAuth. What one kind of upstream does in its own way
/// is the `D`.
pub struct CodeFlowProvider<D> {
    name: String,
    label: String,
    scopes: Vec<String>,
    exchange: Exchange,
    pub(super) dialect: D,
}

/// Who the upstream says has signed in.
pub(crate) struct Person {
    pub(crate) subject: String,
    pub(crate) name: Option<String>,
    pub(crate) username: Option<String>,
    /// What it says besides, as far as that is wanted.
    pub(crate) facts: Facts,
}

impl Person {
    /// Empty names are none.
    pub(crate) fn new(
        subject: String,
        [name, username]: [Option<String>; 2],
        facts: Facts,
    ) -> Self {
        let filled = |name: Option<String>| name.filter(|name| !name.is_empty());
        Self { subject, name: filled(name), username: filled(username), facts }
    }

    fn identity(self, issuer: &str) -> Identity {
        let display_name = self.name.or_else(|| self.username.clone());
        let mut facts = self.facts;
        facts.login = self.username;
        Identity {
            issuer: issuer.to_owned(),
            display_name: display_name.unwrap_or_else(|| self.subject.clone()),
            subject: self.subject,
            credential: None,
            facts,
        }
    }
}

/// What differs from upstream to upstream. An [`Outage`] that is a contradiction is the operator's
/// to mend; after any other, trying later may help.
pub(crate) trait Dialect: Send + Sync {
    /// Whether it knows `nonce` (OpenID Connect Core §3.1.2.1).
    const TAKES_NONCE: bool = false;
    /// Who is to blame for a refused code, and for a refused refresh token.
    const JUDGES: (Judge, Judge) = (exchange::by_the_book, exchange::by_the_book);

    /// Who vouches for its users.
    fn issuer(&self) -> &str;

    /// Where browsers are sent.
    fn authorization(&self, now: SystemTime) -> impl Future<Output = Result<Url, Outage>> + Send;

    /// Where tokens are, and how the client shows there who it is.
    fn token(
        &self,
        exchange: &Exchange,
        now: SystemTime,
    ) -> impl Future<Output = Result<(Url, AuthType), Outage>> + Send;

    /// The code that a callback brings.
    fn code<'r>(
        &'r self,
        attempt: &'r Attempt,
        reply: &'r Params,
        _now: SystemTime,
    ) -> impl Future<Output = Result<&'r str, SignInError>> + Send {
        std::future::ready(callback::code(attempt, reply))
    }

    /// Whose tokens these are.
    fn person(
        &self,
        exchange: &Exchange,
        tokens: &Tokens,
        attempt: &Attempt,
        now: SystemTime,
    ) -> impl Future<Output = Result<Person, SignInError>> + Send;

    /// Who the bearer of `access_token` is, for asking anew; `None` where that cannot be asked.
    fn look_up(
        &self,
        exchange: &Exchange,
        access_token: &Secret,
        wanted: &Wanted,
        now: SystemTime,
    ) -> impl Future<Output = Result<Option<Person>, SignInError>> + Send;

    /// The scope that `tokens` have, if the upstream says so.
    fn granted(
        &self,
        _exchange: &Exchange,
        tokens: &Tokens,
    ) -> impl Future<Output = Option<String>> + Send {
        std::future::ready(tokens.scope.clone())
    }

    /// As [`IdentityProvider::standing`]; an outage is no word on the token.
    fn standing(
        &self,
        exchange: &Exchange,
        access_token: &Secret,
        now: SystemTime,
    ) -> impl Future<Output = Result<TokenStanding, Outage>> + Send;

    /// The words of `asked` that `granted` does not contain.
    fn missing(&self, asked: &[String], granted: &str) -> Vec<String>;

    /// As [`IdentityProvider::withdrawal`].
    fn withdrawal(&self, _exchange: &Exchange) -> Option<Withdrawal> {
        None
    }

    /// As [`IdentityProvider::inspect`].
    fn inspect(
        &self,
        _exchange: &Exchange,
        _callback: &str,
    ) -> impl Future<Output = Result<Inspection, SignInError>> + Send {
        std::future::ready(Ok(Inspection::default()))
    }
}

impl<D> CodeFlowProvider<D> {
    /// `client` is its ID at the upstream, and its secret; a client without one is public and has
    /// PKCE alone.
    pub(crate) fn assemble(
        (name, label): (String, String),
        (client_id, client_secret): (String, Option<Secret>),
        scopes: Vec<String>,
        dialect: D,
        fetch: Arc<dyn Fetch>,
    ) -> Result<Self, SetupError> {
        if let Some(secret) = &client_secret {
            setup::filled("the client secret", secret.expose().to_owned())?;
        }
        let client_id = setup::filled("the client id", client_id)?;
        Ok(Self {
            name: setup::name(name)?,
            label: setup::filled("the label", label)?,
            scopes,
            exchange: Exchange { fetch, client_id, client_secret },
            dialect,
        })
    }
}

impl<D: Dialect> IdentityProvider for CodeFlowProvider<D> {
    fn name(&self) -> &str {
        &self.name
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn begin<'a>(
        &'a self,
        attempt: &'a Attempt,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Begin, SignInError>> {
        Box::pin(async move {
            let endpoint = self.dialect.authorization(now).await.map_err(sign_in_failed)?;
            let address = self.exchange.authorize(&endpoint, attempt, &self.scopes, D::TAKES_NONCE);
            address.map(Begin::Redirect)
        })
    }

    fn finish<'a>(
        &'a self,
        attempt: &'a Attempt,
        reply: &'a Params,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Identity, SignInError>> {
        let (exchange, dialect) = (&self.exchange, &self.dialect);
        Box::pin(async move {
            let code = dialect.code(attempt, reply, now).await?;
            let (endpoint, auth) = dialect.token(exchange, now).await.map_err(sign_in_failed)?;
            let tokens = exchange.code(&endpoint, auth, attempt, code).await;
            let mut tokens = tokens.map_err(|error| error.sign_in(D::JUDGES.0))?;
            let person = dialect.person(exchange, &tokens, attempt, now).await?;
            tokens.scope = dialect.granted(exchange, &tokens).await;
            let username = person.username.clone();
            let credential = tokens.credential(now, username, None);
            Ok(Identity { credential: Some(credential), ..person.identity(dialect.issuer()) })
        })
    }

    fn look_up<'a>(
        &'a self,
        access_token: &'a Secret,
        wanted: &'a Wanted,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<Identity>, SignInError>> {
        Box::pin(async move {
            let (exchange, dialect) = (&self.exchange, &self.dialect);
            let person = dialect.look_up(exchange, access_token, wanted, now).await?;
            Ok(person.map(|person| person.identity(dialect.issuer())))
        })
    }

    fn renew<'a>(
        &'a self,
        refresh_token: &'a Secret,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<UpstreamCredential, RenewError>> {
        Box::pin(async move {
            let endpoint = self.dialect.token(&self.exchange, now).await;
            let (endpoint, auth) = endpoint.map_err(|outage| match outage {
                Outage::Contradiction(_) => RenewError::Misconfigured(Box::new(outage)),
                _ => RenewError::Unavailable(Box::new(outage)),
            })?;
            let tokens = self.exchange.refresh(&endpoint, auth, refresh_token).await;
            let mut tokens = tokens.map_err(|error| error.renew(D::JUDGES.1))?;
            tokens.scope = self.dialect.granted(&self.exchange, &tokens).await;
            Ok(tokens.credential(now, None, Some(refresh_token)))
        })
    }

    fn standing<'a>(
        &'a self,
        access_token: &'a Secret,
        now: SystemTime,
    ) -> BoxFuture<'a, TokenStanding> {
        Box::pin(async move {
            let judged = self.dialect.standing(&self.exchange, access_token, now).await;
            judged.unwrap_or_else(|outage| TokenStanding::Unknown(Box::new(outage)))
        })
    }

    fn missing(&self, granted: &str) -> Vec<String> {
        self.dialect.missing(&self.scopes, granted)
    }

    fn withdrawal(&self) -> Option<Withdrawal> {
        self.dialect.withdrawal(&self.exchange)
    }

    fn inspect<'a>(&'a self, callback: &'a str) -> BoxFuture<'a, Result<Inspection, SignInError>> {
        Box::pin(self.dialect.inspect(&self.exchange, callback))
    }
}

impl<D: Dialect> fmt::Debug for CodeFlowProvider<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeFlowProvider")
            .field("name", &self.name)
            .field("issuer", &self.dialect.issuer())
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// Asks `url` for the person that a fresh token stands for. `special` reads a refusal that means
    /// something of its own at this upstream.
    pub(crate) async fn whose<T: DeserializeOwned>(
        &self,
        url: &Url,
        access_token: &Secret,
        accept: &'static str,
        special: fn(&Response<Bytes>) -> Option<SignInError>,
    ) -> Result<T, SignInError> {
        let answer = get(&*self.fetch, url, Some(access_token), accept, LIMITS).await;
        let answer = answer.map_err(sign_in_failed)?;
        match answer.status() {
            StatusCode::OK => json(&answer).map_err(sign_in_failed),
            // The grant was taken back in the very moment.
            StatusCode::UNAUTHORIZED => {
                Err(unacceptable("the upstream refuses the token it just gave"))
            }
            status => Err(special(&answer).unwrap_or_else(|| {
                let cause: Box<dyn Error + Send + Sync> = Box::new(Outage::Status(status));
                if is_temporary(status) {
                    SignInError::Unavailable(cause)
                } else {
                    SignInError::Misconfigured(cause)
                }
            })),
        }
    }
}

pub(crate) fn sign_in_failed(outage: Outage) -> SignInError {
    match outage {
        Outage::Contradiction(_) => SignInError::Misconfigured(Box::new(outage)),
        _ => SignInError::Unavailable(Box::new(outage)),
    }
}

pub(crate) fn unacceptable(why: &'static str) -> SignInError {
    SignInError::Unacceptable(why.into())
}
