//! Issues: the API's part that shows whose token a child had.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    call::{Answer, Call, json as json_answer},
    reply::{Doer, ok, paged},
    state::{Issue, Repo, State},
};

/// Answers a call of `/repos/OWNER/NAME/issues/…`.
pub(crate) fn answer(
    state: &mut State,
    call: &Call,
    doer: &Doer,
    repo: &Repo,
    rest: &[&str],
    root: &str,
) -> Option<Answer> {
    let owner = &state.user(repo.owner)?.login;
    let place = format!("{owner}/{}", repo.name);
    let (body, created) = (call.json(), StatusCode::CREATED);
    let text = |name: &str| body[name].as_str().unwrap_or("").to_owned();
    match (&call.method, rest) {
        (&Method::GET, []) => {
            let wanted = call.query.of("state");
            let issues = state.issues.iter().filter(|issue| {
                issue.repo == place && (matches!(wanted, "" | "all") || issue.state == wanted)
            });
            Some(paged(call, issues.map(|issue| shown(issue, state, root)).collect()))
        }
        (&Method::POST, []) => {
            let of_here = state.issues.iter().filter(|issue| issue.repo == place).count();
            let issue = Issue {
                repo: place,
                number: u64::try_from(of_here).ok()? + 1,
                title: text("title"),
                body: text("body"),
                state: "open".to_owned(),
                author: doer.user.id,
                comments: Vec::new(),
            };
            state.issues.push(issue.clone());
            Some(json_answer(created, &shown(&issue, state, root)))
        }
        (method, [number, rest @ ..]) => {
            let number: u64 = number.parse().ok()?;
            let is_it = |issue: &&mut Issue| issue.repo == place && issue.number == number;
            let issue = state.issues.iter_mut().find(is_it)?;
            match (method, rest) {
                (&Method::GET, []) => {
                    let issue = issue.clone();
                    Some(ok(&shown(&issue, state, root)))
                }
                (&Method::PATCH, []) => {
                    for (name, field) in [
                        ("title", &mut issue.title),
                        ("body", &mut issue.body),
                        ("state", &mut issue.state),
                    ] {
                        if let Some(value) = body[name].as_str() {
                            value.clone_into(field);
                        }
                    }
                    let issue = issue.clone();
                    Some(json_answer(created, &shown(&issue, state, root)))
                }
                (&Method::GET, ["comments"]) => {
                    let comments = issue.comments.clone();
                    let all = comments.iter().enumerate();
                    Some(paged(
                        call,
                        all.map(|(id, comment)| said(id, comment, state, root)).collect(),
                    ))
                }
                (&Method::POST, ["comments"]) => {
                    let comment = (doer.user.id, text("body"));
                    issue.comments.push(comment.clone());
                    let id = issue.comments.len() - 1;
                    Some(json_answer(created, &said(id, &comment, state, root)))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn shown(issue: &Issue, state: &State, root: &str) -> Value {
    json!({
        "id": issue.number,
        "number": issue.number,
        "title": issue.title,
        "body": issue.body,
        "state": issue.state,
        "user": state.user(issue.author).map(|user| user.shown(root)),
        "labels": [],
        "assignees": null,
        "milestone": null,
        "comments": issue.comments.len(),
        "html_url": format!("{root}/{}/issues/{}", issue.repo, issue.number),
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    })
}

fn said(id: usize, (author, text): &(u64, String), state: &State, root: &str) -> Value {
    json!({
        "id": id + 1,
        "body": text,
        "user": state.user(*author).map(|user| user.shown(root)),
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    })
}
