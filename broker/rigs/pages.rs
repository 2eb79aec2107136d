//! A gallery: every page with sample data, served on loopback with the headers it has in earnest.
//!
//! ```sh
//! cargo run -p broker --example pages -- --listen 127.0.0.1:8099
//! ```
//!
//! `/` lists the pages, one name on each line; `/NAME` shows one. Forms lead nowhere.
//! `xtask/e2e/ts/screenshots.mjs` takes a picture of each.

#![expect(clippy::print_stdout, reason = "the address is this program's output")]

use std::{convert::Infallible, net::SocketAddr};

use broker::pages::{
    AccountPage, AuthMode, ClientGrant, ConnectionAction, ConnectionState, ConnectionView,
    EndpointView, FrontPage, Notice, Pages, RefusedRight, ServerTokenView, SessionState,
    SessionView, SetupForm, SetupPage, SetupProblem, response, stylesheet, stylesheet_response,
};
use bytes::Bytes;
use clap::Parser;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

// The tests look at the same pages.
#[path = "../src/pages/samples.rs"]
mod samples;

/// Serves every page with sample data.
#[derive(Debug, Parser)]
#[command(name = "pages")]
struct Flags {
    /// Where to listen; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:8099")]
    listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind(Flags::parse().listen).await?;
    println!("http://{}/", listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        connections.spawn(async move {
            let service = service_fn(async |request: Request<Incoming>| {
                Ok::<_, Infallible>(answer(request.uri().path()).map(Full::new))
            });
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        });
        while connections.try_join_next().is_some() {}
    }
}

fn answer(path: &str) -> Response<Bytes> {
    let all = samples::all(&Pages::at("https://mcp.example.org"));
    if path == stylesheet().0 {
        return stylesheet_response();
    }
    if path == "/" {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        return Response::new(Bytes::from(names.join("\n")));
    }
    match all.into_iter().find(|(name, _)| path.strip_prefix('/') == Some(*name)) {
        Some((_, html)) => response(StatusCode::OK, html),
        None => response(StatusCode::NOT_FOUND, "There is no such page.".into()),
    }
}
