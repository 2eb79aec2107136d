//! A broker in which people sign in, in a process of its own, and what is around it.

use std::fs;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::forge::{self, Forge, ForgeOptions};
use crate::{
    application::{Application, Tokens},
    browser::{Browser, Page},
    harness::{OBLIGING, free_address},
    program::{Place, Program},
    wire::Client,
};

/// The broker, its configuration, and the forge if there is one.
pub(crate) struct Deployment {
    pub(crate) place: Place,
    pub(crate) broker: Program,
    /// The address that was printed for the first account.
    pub(crate) setup: Option<String>,
    forge: Option<Forge>,
}

/// What the forge keeps with the broker, and the password of the broker's application there.
pub(crate) const FORGE_SECRET: &str = "hush-of-the-forge";

/// A server's environment with a dummy in it.
const DUMMY: &str = "FORGE_URL = \"${egress.base_url}\", FORGE_TOKEN = \"${egress.token}\"";

impl Deployment {
    /// People have local accounts, of which there is none yet. `top` stands before the tables of
    /// the configuration, `tables` behind that of the server.
    pub(crate) async fn local(top: &str, tables: &str) -> Self {
        let place = Place::new();
        let own = "auth.identity = [\"local\"]";
        configure(&place, &format!("{own}\n{top}"), "", tables);
        let mut broker = place.serve(&[]).await;
        let setup = Some(setup(&mut broker).await);
        Self { place, broker, setup, forge: None }
    }

    /// As [`local`](Self::local), with accounts of these people. Passwords are `{name}-password`.
    pub(crate) async fn of(people: &[&str], top: &str, tables: &str) -> Self {
        let deployment = Self::local(top, tables).await;
        for name in people {
            deployment.account(name).await;
        }
        deployment
    }

    /// People sign in at a forge, and the server gets their tokens there. `top` may name more ways.
    pub(crate) async fn at_forge(options: ForgeOptions, top: &str, tables: &str) -> Self {
        let by_environment = "FORGE_TOKEN = \"${upstream.access_token}\"";
        Self::at_forge_with(options, top, tables, (by_environment, "")).await
    }

    /// The same, with a server that uses its token in the handshake and exits when it is not taken.
    pub(crate) async fn at_forge_strictly(options: ForgeOptions) -> Self {
        let strictly = "FORGE_TOKEN = \"${upstream.access_token}\", STRICT = \"1\"";
        Self::at_forge_with(options, "", "", (strictly, "")).await
    }

    /// The same, with the server's token in a file. `more` stands in the server's table.
    pub(crate) async fn at_forge_by_file(options: ForgeOptions, more: &str) -> Self {
        let by_file = "FORGE_TOKEN_FILE = \"${upstream.token_file}\"";
        let more = format!("token_file = \"token\"\n{more}");
        Self::at_forge_with(options, "", "", (by_file, &more)).await
    }

    /// The same, with a dummy in the place of the server's token. `more` stands in the table egress.
    pub(crate) async fn at_forge_by_egress(options: ForgeOptions, top: &str, more: &str) -> Self {
        let tables = format!("[server.main.egress]\n{more}\n");
        Self::at_forge_with(options, top, &tables, (DUMMY, "")).await
    }

    /// The same, with a further upstream of the server. `more` begins in the table egress.
    pub(crate) async fn at_forge_with_uploads(options: ForgeOptions, more: &str) -> Self {
        let dummy = "FORGE_URL = \"${egress.base_url}\", FORGE_TOKEN = \"${egress.token}\", \
                     UPLOADS_URL = \"${egress.uploads.base_url}\"";
        let tables = format!("[server.main.egress]\n{more}\n");
        Self::at_forge_with(options, "", &tables, (dummy, "")).await
    }

    /// [By egress](Self::at_forge_by_egress), at a place of the caller's.
    pub(crate) async fn at_forge_by_egress_at(place: Place, more: &str) -> Self {
        let tables = format!("[server.main.egress]\n{more}\n");
        Self::at_forge_at(place, ForgeOptions::default(), "", &tables, (DUMMY, "")).await
    }

    async fn at_forge_with(
        options: ForgeOptions,
        top: &str,
        tables: &str,
        server: (&str, &str),
    ) -> Self {
        Self::at_forge_at(Place::new(), options, top, tables, server).await
    }

    async fn at_forge_at(
        place: Place,
        options: ForgeOptions,
        top: &str,
        tables: &str,
        (token, more): (&str, &str),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let forge = forge::start(listener, None, options);
        let root = forge.root();
        let has_local = top.contains("auth.identity");
        let own = if has_local { "" } else { "auth.identity = [\"forgejo\"]" };
        let url = format!("FORGE_URL = \"{root}\", ");
        let url = if token.contains("FORGE_URL") { "" } else { &url };
        let env = format!(
            "env = {{ {url}{token}, FORGE_NAME = \"${{upstream.username}}\", \
             USER_SUBJECT = \"${{user.subject}}\" }}\n{more}"
        );
        let table = format!(
            "[auth.forgejo]\nurl = \"{root}\"\nclient_id = \"broker\"\n\
             client_secret = \"{FORGE_SECRET}\"\nscopes = [\"read:user\"]\n"
        );
        configure(&place, &format!("{own}\n{top}"), &env, &format!("{table}{tables}"));
        // Behind a public address nobody is told the port, so it has to be known before.
        let address = free_address();
        let mut broker = place.serve(&["--listen", &address.to_string()]).await;
        broker.client = Client::new(address);
        let setup = if has_local { Some(setup(&mut broker).await) } else { None };
        let back = format!("http://{}/callback/forgejo", broker.client.address);
        forge.add_app("broker", FORGE_SECRET, &back);
        Self { place, broker, setup, forge: Some(forge) }
    }

    pub(crate) fn forge(&self) -> &Forge {
        self.forge.as_ref().expect("there is a forge")
    }

    pub(crate) fn client(&self) -> &Client {
        &self.broker.client
    }

    /// The broker's address.
    pub(crate) fn root(&self) -> String {
        format!("http://{}", self.broker.client.address)
    }

    /// Makes an account from the command line.
    pub(crate) async fn account(&self, name: &str) {
        let typed = password(name) + "\n";
        let (code, _, told) = self.place.run_with(&["user", "add", name], &typed).await;
        assert_eq!(code, 0, "{told}");
    }

    /// An application that registered for the server at `path`.
    pub(crate) async fn application(&self, path: &str) -> Application {
        Application::connect(self.client(), path).await
    }

    /// From the application's question to its tokens; the browser is a new one.
    pub(crate) async fn sign_in(&self, application: &Application, name: &str) -> Tokens {
        self.sign_in_with(&mut Browser::default(), application, name, &[]).await
    }

    /// As [`sign_in`](Self::sign_in), with a browser that is there and with more in the question.
    pub(crate) async fn sign_in_with(
        &self,
        browser: &mut Browser,
        application: &Application,
        name: &str,
        more: &[(&str, &str)],
    ) -> Tokens {
        application.authorize(browser, (name, &password(name)), more).await
    }

    /// From the consent page to the application, through whatever is asked on the way.
    pub(crate) async fn approve(&self, browser: &mut Browser, consent: &Page, name: &str) -> Page {
        browser.approve(consent, (name, &password(name))).await
    }

    /// Answers a login form, or the forge's question for consent.
    pub(crate) async fn credentials(&self, browser: &mut Browser, page: &Page, name: &str) -> Page {
        browser.identify(page, (name, &password(name))).await
    }

    /// Signs a browser in for the broker's own pages, and shows the account.
    pub(crate) async fn account_page(&self, browser: &mut Browser, name: &str) -> Page {
        let mut page = browser.open(&format!("{}/account", self.root())).await;
        for _ in 0..3 {
            if page.url.path() == "/account" {
                return page;
            }
            page = self.credentials(browser, &page, name).await;
        }
        page
    }
}

fn password(name: &str) -> String {
    format!("{name}-password")
}

/// The address for the first account, as the broker printed it.
async fn setup(broker: &mut Program) -> String {
    let line = broker.line().await;
    let (_, file) = line.split_once("within a day: the link is in ").expect("where the link is");
    fs::read_to_string(file.trim()).expect("the link").trim().to_owned()
}

/// What the child finds in its environment.
pub(crate) async fn environment(session: &Client) -> Value {
    session.call("report", json!({})).await.json()["result"]["environment"].clone()
}

/// The child's process.
pub(crate) async fn child(session: &Client) -> u32 {
    let answer = session.call("echo", json!({})).await.json();
    answer["result"]["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a process")
}

/// `$W` in `tables` stands for the directory of the witness.
fn configure(place: &Place, top: &str, server: &str, tables: &str) {
    let tables = tables.replace("$W", place.witness.path());
    // Unless a test says so, no call becomes a stream because the machine is busy.
    let after = if top.contains("stream.after") { "" } else { "stream.after = \"10m\"" };
    // In a sandbox it would not know the number that its process has for others.
    let isolation = match tables.contains("[server.main.isolation]") {
        true => "",
        false => "isolation.level = \"none\"",
    };
    let text = format!(
        "listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\nauth.verifiers = [\"oauth\"]\n{after}\n{top}\n\
         [server.main]\ncommand = \"{OBLIGING}\"\nargs = [\"{}\"]\ndefault = true\n{isolation}\n\
         stop_grace = \"300ms\"\n{server}\n{tables}",
        place.path().join("data").display(),
        place.witness.path(),
    );
    fs::write(place.path().join("mcp-broker.toml"), text).expect("a file");
}
