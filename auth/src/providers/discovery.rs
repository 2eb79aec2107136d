//! What an OpenID provider says about itself (OpenID Connect Discovery 1.0).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use url::Url;

use super::{
    outgoing::{Outage, get, json},
    setup::{below, is_private_line, same_issuer},
};
use crate::{
    jwks::cached::{Cached, Policy},
    oauth::{Fetch, FetchLimits},
};

/// What a metadata document may cost. Large ones are about 10 KiB.
const LIMITS: FetchLimits = FetchLimits { max_bytes: 64 * 1024, timeout: Duration::from_secs(5) };

/// A provider that fails is asked after 10, 20, 40 and then every 60 seconds.
const POLICY: Policy = Policy {
    fresh: Duration::from_secs(3600),
    keep: Duration::from_secs(24 * 3600),
    pause: Duration::from_secs(10),
    max_pause: Duration::from_secs(60),
};

/// The metadata of one provider, kept for an hour, and for a day while it does not answer.
#[derive(Debug)]
pub(crate) struct Discovery {
    cached: Cached<Metadata>,
}

/// What is used of a metadata document; every address in it is fit for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) jwks_uri: Url,
    pub(crate) authorization_endpoint: Option<Url>,
    pub(crate) token_endpoint: Option<Url>,
    pub(crate) userinfo_endpoint: Option<Url>,
    /// How clients may show who they are; without a word, `client_secret_basic`.
    pub(crate) auth_methods: Option<Vec<String>>,
    /// It promises `iss` in every answer to an authorization request (RFC 9207 §3).
    pub(crate) sends_issuer: bool,
}

#[derive(Deserialize)]
struct Raw {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Discovery {
    /// The metadata of `issuer`, as it is spelled in the configuration, below `base`.
    pub(crate) fn new(issuer: &str, base: &Url, fetch: Arc<dyn Fetch>) -> Self {
        let address = below(base, "/.well-known/openid-configuration");
        let issuer = issuer.to_owned();
        let is_here = base.scheme() == "http";
        let cached = Cached::new(POLICY, move |_| {
            let (address, issuer) = (address.clone(), issuer.clone());
            let fetch = Arc::clone(&fetch);
            Box::pin(async move {
                let response = get(&*fetch, &address, None, "application/json", LIMITS).await?;
                Metadata::of(json(&response)?, &issuer, is_here)
            })
        });
        Self { cached }
    }

    pub(crate) async fn metadata(&self, now: SystemTime) -> Result<Arc<Metadata>, Outage> {
        self.cached.get(now).await
    }
}

impl Metadata {
    /// `is_here`: the operator wrote down that the issuer is on this machine, without TLS.
    fn of(raw: Raw, issuer: &str, is_here: bool) -> Result<Self, Outage> {
        // Discovery §4.3: whoever answers for somebody else could have his keys taken for theirs.
        if !same_issuer(&raw.issuer, issuer) {
            return Err(Outage::Contradiction("it names another issuer"));
        }
        let one = |text: String| match Url::parse(&text) {
            // A document from elsewhere must not send us, and with us a secret, to a port of this
            // machine.
            Ok(url) if is_private_line(&url) && (is_here || url.scheme() == "https") => Ok(url),
            _ => Err(Outage::Contradiction("it names an address that is not https")),
        };
        Ok(Self {
            jwks_uri: one(raw.jwks_uri)?,
            authorization_endpoint: raw.authorization_endpoint.map(one).transpose()?,
            token_endpoint: raw.token_endpoint.map(one).transpose()?,
            userinfo_endpoint: raw.userinfo_endpoint.map(one).transpose()?,
            auth_methods: raw.token_endpoint_auth_methods_supported,
            sends_issuer: raw.authorization_response_iss_parameter_supported,
            issuer: raw.issuer,
        })
    }
}
