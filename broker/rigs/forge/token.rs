//! The token endpoint: codes and refresh tokens become tokens, and one counter per user and
//! application decides which refresh token is the living one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    call::{Answer, Call, Fields, json as json_answer},
    identity,
    jwt::Claims,
    options::ForeignRefresh,
    shared::Shared,
    state::{App, Code, Grant},
};

/// Why there are no tokens: error and description.
type Refused = (&'static str, String);

/// Answers a token request.
pub(crate) async fn answer(shared: &Shared, call: &Call) -> Answer {
    match tokens(shared, call).await {
        Ok(body) => json_answer(StatusCode::OK, &body),
        Err((error, description)) => {
            *shared.state().counters.refused.entry(error.to_owned()).or_default() += 1;
            let body = json!({ "error": error, "error_description": description });
            json_answer(StatusCode::BAD_REQUEST, &body)
        }
    }
}

async fn tokens(shared: &Shared, call: &Call) -> Result<Value, Refused> {
    let form = call.form();
    let (client_id, secret) = client(call, &form)?;
    match form.of("grant_type") {
        "authorization_code" => exchange(shared, &form, &client_id, &secret).await,
        "refresh_token" => refresh(shared, &form, &client_id, &secret).await,
        _ => {
            let text = "Only refresh_token or authorization_code grant type is supported";
            Err(("unsupported_grant_type", text.to_owned()))
        }
    }
}

/// Who asks: body and header may both say it, when they say the same.
fn client(call: &Call, form: &Fields) -> Result<(String, String), Refused> {
    let (id, secret) = (form.of("client_id"), form.of("client_secret"));
    if !id.is_empty() && !secret.is_empty() {
        return Ok((id.to_owned(), secret.to_owned()));
    }
    if call.header("authorization").is_empty() {
        return Ok((id.to_owned(), secret.to_owned()));
    }
    let invalid = |text: String| ("invalid_request", text);
    let (basic_id, basic_secret) =
        call.basic().ok_or_else(|| invalid("cannot parse basic auth header".to_owned()))?;
    for (what, body, basic) in
        [("client_id", id, &basic_id), ("client_secret", secret, &basic_secret)]
    {
        if !body.is_empty() && body != basic {
            let text = format!("{what} in request body inconsistent with Authorization header");
            return Err(invalid(text));
        }
    }
    Ok((basic_id, basic_secret))
}

/// `Some` when a secret is needed and this is not it.
fn wrong_secret(app: &App, secret: &str) -> Option<String> {
    let text =
        if secret.is_empty() { "invalid empty client secret" } else { "invalid client secret" };
    (app.confidential && app.secret != secret).then(|| text.to_owned())
}

async fn exchange(
    shared: &Shared,
    form: &Fields,
    client_id: &str,
    secret: &str,
) -> Result<Value, Refused> {
    let unauthorized = |text: &str| ("unauthorized_client", text.to_owned());
    let (app, code) = {
        let state = shared.state();
        let unknown =
            || ("invalid_client", format!("cannot load client with client id: '{client_id}'"));
        let app = state.app(client_id).cloned().ok_or_else(unknown)?;
        if let Some(text) = wrong_secret(&app, secret) {
            return Err(unauthorized(&text));
        }
        let uri = form.of("redirect_uri");
        if !uri.is_empty() && !app.allows(uri) {
            return Err(unauthorized("unexpected redirect URI"));
        }
        let code = state.codes.iter().find(|code| code.code == form.of("code")).cloned();
        (app, code.ok_or_else(|| unauthorized("client is not authorized"))?)
    };
    check_code(shared, form, &app, &code)?;
    shared.meet().await;
    let mut state = shared.state();
    let before = state.codes.len();
    state.codes.retain(|other| other.code != code.code);
    // Whoever gives codes a lifetime also lets only one request have each.
    if state.codes.len() == before && state.options.code_ttl.is_some() {
        return Err(unauthorized("client is not authorized"));
    }
    let grant = state.grant(code.grant).cloned();
    let grant = grant.ok_or_else(|| ("invalid_grant", "grant does not exist".to_owned()))?;
    let user = state.user(grant.user).expect("users stay").login.clone();
    drop(state);
    let body = mint(shared, &grant)?;
    *shared.state().counters.exchanges.entry(user).or_default() += 1;
    Ok(body)
}

/// Whether the code is for this application, in time, and asked for by who has the verifier.
fn check_code(shared: &Shared, form: &Fields, app: &App, code: &Code) -> Result<(), Refused> {
    let options = shared.state().options.clone();
    let now = shared.now();
    if options.code_ttl.is_some_and(|ttl| now >= code.made_at + ttl) {
        return Err(("invalid_grant", "authorization code expired".to_owned()));
    }
    let verifier = form.of("code_verifier");
    let fits = match code.method.as_str() {
        "S256" => URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == code.challenge,
        "plain" => verifier == code.challenge,
        _ => true,
    };
    if !fits {
        return Err(("unauthorized_client", "failed PKCE code challenge".to_owned()));
    }
    let grant_app = shared.state().grant(code.grant).map(|grant| grant.app);
    if grant_app != Some(app.id) {
        return Err(("invalid_grant", "invalid grant".to_owned()));
    }
    // The two families say it in their own words.
    if options.same_redirect && form.of("redirect_uri") != code.redirect_uri {
        return Err(match options.foreign_refresh {
            ForeignRefresh::Gitea => (
                "invalid_grant",
                "redirect_uri differs from the original authorization request".to_owned(),
            ),
            ForeignRefresh::Forgejo | ForeignRefresh::Accepted => (
                "unauthorized_client",
                "redirect_uri does not match the authorization request".to_owned(),
            ),
        });
    }
    Ok(())
}

async fn refresh(
    shared: &Shared,
    form: &Fields,
    client_id: &str,
    secret: &str,
) -> Result<Value, Refused> {
    let now = shared.now();
    let grant = {
        let state = shared.state();
        let unknown =
            || ("invalid_client", format!("cannot load client with client id: \"{client_id}\""));
        let app = state.app(client_id).cloned().ok_or_else(unknown)?;
        if let Some(text) = wrong_secret(&app, secret) {
            return Err(("invalid_client", text));
        }
        let token = shared.signer.read(form.of("refresh_token"), now);
        let unparsed = || ("unauthorized_client", "unable to parse refresh token".to_owned());
        let token = token.ok_or_else(unparsed)?;
        if state.options.token_types && token.tt != 1 {
            return Err(("unauthorized_client", "token is not a refresh token".to_owned()));
        }
        let grant = state.grant(token.gnt).cloned();
        let grant = grant.ok_or_else(|| ("invalid_grant", "grant does not exist".to_owned()))?;
        let foreign = match state.options.foreign_refresh {
            _ if grant.app == app.id => None,
            ForeignRefresh::Accepted => None,
            ForeignRefresh::Forgejo => Some("refresh token was not issued to this client"),
            ForeignRefresh::Gitea => Some("refresh token belongs to a different client"),
        };
        if let Some(text) = foreign {
            return Err(("invalid_grant", text.to_owned()));
        }
        let used = grant.counter != token.cnt || token.cnt == 0;
        if state.options.invalidate_refresh && used {
            return Err(("unauthorized_client", "token was already used".to_owned()));
        }
        grant
    };
    shared.meet().await;
    let body = mint(shared, &grant)?;
    let mut state = shared.state();
    let user = state.user(grant.user).expect("users stay").login.clone();
    *state.counters.refreshes.entry(user).or_default() += 1;
    Ok(body)
}

/// Moves the counter and makes tokens. `seen` is the grant as the check saw it.
fn mint(shared: &Shared, seen: &Grant) -> Result<Value, Refused> {
    let now = shared.now();
    let mut state = shared.state();
    let options = state.options.clone();
    let grant = state.grants.iter_mut().find(|grant| grant.id == seen.id);
    let grant = grant.ok_or_else(|| ("invalid_grant", "grant does not exist".to_owned()))?;
    if options.invalidate_refresh {
        if options.conditional_counter && grant.counter != seen.counter {
            return Err(("invalid_grant", "cannot increase the grant counter".to_owned()));
        }
        grant.counter += 1;
    }
    let grant = grant.clone();
    let (exp, refresh_exp) = (now + options.access_ttl, now + options.refresh_ttl);
    let access = Claims { gnt: grant.id, tt: 0, cnt: 0, exp, iat: now };
    let refresh = Claims { gnt: grant.id, tt: 1, cnt: grant.counter, exp: refresh_exp, iat: now };
    let access = shared.signer.sign(&access);
    state.given.push(access.clone());
    let mut body = json!({
        "access_token": access,
        "token_type": "bearer",
        "expires_in": options.told_ttl.unwrap_or(options.access_ttl),
        "refresh_token": shared.signer.sign(&refresh),
    });
    if grant.scope.split(' ').any(|word| word == "openid") {
        body["id_token"] =
            shared.signer.sign(&identity::claims(shared, &state, &grant, now, exp)).into();
    }
    Ok(body)
}
