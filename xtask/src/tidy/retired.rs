//! Names that have gone: each had a standard term beside it, and a search for that term led nowhere.

use super::{
    files::File,
    tokens::{Kind, Token, tokens},
};

/// What is no longer the name of a type, a trait, a module or a function, and what is instead. A name
/// that is defined nowhere is used nowhere. The first column is the folder where the old name meant
/// this; empty for everywhere.
const RETIRED: [(&str, &str, &str); 75] = [
    ("", "Desk", "SingleFlight"),
    ("", "Flight", "SingleFlight"),
    ("", "fly", "run"),
    ("", "lands", "complete"),
    ("", "News", "Outcome"),
    ("", "rouse", "start_wake"),
    ("session", "trouble", "record_failure"),
    ("session", "well", "record_success"),
    ("session", "hold", "backoff"),
    ("", "Keeper", "RecordWriter"),
    ("", "doom", "mark_deleted"),
    ("session", "spare", "unmark"),
    ("", "bury", "delete_records, reap_in_background"),
    ("session", "tend", "flush"),
    ("", "Kept", "RecordHandle, CacheEntry, IdentityServices"),
    ("", "Setback", "WakeFailure"),
    ("", "Stay", "Incarnation"),
    ("", "see_to_the_end", "run"),
    ("", "Concluded", "Outcome"),
    ("", "depart", "finish"),
    ("session", "Heir", "Waiter"),
    ("session", "Seat", "Slot, Permit"),
    ("session", "Place", "Reservation"),
    ("session", "Wanted", "WakeKey"),
    ("session", "Means", "Context"),
    ("session", "ring", "notify"),
    ("session", "When", "StopWhen"),
    ("session", "Then", "AfterStop"),
    ("session", "Rotation", "Replacement"),
    ("broker/src", "Coming", "Startup"),
    ("broker/src", "came", "record_outcome"),
    ("broker/src", "see_through", "complete_handshake"),
    ("broker/src", "Own", "ChildCredential"),
    ("broker/src", "is_due", "must_renew"),
    ("broker/src", "hand_over", "deliver"),
    ("broker/src", "outdate", "mark_stale"),
    ("broker/src", "Live", "ChildSession"),
    ("bridge", "Hold", "StreamGuard"),
    ("bridge", "Done", "OnComplete"),
    ("bridge", "Carries", "EventKind"),
    ("bridge", "owes", "pending_request"),
    ("bridge", "remains", "completed_with"),
    ("bridge", "hurry", "switch_to_events"),
    ("bridge", "handed", "last_delivered"),
    ("bridge", "is_attended", "has_reader"),
    ("bridge", "retold", "replayed"),
    ("supervisor", "Hands", "ChildControl"),
    ("supervisor", "see_out", "run_shutdown"),
    ("", "Stranger", "PublicFetcher, HostError"),
    ("broker/src", "Configured", "TrustedFetcher"),
    ("", "Site", "HostPolicy, ServerUrls"),
    ("broker/src", "People", "SignInUi"),
    ("broker/src", "Outside", "HttpClients"),
    ("broker/src", "Access", "AuthStack"),
    ("", "Deed", "AccountAction"),
    ("broker/src", "vet", "validate_providers"),
    ("", "Mistake", "ConfigError"),
    ("broker/src", "doubts", "warnings"),
    ("broker/src", "told", "error_chain"),
    ("broker/src", "say", "print"),
    ("", "household", "rate_limit_key"),
    ("auth/src", "family", "grant_id"),
    ("", "Moment", "UnixTime"),
    ("", "patience", "timeout"),
    ("", "Undecided", "VerifierUnavailable"),
    ("broker", "house", "deployment"),
    ("", "House", "Deployment"),
    ("broker", "door", "request_checks"),
    ("broker", "crowd", "isolation"),
    ("", "Crowd", "isolation"),
    ("", "rig", "harness"),
    ("", "Rig", "Harness"),
    ("", "Knobs", "ForgeOptions"),
    ("", "knobs", "options"),
    ("", "story", "with_timeout"),
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
                    retired(&file.path, name)
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

/// What `name` is called today, if the old name meant that in this file.
fn retired(path: &str, name: &str) -> Option<&'static str> {
    let is_within = |folder: &str| {
        folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    let mut all = RETIRED.iter();
    all.find(|(folder, old, _)| *old == name && is_within(folder)).map(|(_, _, new)| *new)
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
        assert_eq!(retired("session/src/a.rs", "Place"), Some("Reservation"));
        assert_eq!(retired("sessions/src/a.rs", "Place"), None, "elsewhere it means a place");
    }
}
