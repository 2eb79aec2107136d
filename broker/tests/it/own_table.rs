//! A table that another crate declares: each key stands in one place, here, and is found in every
//! place where the built-in ones are.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use auth::SetupError;
use broker::config::{
    BuildContext, Config, ConfigErrors, Kinds, Loaded, SecretSetting, Sources, TableKind,
};

broker::settings! {
    /// Signing in with the account of the intranet.
    pub(crate) struct Intranet {
        /// The address of the directory.
        pub url: String = address().needed().example(r#""https://directory.example""#),
        /// The directory's password for the broker.
        pub password: SecretSetting = secret(&["A file that holds the password."])
            .example(r#""change-me""#),
        /// How long the directory may take to answer.
        pub patience: Duration = duration(r#""5s""#).zero("it is not waited for"),
    }
}

fn kinds() -> Kinds {
    // No provider is made here: what is declared is read and listed.
    let build = |_: BuildContext<'_, Intranet>| Err(SetupError::Empty { what: "the directory" });
    Kinds::built_in().with(TableKind::identity("intranet", build))
}

fn load(settings: &[&str]) -> Result<Loaded, ConfigErrors> {
    let environment: BTreeMap<String, String> = BTreeMap::new();
    let mut sources = Sources::new(&environment);
    sources.kinds = kinds();
    sources.directory = PathBuf::from("/nowhere");
    let own = ["auth.identity=[\"people\"]", "auth.people.kind=intranet"];
    sources.set = own.iter().chain(settings).map(|&set| set.to_owned()).collect();
    Config::load(&sources)
}

const URL: &str = "auth.people.url=https://directory.example/";

#[test]
fn a_key_that_is_declared_once_is_read_with_its_type_and_default() {
    let loaded = load(&[URL, "auth.people.password=hush"]).expect("nothing is wrong with it");
    let table = loaded.config.auth.tables.get("people").expect("the table");
    assert_eq!(table.kind, "intranet");
    let intranet = table.get::<Intranet>().expect("the type that it was declared with");
    assert_eq!(intranet.url, "https://directory.example");
    assert_eq!(intranet.patience, Duration::from_secs(5));
    let secret = intranet.password.value.as_ref().expect("it was set");
    assert_eq!(secret.expose(), "hush");
}

#[test]
fn a_key_that_is_declared_once_is_in_the_example_the_schema_and_the_listing() {
    let example = Config::example(&kinds());
    let words = "# How long the directory may take to answer.\n# 0: it is not waited for.\n";
    let words = format!("{words}#patience = \"5s\"\n");
    assert!(example.contains("\n[auth.intranet]\n") && example.contains(&words), "{example}");

    let schema = Config::schema(&kinds());
    let table = &schema["properties"]["auth"]["properties"]["intranet"];
    assert_eq!(table["description"], "Signing in with the account of the intranet.");
    assert_eq!(table["properties"]["patience"]["default"], "5s");
    assert_eq!(table["properties"]["password"]["writeOnly"], true);

    let listing = load(&[URL, "auth.people.password=hush"]).expect("good").effective.to_string();
    assert!(listing.contains("auth.people.patience = \"5s\""), "{listing}");
    assert!(listing.contains("auth.people.password = \"***\"") && !listing.contains("hush"));
}

#[test]
fn a_key_that_is_declared_once_has_mistakes_and_hints_as_any_other() {
    let mistakes = load(&["auth.people.patiense=1s", "auth.people.patience=5"]).expect_err("bad");
    let mistakes = mistakes.to_string();
    for part in [
        "auth.people.url: is missing: auth.identity names \"people\"",
        "did you mean `auth.people.patience`?",
        "auth.people.patience: expected a duration such as \"15m\", found 5",
    ] {
        assert!(mistakes.contains(part), "{part} is missing in {mistakes}");
    }
}

#[test]
fn a_key_of_a_table_below_auth_waits_for_a_restart() {
    let config = |more| load(&[URL, more]).expect("good").config;
    let (old, new) = (config("auth.people.patience=1s"), config("auth.people.patience=2s"));
    let changes = old.reloaded(&new).1;
    let changed: Vec<_> = changes.iter().map(|own| (own.key.as_str(), own.applied)).collect();
    assert_eq!(changed, [("auth.people.patience", false)]);
}
