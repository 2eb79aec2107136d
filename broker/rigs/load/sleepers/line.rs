//! One connection, and what is a right answer on it.

use std::{
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::Context;
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::{
    population::{Kills, Now, Population, Slot},
    tally::{Kind, Outcome},
};
use crate::{
    sleeper::Identity,
    wire::{self, INITIALIZED, Reply, Wire},
};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often a request is made again that was refused.
const TRIES: usize = 10;
/// How often a session that nothing else can stand in for is tried to be opened.
const OPENINGS: usize = 5;

/// A connection that is made anew when it breaks. Requests of several owners go through it.
#[derive(Debug)]
pub(crate) struct Line {
    wire: Wire,
    address: SocketAddr,
}

/// A request, and who asks for what.
struct Request<'a> {
    kind: Kind,
    asker: usize,
    method: Method,
    headers: &'a HeaderMap,
    body: String,
    /// Set where an error answer is right when it overlapped a kill.
    kills: Option<&'a Kills>,
}

/// A right answer, and how long it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Right<T> {
    pub(crate) what: T,
    pub(crate) took: Duration,
}

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Error>,
}

#[derive(Deserialize)]
struct Error {
    code: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Called<'a> {
    #[serde(borrow)]
    structured_content: Identity<'a>,
}

impl Line {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { wire: Wire::connect(address).await?, address })
    }

    /// Opens a session as a client does, and makes sure that its child knows whose it is.
    pub(crate) async fn open(
        &mut self,
        population: &Population,
        owner: usize,
        mark: String,
    ) -> anyhow::Result<Now> {
        for _ in 0..OPENINGS {
            let session = self.initialize(population, owner, &mark).await;
            if let Some(Right { what: session, .. }) = session {
                let now = Now { session, mark, level: None };
                self.confirm(population, owner, &now).await;
                return Ok(now);
            }
        }
        anyhow::bail!("a session did not open, {OPENINGS} times in a row")
    }

    /// Only the request that opens a session.
    pub(crate) async fn initialize(
        &mut self,
        population: &Population,
        owner: usize,
        mark: &str,
    ) -> Option<Right<wire::Session>> {
        #[derive(Deserialize)]
        struct Welcome<'a> {
            instructions: &'a str,
        }
        let id = population.next_id();
        let own = &population.owners[owner];
        let request = Request {
            kind: Kind::Initialize,
            asker: owner,
            method: Method::POST,
            headers: &own.endpoint.headers,
            body: format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"{mark}","version":"1"}}}}}}"#
            ),
            kills: None,
        };
        let judge = |reply: &Reply| {
            let welcome = result(reply, id)?;
            let welcome: Welcome<'_> = serde_json::from_str(welcome).ok()?;
            let session = reply.headers.get("mcp-session-id")?;
            (welcome.instructions == own.mark).then(|| own.endpoint.session(session.clone()))
        };
        self.ask(population, request, judge).await
    }

    async fn confirm(&mut self, population: &Population, owner: usize, now: &Now) {
        let request = Request {
            kind: Kind::Initialize,
            asker: owner,
            method: Method::POST,
            headers: &now.session.headers,
            body: INITIALIZED.to_owned(),
            kills: None,
        };
        self.ask(population, request, |reply| is_empty(reply, StatusCode::ACCEPTED)).await;
    }

    /// A `tools/call`, answered with everything its child knows. Gives the child's process.
    pub(crate) async fn call(
        &mut self,
        population: &Population,
        kind: Kind,
        slot: &Slot,
        now: &Now,
        pause: Duration,
    ) -> Option<Right<u32>> {
        let id = population.next_id();
        let nonce = population.nonce(id);
        let own = &population.owners[slot.owner];
        let pause = pause.as_millis();
        let request = Request {
            kind,
            asker: slot.owner,
            method: Method::POST,
            headers: &now.session.headers,
            body: format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"who","arguments":{{"nonce":"{nonce}","pause":{pause}}}}}}}"#
            ),
            kills: Some(&slot.kills),
        };
        let judge = |reply: &Reply| {
            let called = result(reply, id)?;
            let called: Called<'_> = serde_json::from_str(called).ok()?;
            let identity = called.structured_content;
            let right = Identity {
                nonce: nonce.as_str().into(),
                owner: own.name.as_str().into(),
                mark: own.mark.as_str().into(),
                session: now.mark.as_str().into(),
                level: now.level.map(Into::into),
                confirmed: true,
                pid: identity.pid,
            };
            (identity == right).then_some(identity.pid)
        };
        let right = self.ask(population, request, judge).await?;
        let before = slot.pid.swap(right.what, Ordering::Relaxed);
        // A session that has just been opened has no child that it could have kept.
        if before != 0 && matches!(kind, Kind::Call | Kind::Together) {
            population.tally.took(before != right.what, right.took);
        }
        Some(right)
    }

    /// Sets the log level; says whether the child knows it now.
    pub(crate) async fn set_level(
        &mut self,
        population: &Population,
        slot: &Slot,
        now: &Now,
        level: &str,
    ) -> bool {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow, rename = "_meta")]
            meta: Meta<'a>,
        }
        #[derive(Deserialize)]
        struct Meta<'a> {
            mark: &'a str,
        }
        let id = population.next_id();
        let own = &population.owners[slot.owner];
        let request = Request {
            kind: Kind::SetLevel,
            asker: slot.owner,
            method: Method::POST,
            headers: &now.session.headers,
            body: format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#
            ),
            kills: None,
        };
        let judge = |reply: &Reply| {
            let set = result(reply, id)?;
            let set: Set<'_> = serde_json::from_str(set).ok()?;
            (set.meta.mark == own.mark).then_some(())
        };
        self.ask(population, request, judge).await.is_some()
    }

    /// Ends a session and asks for it once more.
    pub(crate) async fn delete(&mut self, population: &Population, slot: &Slot, now: &Now) {
        let mut request = Request {
            kind: Kind::Delete,
            asker: slot.owner,
            method: Method::DELETE,
            headers: &now.session.headers,
            body: String::new(),
            kills: None,
        };
        let judge = |reply: &Reply| is_empty(reply, StatusCode::NO_CONTENT);
        if self.ask(population, Request { body: String::new(), ..request }, judge).await.is_none() {
            return;
        }
        let id = population.next_id();
        request = Request {
            kind: Kind::Deleted,
            asker: slot.owner,
            method: Method::POST,
            headers: &now.session.headers,
            body: format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#),
            kills: None,
        };
        let judge = |reply: &Reply| is_error(reply, StatusCode::NOT_FOUND, id, -32001);
        self.ask(population, request, judge).await;
    }

    /// Asks for a session with somebody else's token, one way or another.
    pub(crate) async fn intrude(
        &mut self,
        population: &Population,
        stranger: usize,
        now: &Now,
        way: usize,
    ) {
        let Some(id) = now.session.headers.get("mcp-session-id") else { return };
        let session = population.owners[stranger].endpoint.session(id.clone());
        let (method, body) = match way % 3 {
            0 => (
                Method::POST,
                r#","method":"tools/call","params":{"name":"who","arguments":{"nonce":"stranger"}}"#,
            ),
            1 => (Method::POST, r#","method":"logging/setLevel","params":{"level":"stranger"}"#),
            _ => (Method::DELETE, ""),
        };
        let id = population.next_id();
        let is_post = method == Method::POST;
        let request = Request {
            kind: Kind::Stranger,
            asker: stranger,
            method,
            headers: &session.headers,
            body: if is_post {
                format!(r#"{{"jsonrpc":"2.0","id":{id}{body}}}"#)
            } else {
                String::new()
            },
            kills: None,
        };
        let judge = |reply: &Reply| (reply.status == StatusCode::FORBIDDEN).then_some(());
        self.ask(population, request, judge).await;
    }

    /// Asks until there is an answer that is no refusal, and counts what it was. `judge` gives
    /// nothing for a wrong one.
    async fn ask<T>(
        &mut self,
        population: &Population,
        request: Request<'_>,
        judge: impl Fn(&Reply) -> Option<T>,
    ) -> Option<Right<T>> {
        let Request { kind, asker, method, headers, body, kills } = request;
        let tally = &population.tally;
        for _ in 0..TRIES {
            let over = kills.map_or(0, Kills::over);
            let asked = Instant::now();
            // A connection may be closed while nobody uses it.
            if self.wire.is_closed() {
                self.reconnect().await;
            }
            let asking = self.wire.ask(method.clone(), headers, body.clone());
            let reply = match timeout(TIMEOUT, asking).await {
                Ok(Ok(reply)) => reply,
                failed => {
                    let why = match failed {
                        Ok(Err(error)) => format!("{error:#}"),
                        _ => format!("none in {TIMEOUT:?}"),
                    };
                    tally.wrong(kind, &format!("no answer to {body}: {why}"));
                    self.reconnect().await;
                    return None;
                }
            };
            let took = asked.elapsed();
            let foreign = population.foreign_bytes(asker, &reply);
            if foreign > 0 {
                tally.foreign.fetch_add(foreign, Ordering::Relaxed);
                tally.example(kind, "SOMEBODY ELSE'S", &wire::described(reply.status, &reply.body));
            }
            if let Some(after) = refused_for(&reply) {
                tally.count(kind, Outcome::Refused);
                tally.example(kind, "refused", &wire::described(reply.status, &reply.body));
                sleep(after).await;
                continue;
            }
            if let Some(what) = judge(&reply) {
                tally.count(kind, Outcome::Right);
                return Some(Right { what, took });
            }
            if kills.is_some_and(|kills| kills.overlapped(over)) && is_internal_error(&reply) {
                tally.count(kind, Outcome::Died);
                return None;
            }
            tally
                .wrong(kind, &format!("{body} got {}", wire::described(reply.status, &reply.body)));
            return None;
        }
        tally.wrong(kind, &format!("{body} was refused {TRIES} times"));
        None
    }

    async fn reconnect(&mut self) {
        // Should it fail, the next request says so.
        if let Ok(wire) = Wire::connect(self.address).await {
            self.wire = wire;
        }
    }

    /// The sum of one of the broker's metrics.
    pub(crate) async fn metric(
        &mut self,
        population: &Population,
        name: &str,
    ) -> anyhow::Result<f64> {
        let somebody = population.owners.first().context("nobody has a token")?;
        self.wire.metric(&somebody.endpoint, name).await
    }
}

/// How long a refusal asks to wait, if it is one.
fn refused_for(reply: &Reply) -> Option<Duration> {
    let is_refusal =
        matches!(reply.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
    let after = reply.headers.get(RETRY_AFTER).filter(|_| is_refusal)?;
    Some(Duration::from_secs(after.to_str().ok()?.parse().ok()?))
}

/// The message that an answer is, or the last one of the event stream that it is.
fn message(reply: &Reply) -> Option<&str> {
    let body = std::str::from_utf8(&reply.body).ok()?;
    let is_stream = reply.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes)
        == Some(b"text/event-stream".as_slice());
    if !is_stream {
        return Some(body);
    }
    body.lines().rev().find_map(|line| line.strip_prefix("data: ").filter(|data| !data.is_empty()))
}

/// The result of the answer to `id`.
fn result(reply: &Reply, id: u64) -> Option<&str> {
    let message: Message<'_> = serde_json::from_str(message(reply)?).ok()?;
    let is_it = reply.status == StatusCode::OK && message.id == Some(id);
    message.result.filter(|_| is_it && message.error.is_none()).map(RawValue::get)
}

fn is_error(reply: &Reply, status: StatusCode, id: u64, code: i64) -> Option<()> {
    let message: Message<'_> = serde_json::from_str(message(reply)?).ok()?;
    let right = reply.status == status && message.id == Some(id);
    (right && message.error.is_some_and(|error| error.code == code)).then_some(())
}

fn is_internal_error(reply: &Reply) -> bool {
    let message = message(reply).and_then(|text| serde_json::from_str::<Message<'_>>(text).ok());
    message.and_then(|message| message.error).is_some_and(|error| error.code == -32603)
}

fn is_empty(reply: &Reply, status: StatusCode) -> Option<()> {
    (reply.status == status && reply.body.is_empty()).then_some(())
}
