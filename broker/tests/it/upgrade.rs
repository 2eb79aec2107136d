//! A data directory and a configuration file of the first released schema, under this program:
//! sessions, sign-ins, static tokens and consents are still good. `fixtures/upgrade/make.py` tells how
//! they were made.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, raw_sql, sqlite::SqliteConnectOptions};

use crate::{
    harness::{OBLIGING, with_timeout},
    program::{Place, Program},
    wire::Client,
};

const CONFIGURATION: &str = include_str!("../fixtures/upgrade/mcp-broker.toml");
const DATABASE: &str = include_str!("../fixtures/upgrade/broker.sql");
const CLIENTS: &str = include_str!("../fixtures/upgrade/clients.json");
const FILES: [(&str, &str); 3] = [
    ("server.key", include_str!("../fixtures/upgrade/server.key")),
    ("keyring", include_str!("../fixtures/upgrade/keyring")),
    ("tokens.json", include_str!("../fixtures/upgrade/tokens.json")),
];

/// The broker's address, as the fixture's configuration has it.
const PUBLIC: &str = "mcp.example.org";

/// The columns of that schema that hold a time, with the seconds in a unit of each.
const TIMES: [(&str, &[&str], u64); 11] = [
    ("clients", &["created", "unused_until", "redeemed"], 1),
    ("sign_ins", &["expires"], 1),
    ("codes", &["issued", "expires"], 1),
    ("grants", &["created", "refreshed", "revoked", "ends"], 1),
    ("access_tokens", &["issued", "expires"], 1),
    ("refresh_tokens", &["issued", "expires", "used"], 1),
    ("consents", &["given"], 1),
    ("browsers", &["expires"], 1),
    ("credentials", &["stored", "claimed_until", "removed"], 1),
    ("accounts", &["created"], 1),
    ("sessions", &["created", "active"], 1_000_000),
];

/// What the fixture's clients hold, and a broker that runs on what it left.
struct Upgraded {
    place: Place,
    broker: Program,
    holders: Value,
}

impl Upgraded {
    async fn start() -> Self {
        let place = Place::new();
        let holders: Value = serde_json::from_str(CLIENTS).expect("JSON");
        let data = place.path().join("data");
        fs::create_dir(&data).expect("a directory");
        for (name, text) in FILES {
            private(&data.join(name), text);
        }
        restore(&data.join("broker.db"), holders["made"].as_u64().expect("a time")).await;
        let configuration = CONFIGURATION
            .replace("@DATA@", data.to_str().expect("text"))
            .replace("@SERVER@", OBLIGING)
            .replace("@WITNESS@", place.witness.path());
        fs::write(place.path().join("mcp-broker.toml"), configuration).expect("a file");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = port.local_addr().expect("its address");
        drop(port);
        let mut broker = place.serve(&["--listen", &address.to_string()]).await;
        // Behind its public address the broker does not print this one.
        broker.client = Client::new(address).with("host", PUBLIC);
        Self { place, broker, holders }
    }

    fn holds(&self, who: &str, what: &str) -> &str {
        self.holders[who][what].as_str().unwrap_or_else(|| panic!("{who} holds no {what}"))
    }

    /// `who` at its server, with its access token.
    fn client(&self, who: &str) -> Client {
        self.broker.client.at(self.holds(who, "path")).bearer(self.holds(who, "access"))
    }

    /// `who`, in the session that it had.
    fn session(&self, who: &str) -> Client {
        self.client(who).with("mcp-session-id", self.holds(who, "session"))
    }

    async fn refresh(&self, who: &str) -> Value {
        let form = format!(
            "grant_type=refresh_token&client_id={}&refresh_token={}",
            self.holds(who, "client"),
            self.holds(who, "refresh"),
        );
        let endpoint = self.broker.client.at("/oauth/token");
        let endpoint = endpoint.with("content-type", "application/x-www-form-urlencoded");
        let answer = endpoint.post(form).await;
        assert_eq!(answer.status, 200, "{answer:?} {}", answer.text());
        answer.json()
    }

    /// The address to which the browser of `who` is sent from the authorization endpoint.
    async fn authorize(&self, who: &str) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("response_type", "code"),
                ("client_id", self.holds(who, "client")),
                ("redirect_uri", "https://client.example/cb"),
                ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
                ("code_challenge_method", "S256"),
                ("resource", &format!("https://{PUBLIC}{}", self.holds(who, "path"))),
            ])
            .finish();
        let cookies = self.holders[who]["cookies"].as_object().expect("cookies").iter();
        let cookies: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
            .collect();
        let browser = self.broker.client.at(&format!("/oauth/authorize?{query}"));
        let browser = browser.with("cookie", &cookies.join("; ")).with("sec-fetch-site", "none");
        let answer = browser.ask("GET", "").await;
        let location = answer.header("location");
        location.unwrap_or_else(|| panic!("{} {}", answer.status, answer.text())).to_owned()
    }
}

fn private(path: &Path, text: &str) {
    let file = fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
}

/// Makes the database of the dump, with its times moved by as long as it has been there.
async fn restore(path: &Path, made: u64) {
    private(path, "");
    // A dump fills a table before the one that it refers to is there.
    let options = SqliteConnectOptions::new().filename(path).foreign_keys(false);
    let mut database = options.connect().await.expect("it opens");
    raw_sql(DATABASE).execute(&mut database).await.expect("it is a dump");
    #[expect(clippy::disallowed_methods, reason = "the broker under test reads the calendar too")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let age = now.saturating_sub(Duration::from_secs(made)).as_secs();
    for (table, columns, unit) in TIMES {
        let moved: Vec<_> =
            columns.iter().map(|column| format!("{column} = {column} + {}", age * unit)).collect();
        let sql = format!("UPDATE {table} SET {}", moved.join(", "));
        raw_sql(AssertSqlSafe(sql)).execute(&mut database).await.expect("the columns are there");
    }
    database.close().await.expect("it closes");
}

#[test]
fn what_an_earlier_version_left_is_good_under_this_one() {
    with_timeout(async {
        let upgraded = Upgraded::start().await;
        for who in ["ada", "bob", "laptop"] {
            let answer = upgraded.session(who).call("report", json!({})).await;
            assert_eq!(answer.status, 200, "{who}: {} {}", answer.text(), upgraded.broker.log());
            let environment = &answer.json()["result"]["environment"];
            // Sealed by the earlier version.
            let token = upgraded.holders[who]["forge_token"].as_str();
            assert_eq!(environment["FORGE_TOKEN"].as_str(), token, "{who}");
        }
        for who in ["ada", "bob"] {
            let tokens = upgraded.refresh(who).await;
            let fresh = tokens["access_token"].as_str().expect("a token");
            assert!(upgraded.session(who).bearer(fresh).is_alive().await, "{who}");
            let location = upgraded.authorize(who).await;
            let code = location.starts_with("https://client.example/cb?code=");
            assert!(code, "{who} approved this client and is signed in: {location}");
        }
        let (code, list, told) = upgraded.place.run(&["token", "list", "--json"]).await;
        assert_eq!(code, 0, "{told}");
        let list: Value = serde_json::from_str(&list).expect("JSON");
        assert_eq!(list[0]["id"], "d11891f1ac9a");
        assert_eq!(list[0]["name"], "laptop");
        assert!(!upgraded.place.path().join("data/tokens.json").exists(), "it was imported");
        let (code, users, told) = upgraded.place.run(&["user", "list"]).await;
        assert_eq!(code, 0, "{told}");
        assert!(users.contains("ada"), "{users}");
        upgraded.place.witness.kill_all();
    });
}
