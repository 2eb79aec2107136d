//! Whether the authorization server can fetch the metadata documents of clients.

use bytes::Bytes;
use http::{Request, StatusCode, header};

use super::{outcome::Fault, server, server::Server, wire::Wire};

/// A document that clients bring, and that is there for everybody to read.
const WELL_KNOWN: &str = "https://vscode.dev/oauth/client-metadata.json";

/// The code on the page of a broker that could not fetch a document.
const UNREACHABLE: &str = "client_unreachable";

/// Has the broker fetch a document, `given` or a well-known one, by beginning a sign-in that leads
/// nowhere. What it can fetch, and what it does not take, is no finding.
pub(super) async fn examine(
    wire: &Wire,
    server: &Server,
    given: Option<&str>,
) -> (Option<Fault>, Option<String>) {
    let id = given.filter(|id| id.starts_with("https://")).unwrap_or(WELL_KNOWN);
    let mut url = server.authorize.clone();
    url.query_pairs_mut().append_pair("response_type", "code").append_pair("client_id", id);
    let request = Request::get("/").header(header::ACCEPT, "text/html").body(Bytes::new());
    // That the endpoint answers was seen before.
    let Ok(answer) = wire.ask(&url, request.expect("a request of constants")).await else {
        return (None, None);
    };
    let says = |text: &str| answer.body.windows(text.len()).any(|part| part == text.as_bytes());
    if answer.status != StatusCode::SERVICE_UNAVAILABLE || !says(UNREACHABLE) {
        return (None, None);
    }
    // It may have noticed just now.
    let now = server::examine(wire, &server.issuer).await.value;
    if now.is_some_and(|now| now.documents) {
        let what = format!(
            "the broker says that clients may name themselves by the address of a metadata document, \
             and cannot fetch {id}; such a client ends on an error page"
        );
        let hint = "let the broker connect to the internet by https (name service, firewall, \
                    certificates), or set `oauth.client_id_metadata = false`";
        return (Some(Fault::new(what, hint)), None);
    }
    let note = format!(
        "the broker cannot fetch {id}: for as long as it cannot fetch metadata documents, clients \
         have to register"
    );
    (None, Some(note))
}
