//! `setup`: an operator with a forge's address gets a configuration that serves.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use super::forge::{self, Forge, ForgeOptions};
use crate::{
    harness::{until_so, with_timeout},
    program::Place,
    terminal::Terminal,
    wire::{TIMEOUT, Wire},
};

const PASSWORD: &str = "ada-password\n";
const PUBLIC: &str = "https://mcp.example.org";
const CALLBACK: &str = "https://mcp.example.org/callback/forgejo";

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
        assert!(written.contains("application = \"MCP broker\"\n"), "{written}");
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
        assert!(!said.contains("public application"), "{said}");
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
        let written = fs::read_to_string(&begun.config).expect("it is written");
        assert!(written.contains("application = \"Ours\"\n"), "{written}");
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
        begun.forge.add_app("made-by-hand", "hush", CALLBACK);
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
fn an_application_that_the_forge_does_not_know_is_told_at_once() {
    with_timeout(async {
        let begun = Beginning::new().await;
        let (code, said) = begun.setup(&["--client-id", "mistyped"], "hush\n").await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("identity provider forgejo: FAILED"), "{said}");
    });
}

#[test]
fn a_public_application_is_told_by_setup_by_check_and_at_the_start() {
    with_timeout(async {
        let begun = Beginning::new().await;
        begun.forge.add_app("everybodys", "hush", CALLBACK);
        begun.forge.set_confidential("everybodys", false);
        let (code, said) = begun.setup(&["--client-id", "everybodys"], "hush\n").await;
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("public application"), "{said}");
        let config = begun.config.to_str().expect("text");
        let tried = ["check", "--try", "--config", config];
        let (code, said, complained) = begun.place.run(&tried).await;
        assert_eq!(code, 0, "{said}{complained}");
        assert!(said.contains("register a confidential one"), "{said}{complained}");
        let args = ["--config", config, "--listen", "127.0.0.1:0"];
        let broker = begun.place.serve(&args).await;
        until_so("it is told", async || {
            broker.log().contains("register a confidential application")
        })
        .await;
        begun.forge.set_confidential("everybodys", true);
        drop(broker);
        let (_, said, _) = begun.place.run(&tried).await;
        assert!(!said.contains("public application"), "{said}");
    });
}

#[test]
fn where_nothing_can_be_written_nothing_is_registered() {
    with_timeout(async {
        let begun = Beginning::new().await;
        let directory = begun.config.parent().expect("a directory");
        fs::write(directory.join("file"), "").expect("a file");
        for place in ["missing/mcp-broker.toml", "file/mcp-broker.toml"] {
            let config = directory.join(place);
            let more = ["--config", config.to_str().expect("text"), "--user", "ada"];
            let args = ["setup", "forgejo", begun.forge.root(), "--public-url", PUBLIC];
            let (code, said, why) =
                begun.place.run_with(&[&args[..], &more].concat(), PASSWORD).await;
            assert_eq!(code, 69, "{said}{why}");
            assert!(why.contains(place) && why.contains("Nothing was changed"), "{why}");
        }
        assert!(begun.forge.state().apps.is_empty());
    });
}

#[test]
fn an_application_whose_secret_cannot_be_kept_is_removed_again() {
    with_timeout(async {
        let begun = Beginning::new().await;
        // Files of this shell end at 512 bytes: enough for the secret, too little for the rest.
        let line = format!(
            "trap '' XFSZ; ulimit -f 1; echo {} | {} setup forgejo {} --config {} --public-url {PUBLIC} \
             --user ada",
            PASSWORD.trim_end(),
            env!("CARGO_BIN_EXE_mcp-broker"),
            begun.forge.root(),
            begun.config.display(),
        );
        let (code, said, why) = begun.place.shell(&line).await;
        assert_eq!(code, 69, "{said}{why}");
        assert!(why.contains("removed from the forge again"), "{why}");
        assert!(begun.forge.state().apps.is_empty());
        assert!(!begun.config.exists() && !begun.secret().exists());
        assert_eq!(begun.setup(&["--user", "ada"], PASSWORD).await.0, 0, "the next try works");
    });
}

/// A setup by a person at a terminal, who types what it asks for.
#[expect(clippy::disallowed_methods, reason = "the program under test is nobody's child")]
async fn at_a_terminal(begun: &Beginning, more: &[&str], typed: &[(&str, &str)]) -> (i32, String) {
    let mut terminal = Terminal::open();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-broker"));
    let config = begun.config.to_str().expect("text");
    command.args(["setup", "forgejo", begun.forge.root(), "--config", config]);
    command.args(more).current_dir(begun.place.path()).env_clear().kill_on_drop(true);
    command.stdin(terminal.end()).stdout(terminal.end()).stderr(terminal.end());
    let mut process = command.spawn().expect("it starts");
    for (question, answer) in typed {
        terminal.shows(question).await;
        terminal.types(&format!("{answer}\n"));
    }
    let ended = timeout(TIMEOUT, process.wait()).await.expect("in time").expect("it ran");
    terminal.types("the end");
    (ended.code().expect("a code"), terminal.shows("the end").await)
}

#[test]
fn at_a_terminal_password_and_code_are_asked_for_and_not_shown() {
    with_timeout(async {
        let begun = Beginning::new().await;
        for user in &mut begun.forge.state().users {
            user.otp = Some("271828".to_owned());
        }
        let typed = [
            ("users and clients will use", PUBLIC),
            ("Password of ada", PASSWORD.trim_end()),
            ("second factor", "271828"),
        ];
        let (code, screen) = at_a_terminal(&begun, &["--user", "ada"], &typed).await;
        assert_eq!(code, 0, "{screen}");
        assert!(!screen.contains("271828") && !screen.contains("ada-password"), "{screen}");
        begun.check().await;
    });
}

#[test]
fn at_a_terminal_an_application_registered_by_hand_is_asked_for_in_the_same_run() {
    with_timeout(async {
        let begun = Beginning::new().await;
        begun.forge.add_app("made-by-hand", "hush-of-the-forge", CALLBACK);
        let typed = [
            ("with the scope write:user", ""),
            ("The client ID", "made-by-hand"),
            ("The client secret", "hush-of-the-forge"),
        ];
        let (code, screen) = at_a_terminal(&begun, &["--public-url", PUBLIC], &typed).await;
        assert_eq!(code, 0, "{screen}");
        assert!(screen.contains("/user/settings/applications"), "{screen}");
        assert!(!screen.contains("hush-of-the-forge"), "{screen}");
        assert_eq!(fs::read_to_string(begun.secret()).expect("a file"), "hush-of-the-forge\n");
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
