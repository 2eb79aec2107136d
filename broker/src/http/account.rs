//! A user's own page: what has access, what runs, with which credentials, and how to end that.

use std::time::SystemTime;

use auth::{
    UnixTime,
    oauth::{ErrorPage, Page, Params, StoreError, User, UserView},
    upstream::{Connection, ConnectionState as State, CredentialKey, CredentialRealm},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use session::{EndError, RecordKey, RecordsError, Selection, StopReason};
use tokio::time::Instant;
use tracing::{error, info};

use crate::{
    compose::{app::App, sign_in_ui::SignInUi},
    config::Upstream,
    error_chain::error_chain,
    pages::{
        self, AccountAction, AccountPage, ClientGrant, ConnectionAction, ConnectionState,
        ConnectionView, Notice, RefusedRight, ServerTokenView, SessionState, SessionView,
    },
    sessions::registry::Sessions,
};

/// Its path.
pub(super) const PATH: &str = "/account";

/// How many applications are on one page; the others are behind a link.
const PAGE: usize = 50;

/// More sessions are not shown to one person.
const MAX_SHOWN: usize = 1_000;

impl SignInUi {
    /// `GET` shows the page, `POST` does what one of its forms asks for and shows it again.
    pub(super) async fn account(
        &self,
        app: &App,
        request: &Request<Bytes>,
        now: SystemTime,
    ) -> Response<Bytes> {
        let answered = match *request.method() {
            Method::GET | Method::HEAD => {
                let query = Params::parse(request.uri().query().unwrap_or_default().as_bytes());
                let after = query.one("after").ok().flatten();
                self.show(app, request.headers(), (None, after), now).await
            }
            Method::POST => self.act(app, request, now).await,
            _ => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                let allow = HeaderValue::from_static("GET, POST");
                response.headers_mut().insert(header::ALLOW, allow);
                return response;
            }
        };
        answered.unwrap_or_else(|error| self.store_down(&error))
    }

    async fn show(
        &self,
        app: &App,
        headers: &HeaderMap,
        (notice, after): (Option<Notice>, Option<&str>),
        now: SystemTime,
    ) -> Result<Response<Bytes>, StoreError> {
        let Some(signed_in) = self.server.signed_in(headers, now).await? else {
            return Ok(see_other(&format!("/login?next={PATH}")));
        };
        let user = &signed_in.user;
        let connections = self.vault.connections(&user.issuer, &user.subject, now).await?;
        let (clients, more_clients) = self.clients(user, after).await?;
        let lacking = |realm: &CredentialRealm| {
            let (issuer, subject) = (user.issuer.clone(), user.subject.clone());
            let key = CredentialKey { realm: realm.clone(), issuer, subject };
            let rights = app.lacking_rights.of(&key, now).into_iter();
            rights
                .map(|own| RefusedRight { name: own.name, times: own.refused })
                .collect::<Vec<_>>()
        };
        let page = AccountPage {
            user: UserView {
                display_name: user.display_name.clone(),
                provider: self.label(&user.provider),
            },
            csrf: signed_in.csrf.clone(),
            now: UnixTime::of(now),
            notice,
            clients,
            more_clients,
            sessions: sessions_of(&app.sessions, user, now).await.map_err(StoreError::new)?,
            user_tokens: self.user_tokens(app, &connections, &lacking),
            connections: connections
                .into_iter()
                .filter_map(|own| self.connection(own, user, &lacking))
                .collect(),
        };
        Ok(pages::response(StatusCode::OK, self.pages.account(&page)))
    }

    /// One page of applications, and what the next page begins behind, if there is one.
    async fn clients(
        &self,
        user: &User,
        after: Option<&str>,
    ) -> Result<(Vec<ClientGrant>, Option<String>), StoreError> {
        let mut grants = self.server.grants(user, after, PAGE + 1).await?;
        let is_whole = grants.len() <= PAGE;
        grants.truncate(PAGE);
        let next = grants.last().filter(|_| !is_whole).map(|last| last.grant_id.clone());
        let view = grants.into_iter().map(|grant| ClientGrant {
            server: self.titles.get(&grant.resource).cloned().unwrap_or(grant.resource),
            grant_id: grant.grant_id,
            client: grant.client_name,
            scope: grant.scope,
            since: grant.created,
            refreshed: grant.refreshed,
        });
        Ok((view.collect(), next))
    }

    /// What the page shows of a connection to an identity provider.
    fn connection(
        &self,
        own: Connection,
        user: &User,
        lacking: &dyn Fn(&CredentialRealm) -> Vec<RefusedRight>,
    ) -> Option<ConnectionView> {
        let lacking = lacking(&own.realm);
        let CredentialRealm::Provider(provider) = own.realm else { return None };
        let (state, expires) = match own.state {
            State::Fine { expires, renews } => (ConnectionState::Good, expires.filter(|_| !renews)),
            State::SignInAgain { works_until } => (ConnectionState::SignInAgain, works_until),
            State::Unreadable => (ConnectionState::SignInAgain, None),
        };
        let mut actions = Vec::new();
        let is_fine = state == ConnectionState::Good && own.missing.is_empty();
        if !is_fine && provider == user.provider {
            actions.push(ConnectionAction::SignInAgain);
        }
        actions.push(ConnectionAction::Remove);
        let withdrawal = self.withdrawals.get(&provider).cloned();
        Some(ConnectionView {
            label: self.label(&provider),
            username: own.username.unwrap_or_else(|| user.display_name.clone()),
            provider,
            state,
            expires: expires.map(UnixTime::of),
            refused: own.account_refused,
            missing: own.missing,
            lacking,
            withdrawal,
            actions,
        })
    }

    /// The servers that take a token of the user's own.
    fn user_tokens(
        &self,
        app: &App,
        connections: &[Connection],
        lacking: &dyn Fn(&CredentialRealm) -> Vec<RefusedRight>,
    ) -> Vec<ServerTokenView> {
        let state = app.state();
        let servers = state.config.server.iter();
        let servers = servers.filter(|(_, server)| server.upstream == Some(Upstream::User));
        let view = servers.map(|(name, server)| {
            let realm = CredentialRealm::Server(name.as_str().to_owned());
            let own = connections.iter().find(|own| own.realm == realm);
            ServerTokenView {
                server: name.as_str().to_owned(),
                title: server.title.clone().unwrap_or_else(|| name.as_str().to_owned()),
                is_set: own.is_some(),
                has_ended: own.is_some_and(|own| matches!(own.state, State::SignInAgain { .. })),
                lacking: lacking(&realm),
            }
        });
        view.collect()
    }

    fn label(&self, provider: &str) -> String {
        self.labels.get(provider).cloned().unwrap_or_else(|| provider.to_owned())
    }

    async fn act(
        &self,
        app: &App,
        request: &Request<Bytes>,
        now: SystemTime,
    ) -> Result<Response<Bytes>, StoreError> {
        let form = Params::parse(request.body());
        let Some(user) = self.server.own_form(request, &form, now).await? else {
            return Ok(self.refuse(
                StatusCode::FORBIDDEN,
                ErrorPage {
                    code: "forged_form",
                    title: "Nothing was changed",
                    detail: "This form did not come from your own account page, or you signed \
                             out or in again since it was shown."
                        .to_owned(),
                    advice: "Open your account page again and repeat what you wanted to do.",
                },
            ));
        };
        if matches!(AccountAction::read(&form), Some(AccountAction::SignOut)) {
            let mut response = see_other("/");
            self.server.sign_out(request.headers(), response.headers_mut()).await?;
            return Ok(response);
        }
        let notice = match AccountAction::read(&form) {
            Some(action) => self.perform(app, &user, action, now).await?,
            None if form.one("action").is_ok_and(|action| action == Some("set_token")) => {
                let words = "This is not a usable token: it is empty, too long, or contains \
                             white space. Nothing was changed.";
                Notice::Problem(words.to_owned())
            }
            None => Notice::Problem("The form could not be read. Nothing was changed.".to_owned()),
        };
        self.show(app, request.headers(), (Some(notice), None), now).await
    }

    async fn perform(
        &self,
        app: &App,
        user: &User,
        action: AccountAction,
        now: SystemTime,
    ) -> Result<Notice, StoreError> {
        let (issuer, subject) = (user.issuer.as_str(), user.subject.as_str());
        let gone = |what: &str| Notice::Problem(format!("{what} does not exist any more."));
        Ok(match action {
            AccountAction::RevokeClient { grant_id } => {
                let revoked = self.server.revoke_own_grant(user, &grant_id, now).await?;
                let Some(grant) = revoked else { return Ok(gone("This access")) };
                Notice::Done(format!(
                    "{} has lost its access, and its sessions have ended.",
                    grant.client_name
                ))
            }
            AccountAction::EndSession { session } => {
                let Some(key) = key_of(&session) else { return Ok(gone("This session")) };
                let own = whose(user);
                match app.sessions.end_by_key(&key, &own, StopReason::Deleted).await {
                    Ok(()) => Notice::Done("The session has ended.".to_owned()),
                    Err(EndError::Unknown | EndError::Foreign) => gone("This session"),
                    Err(EndError::Records(error)) => return Err(StoreError::new(error)),
                }
            }
            AccountAction::RemoveConnection { provider } if is_provider(&provider) => {
                match self.vault.remove(&provider, issuer, subject).await? {
                    true => {
                        info!(provider, "a user removed a connection");
                        Notice::Done(format!(
                            "The broker has deleted its access to {}. To revoke it there as well, \
                             use the settings of your account at {0}.",
                            self.label(&provider)
                        ))
                    }
                    false => gone("This connection"),
                }
            }
            AccountAction::SetToken { server, token } if takes_token(app, &server) => {
                self.vault.put_user_token(&server, issuer, subject, token, now).await?;
                Notice::Done(
                    "The token is stored, encrypted. Sessions use it from now on.".to_owned(),
                )
            }
            AccountAction::RemoveToken { server } => {
                match self.vault.remove_user_token(&server, issuer, subject).await? {
                    true => Notice::Done("The token is deleted.".to_owned()),
                    false => gone("This token"),
                }
            }
            AccountAction::RemoveConnection { .. }
            | AccountAction::SetToken { .. }
            | AccountAction::SignOut => Notice::Problem(
                "The form names nothing that exists here. Nothing was changed.".to_owned(),
            ),
        })
    }

    pub(super) fn refuse(&self, status: StatusCode, page: ErrorPage) -> Response<Bytes> {
        pages::response(status, self.pages.render(&Page::Error(page)))
    }

    pub(super) fn store_down(&self, error: &StoreError) -> Response<Bytes> {
        let cause = error_chain(error);
        error!(%error, %cause, "the store does not answer");
        let mut response = self.refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorPage {
                code: "store_unavailable",
                title: "Please try again in a moment",
                detail: "The broker cannot reach its store right now.".to_owned(),
                advice: "Nothing is lost. Reload the page.",
            },
        );
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        response
    }
}

fn is_provider(name: &str) -> bool {
    CredentialRealm::from_stored(name).provider().is_some()
}

fn takes_token(app: &App, server: &str) -> bool {
    let state = app.state();
    state.config.server.get(server).is_some_and(|own| own.upstream == Some(Upstream::User))
}

/// Those that run and those that sleep, the youngest first.
async fn sessions_of(
    sessions: &Sessions,
    user: &User,
    now: SystemTime,
) -> Result<Vec<SessionView>, RecordsError> {
    let own = whose(user);
    let recorded = sessions.list(&own, None, MAX_SHOWN).await?;
    let here = Instant::now();
    let calendar = |then: Instant| {
        UnixTime::of(now.checked_sub(here.saturating_duration_since(then)).unwrap_or(now))
    };
    let live = sessions.look(
        |owner| own.matches(owner),
        |view| {
            (!view.is_spare).then(|| SessionView {
                id: view.id.short().to_string(),
                handle: handle(&view.id.key()),
                server: view.backend.server.name.to_string(),
                client: view.owner.client().to_owned(),
                state: SessionState::Running,
                since: calendar(view.opened),
            })
        },
    );
    let mut views: Vec<_> = live.into_iter().flatten().collect();
    for session::Listed { summary, awake } in recorded {
        let handle = handle(&summary.key);
        let since = UnixTime::of(summary.created);
        match views.iter_mut().find(|view| view.handle == handle) {
            // Opened then, though its child may be younger.
            Some(running) => running.since = since,
            None => views.push(SessionView {
                id: summary.key.short().to_string(),
                handle,
                server: summary.kind.to_string(),
                client: summary.owner.client().to_owned(),
                state: if awake { SessionState::Starting } else { SessionState::Asleep },
                since,
            }),
        }
    }
    views.sort_by_key(|view| std::cmp::Reverse(view.since));
    Ok(views)
}

fn whose(user: &User) -> Selection {
    Selection::Person { issuer: user.issuer.as_str().into(), subject: user.subject.as_str().into() }
}

/// Names a session on a page without telling its id, which is a secret of the client's.
fn handle(key: &RecordKey) -> String {
    hex::encode(key.as_bytes())
}

fn key_of(handle: &str) -> Option<RecordKey> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(handle, &mut bytes).ok().map(|()| RecordKey::from_bytes(bytes))
}

pub(super) fn see_other(path: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    let location = HeaderValue::from_str(path).expect("paths of our own are plain");
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
