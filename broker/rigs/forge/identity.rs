//! Who a token belongs to: discovery, userinfo, introspection, keys, and the id token.

use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{
    authorize,
    call::{Answer, Call, answer, json as json_answer},
    shared::Shared,
    state::{Grant, State, User},
};

/// `/.well-known/openid-configuration`, with these keys and no other.
pub(crate) fn discovery(shared: &Shared) -> Answer {
    let root = &shared.root;
    let oauth = |part: &str| format!("{root}/login/oauth/{part}");
    let body = json!({
        "issuer": issuer(shared, &shared.state()),
        "authorization_endpoint": oauth("authorize"),
        "token_endpoint": oauth("access_token"),
        "jwks_uri": oauth("keys"),
        "userinfo_endpoint": oauth("userinfo"),
        "introspection_endpoint": oauth("introspect"),
        "response_types_supported": ["code", "id_token"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "subject_types_supported": ["public"],
        "scopes_supported": ["openid", "profile", "email", "groups"],
        "claims_supported": [
            "aud", "exp", "iat", "iss", "sub", "name", "preferred_username", "profile", "picture",
            "website", "locale", "updated_at", "email", "email_verified", "groups",
        ],
        "code_challenge_methods_supported": ["plain", "S256"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
    });
    json_answer(StatusCode::OK, &body)
}

/// The key that tokens are checked with.
pub(crate) fn keys(shared: &Shared) -> Answer {
    json_answer(StatusCode::OK, &shared.signer.keys())
}

/// Who the token belongs to. Any access token will do, whatever its scope.
pub(crate) fn userinfo(shared: &Shared, call: &Call) -> Answer {
    let found = call.token().and_then(|token| access(shared, token));
    let Some((user, _)) = found else {
        let kind = "text/plain;charset=utf-8";
        let mut reply = answer(StatusCode::UNAUTHORIZED, kind, "no valid authorization");
        let realm = format!("Bearer realm=\"{}\"", shared.state().options.userinfo_realm);
        let realm = HeaderValue::from_str(&realm).expect("a realm is plain text");
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        return reply;
    };
    // The forge shows its page for browsers instead, with the status of success.
    if let Some(why) = user.bar(&shared.root) {
        return authorize::barred(&why);
    }
    let mut state = shared.state();
    *state.counters.userinfo.entry(user.login.clone()).or_default() += 1;
    let mut body = json!({
        "sub": user.id.to_string(),
        "name": user.display_name(),
        "preferred_username": user.login,
        "email": user.email(),
        "picture": format!("{}/avatars/{}", shared.root, user.login),
    });
    match (user.groups.is_empty(), state.options.null_groups) {
        (false, _) => body["groups"] = json!(user.groups),
        (true, true) => body["groups"] = Value::Null,
        (true, false) => {}
    }
    json_answer(StatusCode::OK, &body)
}

/// Whether a token is any good. A refresh token is, too; when it ends, nobody says.
pub(crate) fn introspect(shared: &Shared, call: &Call) -> Answer {
    let caller = call.basic().is_some_and(|(id, secret)| {
        shared.state().app(&id).is_some_and(|app| app.secret == secret)
    });
    if !caller {
        let kind = "text/plain;charset=utf-8";
        let mut reply = answer(StatusCode::UNAUTHORIZED, kind, "no valid authorization");
        let realm = HeaderValue::from_static("Basic realm=\"\"");
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        return reply;
    }
    let form = call.form();
    let claims = shared.signer.read(form.of("token"), shared.now());
    let state = shared.state();
    let owner = claims.as_ref().and_then(|claims| state.user(state.grant(claims.gnt)?.user));
    if let Some(why) = owner.and_then(|owner| owner.bar(&shared.root)) {
        return authorize::barred(&why);
    }
    let found = claims.and_then(|claims| {
        let grant = state.grant(claims.gnt)?;
        let app = state.apps.iter().find(|app| app.id == grant.app)?;
        Some(json!({
            "active": true,
            "scope": grant.scope,
            "username": state.user(grant.user)?.login,
            "iss": issuer(shared, &state),
            "sub": grant.user.to_string(),
            "aud": [app.client_id],
        }))
    });
    json_answer(StatusCode::OK, &found.unwrap_or_else(|| json!({ "active": false })))
}

/// Who an access token belongs to and what its grant allows, if it is alive: signed by us, not
/// expired, and its grant still there.
pub(crate) fn access(shared: &Shared, token: &str) -> Option<(User, Grant)> {
    let claims = shared.signer.read(token, shared.now()).filter(|claims| claims.tt == 0)?;
    let state = shared.state();
    if state.dead.iter().any(|dead| dead == token) {
        return None;
    }
    let grant = state.grant(claims.gnt)?.clone();
    Some((state.user(grant.user)?.clone(), grant))
}

/// What an id token says.
pub(crate) fn claims(
    shared: &Shared,
    state: &State,
    grant: &Grant,
    now: i64,
    exp: i64,
) -> Map<String, Value> {
    let user = state.user(grant.user).expect("users stay");
    let audience = state.apps.iter().find(|app| app.id == grant.app).map(|app| &app.client_id);
    let mut all = json!({
        "iss": issuer(shared, state),
        "sub": user.id.to_string(),
        "aud": [audience],
        "exp": exp,
        "iat": now,
    });
    if !grant.nonce.is_empty() {
        all["nonce"] = json!(grant.nonce);
    }
    let asked = |word: &str| grant.scope.split(' ').any(|found| found == word);
    if asked("profile") {
        all["name"] = json!(user.display_name());
        all["preferred_username"] = json!(user.login);
        all["profile"] = json!(format!("{}/{}", shared.root, user.login));
        all["picture"] = json!(format!("{}/avatars/{}", shared.root, user.login));
        all["website"] = json!("");
        all["locale"] = json!("en-US");
        all["updated_at"] = json!(1_767_225_600);
    }
    if asked("email") {
        all["email"] = json!(user.email());
        all["email_verified"] = json!(true);
    }
    if asked("groups") {
        all["groups"] = json!(user.groups);
    }
    match all {
        Value::Object(claims) => claims,
        _ => unreachable!("it was built as an object"),
    }
}

fn issuer(shared: &Shared, state: &State) -> String {
    format!("{}{}", shared.root, if state.options.issuer_slash { "/" } else { "" })
}
