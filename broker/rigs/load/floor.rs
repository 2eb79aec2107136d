//! The floors: the least that an HTTP server in front of nothing, or of a pipe, can cost.

use std::{process::Stdio, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
    task::JoinSet,
};

/// What the first floor answers, whatever was asked; as long as the child's answer.
pub(crate) const FIXED: &[u8] = br#"{"jsonrpc":"2.0","id":100000,"result":{"content":[{"type":"text","text":"forty characters of text, to be precise."}]}}"#;

/// Which floor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Floor {
    /// Answers [`FIXED`] at once.
    Fixed,
    /// Hands the body to a child as one line and answers the child's next line.
    Piped,
}

/// Serves on a free port of loopback, said on standard output, until killed.
pub(crate) async fn serve(kind: Floor) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match kind {
            Floor::Fixed => connections.spawn(fixed(stream)),
            Floor::Piped => connections.spawn(piped(stream)),
        };
        while connections.try_join_next().is_some() {}
    }
}

async fn fixed(stream: TcpStream) -> anyhow::Result<()> {
    let service = service_fn(async |request: Request<Incoming>| {
        request.into_body().collect().await?;
        anyhow::Ok(json(Bytes::from_static(FIXED)))
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

async fn piped(stream: TcpStream) -> anyhow::Result<()> {
    let (mut child, pipes) = start()?;
    // One request at a time on a connection, so the lock is never contended.
    let pipes = Arc::new(Mutex::new(pipes));
    let service = service_fn(move |request: Request<Incoming>| {
        let pipes = Arc::clone(&pipes);
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            anyhow::Ok(json(pipes.lock().await.exchange(&body).await?))
        }
    });
    // The service goes with the connection, and the child's standard input with the service.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    child.wait().await?;
    Ok(())
}

/// The two pipes of one child.
struct Pipes {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: Vec<u8>,
}

impl Pipes {
    async fn exchange(&mut self, body: &[u8]) -> anyhow::Result<Bytes> {
        self.line.clear();
        self.line.extend_from_slice(body);
        self.line.push(b'\n');
        self.stdin.write_all(&self.line).await?;
        let mut answer = Vec::with_capacity(256);
        self.stdout.read_until(b'\n', &mut answer).await?;
        anyhow::ensure!(answer.pop() == Some(b'\n'), "the child's output ended");
        Ok(answer.into())
    }
}

fn start() -> anyhow::Result<(Child, Pipes)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("child")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the floor's child did not start")?;
    let stdin = child.stdin.take().expect("it was asked for");
    let stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
    Ok((child, Pipes { stdin, stdout, line: Vec::new() }))
}

fn json(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
