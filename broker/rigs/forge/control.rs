//! `/_test/…`: what tests in other processes read and change.
//!
//! | Route | Does |
//! |---|---|
//! | `GET options`, `POST options` | shows the options; replaces those in the body |
//! | `GET counters`, `POST counters/reset` | shows what happened; begins again at zero |
//! | `GET grants` | user, application, counter and scope of each |
//! | `POST apps` | `{client_id, client_secret, redirect_uris, name?, confidential?}`; no secret makes it public |
//! | `POST users` | `{name, login?, password?, full_name?, prohibited?, inactive?, must_change_password?, otp?}` changes one |
//! | `POST revoke` | `{user, client_id?}` takes grants back |
//! | `POST kill-tokens` | every access token given so far dies before its end |
//! | `POST token` | `{user, scope}`, an access token without a browser |
//! | `POST logout` | ends every browser's session |
//! | `POST release` | lets go of requests that hang |

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    call::{Answer, Call, json as json_answer},
    shared::Shared,
    state::{App, Counters},
};

/// Answers a call of `/_test/…`.
pub(crate) fn answer(shared: &Shared, call: &Call) -> Answer {
    match act(shared, call) {
        Ok(body) => json_answer(StatusCode::OK, &body),
        Err(why) => json_answer(StatusCode::BAD_REQUEST, &json!({ "error": why })),
    }
}

fn act(shared: &Shared, call: &Call) -> Result<Value, String> {
    let body = call.json();
    let text = |name: &str| body[name].as_str().unwrap_or("").to_owned();
    let shown = |value: Result<Value, serde_json::Error>| value.map_err(|error| error.to_string());
    let mut state = shared.state();
    match (&call.method, call.path.trim_start_matches("/_test/")) {
        (&Method::GET, "options") => shown(serde_json::to_value(&state.options)),
        (&Method::POST, "options") => {
            state.options = state.options.patched(&body).map_err(|error| error.to_string())?;
            shown(serde_json::to_value(&state.options))
        }
        (&Method::GET, "counters") => shown(serde_json::to_value(&state.counters)),
        (&Method::POST, "counters/reset") => {
            state.counters = Counters::default();
            Ok(json!({}))
        }
        (&Method::GET, "grants") => {
            let one = |grant: &super::state::Grant| {
                let app = state.apps.iter().find(|app| app.id == grant.app);
                json!({
                    "user": state.user(grant.user).map(|user| &user.login),
                    "client_id": app.map(|app| &app.client_id),
                    "counter": grant.counter,
                    "scope": grant.scope,
                })
            };
            Ok(state.grants.iter().map(one).collect())
        }
        (&Method::POST, "apps") => {
            let uris = body["redirect_uris"].as_array().ok_or("no redirect_uris")?;
            let uris = uris.iter().filter_map(|uri| uri.as_str().map(ToOwned::to_owned));
            let app = App {
                id: 0,
                name: body["name"].as_str().map_or_else(|| text("client_id"), ToOwned::to_owned),
                client_id: text("client_id"),
                secret: text("client_secret"),
                confidential: body["confidential"]
                    .as_bool()
                    .unwrap_or(!text("client_secret").is_empty()),
                redirect_uris: uris.collect(),
                owner: None,
            };
            state.apps.retain(|other| other.client_id != app.client_id);
            let app = state.add_app(app);
            Ok(app.shown(&app.secret))
        }
        (&Method::POST, "users") => {
            let name = text("name");
            let user = state.users.iter_mut().find(|user| user.login == name);
            let user = user.ok_or("nobody has this name")?;
            if let Some(password) = body["password"].as_str() {
                password.clone_into(&mut user.password);
            }
            if let Some(full_name) = body["full_name"].as_str() {
                full_name.clone_into(&mut user.full_name);
            }
            for (name, flag) in [
                ("prohibited", &mut user.prohibited),
                ("inactive", &mut user.inactive),
                ("must_change_password", &mut user.must_change_password),
            ] {
                *flag = body[name].as_bool().unwrap_or(*flag);
            }
            if let Some(otp) = body.get("otp") {
                user.otp = otp.as_str().map(ToOwned::to_owned);
            }
            // A person keeps the number, whatever the name.
            if let Some(login) = body["login"].as_str() {
                login.clone_into(&mut user.login);
            }
            Ok(json!({ "id": user.id, "name": user.login, "prohibited": user.prohibited }))
        }
        (&Method::POST, "revoke") => {
            let user = state.named(&text("user")).ok_or("nobody has this name")?.id;
            let app = state.app(&text("client_id")).map(|app| app.id);
            Ok(json!({ "revoked": state.revoke(user, app) }))
        }
        (&Method::POST, "kill-tokens") => {
            state.forget_access_tokens();
            Ok(json!({}))
        }
        (&Method::POST, "token") => {
            // It looks at the state itself.
            drop(state);
            let token = shared.token_for(&text("user"), &text("scope"));
            Ok(json!({ "access_token": token.ok_or("nobody has this name")? }))
        }
        (&Method::POST, "logout") => {
            state.browsers.clear();
            Ok(json!({}))
        }
        (&Method::POST, "release") => {
            shared.release.notify_waiters();
            Ok(json!({}))
        }
        _ => Err("see the head of control.rs for the routes".to_owned()),
    }
}
