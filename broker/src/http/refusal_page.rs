//! A refusal as a page, for a person who opened an address that is for applications, or for nothing.

use auth::oauth::{ErrorPage, Page};
use bridge::Body;
use http::{Response, StatusCode};

use super::reply::Words;
use crate::pages::{self, Pages};

/// The page in the place of the refusal's own body; status and headers stay. `base` is the address
/// people use.
pub(super) fn of(base: &str, refusal: Response<Body>, Words(detail): Words) -> Response<Body> {
    let (mut head, _) = refusal.into_parts();
    let (code, title, advice) = match head.status {
        StatusCode::NOT_FOUND => (
            "nothing_here",
            "There is nothing here",
            "Check the address. The start page of this server, at /, lists what it serves.",
        ),
        StatusCode::UNAUTHORIZED
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::NOT_ACCEPTABLE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE => (
            "for_applications",
            "This address is for applications",
            "Add it to an application such as Claude, VS Code or Cursor. The start page of this \
             server, at /, shows how. The application opens the sign-in page when it needs one.",
        ),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            ("try_again", "Please try again in a moment", "Wait a moment, and load the page again.")
        }
        _ => (
            "refused",
            "The server refused this",
            "Check the address. If it is right, please tell the operator of this server.",
        ),
    };
    let page = Page::Error(ErrorPage { code, title, detail, advice });
    let html = Pages::at(base).render(&page);
    pages::finish(&mut head.headers);
    Response::from_parts(head, Body::whole(html))
}
