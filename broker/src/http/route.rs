//! Which path is what, decided once for each request.

use std::sync::Arc;

use auth::{Challenge, oauth::ResourceMetadata};
use http::Method;

use super::{account, setup};
use crate::{
    compose::{app::App, sign_in_ui::SignInUi, state::State},
    host_policy::AskedAt,
    pages,
    server::Server,
};

/// What is at the path of a request.
#[derive(Debug)]
pub(super) enum Route<'a> {
    /// The MCP endpoint of a server.
    Mcp(Endpoint<'a>),
    /// What the authorization server answers, and the pages for people.
    SignIn(&'a SignInUi, SignInPage),
    /// Where clients are led that get their tokens elsewhere.
    Metadata(&'a ResourceMetadata),
    Health,
    Ready,
    Metrics,
    Front,
    Stylesheet,
    Nothing,
    /// On the host of a server's own.
    NothingOfServer,
}

/// The MCP endpoint of a server.
#[derive(Debug)]
pub(super) struct Endpoint<'a> {
    pub(super) server: Arc<Server>,
    /// What those are told who are not let in there.
    pub(super) challenge: &'a Challenge,
}

/// What answers among the pages for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignInPage {
    Account,
    Setup,
    /// The authorization server: its pages, and its endpoints for clients that are not open.
    OAuth,
    /// What the authorization server answers to web pages of every origin.
    Open,
}

impl<'a> Route<'a> {
    pub(super) fn of(app: &'a App, state: &State, at: AskedAt<'_>, path: &str) -> Self {
        // Clients and people add a slash at the end; it names nothing else.
        let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
        let found = match at {
            AskedAt::Server(name) if path == "/mcp" => state.server_named(name),
            AskedAt::Server(_) => None,
            AskedAt::Broker | AskedAt::Alias(_) => state.server_at(path),
        };
        if let Some(server) = found {
            let challenge = app.access.challenge(&server.name, at, path == "/mcp");
            return Self::Mcp(Endpoint { server, challenge });
        }
        if let Some(ui) = app.access.people_at(at) {
            let page = match path {
                account::PATH => Some(SignInPage::Account),
                setup::PATH => Some(SignInPage::Setup),
                _ if ui.server.is_open_to_pages(path) => Some(SignInPage::Open),
                _ => ui.server.claims(path).then_some(SignInPage::OAuth),
            };
            if let Some(page) = page {
                return Self::SignIn(ui, page);
            }
        }
        if let Some(metadata) = app.access.metadata_at(at, path) {
            return Self::Metadata(metadata);
        }
        match path {
            // The host of a server's own has nothing else.
            _ if matches!(at, AskedAt::Server(_)) && path != "/healthz" => Self::NothingOfServer,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/" => Self::Front,
            _ if path == pages::stylesheet().0 => Self::Stylesheet,
            _ => Self::Nothing,
        }
    }

    /// Whether forms of our own pages are sent there.
    pub(super) fn has_forms(&self) -> bool {
        matches!(self, Self::SignIn(..))
    }

    /// Whether web pages of every origin may call, and read the answer.
    pub(super) fn is_open_to_pages(&self) -> bool {
        matches!(self, Self::SignIn(_, SignInPage::Open) | Self::Metadata(_))
    }

    /// Whether a browser that asks like this shows the answer to its user: messages of clients that
    /// run in a browser are not for the eye.
    pub(super) fn is_shown_to(&self, method: &Method) -> bool {
        !matches!(self, Self::Mcp(_)) || [Method::GET, Method::HEAD].contains(method)
    }

    /// Whether web pages of other origins may ask what they may send.
    pub(super) fn answers_preflight(&self) -> bool {
        matches!(self, Self::Mcp(_) | Self::SignIn(..) | Self::Metadata(_))
    }
}
