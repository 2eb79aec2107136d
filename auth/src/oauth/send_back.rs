//! How a client hears of an error: by a redirect, or by a link on a page.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, StatusCode};

use super::{
    Answer, AuthServer, Client, Landing, LeavePage, Origin, Page, StoreError, User,
    redirect::{shown, with_answer},
};

/// Where an authorization response goes.
#[derive(Debug, Clone)]
pub(crate) struct Return<'a> {
    pub(crate) redirect_uri: &'a str,
    pub(crate) state: Option<&'a str>,
}

/// An error of RFC 6749 §4.1.2.1, with its description.
pub(crate) type Wrong = (&'static str, &'static str);

impl AuthServer {
    /// The answer to a request that nobody has approved. It redirects only where that helps no
    /// stranger: anybody can register an address and have our own lead there, where a page may look
    /// like ours (RFC 9700 §4.11.2). The user decides about such an address, by a link that says what
    /// the redirect would have said.
    pub(crate) async fn refuse(
        &self,
        (request, now): (&Request<Bytes>, SystemTime),
        client: &Client,
        back: &Return<'_>,
        wrong: Wrong,
    ) -> Result<Answer, StoreError> {
        let visit = self.visit(request.headers(), now).await?;
        if self.is_trusted(client, back.redirect_uri, visit.user()).await? {
            return Ok(self.send_error(back, wrong));
        }
        let (error, description) = wrong;
        let page = LeavePage {
            code: error,
            client: client.display_name(),
            place: shown(back.redirect_uri),
            detail: description.to_owned(),
            link: self.error_address(back, wrong),
        };
        Ok(Answer::page(StatusCode::BAD_REQUEST, Page::Leave(Box::new(page))))
    }

    /// Whether a browser may be sent to `address` unasked: the operator made the client, the address
    /// is on the user's own computer, or the user let the client have access there before.
    async fn is_trusted(
        &self,
        client: &Client,
        address: &str,
        user: Option<&User>,
    ) -> Result<bool, StoreError> {
        let is_away =
            matches!(self.urls.redirects.check(address), Ok(Landing::Web | Landing::Installed));
        match (client.origin, user) {
            (Origin::Operator, _) => Ok(true),
            (Origin::Registration | Origin::Document, _) if !is_away => Ok(true),
            (Origin::Registration | Origin::Document, Some(user)) => {
                self.store.has_consented(user, &client.id, address).await
            }
            (Origin::Registration | Origin::Document, None) => Ok(false),
        }
    }

    /// Sends the browser back with an error.
    pub(crate) fn send_error(&self, back: &Return<'_>, wrong: Wrong) -> Answer {
        if self.urls.redirects.check(back.redirect_uri).is_err() {
            return self.refused_redirect(back.redirect_uri);
        }
        Answer::see_other(&self.error_address(back, wrong))
    }

    fn error_address(&self, back: &Return<'_>, (error, description): Wrong) -> String {
        let mut answer = vec![("error", error), ("error_description", description)];
        answer.extend(back.state.map(|state| ("state", state)));
        answer.push(("iss", self.issuer()));
        with_answer(back.redirect_uri, &answer)
    }
}
