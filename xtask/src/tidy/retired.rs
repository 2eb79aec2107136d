//! Names that have gone: each had a standard term beside it, and a search for that term led nowhere.

use super::{
    files::File,
    tokens::{Kind, Token, tokens},
};

/// What is no longer the name of a type, a trait, a module or a function, and what is instead. A name
/// that is defined nowhere is used nowhere.
const RETIRED: [(&str, &str); 75] = [
    ("Desk", "SingleFlight"),
    ("Flight", "SingleFlight"),
    ("fly", "run"),
    ("lands", "complete"),
    ("News", "Outcome"),
    ("rouse", "start_wake"),
    ("trouble", "record_failure"),
    ("well", "record_success"),
    ("hold", "backoff"),
    ("Keeper", "RecordWriter"),
    ("doom", "mark_deleted"),
    ("spare", "unmark"),
    ("bury", "delete_records, reap_in_background"),
    ("tend", "flush"),
    ("Kept", "RecordHandle, CacheEntry, IdentityServices"),
    ("Setback", "WakeFailure"),
    ("Stay", "Incarnation"),
    ("see_to_the_end", "run"),
    ("Concluded", "Outcome"),
    ("depart", "finish"),
    ("Heir", "Waiter"),
    ("Seat", "Slot, Permit"),
    ("Place", "Reservation"),
    ("Wanted", "WakeKey"),
    ("Means", "Context"),
    ("ring", "notify"),
    ("When", "StopWhen"),
    ("Then", "AfterStop"),
    ("Rotation", "Replacement"),
    ("Coming", "Startup"),
    ("came", "record_outcome"),
    ("see_through", "complete_handshake"),
    ("Own", "ChildCredential"),
    ("is_due", "must_renew"),
    ("hand_over", "deliver"),
    ("outdate", "mark_stale"),
    ("Live", "ChildSession"),
    ("Hold", "StreamGuard"),
    ("Done", "OnComplete"),
    ("Carries", "EventKind"),
    ("owes", "pending_request"),
    ("remains", "completed_with"),
    ("hurry", "switch_to_events"),
    ("handed", "last_delivered"),
    ("is_attended", "has_reader"),
    ("retold", "replayed"),
    ("Hands", "ChildControl"),
    ("see_out", "run_shutdown"),
    ("Stranger", "PublicFetcher, HostError"),
    ("Configured", "TrustedFetcher"),
    ("Site", "HostPolicy, ServerUrls"),
    ("People", "SignInUi"),
    ("Outside", "HttpClients"),
    ("Access", "AuthStack"),
    ("Deed", "AccountAction"),
    ("vet", "validate_providers"),
    ("Mistake", "ConfigError"),
    ("doubts", "warnings"),
    ("told", "error_chain"),
    ("say", "print"),
    ("household", "rate_limit_key"),
    ("family", "grant_id"),
    ("Moment", "UnixTime"),
    ("patience", "timeout"),
    ("Undecided", "VerifierUnavailable"),
    ("house", "deployment"),
    ("House", "Deployment"),
    ("door", "request_checks"),
    ("crowd", "isolation"),
    ("Crowd", "isolation"),
    ("rig", "harness"),
    ("Rig", "Harness"),
    ("Knobs", "ForgeOptions"),
    ("knobs", "options"),
    ("story", "with_timeout"),
];

/// Variants that have gone, by the type that had them.
const RETIRED_VARIANTS: [(&str, &str, &str); 3] = [
    ("Found", "Moving", "InTransition"),
    ("Found", "Nothing", "NotFound"),
    ("Found", "Over", "Ended"),
];

/// Where a name that has gone is defined once more.
pub(super) fn names(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let words = tokens(&file.text);
        for (at, token) in words.iter().enumerate() {
            let Some(name) = token.word() else { continue };
            let before = at.checked_sub(1).map(|before| words[before].kind);
            let found = match before {
                Some(Kind::Word("fn" | "struct" | "enum" | "trait" | "mod" | "type" | "union")) => {
                    RETIRED.iter().find(|(old, _)| *old == name).map(|(_, new)| *new)
                }
                Some(Kind::PathSeparator) => variant(&words, at, name),
                _ => None,
            };
            if let Some(new) = found {
                let line = token.line;
                problems.push(format!("{}:{line}: `{name}` is called {new}", file.path));
            }
        }
    }
    problems
}

fn variant(words: &[Token<'_>], at: usize, name: &str) -> Option<&'static str> {
    let of = at.checked_sub(2).and_then(|of| words[of].word())?;
    let mut retired = RETIRED_VARIANTS.iter();
    retired.find(|(owner, old, _)| *owner == of && *old == name).map(|(_, _, new)| *new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_of_a_name_that_has_gone_is_found_and_a_longer_name_is_not() {
        let text =
            "struct Desk;\nfn f(story: u8) { story; Found::Over }\nmod rig;\nstruct Desktop;";
        let file = File { path: "a/src/b.rs".to_owned(), text: text.to_owned() };
        assert_eq!(
            names(&[file]),
            [
                "a/src/b.rs:1: `Desk` is called SingleFlight",
                "a/src/b.rs:2: `Over` is called Ended",
                "a/src/b.rs:3: `rig` is called harness",
            ]
        );
    }
}
