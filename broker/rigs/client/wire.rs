//! The connections between client and broker: a TCP relay that reads what passes and can cut.

use std::{
    borrow::Cow,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, ensure};
use hyper::Uri;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{AbortHandle, JoinSet},
};

/// Where the broker is.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Host and port, as in the URL.
    pub(crate) authority: String,
    address: String,
    path: String,
}

impl Target {
    pub(crate) fn of(url: &Uri) -> anyhow::Result<Self> {
        ensure!(url.scheme_str() == Some("http"), "it has to begin with http://");
        let authority = url.authority().context("it names no host")?;
        Ok(Self {
            authority: authority.to_string(),
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            path: url.path().to_owned(),
        })
    }

    /// One request by hand, for what an SDK's client would not do.
    pub(crate) async fn ask(&self, head: &str, body: &str) -> anyhow::Result<Message> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let (method, headers) = head.split_once('\n').unwrap_or((head, ""));
        let mut request = format!(
            "{method} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.path,
            self.authority,
            body.len()
        );
        for header in headers.lines() {
            request.push_str(header);
            request.push_str("\r\n");
        }
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        messages(&answer).into_iter().next().context("no answer")
    }
}

/// The relay of one client, with all that went through it.
#[derive(Debug)]
pub(crate) struct Wire {
    address: SocketAddr,
    path: String,
    log: Arc<Log>,
    // Ends the relay with the wire.
    _relay: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Log {
    connections: Mutex<Vec<Connection>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Connection {
    asked: Vec<u8>,
    answered: Vec<u8>,
    cut: Option<AbortHandle>,
}

/// A request and, as far as it has come, its answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    connection: usize,
    pub(crate) request: Message,
    pub(crate) answer: Option<Message>,
}

/// One HTTP message, as far as it has come.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    start: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Wire {
    pub(crate) async fn start(target: &Target) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let log = Arc::new(Log::default());
        let mut relay = JoinSet::new();
        relay.spawn(accept(listener, target.address.clone(), Arc::clone(&log)));
        Ok(Self { address, path: target.path.clone(), log, _relay: relay })
    }

    /// The URL that leads through this wire.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// What went through so far, connection by connection.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        let connections = self.log.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let mut exchanges = Vec::new();
        for (connection, Connection { asked, answered, .. }) in connections.iter().enumerate() {
            let mut answers = messages(answered).into_iter();
            for request in messages(asked) {
                exchanges.push(Exchange { connection, request, answer: answers.next() });
            }
        }
        exchanges
    }

    pub(crate) fn find(&self, matches: impl Fn(&Exchange) -> bool) -> Option<Exchange> {
        self.exchanges().into_iter().find(matches)
    }

    /// The first exchange that `matches`, as soon as there is one.
    pub(crate) async fn until(&self, matches: impl Fn(&Exchange) -> bool) -> Exchange {
        loop {
            let mut changed = pin!(self.log.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = self.find(&matches) {
                return found;
            }
            changed.await;
        }
    }

    /// Ends the connection of `exchange` in both directions, as a lost network does.
    pub(crate) fn cut(&self, exchange: &Exchange) {
        let connections = self.log.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cut) = &connections[exchange.connection].cut {
            cut.abort();
        }
    }
}

impl Exchange {
    /// The request's method.
    pub(crate) fn method(&self) -> &str {
        self.request.start.split(' ').next().unwrap_or_default()
    }

    /// The answer's status; none before it has come.
    pub(crate) fn status(&self) -> Option<u16> {
        self.answer.as_ref().and_then(Message::status)
    }

    /// The answer's text so far.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        self.answer.as_ref().map(Message::text).unwrap_or_default()
    }

    /// An open event stream that no request asked for.
    pub(crate) fn is_open_get(&self) -> bool {
        self.method() == "GET" && self.status() == Some(200)
    }
}

impl Message {
    pub(crate) fn status(&self) -> Option<u16> {
        self.start.split(' ').nth(1)?.parse().ok()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(own, value)| (own == name).then_some(value.as_str()))
    }

    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

async fn accept(listener: TcpListener, address: String, log: Arc<Log>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let place = {
            let mut connections = log.connections.lock().unwrap_or_else(PoisonError::into_inner);
            connections.push(Connection::default());
            connections.len() - 1
        };
        let task = relay(client, address.clone(), Arc::clone(&log), place);
        let cut = connections.spawn(task);
        log.connections.lock().unwrap_or_else(PoisonError::into_inner)[place].cut = Some(cut);
    }
}

/// Relays one connection until either side ends it; both ends are closed then.
async fn relay(mut client: TcpStream, address: String, log: Arc<Log>, place: usize) {
    let Ok(mut broker) = TcpStream::connect(address).await else { return };
    // Without this, small messages wait for an acknowledgement.
    let (_, _) = (client.set_nodelay(true), broker.set_nodelay(true));
    let (client_reads, client_writes) = client.split();
    let (broker_reads, broker_writes) = broker.split();
    tokio::select! {
        () = copy(client_reads, broker_writes, &log, |log| &mut log[place].asked) => {}
        () = copy(broker_reads, client_writes, &log, |log| &mut log[place].answered) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    log: &Log,
    part: impl Fn(&mut Vec<Connection>) -> &mut Vec<u8>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        {
            let mut connections = log.connections.lock().unwrap_or_else(PoisonError::into_inner);
            part(&mut connections).extend_from_slice(&buffer[..read]);
        }
        log.changed.notify_waiters();
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// The HTTP/1.1 messages in `bytes`, one after the other; the last may be incomplete.
fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.lines();
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut message = Message { start, headers, body: Vec::new() };
        bytes = &bytes[end + 4..];
        if message.header("transfer-encoding").is_some() {
            bytes = take_chunks(bytes, &mut message.body);
        } else {
            let length = message.header("content-length").and_then(|length| length.parse().ok());
            let (body, rest) = bytes.split_at(length.unwrap_or(0).min(bytes.len()));
            message.body.extend_from_slice(body);
            bytes = rest;
        }
        messages.push(message);
    }
    messages
}

/// Takes a chunked body from `bytes`, and returns what follows it.
fn take_chunks<'a>(mut bytes: &'a [u8], body: &mut Vec<u8>) -> &'a [u8] {
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end])
            .ok()
            .and_then(|size| usize::from_str_radix(size.split(';').next()?.trim(), 16).ok())
            .unwrap_or(0);
        bytes = &bytes[end + 2..];
        let (chunk, rest) = bytes.split_at(size.min(bytes.len()));
        body.extend_from_slice(chunk);
        // The line end after the chunk, or after the empty last one.
        bytes = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        if size == 0 {
            return bytes;
        }
    }
    &[]
}
