//! Which path is what, decided once for each request.

use std::sync::Arc;

use auth::oauth::ResourceMetadata;
use http::Method;

use super::{account, setup};
use crate::{
    compose::{app::App, sign_in_ui::SignInUi, state::State},
    pages,
    server::Server,
};

/// What is at the path of a request.
#[derive(Debug)]
pub(super) enum Route<'a> {
    /// The MCP endpoint of a server.
    Mcp(Endpoint),
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
}

/// The MCP endpoint of a server.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) server: Arc<Server>,
    /// Whether it was asked at `/mcp`, as the default server.
    pub(super) at_root: bool,
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
    pub(super) fn of(app: &'a App, state: &State, path: &str) -> Self {
        // Clients and people add a slash at the end; it names nothing else.
        let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
        if let Some(server) = state.server_at(path) {
            return Self::Mcp(Endpoint { server, at_root: path == "/mcp" });
        }
        if let Some(ui) = app.access.people() {
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
        if let Some(metadata) = app.access.metadata_at(path) {
            return Self::Metadata(metadata);
        }
        match path {
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
