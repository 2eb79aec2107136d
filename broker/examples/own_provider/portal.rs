//! A way to sign in that the broker knows nothing about: a gate keeper's portal, which sends the
//! browser back with a ticket, and says once whose ticket it is.

use std::{
    fmt,
    future::ready,
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::{
    BoxFuture, SetupError,
    oauth::{Attempt, Begin, Fetch, FetchLimits, Identity, IdentityProvider, Params, SignInError},
};
use broker::config::BuildContext;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Deserialize;

broker::settings! {
    /// Signing in at a gate keeper's portal.
    pub(crate) struct PortalTable {
        /// The portal's address, without a slash at its end.
        pub(crate) url: String = address().needed().example(r#""https://portal.example.org""#),
        /// What its button on the sign-in page says.
        pub(crate) label: Option<String> = text().computed("the portal").example(r#""the gate""#),
    }
}

/// Signs people in at the portal.
pub(crate) struct Portal {
    /// The name of its table: two portals may be configured at once.
    name: String,
    label: String,
    /// Without a trailing slash; it is the issuer of its users.
    base: String,
    fetch: Arc<dyn Fetch>,
}

/// What the portal says about a ticket.
#[derive(Deserialize)]
struct Visitor {
    /// A number that is never given to anybody else.
    id: u64,
    name: String,
}

impl Portal {
    /// What the broker calls for each table of this kind.
    pub(crate) fn build(
        context: BuildContext<'_, PortalTable>,
    ) -> Result<Arc<dyn IdentityProvider>, SetupError> {
        Ok(Arc::new(Self {
            name: context.name.to_owned(),
            label: context.settings.label.clone().unwrap_or_else(|| "the portal".to_owned()),
            base: context.settings.url.clone(),
            fetch: context.fetch,
        }))
    }

    #[cfg(test)]
    pub(crate) fn at(base: &str, fetch: Arc<dyn Fetch>) -> Self {
        Self { name: "portal".into(), label: "the portal".into(), base: base.into(), fetch }
    }

    /// A visitor's answer is a line; a portal that is slower than this is down.
    const LIMITS: FetchLimits =
        FetchLimits { max_bytes: 4 * 1024, timeout: Duration::from_secs(5) };

    async fn visitor(&self, ticket: &str) -> Result<Visitor, SignInError> {
        // The ticket comes from a browser: letters and digits, or it is not one of the portal's.
        if ticket.is_empty() || !ticket.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(SignInError::Unacceptable("that is no ticket".into()));
        }
        let request = Request::get(format!("{}/tickets/{ticket}", self.base));
        let request = request.body(Bytes::new());
        let request = request.map_err(|error| SignInError::Misconfigured(error.into()))?;
        let answer = self.fetch.fetch(request, Self::LIMITS).await;
        let answer = answer.map_err(|error| SignInError::Unavailable(error.into()))?;
        match answer.status() {
            StatusCode::OK => serde_json::from_slice(answer.body())
                // The answer is not part of the error: it would end in the log.
                .map_err(|_| SignInError::Unavailable("the portal's answer is no visitor".into())),
            StatusCode::NOT_FOUND => Err(SignInError::Unacceptable("an unknown ticket".into())),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(SignInError::Unavailable(format!("status {status}").into()))
            }
            status => Err(SignInError::Misconfigured(format!("status {status}").into())),
        }
    }

    async fn sign_in(&self, reply: &Params) -> Result<Identity, SignInError> {
        let one = |name| reply.one(name).map_err(|error| SignInError::Unacceptable(error.into()));
        if one("declined")?.is_some() {
            return Err(SignInError::Declined);
        }
        let ticket = one("ticket")?;
        let ticket = ticket.ok_or_else(|| SignInError::Unacceptable("no ticket".into()))?;
        let visitor = self.visitor(ticket).await?;
        Ok(Identity {
            issuer: self.base.clone(),
            // Never the name: names change hands.
            subject: visitor.id.to_string(),
            display_name: visitor.name,
            // The portal gives nothing that a child could act with.
            facts: auth::admission::Facts::default(),
            credential: None,
        })
    }
}

impl IdentityProvider for Portal {
    fn name(&self) -> &str {
        &self.name
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn begin<'a>(
        &'a self,
        attempt: &'a Attempt,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Begin, SignInError>> {
        // The callback is the broker's own and the state is made of URL-safe characters, but an
        // address is still put together by something that knows how.
        let query = [("return_to", attempt.callback.as_str()), ("state", attempt.state.expose())];
        let query: Vec<_> =
            query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let address = format!("{}/enter?{}", self.base, query.join("&"));
        Box::pin(ready(Ok(Begin::Redirect(address))))
    }

    fn finish<'a>(
        &'a self,
        _attempt: &'a Attempt,
        reply: &'a Params,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Identity, SignInError>> {
        Box::pin(self.sign_in(reply))
    }
}

/// `Debug` ends up in logs: what names the provider, and nothing it holds.
impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portal").field("base", &self.base).finish_non_exhaustive()
    }
}

/// Everything but RFC 3986's unreserved characters, in percent.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
