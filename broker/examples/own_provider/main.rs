//! A broker with a way to sign in and a judge of tokens of its own.
//!
//! `cargo run -p broker --example own_provider` starts a broker that knows both, has a client sign
//! in through the one and hold a token of the other, and calls a tool each time.
//! `auth/PROVIDERS.md` walks through `portal.rs` and `badge.rs`; those two and [`broker()`] are what
//! to copy. The rest plays the world around: the portal, a browser and an MCP client.

#![expect(clippy::print_stdout, reason = "telling what it did is what it is for")]

mod badge;
mod gate_house;
mod portal;

// The browser and the OAuth client of the tests, which have more abilities than are needed here.
#[path = "../../tests/it/application.rs"]
#[allow(dead_code, reason = "this example needs a part of it")]
mod application;
#[path = "../../tests/it/browser.rs"]
#[allow(dead_code, reason = "this example needs a part of it")]
mod browser;
#[path = "../../tests/it/forms.rs"]
#[allow(dead_code, reason = "this example needs a part of it")]
mod forms;
#[path = "../../tests/it/wire.rs"]
#[allow(dead_code, reason = "this example needs a part of it")]
mod wire;

use std::{error::Error, sync::Arc};

use broker::{
    Broker, Builder,
    config::{ProcessEnvironment, Sources},
};
use serde_json::json;
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    application::Application, badge::Badges, browser::Browser, gate_house::GateHouse,
    portal::Portal, wire::Client,
};

const BADGE: &str = "badge_4d1c0b";

/// A broker that knows two more kinds of tables below `auth`.
async fn broker(sources: &Sources<'_>) -> Result<Broker, broker::BuildError> {
    let builder = Builder::new()
        .identity_provider("portal", Portal::build)
        .token_verifier("badge", Badges::build);
    builder.start(sources, Arc::new(ProcessEnvironment)).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The MCP server behind this broker is the demo server, in a process of its own as any other.
    if std::env::args().nth(1).as_deref() == Some("mcp-server") {
        return Ok(broker::demo::run(tokio::io::stdin(), tokio::io::stdout()).await?);
    }
    let gate_house = GateHouse::open().await;
    let data = tempfile::tempdir()?;
    let mut sources = Sources::new(&ProcessEnvironment);
    sources.directory = data.path().to_owned();
    sources.set = vec![
        "listen=127.0.0.1:0".to_owned(),
        format!("data_dir={:?}", data.path()),
        "auth.identity=[\"portal\"]".to_owned(),
        format!("auth.portal.url=http://{}", gate_house.address),
        "auth.verifiers=[\"oauth\", \"badge\"]".to_owned(),
        format!(
            "auth.badge.holders=[\"bob {}\"]",
            hex::encode(auth::TokenHash::of(BADGE).as_bytes())
        ),
        format!("server.demo.command={:?}", std::env::current_exe()?),
        "server.demo.args=[\"mcp-server\"]".to_owned(),
        "server.demo.default=true".to_owned(),
    ];
    let broker = broker(&sources).await?;
    let client = Client::new(broker.address().expect("a TCP port"));
    println!("a broker with a portal and badges listens on {}", broker.url());
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = JoinSet::new();
    serving.spawn(broker.serve(async {
        let _ = stopped.await;
    }));

    // The client registers, and its user approves; the portal asks for nothing, everybody is Ada.
    let application = Application::connect(&client, "/mcp").await;
    let tokens = application.authorize(&mut Browser::default(), ("", ""), &[]).await;
    println!("a client has signed in through the portal");
    println!("and calls a tool: {}", echo(&application.with(&tokens)).await);

    println!("a client with a badge calls one too: {}", echo(&client.bearer(BADGE)).await);
    let forged = client.bearer("badge_forged").post(wire::initialize("1", "2025-11-25")).await;
    println!("with a forged badge the answer is {}", forged.status);

    let _ = stop.send(());
    serving.join_all().await;
    Ok(())
}

/// What the tool `echo` answers in a session of this client.
async fn echo(client: &Client) -> String {
    let session = client.open().await;
    let answer = session.call("echo", json!({ "text": "hello" })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["result"]["content"][0]["text"].as_str().expect("a text").to_owned()
}

#[cfg(test)]
mod tests {
    use auth::{Bearer, TokenHash, testing};
    use http::Response;

    use super::*;

    #[tokio::test]
    async fn the_portal_keeps_the_contract_of_an_identity_provider() {
        let (fetch, web) = testing::fetch();
        let ticket = Response::new(r#"{"id":7,"name":"Ada"}"#.into());
        web.put("https://portal.example/tickets/t7", ticket);
        for forged in ["forged", "nobody"] {
            let unknown = Response::builder().status(404).body(bytes::Bytes::new());
            let address = format!("https://portal.example/tickets/{forged}");
            web.put(&address, unknown.expect("a plain answer"));
        }
        let portal = Portal::at("https://portal.example", fetch);
        testing::provider_contract(Arc::new(portal), testing::now()).await;
    }

    #[tokio::test]
    async fn badges_keep_the_contract_of_a_verifier() {
        let badge = |text| Bearer::parse(text).expect("letters and digits");
        let badges = Badges::of([(*TokenHash::of(BADGE).as_bytes(), "ada".into())].into());
        testing::contract(testing::Contract {
            accepts: vec![(badge(BADGE), testing::now())],
            refuses: vec![(badge("badge_lost"), testing::now())],
            abstains: vec![(badge("mcpat_of-the-broker"), testing::now())],
            ..testing::Contract::new(Arc::new(badges))
        })
        .await;
    }
}
