//! The stdio server of `sleepers`: it knows whose it is, remembers what the session told it, and
//! says both in every answer.

use std::{
    borrow::Cow,
    io::{self, BufRead, Write},
    process, thread,
    time::Duration,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// The variable that holds the owner's name.
pub(crate) const OWNER: &str = "OWNER";
/// The variable that holds what makes a mark of a name.
pub(crate) const SEED: &str = "SEED";

/// Bytes of a mark.
const MARK_BYTES: usize = 16;

/// What only the children of `owner` say in this run.
pub(crate) fn mark(seed: &str, owner: &str) -> String {
    hex::encode(&Sha256::digest(format!("{seed} {owner}"))[..MARK_BYTES])
}

/// What a call is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity<'a> {
    /// The call's own.
    #[serde(borrow)]
    pub(crate) nonce: Cow<'a, str>,
    /// Whom the environment names.
    #[serde(borrow)]
    pub(crate) owner: Cow<'a, str>,
    /// See [`mark`].
    #[serde(borrow)]
    pub(crate) mark: Cow<'a, str>,
    /// The name that `initialize` gave the client.
    #[serde(borrow)]
    pub(crate) session: Cow<'a, str>,
    /// What `logging/setLevel` said, if it was asked.
    #[serde(borrow)]
    pub(crate) level: Option<Cow<'a, str>>,
    /// Whether `notifications/initialized` was heard.
    pub(crate) confirmed: bool,
    /// Which process this is.
    pub(crate) pid: u32,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialize<'a> {
    #[serde(borrow)]
    client_info: ClientInfo<'a>,
}

#[derive(Deserialize)]
struct ClientInfo<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct SetLevel<'a> {
    #[serde(borrow)]
    level: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    arguments: Arguments<'a>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    nonce: Cow<'a, str>,
    /// Milliseconds before the answer.
    #[serde(default)]
    pause: u64,
}

/// What one process knows.
struct Sleeper {
    owner: String,
    mark: String,
    session: String,
    level: Option<String>,
    confirmed: bool,
}

/// Answers lines until standard input ends.
pub(crate) fn run() -> anyhow::Result<()> {
    let variable = |name| std::env::var(name).with_context(|| format!("{name} is not set"));
    let owner = variable(OWNER)?;
    let mark = mark(&variable(SEED)?, &owner);
    let mut sleeper =
        Sleeper { owner, mark, session: String::new(), level: None, confirmed: false };
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let (mut line, mut answer) = (Vec::new(), Vec::new());
    while input.read_until(b'\n', &mut line)? > 0 {
        let message: Message<'_> = serde_json::from_slice(&line)?;
        let params = message.params.map_or("{}", RawValue::get);
        let method = message.method.unwrap_or_default();
        match message.id {
            Some(id) => {
                answer.clear();
                let payload = sleeper.answer(&method, params)?;
                writeln!(answer, r#"{{"jsonrpc":"2.0","id":{},{payload}}}"#, id.get())?;
                output.write_all(&answer)?;
                output.flush()?;
            }
            None => sleeper.confirmed |= method == "notifications/initialized",
        }
        line.clear();
    }
    Ok(())
}

impl Sleeper {
    fn answer(&mut self, method: &str, params: &str) -> anyhow::Result<String> {
        Ok(match method {
            "initialize" => {
                let initialize: Initialize<'_> = serde_json::from_str(params)?;
                self.session = initialize.client_info.name.into_owned();
                format!(
                    r#""result":{{"protocolVersion":"2025-11-25","capabilities":{{"tools":{{}},"logging":{{}}}},"serverInfo":{{"name":"sleeper","version":"1"}},"instructions":"{}"}}"#,
                    self.mark
                )
            }
            "tools/call" => {
                let Call { arguments } = serde_json::from_str(params)?;
                if arguments.pause > 0 {
                    thread::sleep(Duration::from_millis(arguments.pause));
                }
                let identity = serde_json::to_string(&self.identity(arguments.nonce))?;
                format!(r#""result":{{"content":[],"structuredContent":{identity}}}"#)
            }
            "logging/setLevel" => {
                let set: SetLevel<'_> = serde_json::from_str(params)?;
                self.level = Some(set.level.into_owned());
                format!(r#""result":{{"_meta":{{"mark":"{}"}}}}"#, self.mark)
            }
            "ping" => r#""result":{}"#.to_owned(),
            _ => r#""error":{"code":-32601,"message":"Method not found"}"#.to_owned(),
        })
    }

    fn identity<'a>(&'a self, nonce: Cow<'a, str>) -> Identity<'a> {
        Identity {
            nonce,
            owner: Cow::Borrowed(&self.owner),
            mark: Cow::Borrowed(&self.mark),
            session: Cow::Borrowed(&self.session),
            level: self.level.as_deref().map(Cow::Borrowed),
            confirmed: self.confirmed,
            pid: process::id(),
        }
    }
}
