//! The tools that take their time: each runs in a task of its own, which a cancellation drops.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    LEVELS, STEP,
    ask::{Client, Unanswered},
    rpc::{self, Answer},
    tools::{Mistake, arguments, failed, number, said},
};

pub(super) const MAX_STEPS: u32 = 100;
pub(super) const DEFAULT_STEPS: u32 = 5;

/// What a countdown tells on its way.
pub(super) struct Reports {
    /// The token of the request, if it wants to hear of progress.
    pub(super) progress: Option<Value>,
    /// The level the client set, as an index into [`LEVELS`].
    pub(super) log_level: Option<usize>,
}

pub(super) fn countdown(given: Value, client: Client, reports: Reports) -> Result<Answer, Mistake> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Countdown {
        from: Option<u32>,
    }
    let Countdown { from } = arguments(given)?;
    let from = number(from, "from", DEFAULT_STEPS, MAX_STEPS)?;
    Ok(Answer::Later(Box::pin(async move {
        reports.log(&client, "info", format!("counting down from {from}")).await;
        for step in 1..=from {
            tokio::time::sleep(STEP).await;
            let left = format!("{} to go", from - step);
            if let Some(token) = &reports.progress {
                let params = json!({
                    "progressToken": token,
                    "progress": step,
                    "total": from,
                    "message": left,
                });
                client.send(rpc::notification("notifications/progress", params)).await;
            }
            reports.log(&client, "debug", left).await;
        }
        Ok(said(&format!("Counted down from {from} to 0.")))
    })))
}

impl Reports {
    async fn log(&self, client: &Client, level: &str, text: String) {
        let severity = LEVELS.iter().position(|known| *known == level);
        if self.log_level.is_some_and(|wanted| severity >= Some(wanted)) {
            let params = json!({ "level": level, "logger": "countdown", "data": text });
            client.send(rpc::notification("notifications/message", params)).await;
        }
    }
}

pub(super) fn greet(given: Value, client: Client) -> Result<Answer, Mistake> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Greet {
        name: Option<String>,
    }
    let Greet { name } = arguments(given)?;
    if let Some(name) = name {
        return Ok(Answer::Ready(Ok(greeting(&name))));
    }
    Ok(Answer::Later(Box::pin(async move {
        let schema = json!({
            "type": "object",
            "properties": { "name": { "type": "string", "title": "Name", "minLength": 1 } },
            "required": ["name"],
        });
        let answer = client.elicit("What is your name?", schema).await;
        Ok(match answer {
            Ok(answer) => match answer["action"].as_str() {
                Some("accept") => match answer["content"]["name"].as_str() {
                    Some(name) => greeting(name),
                    None => failed("the answer has no name in it"),
                },
                Some("decline") => said("Hello, whoever you are: the name was declined."),
                _ => said("Hello! The question was closed without an answer."),
            },
            Err(Unanswered::Unable) => failed(
                "this client cannot ask its user (it declared no form elicitation); give `name`",
            ),
            Err(Unanswered::Failed(error)) => {
                let words = error["message"].as_str().unwrap_or("it did not say why");
                failed(&format!("the client could not ask its user: {words}"))
            }
        })
    })))
}

fn greeting(name: &str) -> Value {
    said(&format!("Hello, {}!", name.trim()))
}
