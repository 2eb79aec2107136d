//! The plug point for ways to sign in.

use std::{error::Error, fmt, net::IpAddr, time::Duration, time::SystemTime};

use super::{Params, Secret, StoreError, TokenStanding, User};
use crate::{
    BoxFuture,
    admission::{Facts, Wanted},
};

/// Signs a person in.
///
/// A provider keeps nothing between [`begin`](Self::begin) and [`finish`](Self::finish): every
/// one-time value it needs is in the [`Attempt`], which is the same both times. Every
/// implementation runs `auth::testing::provider_contract`.
pub trait IdentityProvider: fmt::Debug + Send + Sync {
    /// The operator's name for it, unique among the providers of a server: lowercase letters, digits
    /// and hyphens. It is stable: part of `/callback/{name}`, of configuration and logs, and of stored
    /// data (users, credentials).
    fn name(&self) -> &str;

    /// What its button says, for example the forge's host name.
    fn label(&self) -> &str;

    /// Whether a sign-in leaves for the upstream and comes back to the callback address, which the
    /// upstream knows under one name of the broker. The default is yes; a provider that asks on our own
    /// page alone may say no.
    fn has_callback(&self) -> bool {
        true
    }

    /// Starts an attempt: where to send the browser, or what to ask here.
    ///
    /// # Errors
    ///
    /// [`SignInError`], of which `Unavailable` and `Misconfigured` make sense here.
    fn begin<'a>(
        &'a self,
        attempt: &'a Attempt,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Begin, SignInError>>;

    /// Ends an attempt with what came back: the query of the callback (its `state` was checked),
    /// or the fields of the form.
    ///
    /// # Errors
    ///
    /// [`SignInError`] says who must do something.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the attempt up.
    fn finish<'a>(
        &'a self,
        attempt: &'a Attempt,
        reply: &'a Params,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Identity, SignInError>>;

    /// Whether the person [`finish`](Self::finish) just named may still come in. Asked once the
    /// browser's sign-in is stored: whoever removes somebody and then ends the sign-ins finds this
    /// one, or was there first and is noticed here. The default, for providers that keep no
    /// accounts of their own, is yes.
    ///
    /// # Errors
    ///
    /// [`SignInError`], mostly of a store that does not answer; nobody is let in then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    fn confirm<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<bool, SignInError>> {
        let _ = identity;
        Box::pin(std::future::ready(Ok(true)))
    }

    /// Exchanges the refresh token of a credential it gave for a new credential. A provider that
    /// answers without a new refresh token lets the old one live on: the implementation then puts
    /// the old one in.
    ///
    /// # Errors
    ///
    /// [`RenewError`] says who must do something. The default renews nothing.
    ///
    /// # Cancel safety
    ///
    /// None: an upstream that counts refresh tokens may have spent this one. The caller runs it in a
    /// task of its own.
    fn renew<'a>(
        &'a self,
        refresh_token: &'a Secret,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<UpstreamCredential, RenewError>> {
        let _ = (refresh_token, now);
        Box::pin(std::future::ready(Err(RenewError::Unsupported)))
    }

    /// Asks the upstream once more who the user is to whom it gave `access_token`, and what `wanted`
    /// asks for: what it said at the sign-in is a day old, or the credential was renewed. The
    /// identity is without a credential. The default cannot ask, which is `None`: the user then has to
    /// sign in again every day, if the operator's rules go by more than ids.
    ///
    /// # Errors
    ///
    /// [`SignInError`], of which `Unavailable` is the usual one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    fn look_up<'a>(
        &'a self,
        access_token: &'a Secret,
        wanted: &'a Wanted,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<Identity>, SignInError>> {
        let _ = (access_token, wanted, now);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Asks the upstream whether it still accepts `access_token`, which it gave, and the account
    /// behind it. The vault asks after something failed with the token, at most once in 30 seconds.
    /// The answer must rest on what the upstream says of this token: a page, an outage and an
    /// answer of another shape are [`TokenStanding::Unknown`], which changes nothing. The default
    /// knows nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    fn standing<'a>(
        &'a self,
        access_token: &'a Secret,
        now: SystemTime,
    ) -> BoxFuture<'a, TokenStanding> {
        let _ = (access_token, now);
        let unknown = TokenStanding::Unknown("the provider cannot be asked".into());
        Box::pin(std::future::ready(unknown))
    }

    /// The rights that the operator configured and that `granted` does not contain, in the
    /// upstream's words. `granted` is a scope as this provider reported it (RFC 6749 §3.3). Order
    /// does not matter, and a right that contains another one counts for both. The default, for
    /// upstreams without scopes, is none.
    fn missing(&self, granted: &str) -> Vec<String> {
        let _ = granted;
        Vec::new()
    }

    /// Where a person withdraws at the upstream what was granted to the broker, so that the next
    /// sign-in is asked anew. `None` when the upstream has no such page.
    fn withdrawal(&self) -> Option<Withdrawal> {
        None
    }

    /// What the upstream says without a person: whether it is there, and whether it knows the
    /// broker's registration with the callback address `callback`. The default has nothing to tell.
    ///
    /// # Errors
    ///
    /// [`SignInError::Unavailable`], or [`SignInError::Misconfigured`] when no person could sign in.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    fn inspect<'a>(&'a self, callback: &'a str) -> BoxFuture<'a, Result<Inspection, SignInError>> {
        let _ = callback;
        Box::pin(std::future::ready(Ok(Inspection::default())))
    }
}

/// The upstream's own page on which a person withdraws a consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Its absolute address.
    pub address: String,
    /// Under which name the broker is listed there, if the operator wrote it down.
    pub application: Option<String>,
}

/// What an upstream says without a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What it is, for example `Forgejo 15.0.1`, if it says so.
    pub about: Option<String>,
    /// Whether the broker is registered as an application that keeps a secret. `false` has some
    /// upstreams ask the person at every sign-in; `None` when that cannot be told.
    pub confidential: Option<bool>,
}

/// One attempt to sign in. The values are unguessable, differ from attempt to attempt, and serve
/// once.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Where the upstream sends the browser back to: `{public_url}/callback/{name}`.
    pub callback: String,
    /// To be sent as `state`.
    pub state: Secret,
    /// To be sent as `nonce` where the upstream knows that (OpenID Connect).
    pub nonce: Secret,
    /// The PKCE verifier towards the upstream, 43 characters.
    pub code_verifier: Secret,
    /// Who asks, for backing off.
    pub peer: IpAddr,
    /// What the operator's rules want to know of the user.
    pub wanted: Wanted,
}

/// How an attempt begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Send the browser to this absolute address.
    Redirect(String),
    /// Ask for these fields on our own page.
    Form(Vec<Field>),
}

/// One field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Name of the parameter that comes back. Not one of `t`, `csrf`, `provider` and `step`, which
    /// are the form's own.
    pub name: String,
    /// What stands beside it.
    pub label: String,
    /// What it takes.
    pub kind: FieldKind,
    /// The value of the `autocomplete` attribute, for password managers.
    pub autocomplete: &'static str,
}

/// What a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Plain text.
    Text,
    /// Text that is not shown.
    Password,
}

/// Who signed in, and with what.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who vouches; with `subject` the key of the user.
    pub issuer: String,
    /// Immutable and unique under the issuer. Never a login or a mail address: those change hands.
    pub subject: String,
    /// What people call the user.
    pub display_name: String,
    /// What the user's own child will act with.
    pub credential: Option<UpstreamCredential>,
    /// What the upstream says of the user, as far as [`Attempt::wanted`] asks for it.
    pub facts: Facts,
}

/// The user's own credential at the upstream.
#[derive(Debug, Clone)]
pub struct UpstreamCredential {
    /// The access token.
    pub access_token: Secret,
    /// What it is renewed with.
    pub refresh_token: Option<Secret>,
    /// When the access token ends, if the upstream said so.
    pub expires: Option<SystemTime>,
    /// What the upstream granted, if it said so.
    pub scope: Option<String>,
    /// The user's login there. For display and environment, never a key.
    pub username: Option<String>,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The user said no upstream.
    #[error("the user declined")]
    Declined,
    /// Wrong name or password; the form is shown again.
    #[error("the credentials are wrong")]
    WrongCredentials,
    /// Too many attempts; the form is shown again.
    #[error("too many attempts")]
    TooMany {
        /// When the next one is looked at.
        retry_after: Duration,
    },
    /// The reply is not what the upstream sends: forged, mixed up, or replayed.
    #[error("the reply of the identity provider is not acceptable")]
    Unacceptable(#[source] Box<dyn Error + Send + Sync>),
    /// The user is known and may not come in.
    #[error("the user is not admitted")]
    NotAdmitted,
    /// The upstream does not let the account in.
    #[error("the upstream refuses the account: {message}")]
    AccountRefused {
        /// As in [`TokenStanding::Refused`].
        message: String,
    },
    /// The user granted the broker something else before, and the upstream neither asks again nor
    /// grants what is configured now: the user has to withdraw the earlier consent there.
    #[error("an earlier consent at the upstream has another scope")]
    EarlierConsent,
    /// The upstream does not answer; trying later may help.
    #[error("the identity provider is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The operator has to change something.
    #[error("the identity provider is misconfigured")]
    Misconfigured(#[source] Box<dyn Error + Send + Sync>),
    /// Our own store does not answer.
    #[error("the store of the identity provider is unavailable")]
    Store(#[from] StoreError),
}

/// Why a credential was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The upstream does not take the refresh token any more: the user has to sign in again.
    #[error("the upstream refuses the refresh token")]
    SignInAgain(#[source] Box<dyn Error + Send + Sync>),
    /// The upstream does not take us for who we are: the operator has to change something. The
    /// credential is not to blame and stays.
    #[error("the identity provider is misconfigured")]
    Misconfigured(#[source] Box<dyn Error + Send + Sync>),
    /// The upstream does not answer, or not sensibly; trying later may help.
    #[error("the identity provider is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The provider renews nothing.
    #[error("the identity provider renews no credentials")]
    Unsupported,
}

/// Takes charge of upstream credentials that sign-ins yield.
pub trait CredentialSink: fmt::Debug + Send + Sync {
    /// Keeps `credential` for the user (`issuer`, `subject`) of `provider`, durably, in the place of an
    /// earlier one. Called before the client gets its code.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it could not be kept; the sign-in then fails as temporary.
    fn keep<'a>(
        &'a self,
        provider: &'a str,
        identity: &'a Identity,
        credential: &'a UpstreamCredential,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes what [`keep`](Self::keep) kept, because the person was blocked meanwhile. The default
    /// removes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it could not be removed.
    fn forget<'a>(
        &'a self,
        provider: &'a str,
        identity: &'a Identity,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let _ = (provider, identity);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether only a new sign-in at the upstream gives `user` back what the server `resource` (its
    /// canonical address) needs, because the upstream takes the credential no more. As long as that
    /// is so, refresh tokens for that server are refused and a browser that is signed in here is
    /// sent to the upstream all the same; anything less would let a client go round in circles.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when that cannot be told now.
    fn wants_sign_in<'a>(
        &'a self,
        user: &'a User,
        resource: &'a str,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let _ = (user, resource, now);
        Box::pin(std::future::ready(Ok(false)))
    }

    /// The access token that `user` has at the provider, for asking who that is. The default has
    /// none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when that cannot be told now.
    fn access_token<'a>(
        &'a self,
        user: &'a User,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<Secret>, StoreError>> {
        let _ = (user, now);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Why the upstream does not let the account of `user` in, in its own words, if that is known or
    /// can be found out now. As long as it is so, a browser in which `user` is signed in authorizes
    /// nothing. The default knows of nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when that cannot be told now.
    fn account_refused<'a>(
        &'a self,
        user: &'a User,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        let _ = (user, now);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// The rights that the operator configured and that the credential of `user` lacks, without those
    /// that `user` chose to go without. Asked after each sign-in, once the credential is kept. The
    /// default knows of none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when that cannot be told now.
    fn missing_rights<'a>(
        &'a self,
        user: &'a User,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        let _ = user;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Remembers, durably, that `user` chose to go on without the rights that are missing now.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it could not be kept; the user is then asked again.
    fn accept_missing<'a>(&'a self, user: &'a User) -> BoxFuture<'a, Result<(), StoreError>> {
        let _ = user;
        Box::pin(std::future::ready(Ok(())))
    }
}
