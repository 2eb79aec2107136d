//! Repositories: made, and shown.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call, json as json_answer},
    reply::Doer,
    state::{Repo, State},
};

/// Makes a repository of the caller's.
pub(super) fn create(state: &mut State, call: &Call, doer: &Doer, root: &str) -> Answer {
    let body = call.json();
    let name = body["name"].as_str().unwrap_or("").to_owned();
    let owner = doer.user.id;
    if state.repos.iter().any(|repo| repo.owner == owner && repo.name == name) {
        let message = json!({ "message": "The repository with the same name already exists." });
        return json_answer(StatusCode::CONFLICT, &message);
    }
    let private = body["private"].as_bool().unwrap_or(false);
    let repo = Repo { id: state.next_id(), owner, name, private };
    state.repos.push(repo.clone());
    json_answer(StatusCode::CREATED, &shown(&repo, state, root))
}

/// A repository as the API shows one.
pub(super) fn shown(repo: &Repo, state: &State, root: &str) -> Value {
    let owner = state.user(repo.owner).expect("users stay");
    json!({
        "id": repo.id,
        "owner": owner.shown(root),
        "name": repo.name,
        "full_name": format!("{}/{}", owner.login, repo.name),
        "description": "",
        "empty": false,
        "private": repo.private,
        "fork": false,
        "template": false,
        "mirror": false,
        "archived": false,
        "html_url": format!("{root}/{}/{}", owner.login, repo.name),
        "clone_url": format!("{root}/{}/{}.git", owner.login, repo.name),
        "ssh_url": format!("git@forge:{}/{}.git", owner.login, repo.name),
        "default_branch": "main",
        "stars_count": 0,
        "forks_count": 0,
        "open_issues_count": 0,
        "permissions": { "admin": true, "push": true, "pull": true },
        "created_at": "2025-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    })
}
