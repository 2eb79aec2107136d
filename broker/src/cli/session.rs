//! `mcp-broker session`: the sessions with a record, awake or asleep.

use std::time::SystemTime;

use auth::UnixTime;
use clap::{Args, Subcommand};
use serde_json::json;
use session::{RecordKey, Records, RecordsError, Selection, StopReason, Summary};

use super::{
    context::Context,
    output::{Exit, print, print_error},
    store::{Failure, StoreArgs, with_store},
};
use crate::calendar::format;

/// How many records are read at a time.
const BATCH: usize = 200;

/// Digits of the short form. Fewer name nothing: a slip of the finger is not to end a session.
const SHORT: usize = 8;

#[derive(Debug, Args)]
pub(super) struct SessionCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the sessions, the last used first
    List {
        #[command(flatten)]
        common: StoreArgs,
    },
    /// End a session: it is never woken again, and if it is awake its process ends within seconds
    Kill {
        /// Its key, as listed: the short form if it means one session, or more digits of it
        key: String,
        #[command(flatten)]
        common: StoreArgs,
    },
}

pub(super) fn run(command: &SessionCommand, context: &Context<'_>) -> Exit {
    match &command.action {
        Action::List { common } => with_store(common, context, |store, _, _| async move {
            let mut found = all(&*store).await?;
            found.sort_by_key(|each| (std::cmp::Reverse(each.active), each.key));
            if common.json {
                print(found.iter().map(as_json).collect::<serde_json::Value>());
            } else if found.is_empty() {
                print_error("there are no sessions");
            } else {
                found.iter().for_each(|each| print(line(each)));
            }
            Ok(())
        }),
        Action::Kill { key, common } => with_store(common, context, |store, _, _| async move {
            let key = named(&*store, key).await?;
            if store.remove(&[key]).await? == 0 {
                return Err(Failure::No("the session ended meanwhile".to_owned()));
            }
            if common.json {
                print(json!({ "key": hex::encode(key.as_bytes()), "removed": true }));
            } else {
                print(format_args!("session {} ended", key.short()));
            }
            Ok(())
        }),
    }
}

async fn all(records: &dyn Records) -> Result<Vec<Summary>, RecordsError> {
    let mut found: Vec<Summary> = Vec::new();
    loop {
        let after = found.last().map(|last| last.key);
        let batch = records.list(&Selection::All, after.as_ref(), BATCH).await?;
        if batch.is_empty() {
            return Ok(found);
        }
        found.extend(batch);
    }
}

/// The one session whose key begins with `digits`.
async fn named(records: &dyn Records, digits: &str) -> Result<RecordKey, Failure> {
    let wanted = digits.trim_start_matches('#').to_ascii_lowercase();
    if !(SHORT..=64).contains(&wanted.len())
        || !wanted.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        let words = format!("a session's key is {SHORT} to 64 hex digits, as `session list` shows");
        return Err(Failure::Usage(words));
    }
    let found = all(records).await?;
    let mut meant =
        found.iter().filter(|each| hex::encode(each.key.as_bytes()).starts_with(&wanted));
    match (meant.next(), meant.next()) {
        (Some(one), None) => Ok(one.key),
        (None, _) => Err(Failure::No(format!("there is no session {digits:?}"))),
        (Some(_), Some(_)) => Err(Failure::No(format!(
            "{digits:?} means more than one session; `session list --json` shows the keys in full"
        ))),
    }
}

fn line(each: &Summary) -> String {
    format!(
        "{}  {}  {} ({})  {}  {}  since {}  last active {}",
        each.key.short(),
        state(each),
        each.owner.subject(),
        each.owner.issuer(),
        each.kind,
        each.owner.client(),
        minute(each.created),
        minute(each.active),
    )
}

fn as_json(each: &Summary) -> serde_json::Value {
    json!({
        "key": hex::encode(each.key.as_bytes()),
        "short": each.key.short().to_string(),
        "issuer": each.owner.issuer(),
        "subject": each.owner.subject(),
        "client": each.owner.client(),
        "grant": each.owner.grant_id(),
        "kind": &*each.kind,
        "state": if each.asleep.is_some() { "asleep" } else { "awake" },
        "asleep": each.asleep.map(StopReason::as_str),
        "created": UnixTime::of(each.created).0,
        "active": UnixTime::of(each.active).0,
    })
}

/// Whether it has a process, as its broker told last: it does so every `session.reap_interval`.
fn state(each: &Summary) -> String {
    each.asleep.map_or_else(|| "awake".to_owned(), |why| format!("asleep ({why})"))
}

/// A time to the minute, in UTC.
fn minute(time: SystemTime) -> String {
    format(UnixTime::of(time), "%Y-%m-%d %H:%MZ")
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use session::{Owner, Record, Use, testing::MemoryRecords};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn key(first: u8, last: u8) -> RecordKey {
        let mut bytes = [0xAB; 32];
        (bytes[0], bytes[31]) = (first, last);
        RecordKey::from_bytes(bytes)
    }

    async fn kept(keys: &[RecordKey]) -> MemoryRecords {
        let records = MemoryRecords::new();
        for key in keys {
            let record = Record {
                key: *key,
                owner: Owner::new("local", "ada", "editor").with_grant_id(Some("g1".into())),
                kind: "demo".into(),
                snapshot: Arc::from([]),
                created: at(1_709_164_800),
                active: at(1_709_164_800 + 3 * 3600 + 4 * 60 + 5),
                asleep: None,
            };
            assert!(records.create(record).await.unwrap());
        }
        records
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_form_names_a_session_unless_it_means_two() {
        let records = kept(&[key(1, 1), key(2, 1), key(2, 2)]).await;
        for (digits, expected) in [
            ("01ababab", key(1, 1)),
            ("#01ABABAB", key(1, 1)),
            (&*hex::encode(key(2, 2).as_bytes()), key(2, 2)),
        ] {
            assert!(
                matches!(named(&records, digits).await, Ok(key) if key == expected),
                "{digits}"
            );
        }
        for digits in ["02ababab", "03ababab"] {
            assert!(matches!(named(&records, digits).await, Err(Failure::No(_))), "{digits}");
        }
        for digits in ["", "01", "01ababag", &"a".repeat(65)] {
            assert!(matches!(named(&records, digits).await, Err(Failure::Usage(_))), "{digits}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_listed_session_says_whose_it_is_and_when_it_was_used() {
        let keys: Vec<_> = (0..=u8::MAX).map(|number| key(number, 0)).collect();
        let records = kept(&keys).await;
        let asleep = Some(StopReason::Idle);
        records.touch(&[Use { key: keys[2], active: at(0), asleep }]).await.unwrap();
        let found = all(&records).await.unwrap();
        assert_eq!(found.iter().map(|each| each.key).collect::<Vec<_>>(), keys, "in two batches");
        assert_eq!(
            line(&found[1]),
            "01ababab  awake  ada (local)  demo  editor  since 2024-02-29 00:00Z  last active \
             2024-02-29 03:04Z"
        );
        assert!(line(&found[2]).starts_with("02ababab  asleep (idle)  ada"), "{}", line(&found[2]));
        let states = [1, 2].map(|at| {
            (as_json(&found[at])["state"].clone(), as_json(&found[at])["asleep"].clone())
        });
        assert_eq!(states, [(json!("awake"), json!(null)), (json!("asleep"), json!("idle"))]);
        assert_eq!(as_json(&found[1])["grant"], "g1");
    }
}
