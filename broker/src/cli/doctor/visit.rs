//! The way itself: which step comes next, and what it needs of those before.

use std::time::Duration;

use auth::Bearer;
use http::{HeaderMap, HeaderValue, header};
use url::Url;

use super::{
    callback::Callback,
    challenge::{self, Challenge},
    compare::{is_open, same_origin},
    documents,
    messages::{Posted, Reply, initialize, post},
    outcome::{Fault, Outcome},
    registration::{self, Client},
    report::{Report, Step},
    resource::{self, Resource},
    server::{self, Server},
    session,
    sign_in::{self, About, Secrets, Tokens},
    trouble::unreachable,
    wire::Wire,
};

const EARLIER: &str = "an earlier step fails";

/// What the caller wants.
#[derive(Debug)]
pub(super) struct Manner {
    /// Instead of signing in.
    pub(super) token: Option<Bearer>,
    /// Instead of registering.
    pub(super) client_id: Option<String>,
    /// How long a person has.
    pub(super) sign_in: Duration,
    /// How soon a stream must begin.
    pub(super) first_byte: Duration,
}

/// One run.
pub(super) struct Visit<'a> {
    wire: Wire,
    url: Url,
    /// The address as it was given: some compare bytes.
    given: String,
    manner: Manner,
    /// Asks a person to open an address; `None` when nobody is there.
    invite: Option<&'a dyn Fn(&Url)>,
    report: Report,
}

/// What was made at the authorization server, to be taken back.
struct SignedIn {
    server: Server,
    client: Client,
    tokens: Tokens,
}

/// Why the rest was not checked.
type Stopped = &'static str;

impl<'a> Visit<'a> {
    pub(super) fn new(
        wire: Wire,
        url: Url,
        given: String,
        manner: Manner,
        invite: Option<&'a dyn Fn(&Url)>,
    ) -> Self {
        let report = Report::new(url.to_string());
        Self { wire, url, given, manner, invite, report }
    }

    /// Goes as far as it gets.
    pub(super) async fn report(mut self) -> Report {
        let stopped = self.go().await.err().unwrap_or(EARLIER);
        self.report.close(stopped)
    }

    async fn go(&mut self) -> Result<(), Stopped> {
        let knocked = self.knock().await;
        self.report.take(Step::Address, knocked).ok_or(EARLIER)?;
        let challenged = self.challenge().await;
        let challenge = self.report.take(Step::Challenge, challenged).ok_or(EARLIER)?;
        let (metadata, scope) = match challenge {
            Challenge::Open(reply) => {
                for step in [
                    Step::ResourceMetadata,
                    Step::ServerMetadata,
                    Step::Registration,
                    Step::SignIn,
                    Step::Token,
                ] {
                    let why = "not needed: the endpoint is open";
                    self.report.take(step, Outcome::<()>::not_checked(why));
                }
                let credentials = HeaderMap::new();
                self.session(&credentials, Some(reply), None).await;
                return Ok(());
            }
            Challenge::SignIn { metadata, scope } => (metadata, scope),
        };
        let has_token = self.manner.token.is_some();
        let examined =
            resource::examine(&self.wire, &self.url, &self.given, metadata.as_ref(), has_token)
                .await;
        let absent = examined.faults.is_empty();
        let resource = self.report.take(Step::ResourceMetadata, examined);
        let server = match &resource {
            Some(resource) => {
                let examined = server::examine(&self.wire, &resource.issuer).await;
                self.report.take(Step::ServerMetadata, examined)
            }
            None => None,
        };
        if let Some(token) = &self.manner.token {
            let credentials = bearer(token);
            for step in [Step::Registration, Step::SignIn, Step::Token] {
                let why = "not needed: a token was given";
                self.report.take(step, Outcome::<()>::not_checked(why));
            }
            if resource.is_none() && absent {
                let why = "the endpoint names no authorization server";
                self.report.take(Step::ServerMetadata, Outcome::<()>::not_checked(why));
            }
            self.session(&credentials, None, None).await;
            return Ok(());
        }
        let (resource, server) = (resource.ok_or(EARLIER)?, server.ok_or(EARLIER)?);
        let signed_in = self.sign_in(resource, server, scope).await?;
        let credentials = bearer(&signed_in.tokens.access);
        self.session(&credentials, None, Some(signed_in)).await;
        Ok(())
    }

    async fn knock(&self) -> Outcome<()> {
        match self.wire.knock(&self.url).await {
            Err(error) => unreachable(&self.url, &error).into(),
            Ok(address) => {
                let tls = if self.url.scheme() == "https" { ", TLS" } else { "" };
                let mut notes = Vec::new();
                if is_open(&self.url) {
                    notes.push(
                        "plain http to another machine: tokens can be read on their way".into(),
                    );
                }
                Outcome::ok((), format!("{address}{tls}")).with(Vec::new(), notes)
            }
        }
    }

    async fn challenge(&self) -> Outcome<Challenge> {
        match post(&self.wire, &self.url, &HeaderMap::new(), &initialize()).await {
            Ok(Posted::Reply(reply)) => {
                let note = "everybody who reaches this address may use it".to_owned();
                Outcome::ok(Challenge::Open(reply), "open: no sign-in").with(Vec::new(), vec![note])
            }
            Ok(Posted::Other(answer)) => {
                challenge::judge(&self.url, &answer, self.manner.token.is_some())
            }
            Err(fault) => fault.into(),
        }
    }

    async fn sign_in(
        &mut self,
        resource: Resource,
        server: Server,
        scope: Option<String>,
    ) -> Result<SignedIn, Stopped> {
        let callback = match Callback::listen().await {
            Ok(callback) => callback,
            Err(error) => {
                let what =
                    format!("no port of this machine for the browser to return to ({error})");
                let fault = Fault::new(what, "use --token-file instead");
                self.report.take(Step::SignIn, Outcome::<()>::fails(fault));
                return Err(EARLIER);
            }
        };
        let given = self.manner.client_id.as_deref();
        let examined = registration::examine(&self.wire, &server, given, callback.redirect()).await;
        let examined = if same_origin(&server.authorize, &self.url) {
            let (fault, note) = documents::examine(&self.wire, &server, given).await;
            examined.with(fault.into_iter().collect(), note.into_iter().collect())
        } else {
            // Somebody else's server is asked for nothing without need.
            examined
        };
        let checked = examined.faults.is_empty();
        let client = self.report.take(Step::Registration, examined);
        let client =
            client.ok_or(if checked { "there is no client to sign in with" } else { EARLIER })?;
        let Some(invite) = self.invite else {
            let left = client.remove(&self.wire).await;
            let why = "there is no terminal to sign in at; give a token with --token-file";
            let notes = left.into_iter().collect();
            self.report.take(Step::SignIn, Outcome::<()>::not_checked(why).with(Vec::new(), notes));
            return Err("no one signed in");
        };
        let secrets = match Secrets::mint() {
            Ok(secrets) => secrets,
            Err(error) => {
                let what = format!("no randomness from the operating system ({error})");
                let fault = Fault::new(what, "this machine cannot do cryptography");
                self.report.take(Step::SignIn, Outcome::<()>::fails(fault));
                return Err(EARLIER);
            }
        };
        let scope = scope.as_deref().or(resource.scopes.as_deref());
        let about = About { resource: &resource.resource, scope };
        let person = (invite, self.manner.sign_in);
        let code = sign_in::code(&server, &client, &callback, &secrets, about, person).await;
        let Some(code) = self.report.take(Step::SignIn, code) else {
            let _ = client.remove(&self.wire).await;
            return Err(EARLIER);
        };
        let what = (code.as_str(), resource.resource.as_str());
        let tokens = sign_in::token(&self.wire, &server, &client, &callback, &secrets, what).await;
        let Some(tokens) = self.report.take(Step::Token, tokens) else {
            let _ = client.remove(&self.wire).await;
            return Err(EARLIER);
        };
        Ok(SignedIn { server, client, tokens })
    }

    async fn session(
        &mut self,
        credentials: &HeaderMap,
        reply: Option<Reply>,
        signed_in: Option<SignedIn>,
    ) {
        let opened = session::open(&self.wire, &self.url, credentials, reply).await;
        let session = self.report.take(Step::Initialize, opened);
        let mut ended = Outcome::not_checked(EARLIER);
        if let Some(session) = session {
            let tools = session.tools(&self.wire, &self.url).await;
            self.report.take(Step::Tools, tools);
            let stream = session.stream(&self.wire, &self.url, self.manner.first_byte).await;
            self.report.take(Step::Stream, stream);
            ended = session.end(&self.wire, &self.url).await;
        }
        // What was made is taken back, also after a failure.
        if let Some(SignedIn { server, client, tokens }) = signed_in {
            ended.notes.push(sign_in::revoke(&self.wire, &server, &client, &tokens).await);
            ended.notes.extend(client.remove(&self.wire).await);
        }
        self.report.take(Step::End, ended);
    }
}

fn bearer(token: &Bearer) -> HeaderMap {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .expect("a bearer token is visible ASCII");
    value.set_sensitive(true);
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}
