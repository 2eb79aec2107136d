//! The first account, made by the person who has the link that the broker printed at its first start.

use std::time::SystemTime;

use auth::{
    local::{Accounts, NameError, PasswordError, SetUpError},
    oauth::{ErrorPage, Params, Secret, StoreError},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tracing::info;

use crate::{
    compose::sign_in_ui::SignInUi,
    pages::{self, SetupAnswer, SetupForm, SetupPage, SetupProblem},
};

/// Its path.
pub(super) const PATH: &str = "/login/setup";

/// The shortest password that is taken, as the page tells it beforehand.
const MIN_PASSWORD: usize = 10;

impl SignInUi {
    /// The address of the set-up page, if people sign in with local accounts and there is none.
    pub(crate) async fn setup_link(&self, now: SystemTime) -> Result<Option<String>, StoreError> {
        let Some(local) = &self.local else { return Ok(None) };
        if !self.store.accounts("", 1).await?.is_empty() {
            return Ok(None);
        }
        let secret = local.offer_setup(now).await?;
        Ok(Some(format!("{}{PATH}?t={}", self.server.issuer(), secret.expose())))
    }

    pub(super) async fn setup(&self, request: &Request<Bytes>, now: SystemTime) -> Response<Bytes> {
        let answered = match *request.method() {
            Method::GET | Method::HEAD => {
                let query = request.uri().query().unwrap_or_default();
                let params = Params::parse(query.as_bytes());
                let secret = params.one("t").ok().flatten().unwrap_or_default();
                self.ask(&Secret::new(secret), now).await
            }
            Method::POST => self.set_up(&Params::parse(request.body()), now).await,
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

    async fn ask(&self, secret: &Secret, now: SystemTime) -> Result<Response<Bytes>, StoreError> {
        let is_good = match &self.local {
            Some(local) => local.is_setup(secret, now).await?,
            None => false,
        };
        if !is_good {
            return Ok(self.page(StatusCode::GONE, &SetupPage::Spent));
        }
        Ok(self.page(StatusCode::OK, &form(secret, "", Vec::new())))
    }

    async fn set_up(
        &self,
        params: &Params,
        now: SystemTime,
    ) -> Result<Response<Bytes>, StoreError> {
        let (Some(local), Some(answer)) = (&self.local, SetupAnswer::read(params)) else {
            return Ok(self.page(StatusCode::GONE, &SetupPage::Spent));
        };
        let again = |problem| {
            let page = form(&answer.secret, &answer.name, vec![problem]);
            Ok(self.page(StatusCode::UNPROCESSABLE_ENTITY, &page))
        };
        if !answer.agrees() {
            return again(SetupProblem::PasswordsDiffer);
        }
        match local.set_up(&answer.secret, &answer.name, &answer.password, now).await {
            Ok(account) => {
                info!(owner = account.subject, "the first account was made");
                Ok(self.page(StatusCode::OK, &SetupPage::Done { name: account.name }))
            }
            Err(SetUpError::Over) => Ok(self.page(StatusCode::GONE, &SetupPage::Spent)),
            Err(SetUpError::Name(
                NameError::Empty | NameError::TooLong { .. } | NameError::Character { .. },
            )) => again(SetupProblem::NameBad),
            Err(SetUpError::Password(PasswordError::TooShort { .. })) => {
                again(SetupProblem::PasswordShort)
            }
            Err(SetUpError::Password(PasswordError::TooLong { .. })) => {
                again(SetupProblem::PasswordLong)
            }
            Err(SetUpError::Busy) => Ok(self.refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorPage {
                    code: "busy",
                    title: "Please try again in a moment",
                    detail: "The broker is busy with other sign-ins.".to_owned(),
                    advice: "Go back, and send the form again.",
                },
            )),
            Err(SetUpError::Store(error)) => Err(error),
        }
    }

    fn page(&self, status: StatusCode, page: &SetupPage) -> Response<Bytes> {
        pages::response(status, self.pages.setup(page))
    }
}

fn form(secret: &Secret, name: &str, problems: Vec<SetupProblem>) -> SetupPage {
    SetupPage::Form(SetupForm {
        secret: secret.clone(),
        name: name.to_owned(),
        min_password: MIN_PASSWORD,
        problems,
    })
}
