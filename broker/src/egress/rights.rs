//! Rights that people's tokens lack, by the word of upstreams that refused a request for want of them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use auth::upstream::CredentialKey;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;

/// Credentials that are remembered.
const MAX_CREDENTIALS: usize = 10_000;
/// Rights that are remembered for each.
const MAX_RIGHTS: usize = 16;
/// How much of an answer is read for them, in bytes.
const MAX_READ: usize = 8 * 1024;
/// The longest name of a right, in bytes.
const MAX_NAME: usize = 64;
/// A right that nothing was refused for since may have been granted.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A right that a token lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LackingRight {
    /// As the upstream calls it.
    pub(crate) name: String,
    /// How many requests were refused for want of it.
    pub(crate) refused: u64,
}

/// The rights that people's tokens lack, since the broker runs.
#[derive(Debug, Default)]
pub(crate) struct LackingRights(Mutex<HashMap<CredentialKey, BTreeMap<String, Refusals>>>);

#[derive(Debug)]
struct Refusals {
    count: u64,
    last: SystemTime,
}

impl LackingRights {
    /// Those of the token under `key`.
    pub(crate) fn of(&self, key: &CredentialKey, now: SystemTime) -> Vec<LackingRight> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = all.get(key).into_iter().flatten().filter(|(_, own)| own.is_fresh(now));
        fresh.map(|(name, own)| LackingRight { name: name.clone(), refused: own.count }).collect()
    }

    fn note(&self, key: &CredentialKey, rights: &[String], now: SystemTime) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_CREDENTIALS && !all.contains_key(key) {
            all.retain(|_, own| own.values().any(|refusals| refusals.is_fresh(now)));
            if all.len() >= MAX_CREDENTIALS {
                return;
            }
        }
        let own = all.entry(key.clone()).or_default();
        for right in rights {
            own.retain(|_, refusals| refusals.is_fresh(now));
            if own.len() < MAX_RIGHTS || own.contains_key(right) {
                let refusals = own.entry(right.clone()).or_insert(Refusals { count: 0, last: now });
                refusals.count += 1;
                refusals.last = now;
            }
        }
    }
}

impl Refusals {
    fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.last).is_ok_and(|age| age < REMEMBERED) || self.last > now
    }
}

/// Where a refusal is noted, and for whom.
pub(super) struct Note {
    pub(super) rights: Arc<LackingRights>,
    pub(super) key: CredentialKey,
    pub(super) now: SystemTime,
    /// Called when there is something to note.
    pub(super) count: Box<dyn Fn() + Send>,
}

/// The body of an answer that refuses a request. It is read on its way, up to a bound.
pub(super) struct Overheard<B> {
    body: B,
    in_head: Vec<String>,
    read: Vec<u8>,
    note: Note,
}

impl<B> Overheard<B> {
    pub(super) fn new(body: B, headers: &HeaderMap, note: Note) -> Self {
        Self { body, in_head: in_head(headers), read: Vec::new(), note }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Overheard<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let own = self.get_mut();
        let polled = Pin::new(&mut own.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(piece) = frame.data_ref()
        {
            let room = MAX_READ.saturating_sub(own.read.len()).min(piece.len());
            own.read.extend_from_slice(&piece[..room]);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// However it ended: what is known by its length is not always read to its end.
impl<B> Drop for Overheard<B> {
    fn drop(&mut self) {
        let mut rights = std::mem::take(&mut self.in_head);
        if rights.is_empty() {
            rights = in_body(&String::from_utf8_lossy(&self.read));
        }
        rights.dedup();
        rights.truncate(MAX_RIGHTS);
        if !rights.is_empty() {
            (self.note.count)();
            self.note.rights.note(&self.note.key, &rights, self.note.now);
        }
    }
}

impl<B> fmt::Debug for Overheard<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overheard").field("read", &self.read.len()).finish_non_exhaustive()
    }
}

/// What the head says is missing: as RFC 6750 section 3.1 has it, or as GitHub does.
fn in_head(headers: &HeaderMap) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(challenge) = text(header::WWW_AUTHENTICATE.as_str())
        && challenge.contains("insufficient_scope")
    {
        let scope = challenge.split_once("scope=\"").and_then(|(_, rest)| rest.split_once('"'));
        return scope.map(|(scope, _)| names(scope)).unwrap_or_default();
    }
    // One of the accepted ones is enough there, so that together they are one right.
    let (Some(accepted), Some(granted)) = (text("x-accepted-oauth-scopes"), text("x-oauth-scopes"))
    else {
        return Vec::new();
    };
    let (accepted, granted) = (names(accepted), names(granted));
    if accepted.is_empty() || accepted.iter().any(|right| granted.contains(right)) {
        return Vec::new();
    }
    let together = accepted.join(" or ");
    if together.len() <= MAX_NAME { vec![together] } else { accepted[..1].to_vec() }
}

/// What the body says is missing: as RFC 6750 has it, in JSON, or as forges do.
fn in_body(text: &str) -> Vec<String> {
    if let Ok(Value::Object(said)) = serde_json::from_str::<Value>(text)
        && said.get("error").is_some_and(|error| error == "insufficient_scope")
    {
        return said.get("scope").and_then(Value::as_str).map(names).unwrap_or_default();
    }
    let listed = text.split_once("required scope(s)").and_then(|(_, rest)| rest.split_once('['));
    let listed = listed.and_then(|(_, rest)| rest.split_once(']'));
    listed.map(|(list, _)| names(list)).unwrap_or_default()
}

/// The names in a list that has blanks or commas between them. What is no name is left out.
fn names(list: &str) -> Vec<String> {
    let fits = |name: &&str| {
        let is_plain = name.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\<>".contains(&b));
        !name.is_empty() && name.len() <= MAX_NAME && is_plain
    };
    list.split([' ', ',']).filter(fits).take(MAX_RIGHTS).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use auth::upstream::CredentialRealm;
    use http::HeaderValue;
    use http_body_util::{BodyExt, Full};

    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        headers.iter().map(header).collect()
    }

    fn key(subject: &str) -> CredentialKey {
        CredentialKey {
            realm: CredentialRealm::Provider("forgejo".into()),
            issuer: "https://git.example.org".into(),
            subject: subject.into(),
        }
    }

    #[test]
    fn what_upstreams_say_of_missing_rights_is_understood() {
        let forge = "{\"message\":\"token does not have at least one of required scope(s), \
                     required=[write:user write:repository], token scope=read:user\"}";
        assert_eq!(in_body(forge), ["write:user", "write:repository"]);
        let newer = "token does not have at least one of required scope(s): [write:user]";
        assert_eq!(in_body(newer), ["write:user"]);
        let oauth = "{\"error\":\"insufficient_scope\",\"scope\":\"api read_api\"}";
        assert_eq!(in_body(oauth), ["api", "read_api"]);
        for other in
            ["", "{}", "{\"message\":\"no\"}", "required=[a]", "required scope(s)=[a", "[a]"]
        {
            assert_eq!(in_body(other), [""; 0], "{other}");
        }
        assert_eq!(
            in_body(&format!("required scope(s), required=[{} <b> ok]", "x".repeat(65))),
            ["ok"]
        );
        let challenge = "Bearer realm=\"x\", error=\"insufficient_scope\", scope=\"a b\"";
        assert_eq!(in_head(&head(&[("www-authenticate", challenge)])), ["a", "b"]);
        let accepted = ("x-accepted-oauth-scopes", "admin:org, read:org");
        let lacking = head(&[accepted, ("x-oauth-scopes", "repo")]);
        assert_eq!(in_head(&lacking), ["admin:org or read:org"]);
        assert_eq!(in_head(&head(&[accepted, ("x-oauth-scopes", "repo, read:org")])), [""; 0]);
        assert_eq!(in_head(&head(&[accepted])), [""; 0], "a token without scopes at all");
    }

    #[tokio::test]
    async fn a_refusal_is_read_on_its_way_and_counted_for_its_person_for_a_week() {
        let (rights, counted) = (Arc::<LackingRights>::default(), Arc::<AtomicU64>::default());
        let text = "no required scope(s): [write:user]";
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for _ in 0..2 {
            let counted = Arc::clone(&counted);
            let count = Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            let note = Note { rights: Arc::clone(&rights), key: key("ada"), now, count };
            let body = Overheard::new(Full::new(Bytes::from(text)), &HeaderMap::new(), note);
            assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
            assert_eq!(body.collect().await.expect("a body").to_bytes(), text);
        }
        let lacking = LackingRight { name: "write:user".into(), refused: 2 };
        assert_eq!(rights.of(&key("ada"), now), [lacking]);
        assert_eq!(counted.load(Ordering::Relaxed), 2);
        assert_eq!(rights.of(&key("bob"), now), []);
        assert_eq!(rights.of(&key("ada"), now + REMEMBERED), [], "it may have been granted");
    }

    #[test]
    fn an_upstream_that_names_many_rights_fills_no_memory() {
        let (rights, now) = (LackingRights::default(), SystemTime::UNIX_EPOCH);
        for number in 0..100 {
            rights.note(&key("ada"), &[format!("right:{number}")], now);
        }
        assert_eq!(rights.of(&key("ada"), now).len(), MAX_RIGHTS);
    }
}
