//! What a person's browser sees: login, consent, and the way back to the application.

use http::{HeaderValue, StatusCode, header};

use super::{
    call::{Answer, Call, decoded, encoded, escaped, page, see_other, with_query},
    shared::{Shared, random},
    state::{App, Browser, Code, Grant, State},
};

/// The cookie of the session.
const SESSION: &str = "i_like_forge";

/// Where to go after the login.
const REDIRECT_TO: &str = "redirect_to";

/// The login form, with a sentence about the last try.
pub(crate) fn login_page(problem: &str) -> Answer {
    let inner = format!(
        "<p class=\"flash\">{}</p><form action=\"/user/login\" method=\"post\">\
         <label>Username or email address <input name=\"user_name\" autofocus required></label>\
         <label>Password <input name=\"password\" type=\"password\" required></label>\
         <button>Sign in</button></form>",
        escaped(problem)
    );
    page(StatusCode::OK, "Sign in", &inner)
}

/// Somebody types a password.
pub(crate) fn login(shared: &Shared, call: &Call) -> Answer {
    let form = call.form();
    let mut state = shared.state();
    let user =
        state.named(form.of("user_name")).filter(|user| user.password == form.of("password"));
    let Some(user) = user.cloned() else {
        return login_page("Username or password is incorrect.");
    };
    if let Some(why) = user.bar(&shared.root) {
        return barred(&why);
    }
    *state.counters.logins.entry(user.login.clone()).or_default() += 1;
    // A new session at every login, as against fixation.
    let session = random(16);
    state.browsers.insert(session.clone(), Browser { user: Some(user.id), ..Browser::default() });
    let place = call.cookie(REDIRECT_TO).map(decoded);
    let mut reply = see_other(place.as_deref().unwrap_or("/"));
    set_cookie(&mut reply, &format!("{SESSION}={session}; Path=/; HttpOnly; SameSite=Lax"));
    set_cookie(&mut reply, &format!("{REDIRECT_TO}=; Path=/; Max-Age=0"));
    reply
}

/// What somebody sees whom the forge does not let in. No way leads on from here.
pub(crate) fn barred(why: &str) -> Answer {
    page(StatusCode::OK, "Sign-in not possible", &format!("<p>{}</p>", escaped(why)))
}

/// The applications that somebody lets act for them, each with a button that ends this.
pub(crate) fn applications(shared: &Shared, call: &Call) -> Answer {
    let state = shared.state();
    let Some((_, user)) = signed_in(&state, call) else { return see_other("/user/login") };
    let row = |grant: &Grant| {
        let app = state.apps.iter().find(|app| app.id == grant.app)?;
        Some(format!(
            "<li>{}<form action=\"/user/settings/applications/oauth2/{}/revoke/{}\" method=\"post\">\
             <input type=\"hidden\" name=\"id\" value=\"{2}\"><button>Revoke</button></form></li>",
            escaped(&app.name),
            app.id,
            grant.id
        ))
    };
    let own = state.grants.iter().filter(|grant| grant.user == user);
    let rows: String = own.filter_map(row).collect();
    page(StatusCode::OK, "Authorized OAuth2 Applications", &format!("<ul>{rows}</ul>"))
}

/// Somebody withdraws what an application was granted.
pub(crate) fn withdraw(shared: &Shared, call: &Call) -> Answer {
    let mut state = shared.state();
    let Some((_, user)) = signed_in(&state, call) else { return see_other("/user/login") };
    let wanted = call.path.rsplit('/').next().and_then(|id| id.parse::<u64>().ok());
    let own = wanted.and_then(|id| state.grant(id)).filter(|grant| grant.user == user);
    match own.map(|grant| grant.app) {
        Some(app) => {
            state.revoke(user, Some(app));
            see_other("/user/settings/applications")
        }
        None => page(StatusCode::NOT_FOUND, "Page Not Found", ""),
    }
}

/// An application sends somebody's browser here.
pub(crate) fn authorize(shared: &Shared, call: &Call) -> Answer {
    let mut state = shared.state();
    let Some((session, user)) = signed_in(&state, call) else {
        let mut reply = see_other("/user/login");
        let back = with_query(&call.path, &AUTHORIZE.map(|name| (name, call.query.of(name))));
        let back = encoded(&back);
        set_cookie(&mut reply, &format!("{REDIRECT_TO}={back}; Path=/; HttpOnly; SameSite=Lax"));
        return reply;
    };
    let asked = |name| call.query.of(name).to_owned();
    let Some(app) = state.app(&asked("client_id")).cloned() else {
        return page(
            StatusCode::BAD_REQUEST,
            "unauthorized_client",
            "<p>Client ID not registered</p>",
        );
    };
    let (uri, tag) = (asked("redirect_uri"), asked("state"));
    if !app.allows(&uri) {
        return page(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "<p>Unregistered Redirect URI</p>",
        );
    }
    if asked("response_type") != "code" {
        let why = "Only code response type is supported.";
        return refuse(&uri, "unsupported_response_type", why, &tag);
    }
    let (method, challenge) = (asked("code_challenge_method"), asked("code_challenge"));
    let options = state.options.clone();
    let browser = state.browsers.get_mut(&session).expect("somebody is signed in with it");
    match method.as_str() {
        // Forgotten by older forges, which is why they never check it.
        "S256" if !options.keep_s256 => {}
        "S256" => (browser.challenge, browser.method) = (challenge.clone(), method.clone()),
        "plain" if options.plain => {
            (browser.challenge, browser.method) = (challenge.clone(), method.clone());
        }
        "" if app.confidential => {}
        "" => {
            return refuse(&uri, "invalid_request", "PKCE is required for public clients", &tag);
        }
        _ => return refuse(&uri, "invalid_request", "unsupported code challenge method", &tag),
    }
    // Nobody is asked again, and nobody looks at the scope: the first answer stands.
    let granted = state.grant_of(user, app.id).map(|grant| grant.id);
    if let Some(grant) = granted.filter(|_| app.confidential) {
        let nonce = asked("nonce");
        let code = new_code(&mut state, grant, &challenge, &method, &uri, shared.now_in(&options));
        set_nonce(&mut state, grant, &nonce);
        return see_other(&with_query(&uri, &[("code", &code), ("state", &tag)]));
    }
    state.counters.consents += 1;
    let browser = state.browsers.get_mut(&session).expect("it was there");
    browser.client_id.clone_from(&app.client_id);
    browser.redirect_uri.clone_from(&uri);
    browser.state.clone_from(&tag);
    browser.scope = asked("scope");
    browser.nonce = asked("nonce");
    consent_page(&app, browser)
}

/// Somebody pressed a button of the consent page.
pub(crate) fn grant(shared: &Shared, call: &Call) -> Answer {
    let form = call.form();
    let mut state = shared.state();
    let Some((session, user)) = signed_in(&state, call) else { return see_other("/user/login") };
    let browser = state.browsers[&session].clone();
    let same = [
        (&browser.client_id, "client_id"),
        (&browser.state, "state"),
        (&browser.scope, "scope"),
        (&browser.nonce, "nonce"),
        (&browser.redirect_uri, "redirect_uri"),
    ]
    .iter()
    .all(|(kept, name)| kept.as_str() == form.of(name));
    let app = state.app(&browser.client_id).cloned();
    let Some(app) = app.filter(|_| same) else {
        return page(StatusCode::BAD_REQUEST, "Bad Request", "");
    };
    let (uri, tag) = (&browser.redirect_uri, &browser.state);
    if !["true", "1", "on"].contains(&form.of("granted")) {
        return refuse(uri, "access_denied", "the request is denied", tag);
    }
    let grant = match state.grant_of(user, app.id) {
        None => state.add_grant(user, app.id, &browser.scope),
        Some(grant) if grant.scope != browser.scope => {
            return refuse(uri, "server_error", "a grant exists with different scope", tag);
        }
        Some(grant) => grant.id,
    };
    set_nonce(&mut state, grant, &browser.nonce);
    let now = shared.now_in(&state.options);
    let code = new_code(&mut state, grant, &browser.challenge, &browser.method, uri, now);
    see_other(&with_query(uri, &[("code", &code), ("state", tag)]))
}

/// What an authorization request may say.
const AUTHORIZE: [&str; 8] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
];

fn consent_page(app: &App, browser: &Browser) -> Answer {
    let hidden: String = [
        ("client_id", &browser.client_id),
        ("state", &browser.state),
        ("scope", &browser.scope),
        ("nonce", &browser.nonce),
        ("redirect_uri", &browser.redirect_uri),
    ]
    .iter()
    .map(|(name, value)| {
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value))
    })
    .collect();
    let inner = format!(
        "<p>Scope: {}</p><form action=\"/login/oauth/grant\" method=\"post\">{hidden}\
         <button id=\"authorize-app\" name=\"granted\" value=\"true\">Authorize Application</button>\
         <button name=\"granted\" value=\"false\">Cancel</button></form>",
        escaped(&browser.scope)
    );
    page(StatusCode::OK, &format!("Authorize \"{}\" to access your account?", app.name), &inner)
}

fn signed_in(state: &State, call: &Call) -> Option<(String, u64)> {
    let session = call.cookie(SESSION)?;
    let user = state.browsers.get(session)?.user?;
    state.user(user).filter(|user| user.bar("").is_none())?;
    Some((session.to_owned(), user))
}

fn new_code(
    state: &mut State,
    grant: u64,
    challenge: &str,
    method: &str,
    redirect_uri: &str,
    now: i64,
) -> String {
    let code = format!("gta_{}", random(52));
    state.codes.push(Code {
        code: code.clone(),
        grant,
        challenge: challenge.to_owned(),
        method: method.to_owned(),
        redirect_uri: redirect_uri.to_owned(),
        made_at: now,
    });
    code
}

/// The nonce is kept with the grant: of two logins at once, the later one's counts for both.
fn set_nonce(state: &mut State, grant: u64, nonce: &str) {
    let found = state.grants.iter_mut().find(|found| found.id == grant);
    if let Some(grant) = found.filter(|_| !nonce.is_empty()) {
        nonce.clone_into(&mut grant.nonce);
    }
}

fn refuse(uri: &str, error: &str, description: &str, state: &str) -> Answer {
    let fields = [("error", error), ("error_description", description), ("state", state)];
    see_other(&with_query(uri, &fields))
}

fn set_cookie(reply: &mut Answer, cookie: &str) {
    let cookie = HeaderValue::from_str(cookie).expect("its parts are encoded");
    reply.headers_mut().append(header::SET_COOKIE, cookie);
}
