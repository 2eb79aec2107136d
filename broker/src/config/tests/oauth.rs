//! The authorization server's own rules.

use auth::oauth::DESKTOP_SCHEMES;

use super::super::ClientIdMetadata::{self, Auto, Off, On};
use super::{SERVER, config, load, load_with, mistake};

#[test]
fn known_desktop_clients_may_register_without_a_word_of_the_operator() {
    let config = config(SERVER);
    assert_eq!(config.oauth.redirect_schemes, DESKTOP_SCHEMES);
    for scheme in ["windsurf", "raycast", "warp", "kiro", "goose", "lmstudio", "zed", "trae"] {
        assert!(config.oauth.redirect_schemes.iter().any(|own| own == scheme), "{scheme}");
    }
}

#[test]
fn a_switch_that_may_be_a_word_is_read_wherever_it_stands() {
    let read = |text: &str, variables: &[(&str, &str)], set: &str| -> ClientIdMetadata {
        let text = format!("{text}\n{SERVER}");
        let loaded = load_with(&text, variables, |sources| {
            sources.set = set.split_whitespace().map(str::to_owned).collect();
        });
        let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        loaded.config.oauth.client_id_metadata
    };
    assert_eq!(read("", &[], ""), Auto);
    for (word, expected) in [("\"auto\"", Auto), ("true", On), ("false", Off)] {
        let line = format!("oauth.client_id_metadata = {word}");
        assert_eq!(read(&line, &[], ""), expected, "{line}");
    }
    for (word, expected) in [("auto", Auto), ("\"auto\"", Auto), ("true", On), ("false", Off)] {
        let set = format!("oauth.client_id_metadata={word}");
        assert_eq!(read("", &[], &set), expected, "{set}");
        let variables = [("MCP_BROKER_OAUTH__CLIENT_ID_METADATA", word)];
        assert_eq!(read("", &variables, ""), expected, "{word}");
    }
    for wrong in ["\"Auto\"", "\"true\"", "1", "[true]", "\"\""] {
        let mistake = mistake(&format!("oauth.client_id_metadata = {wrong}"));
        assert!(mistake.what.contains("true, false or \"auto\""), "{wrong}: {mistake:?}");
    }
    assert!(load(SERVER, &[("MCP_BROKER_OAUTH__CLIENT_ID_METADATA", "on")]).is_err());
}
