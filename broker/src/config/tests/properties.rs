//! Whatever stands in a file, a variable or `--set`: an answer, never a panic.

use proptest::prelude::*;

use super::keys::rows;
use super::{SERVER, load, load_with};

proptest! {
    #[test]
    fn no_text_makes_the_configuration_panic(text in any::<String>()) {
        let _ = load(&text, &[]);
    }

    #[test]
    fn nothing_that_looks_like_toml_makes_the_configuration_panic(
        text in "([a-z_.\\[\\]{}=\"',#\n -9]|server|session|max|env|args|\\$\\{user){0,60}"
    ) {
        let _ = load(&text, &[]).map_err(|mistakes| mistakes.to_string());
    }

    #[test]
    fn no_value_of_any_key_makes_the_configuration_panic(
        row in 0..rows().len(),
        value in prop_oneof![
            any::<String>(),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            "[0-9]{0,20}[a-zA-Z]{0,3}",
            "\\[(\"[^\"\\\\]{0,9}\",?){0,3}\\]",
            "\\{ [A-Z]{1,2} = (\"[^\"\\\\]{0,9}\"|[0-9]{1,2}) \\}",
            "[a-z]{0,5}:?/?/?[\\[\\]a-z0-9.:@-]{0,12}",
        ],
    ) {
        let key = rows()[row].replace('*', "notes");
        let result = load_with(SERVER, &[], |sources| {
            sources.set = vec![format!("{key}={value}")];
        });
        match result {
            Ok(loaded) => drop(loaded.effective.to_string()),
            Err(mistakes) => prop_assert!(!mistakes.0.is_empty()),
        }
    }

    #[test]
    fn no_variable_makes_the_configuration_panic(name in "[A-Z_]{0,20}", value in "[^\0]{0,20}") {
        let _ = load(SERVER, &[(&format!("MCP_BROKER_{name}"), &value)]);
    }
}
