//! What is for people and their browsers, and what is for OAuth clients: everything the
//! authorization server answers, and the broker's own pages.

use std::net::IpAddr;

use auth::oauth::Answer;
use bridge::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::{
    body,
    reply::{self, Refusal},
    route::SignInPage,
};
use crate::{
    compose::{app::App, sign_in_ui::SignInUi, state::State},
    pages::{self, AuthMode, EndpointView, FrontPage, Pages},
};

/// The longest body of a form or of a registration that is read. The authorization server has
/// bounds of its own, and better words for them.
const MAX_BODY: usize = 64 * 1024;

/// The front page, which needs no sign-in.
pub(super) fn front(app: &App) -> Response<Bytes> {
    let (state, base) = (app.state(), app.base());
    let config = &state.config;
    let auth = if config.auth.verifies("none") {
        AuthMode::Open
    } else if app.access.signs_in() {
        AuthMode::SignIn
    } else {
        AuthMode::Token
    };
    let mut endpoints: Vec<_> = config
        .server
        .iter()
        .map(|(name, server)| {
            let is_default = *name == config.default_server;
            let path = if is_default { "/mcp".to_owned() } else { format!("/{name}/mcp") };
            let own = config.own_origin(server).map(|origin| format!("{origin}/mcp"));
            let view = EndpointView {
                name: name.as_str().to_owned(),
                title: server.title.clone().unwrap_or_else(|| name.as_str().to_owned()),
                address: own.unwrap_or_else(|| format!("{base}{path}")),
            };
            (!is_default, view)
        })
        .collect();
    endpoints.sort_by_key(|(later, _)| *later);
    let endpoints = endpoints.into_iter().map(|(_, view)| view).collect();
    let html = Pages::at(base).front(&FrontPage { endpoints, auth });
    pages::response(StatusCode::OK, html)
}

/// What was asked for among the pages for people, and from where.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) ui: &'a SignInUi,
    pub(super) page: SignInPage,
    pub(super) peer: IpAddr,
}

/// Answers what is for people, or for OAuth clients.
pub(super) async fn answer<B>(
    app: &App,
    state: &State,
    Asked { ui, page, peer }: Asked<'_>,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    // Once a request, so that all of it agrees on what time it is.
    let now = app.clock.now();
    let mut account = app.stranger_bodies.open(peer);
    let read = body::read_of_stranger(request, MAX_BODY, &state.config.http, &mut account);
    let request = match read.await {
        Ok(request) => request,
        Err(refusal) => return Refusal::response(refusal),
    };
    let response = match page {
        SignInPage::Account => ui.account(app, &request, now).await,
        SignInPage::Setup => ui.setup(&request, now).await,
        SignInPage::OAuth | SignInPage::Open => match ui.server.handle(&request, peer, now).await {
            Some(answer) => ui.rendered(answer),
            None => return reply::nothing_here(),
        },
    };
    response.map(Body::whole)
}

impl SignInUi {
    /// An answer of the authorization server, its page rendered if it is one.
    fn rendered(&self, answer: Answer) -> Response<Bytes> {
        let mut is_page = false;
        let mut response = answer.into_response(|page| {
            is_page = true;
            self.pages.render(page)
        });
        if is_page {
            pages::finish(response.headers_mut());
        }
        response
    }
}
