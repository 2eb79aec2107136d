//! Data directories of earlier versions and their configuration file, under this program: sessions,
//! sign-ins, static tokens and consents are still good. `fixtures/upgrade/make.py` tells how they were made.

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
    harness::{OBLIGING, free_address, with_timeout},
    modern::{parked, retried},
    program::{Place, Program},
    wire::Client,
};

const CONFIGURATION: &str = include_str!("../fixtures/upgrade/mcp-broker.toml");

/// What a version left.
struct Left {
    database: &'static str,
    /// What its clients hold.
    clients: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// The identifier of the static token.
    laptop: &'static str,
}

/// Of the first version with a database.
const FIRST_SCHEMA: Left = Left {
    database: include_str!("../fixtures/upgrade/first_schema/broker.sql"),
    clients: include_str!("../fixtures/upgrade/first_schema/clients.json"),
    files: &[
        ("server.key", include_str!("../fixtures/upgrade/first_schema/server.key")),
        ("keyring", include_str!("../fixtures/upgrade/first_schema/keyring")),
        ("tokens.json", include_str!("../fixtures/upgrade/first_schema/tokens.json")),
    ],
    laptop: "d11891f1ac9a",
};

/// Of the last version that knew no clients without sessions.
const SESSIONS_ALONE: Left = Left {
    database: include_str!("../fixtures/upgrade/sessions_alone/broker.sql"),
    clients: include_str!("../fixtures/upgrade/sessions_alone/clients.json"),
    files: &[
        ("server.key", include_str!("../fixtures/upgrade/sessions_alone/server.key")),
        ("keyring", include_str!("../fixtures/upgrade/sessions_alone/keyring")),
    ],
    laptop: "43a2869c9fde",
};

/// The broker's address, as the fixture's configuration has it.
const PUBLIC: &str = "mcp.example.org";

/// The columns of these schemas that hold a time, with the seconds in a unit of each.
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
    async fn start(left: &Left) -> Self {
        let place = Place::new();
        let holders: Value = serde_json::from_str(left.clients).expect("JSON");
        let data = place.path().join("data");
        fs::create_dir(&data).expect("a directory");
        for (name, text) in left.files {
            private(&data.join(name), text);
        }
        let database = data.join("broker.db");
        restore(&database, left.database, holders["made"].as_u64().expect("a time")).await;
        let configuration = CONFIGURATION
            .replace("@DATA@", data.to_str().expect("text"))
            .replace("@SERVER@", OBLIGING)
            .replace("@WITNESS@", place.witness.path());
        fs::write(place.path().join("mcp-broker.toml"), configuration).expect("a file");
        let address = free_address();
        // In a sandbox every child has the same number, by which the witness tells them apart.
        let address_text = address.to_string();
        let mut args = vec!["--listen", &address_text];
        args.extend([
            "--set",
            "server.main.isolation.level=none",
            "--set",
            "server.forge.isolation.level=none",
        ]);
        let mut broker = place.serve(&args).await;
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
async fn restore(path: &Path, dump: &'static str, made: u64) {
    private(path, "");
    // A dump fills a table before the one that it refers to is there.
    let options = SqliteConnectOptions::new().filename(path).foreign_keys(false);
    let mut database = options.connect().await.expect("it opens");
    raw_sql(dump).execute(&mut database).await.expect("it is a dump");
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

/// Starts with what a version left, and looks whether all of it is good.
async fn assert_good(left: &Left) -> Upgraded {
    let upgraded = Upgraded::start(left).await;
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
    assert_eq!((&list[0]["id"], &list[0]["name"]), (&json!(left.laptop), &json!("laptop")));
    let (code, users, told) = upgraded.place.run(&["user", "list"]).await;
    assert_eq!(code, 0, "{told}");
    assert!(users.contains("ada"), "{users}");
    upgraded
}

#[test]
fn what_the_first_version_with_a_database_left_is_good_under_this_one() {
    with_timeout(async {
        let upgraded = assert_good(&FIRST_SCHEMA).await;
        assert!(!upgraded.place.path().join("data/tokens.json").exists(), "it was imported");
        upgraded.place.witness.kill_all();
    });
}

#[test]
fn sessions_go_on_from_a_version_that_knew_nothing_else_and_their_owners_need_none_now() {
    with_timeout(async {
        let upgraded = assert_good(&SESSIONS_ALONE).await;
        // The sessions' new children know what was set before.
        let read = upgraded.place.witness.read();
        for told in [r#""method":"logging/setLevel","params":{"level":"warning"}"#, "notes://one"] {
            assert_eq!(read.matches(told).count(), 3, "{told} in {read}");
        }
        for who in ["ada", "bob", "laptop"] {
            let client = upgraded.client(who);
            let state = parked(&client, json!({ "n": 1 })).await;
            let said = json!({ "content": who });
            let answer = retried(&client, json!({ "n": 1 }), &state, &said).await;
            assert_eq!(answer.json()["result"]["said"], said, "{who}: {answer:?}");
            assert!(upgraded.session(who).is_alive().await, "{who} has the session as well");
        }
        upgraded.place.witness.kill_all();
    });
}
