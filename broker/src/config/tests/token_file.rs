//! A server that reads its user's token from a file.

use supervisor::Reload;

use super::super::{TableName, TokenFile, Upstream};
use super::{config, load};

const FORGE: &str = "auth.identity = [\"forgejo\"]\n[auth.forgejo]\nurl = \"https://git.example\"\n\
                     client_id = \"broker\"\nclient_secret = \"hush\"\n[server.notes]\n\
                     command = \"notes\"\n";

fn refused(server: &str) -> (String, String) {
    let mut mistakes = load(&format!("{FORGE}{server}"), &[]).expect_err(server).0;
    assert_eq!(mistakes.len(), 1, "{server}: {mistakes:?}");
    let mistake = mistakes.remove(0);
    (mistake.key, mistake.what)
}

#[test]
fn a_token_file_has_the_credential_of_the_only_identity_provider() {
    let server = "token_file = \"token\"\ntoken_signal = \"SIGHUP\"\n\
                  env = { TOKEN_FILE = \"${upstream.token_file}\" }";
    let config = config(&format!("{FORGE}{server}"));
    let notes = &config.server["notes"];
    let file = TokenFile { name: "token".to_owned(), signal: Some(Reload::Hangup) };
    assert_eq!(notes.token_file(), Some(file));
    assert_eq!(notes.upstream, Some(Upstream::Provider(TableName::known("forgejo"))));
}

#[test]
fn what_contradicts_a_token_file_is_refused() {
    for (server, key, what) in [
        ("token_file = \"/etc/token\"", "token_file", "is not the name of a file"),
        ("token_signal = \"SIGHUP\"", "token_signal", "is set without token_file"),
        ("token_file = \"t\"\ntoken_signal = \"SIGKILL\"", "token_signal", "is not one of"),
        ("env = { T = \"${upstream.token_file}\" }", "env", "there is no such file"),
        (
            "token_file = \"t\"\nenv = { T = \"${upstream.access_token}\" }",
            "env",
            "has ${upstream.access_token}, and token_file is set",
        ),
    ] {
        let (refused, found) = refused(server);
        assert_eq!(refused, format!("server.notes.{key}"), "{server}");
        assert!(found.contains(what), "{server}: {found}");
    }
}
