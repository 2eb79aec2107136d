//! What an administrator does over the API: people are made, locked, renamed and removed.

use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    call::{Answer, Call, json as json_answer},
    reply::{Doer, ok, paged},
    repos,
    state::{State, User},
};

/// Answers a call of `/admin/…`.
pub(crate) fn answer(
    state: &mut State,
    call: &Call,
    doer: &Doer,
    rest: &[&str],
    root: &str,
) -> Option<Answer> {
    if !doer.user.admin {
        let message = serde_json::json!({ "message": "user should be the site admin" });
        return Some(json_answer(StatusCode::FORBIDDEN, &message));
    }
    let body = call.json();
    let text = |name: &str| body[name].as_str().unwrap_or("").to_owned();
    match (&call.method, rest) {
        (&Method::GET, ["users"]) => {
            Some(paged(call, state.users.iter().map(|user| user.shown(root)).collect()))
        }
        (&Method::POST, ["users"]) => {
            if state.named(&text("username")).is_some() {
                let message = serde_json::json!({ "message": "user already exists" });
                return Some(json_answer(StatusCode::UNPROCESSABLE_ENTITY, &message));
            }
            let mut user = User::new(state.next_id(), &text("username"), &text("password"));
            user.full_name = text("full_name");
            // A new person has to change the password, unless the request says otherwise.
            user.must_change_password = body["must_change_password"].as_bool().unwrap_or(true);
            state.users.push(user.clone());
            Some(json_answer(StatusCode::CREATED, &user.shown(root)))
        }
        (&Method::PATCH, ["users", name]) => {
            let id = state.named(name)?.id;
            let user = state.users.iter_mut().find(|user| user.id == id)?;
            let flag = |name: &str| body[name].as_bool();
            user.prohibited = flag("prohibit_login").unwrap_or(user.prohibited);
            user.inactive = flag("active").map_or(user.inactive, |active| !active);
            user.admin = flag("admin").unwrap_or(user.admin);
            user.must_change_password =
                flag("must_change_password").unwrap_or(user.must_change_password);
            if let Some(password) = body["password"].as_str().filter(|own| !own.is_empty()) {
                password.clone_into(&mut user.password);
            }
            Some(ok(&user.shown(root)))
        }
        (&Method::POST, ["users", name, "rename"]) => {
            let id = state.named(name)?.id;
            let user = state.users.iter_mut().find(|user| user.id == id)?;
            user.login = text("new_username");
            Some(json_answer(StatusCode::NO_CONTENT, &Value::Null))
        }
        (&Method::POST, ["users", name, "repos"]) => {
            let owner = Doer { user: state.named(name)?.clone(), scope: None };
            Some(repos::create(state, call, &owner, root))
        }
        (&Method::DELETE, ["users", name]) => {
            let id = state.named(name)?.id;
            state.remove_user(id);
            Some(json_answer(StatusCode::NO_CONTENT, &Value::Null))
        }
        _ => None,
    }
}
