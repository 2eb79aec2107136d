//! `setup`: an operator with a forge's address gets a configuration that serves.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::forge::{self, Forge, ForgeOptions};
use crate::{harness::with_timeout, program::Place, wire::Wire};

const PASSWORD: &str = "ada-password\n";
const PUBLIC: &str = "https://mcp.example.org";

/// An operator in an empty directory, and a forge where ada has an account.
struct Beginning {
    place: Place,
    forge: Forge,
    config: PathBuf,
}

impl Beginning {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let forge = forge::start(listener, None, ForgeOptions::default());
        let place = Place::new();
        let directory = place.path().join("new");
        fs::create_dir(&directory).expect("a directory");
        Self { place, forge, config: directory.join("mcp-broker.toml") }
    }

    fn secret(&self) -> PathBuf {
        self.config.with_file_name("forgejo-secret")
    }

    /// Runs `setup` with these arguments besides; the exit code and all that was said.
    async fn setup(&self, more: &[&str], typed: &str) -> (i32, String) {
        let config = self.config.to_str().expect("text");
        let args =
            ["setup", "forgejo", self.forge.root(), "--config", config, "--public-url", PUBLIC];
        let (code, said, complained) = self.place.run_with(&[&args, more].concat(), typed).await;
        assert!(!said.contains("gto_") && !complained.contains("gto_"), "{said}{complained}");
        (code, said + &complained)
    }

    /// Asks the forge for ada's applications, as she would.
    async fn applications(&self, method: &str, body: &str) -> Value {
        let host = self.forge.root().trim_start_matches("http://");
        let mut wire = Wire::connect(host.parse().expect("an address")).await;
        let length = body.len();
        let credential = STANDARD.encode(format!("ada:{}", PASSWORD.trim_end()));
        wire.send(format!(
            "{method} /api/v1/user/applications/oauth2 HTTP/1.1\r\nhost: {host}\r\n\
             authorization: Basic {credential}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        ))
        .await;
        let answer = wire.answer().await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.json()
    }

    async fn check(&self) {
        let config = self.config.to_str().expect("text");
        let (code, said, complained) = self.place.run(&["check", "--config", config]).await;
        assert_eq!(code, 0, "{said}{complained}");
    }
}

#[test]
fn one_command_registers_the_broker_and_writes_a_configuration_that_is_valid() {
    with_timeout(async {
        let begun = Beginning::new().await;
        let (code, said) = begun.setup(&["--user", "ada"], PASSWORD).await;
        assert_eq!(code, 0, "{said}");
        for words in [
            "registered the application",
            "forgejo-mcp is not installed",
            "https://codeberg.org/goern/forgejo-mcp",
            "claude mcp add --transport http broker https://mcp.example.org/mcp",
        ] {
            assert!(said.contains(words), "{words} is missing in {said}");
        }
        begun.check().await;
        let written = fs::read_to_string(&begun.config).expect("it is written");
        assert!(!written.contains("gto_"), "the secret has a file of its own: {written}");
        let secret = fs::read_to_string(begun.secret()).expect("it is written");
        assert!(secret.starts_with("gto_"), "it is the forge's");
        for path in [&begun.config, &begun.secret()] {
            let mode = fs::metadata(path).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        assert!(!written.contains("ada-password") && !said.contains("ada-password"), "{said}");
    });
}

#[test]
fn a_check_asks_the_forge_whether_it_knows_the_broker() {
    with_timeout(async {
        let begun = Beginning::new().await;
        assert_eq!(begun.setup(&["--user", "ada"], PASSWORD).await.0, 0);
        let config = begun.config.to_str().expect("text");
        let tried = ["check", "--try", "--config", config];
        let (code, said, complained) = begun.place.run(&tried).await;
        assert_eq!(code, 0, "{said}{complained}");
        assert!(said.contains("identity provider forgejo: answers"), "{said}{complained}");
        let other = ["--set", "auth.forgejo.client_id=nobody-knows-it"];
        let (code, said, complained) = begun.place.run(&[&tried[..], &other].concat()).await;
        assert_eq!(code, 1, "{said}{complained}");
        assert!(said.contains("identity provider forgejo: FAILED"), "{said}{complained}");
    });
}

#[test]
fn a_second_setup_changes_nothing_that_is_right_and_says_what_differs() {
    with_timeout(async {
        let begun = Beginning::new().await;
        assert_eq!(begun.setup(&["--user", "ada"], PASSWORD).await.0, 0);
        let read = || [&begun.config, &begun.secret()].map(|path| fs::read(path).expect("a file"));
        let before = read();
        let (code, said) = begun.setup(&["--user", "ada"], PASSWORD).await;
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("nothing was changed"), "{said}");
        let (code, said) = begun.setup(&["--user", "ada", "--scopes", "all-tools"], PASSWORD).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("auth.forgejo.scopes") && said.contains("write:user"), "{said}");
        assert!(!said.contains("auth.forgejo.url"), "only what differs is named: {said}");
        assert_eq!(read(), before);
    });
}

#[test]
fn an_application_that_exists_already_is_kept_unless_a_new_secret_is_asked_for() {
    with_timeout(async {
        let begun = Beginning::new().await;
        assert_eq!(begun.setup(&["--user", "ada"], PASSWORD).await.0, 0);
        let first = fs::read_to_string(begun.secret()).expect("a file");
        fs::remove_file(&begun.config).expect("it is there");
        let (code, said) = begun.setup(&["--user", "ada"], PASSWORD).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("--client-secret-file"), "{said}");
        assert_eq!(fs::read_to_string(begun.secret()).expect("a file"), first, "it is not touched");
        fs::remove_file(begun.secret()).expect("it is there");
        let (code, said) = begun.setup(&["--user", "ada"], PASSWORD).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("registered already") && said.contains("--new-secret"), "{said}");
        assert!(!begun.config.exists() && !begun.secret().exists());
        let (code, said) = begun.setup(&["--user", "ada", "--new-secret"], PASSWORD).await;
        assert_eq!(code, 0, "{said}");
        assert_ne!(fs::read_to_string(begun.secret()).expect("a file"), first);
        begun.check().await;
    });
}

#[test]
fn a_new_secret_leaves_the_name_and_the_other_addresses_of_an_application_as_they_are() {
    with_timeout(async {
        let begun = Beginning::new().await;
        let ours = json!({
            "name": "Ours",
            "confidential_client": true,
            "redirect_uris": ["https://other.example/cb", "https://mcp.example.org/callback/forgejo"],
        });
        begun.applications("POST", &ours.to_string()).await;
        let (code, said) = begun.setup(&["--user", "ada", "--new-secret"], PASSWORD).await;
        assert_eq!(code, 0, "{said}");
        let listed = begun.applications("GET", "").await;
        assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
        assert_eq!(listed[0]["name"], ours["name"], "{listed}");
        assert_eq!(listed[0]["redirect_uris"], ours["redirect_uris"], "{listed}");
    });
}

#[test]
fn without_a_way_to_register_the_page_and_its_fields_are_told() {
    with_timeout(async {
        let begun = Beginning::new().await;
        let (code, said) = begun.setup(&[], "").await;
        assert_eq!(code, 1, "{said}");
        for words in [
            "/user/settings/applications",
            "https://mcp.example.org/callback/forgejo",
            "Confidential client   yes",
            "--client-id",
        ] {
            assert!(said.contains(words), "{words} is missing in {said}");
        }
        assert!(!begun.config.exists());
        let own = begun.place.path().join("typed");
        fs::write(&own, "hush\n").expect("a file");
        let own = own.to_str().expect("text");
        let given = ["--client-id", "made-by-hand", "--client-secret-file", own];
        let (code, said) = begun.setup(&given, "").await;
        assert_eq!(code, 0, "{said}");
        begun.check().await;
        assert_eq!(fs::read_to_string(begun.secret()).expect("a file"), "hush\n");
    });
}

#[test]
fn a_wrong_password_and_an_address_that_is_no_forge_write_nothing() {
    with_timeout(async {
        let begun = Beginning::new().await;
        let (code, said) = begun.setup(&["--user", "ada"], "guess\n").await;
        assert_eq!(code, 69, "{said}");
        assert!(said.contains("check the token, or the name and password"), "{said}");
        assert!(!begun.config.exists() && !begun.secret().exists());
        let config = begun.config.to_str().expect("text");
        for (address, expected) in [
            ("ftp://git.example.org", 64),
            ("git.example.org", 64),
            ("http://127.0.0.1:9", 69),
            ("https://me:secret@git.example.org", 64),
        ] {
            let args = ["setup", "gitea", address, "--config", config];
            let (code, said, why) = begun.place.run(&args).await;
            assert_eq!(code, expected, "{address}: {said}{why}");
            assert!(!why.contains("secret@"), "{why}");
        }
        assert!(!begun.config.exists());
    });
}
