//! What is for people and their browsers, and what is for OAuth clients: everything the
//! authorization server answers, and the broker's own pages.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use bridge::Body;
use bytes::Bytes;
use http::{Request, Response};

use super::{body, reply::Refusal};
use crate::app::{App, State};

/// The longest body of a form or of a registration that is read. The authorization server has
/// bounds of its own, and better words for them.
const MAX_BODY: usize = 64 * 1024;

pub(super) async fn answer<B>(
    app: &Arc<App>,
    state: &State,
    peer: IpAddr,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "calendar time is read here, once a request")]
    let now = SystemTime::now();
    let (head, body) = request.into_parts();
    let body = match body::read(body, MAX_BODY, &state.config.http).await {
        Ok(body) => body,
        Err(refusal) => return Refusal::response(refusal),
    };
    let request = Request::from_parts(head, body);
    let people = app.access.people().expect("the caller found somebody");
    people.answer(app, &request, peer, now).await.map(Body::whole)
}
