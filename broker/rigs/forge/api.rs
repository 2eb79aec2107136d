//! The forge's own API, as far as children of the broker call it.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    admin,
    call::{Answer, Call, json as json_answer},
    identity, issues,
    reply::{Doer, ok, paged},
    repos, scope,
    shared::{Shared, random},
    state::{App, Org, Repo, State},
};

/// Answers a call of `/api/v1/…`.
pub(crate) fn answer(shared: &Shared, call: &Call) -> Answer {
    let path = call.path.trim_start_matches("/api/v1/").trim_end_matches('/');
    let parts: Vec<_> = path.split('/').collect();
    if parts == ["version"] && call.token().is_some() {
        shared.state().counters.versions += 1;
    }
    // A bad token is refused even where none is needed.
    let doer = match doer(shared, call) {
        Ok(doer) => doer,
        Err(refused) => {
            shared.state().counters.api_refused += 1;
            return *refused;
        }
    };
    match parts.as_slice() {
        ["version"] => {
            return ok(&json!({ "version": shared.state().options.version }));
        }
        ["settings", "api"] => {
            return ok(&json!({
                "max_response_items": 50,
                "default_paging_num": 30,
                "default_git_trees_per_page": 1000,
                "default_max_blob_size": 10_485_760,
            }));
        }
        _ => {}
    }
    let Some(doer) = doer else {
        shared.state().counters.api_refused += 1;
        return problem(shared, StatusCode::UNAUTHORIZED, "token is required");
    };
    *shared.state().counters.api.entry(doer.user.login.clone()).or_default() += 1;
    if let Some(refused) = scope_refusal(shared, call, &parts, &doer) {
        return refused;
    }
    routed(shared, call, &parts, &doer)
        .unwrap_or_else(|| problem(shared, StatusCode::NOT_FOUND, "The target couldn't be found."))
}

fn routed(shared: &Shared, call: &Call, parts: &[&str], doer: &Doer) -> Option<Answer> {
    let root = &shared.root;
    let mut state = shared.state();
    let list = |items: Vec<Value>| Some(paged(call, items));
    match (&call.method, parts) {
        (&Method::GET, ["user"]) => Some(ok(&doer.user.shown(root))),
        (&Method::GET, ["user", "repos"]) => {
            let own = |repo: &&Repo| repo.owner == doer.user.id;
            list(
                state
                    .repos
                    .iter()
                    .filter(own)
                    .map(|repo| repos::shown(repo, &state, root))
                    .collect(),
            )
        }
        (&Method::POST, ["user", "repos"]) => Some(repos::create(&mut state, call, doer, root)),
        (&Method::GET, ["user", "orgs"]) => {
            let own = state.orgs.iter().filter(|org| org.owner == doer.user.id);
            list(own.map(|org| org.shown()).collect())
        }
        (&Method::GET, ["notifications"] | ["repos", _, _, "notifications"]) => list(Vec::new()),
        (&Method::PUT, ["notifications"] | ["repos", _, _, "notifications"]) => {
            Some(json_answer(StatusCode::RESET_CONTENT, &json!([])))
        }
        (_, ["orgs", rest @ ..]) => organizations(&mut state, call, doer, rest),
        (_, ["admin", rest @ ..]) => admin::answer(&mut state, call, doer, rest, root),
        (_, ["user", "applications", "oauth2", rest @ ..]) => {
            applications(&mut state, call, doer, rest)
        }
        (&Method::GET, ["users", name]) => Some(ok(&state.named(name)?.shown(root))),
        (&Method::GET, ["users", name, "repos"]) => {
            let owner = state.named(name)?.id;
            let seen = |repo: &&Repo| repo.owner == owner && sees(&state, doer, repo);
            list(
                state
                    .repos
                    .iter()
                    .filter(seen)
                    .map(|repo| repos::shown(repo, &state, root))
                    .collect(),
            )
        }
        (&Method::GET, ["repos", "search"]) => {
            let wanted = call.query.of("q");
            let seen = |repo: &&Repo| repo.name.contains(wanted) && sees(&state, doer, repo);
            let found: Vec<_> = state
                .repos
                .iter()
                .filter(seen)
                .map(|repo| repos::shown(repo, &state, root))
                .collect();
            Some(ok(&json!({ "ok": true, "data": found })))
        }
        (_, ["repos", owner, name, rest @ ..]) => {
            let owner = state.named(owner)?.id;
            let of_name = |repo: &&Repo| repo.owner == owner && repo.name == **name;
            let repo = state.repos.iter().find(of_name)?.clone();
            // What one may not see is not there.
            if !sees(&state, doer, &repo) {
                return None;
            }
            match (&call.method, rest) {
                (&Method::GET, []) => Some(ok(&repos::shown(&repo, &state, root))),
                (&Method::DELETE, []) if repo.owner == doer.user.id || doer.user.admin => {
                    state.repos.retain(|other| other.id != repo.id);
                    Some(json_answer(StatusCode::NO_CONTENT, &Value::Null))
                }
                (&Method::GET, ["labels" | "milestones" | "releases" | "pulls"]) => list(vec![]),
                (&Method::GET, ["branches"]) => list(vec![json!({
                    "name": "main", "protected": false, "commit": { "id": "0".repeat(40) },
                })]),
                (_, ["issues", rest @ ..]) => {
                    issues::answer(&mut state, call, doer, &repo, rest, root)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Organizations, each with one owner and nothing in it.
fn organizations(state: &mut State, call: &Call, doer: &Doer, rest: &[&str]) -> Option<Answer> {
    match (&call.method, rest) {
        (&Method::POST, []) => {
            let name = call.json()["username"].as_str().unwrap_or("").to_owned();
            let org = Org { id: state.next_id(), name, owner: doer.user.id };
            state.orgs.push(org.clone());
            Some(json_answer(StatusCode::CREATED, &org.shown()))
        }
        (&Method::GET, [name]) => {
            state.orgs.iter().find(|org| org.name == **name).map(|org| ok(&org.shown()))
        }
        (&Method::DELETE, [name]) => {
            let is_own = |org: &Org| org.name == **name && org.owner == doer.user.id;
            let before = state.orgs.len();
            state.orgs.retain(|org| !is_own(org));
            (state.orgs.len() < before).then(|| json_answer(StatusCode::NO_CONTENT, &Value::Null))
        }
        _ => None,
    }
}

/// Applications that people register over the API. Everybody sees their own.
fn applications(state: &mut State, call: &Call, doer: &Doer, rest: &[&str]) -> Option<Answer> {
    let owner = Some(doer.user.id);
    let id = rest.first().and_then(|id| id.parse::<u64>().ok());
    let body = call.json();
    let uris = || {
        let all = body["redirect_uris"].as_array().into_iter().flatten();
        all.filter_map(|uri| uri.as_str().map(ToOwned::to_owned)).collect()
    };
    match (&call.method, id) {
        (&Method::GET, None) => {
            let own = state.apps.iter().filter(|app| app.owner == owner);
            Some(paged(call, own.map(|app| app.shown("")).collect()))
        }
        (&Method::GET, Some(id)) => {
            let own = state.apps.iter().find(|app| app.id == id && app.owner == owner);
            own.map(|app| ok(&app.shown("")))
        }
        (&Method::POST, None) => {
            let (one, two) = (random(8), random(12));
            let app = state.add_app(App {
                id: 0,
                name: body["name"].as_str().unwrap_or("").to_owned(),
                client_id: format!("{one}-{two}"),
                secret: format!("gto_{}", random(52)),
                confidential: body["confidential_client"].as_bool().unwrap_or(false),
                redirect_uris: uris(),
                owner,
            });
            Some(json_answer(StatusCode::CREATED, &app.shown(&app.secret)))
        }
        // A change makes a new secret, wanted or not.
        (&Method::PATCH, Some(id)) => {
            let app = state.apps.iter_mut().find(|app| app.id == id && app.owner == owner)?;
            if let Some(name) = body["name"].as_str() {
                name.clone_into(&mut app.name);
            }
            app.confidential = body["confidential_client"].as_bool().unwrap_or(app.confidential);
            app.secret = format!("gto_{}", random(52));
            app.redirect_uris = uris();
            Some(ok(&app.shown(&app.secret)))
        }
        (&Method::DELETE, Some(id)) => {
            state.apps.iter().find(|app| app.id == id && app.owner == owner)?;
            state.apps.retain(|app| app.id != id);
            state.grants.retain(|grant| grant.app != id);
            Some(json_answer(StatusCode::NO_CONTENT, &Value::Null))
        }
        _ => None,
    }
}

/// Who calls: nobody, or the owner of a good token.
fn doer(shared: &Shared, call: &Call) -> Result<Option<Doer>, Box<Answer>> {
    let basic = call.basic();
    if let Some((name, password)) = &basic {
        let state = shared.state();
        if let Some(user) = state.named(name).filter(|user| user.password == *password) {
            let typed = ["x-gitea-otp", "x-forgejo-otp"].map(|name| call.header(name));
            if user.otp.as_deref().is_some_and(|otp| !typed.contains(&otp)) {
                let text = "user doesn't have a valid one-time code in the header X-Gitea-OTP";
                return Err(Box::new(problem(shared, StatusCode::UNAUTHORIZED, text)));
            }
            if let Some(why) = user.bar(&shared.root) {
                return Err(Box::new(problem(shared, StatusCode::FORBIDDEN, &why)));
            }
            return Ok(Some(Doer { user: user.clone(), scope: None }));
        }
    }
    let in_query = ["token", "access_token"].map(|name| call.query.of(name));
    let in_basic = basic.iter().flat_map(|(name, password)| [password.as_str(), name.as_str()]);
    let mut candidates = call.token().into_iter().chain(in_basic).chain(in_query);
    let token = candidates.find(|token| !token.is_empty() && *token != "x-oauth-basic");
    let Some(token) = token else { return Ok(None) };
    match identity::access(shared, token) {
        Some((user, grant)) => match user.bar(&shared.root) {
            Some(why) => Err(Box::new(problem(shared, StatusCode::FORBIDDEN, &why))),
            None => Ok(Some(Doer { user, scope: Some(grant.scope) })),
        },
        None => {
            let text = shared.state().options.bad_token.clone();
            Err(Box::new(problem(shared, StatusCode::UNAUTHORIZED, &text)))
        }
    }
}

fn scope_refusal(shared: &Shared, call: &Call, parts: &[&str], doer: &Doer) -> Option<Answer> {
    let scope = doer.scope.as_deref()?;
    let write = !matches!(call.method, Method::GET | Method::HEAD);
    let state = shared.state();
    let needed = scope::needed(parts);
    if needed.iter().all(|category| scope::allows(scope, category, write, &state.options)) {
        return None;
    }
    let verb = if write { "write" } else { "read" };
    let needed: Vec<_> = needed.iter().map(|category| format!("{verb}:{category}")).collect();
    let needed = needed.join(" ");
    let text = if state.options.names_token_scope {
        format!(
            "token does not have at least one of required scope(s), required=[{needed}], token \
             scope={}",
            scope.replace(' ', ",")
        )
    } else {
        format!("token does not have at least one of required scope(s): [{needed}]")
    };
    drop(state);
    Some(problem(shared, StatusCode::FORBIDDEN, &text))
}

fn sees(state: &State, doer: &Doer, repo: &Repo) -> bool {
    let public_only =
        doer.scope.as_deref().is_some_and(|scope| scope::public_only(scope, &state.options));
    !repo.private || (repo.owner == doer.user.id && !public_only)
}

fn problem(shared: &Shared, status: StatusCode, message: &str) -> Answer {
    let url = format!("{}/api/swagger", shared.root);
    json_answer(status, &json!({ "message": message, "url": url }))
}
