//! What a child wrote that is no message: said in the log, once in a while.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{debug, warn};

/// How often one child is complained of.
const PAUSE: Duration = Duration::from_secs(60);
/// Characters kept of what a child wrote before its handshake.
const MAX_KEPT: usize = 600;
/// Characters of one line among them.
const MAX_LINE: usize = 200;

/// Complaints about one child, at most one warning a minute.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    /// Since the last warning.
    untold: u64,
    /// What was read before the handshake and is no message, line by line.
    start: String,
    /// How many lines ago an object was opened, if its `id` may come next.
    since_brace: Option<u8>,
}

impl Complaints {
    /// Says in the log that `bytes` bytes of the child could not be read, unless the last such
    /// warning was less than a minute ago. Which session and server it is says the span.
    pub(crate) fn complain(&self, bytes: usize, what: &str, then: &'static str) {
        let mut state = self.lock();
        let now = Instant::now();
        if state.last.is_some_and(|last| now < last + PAUSE) {
            state.untold += 1;
            drop(state);
            return debug!(bytes, what, then, "a line of the child could not be read");
        }
        state.last = Some(now);
        let more = std::mem::take(&mut state.untold);
        drop(state);
        warn!(bytes, what, then, unreported = more, "a line of the child could not be read");
    }

    /// Keeps the beginning of `line`, which is no message and came before the handshake.
    pub(crate) fn keep(&self, line: &[u8]) {
        let mut state = self.lock();
        let room = MAX_KEPT.saturating_sub(state.start.len());
        if room == 0 {
            return;
        }
        let text = printable(line, MAX_LINE.min(room));
        if !state.start.is_empty() {
            state.start.push('\n');
        }
        state.start.push_str(&text);
    }

    /// What was kept.
    pub(crate) fn kept(&self) -> Option<String> {
        let state = self.lock();
        (!state.start.is_empty()).then(|| state.start.clone())
    }

    /// The number of the request that a message over several lines answers, if `line` is the one of
    /// its first lines that says so. `line` is no message, without white space around it.
    pub(crate) fn id_in_pieces<'a>(&self, line: &'a [u8]) -> Option<&'a str> {
        let mut state = self.lock();
        if line == b"{" {
            state.since_brace = Some(0);
            return None;
        }
        // Further down an `id` may be another object's.
        let since = state.since_brace.take()?;
        let Some(value) = line.strip_prefix(b"\"id\"") else {
            let goes_on = since == 0 && line.starts_with(b"\"jsonrpc\"");
            state.since_brace = goes_on.then_some(1);
            return None;
        };
        let value = value.trim_ascii_start().strip_prefix(b":")?;
        std::str::from_utf8(value.strip_suffix(b",").unwrap_or(value).trim_ascii()).ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first `max` characters of `bytes`, without what moves a terminal's cursor.
fn printable(bytes: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * max)]);
    let mut chars = text.trim_end().chars().filter(|char| !char.is_control());
    let mut out: String = chars.by_ref().take(max).collect();
    if chars.next().is_some() || bytes.len() > 4 * max {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_the_first_lines_of_a_message_in_pieces() {
        let complaints = Complaints::default();
        let lines = |lines: &[&'static str]| {
            lines
                .iter()
                .find_map(|line| complaints.id_in_pieces(line.as_bytes()))
                .map(ToOwned::to_owned)
        };
        assert_eq!(lines(&["{", "\"jsonrpc\": \"2.0\",", "\"id\": 7,"]), Some("7".to_owned()));
        assert_eq!(lines(&["{", "\"id\":\"7\",", "}"]), Some("\"7\"".to_owned()));
        assert_eq!(lines(&["\"id\": 7,"]), None, "nothing was opened");
        assert_eq!(lines(&["{", "\"jsonrpc\": \"2.0\",", "\"result\": {", "\"id\": 7,"]), None);
    }

    #[test]
    fn what_is_kept_is_short_and_printable() {
        let complaints = Complaints::default();
        assert_eq!(complaints.kept(), None);
        complaints.keep(b"\x1b[31mStarting\x07 caf\xe9\r");
        complaints.keep(&[b'x'; 100_000]);
        let kept = complaints.kept().expect("something");
        assert!(kept.starts_with("[31mStarting caf\u{fffd}\nxxx"), "{kept}");
        assert!(kept.ends_with("x…") && kept.len() < 300, "{kept}");
        for _ in 0..100 {
            complaints.keep(b"one line more");
        }
        assert!(complaints.kept().expect("more").chars().count() < MAX_KEPT + 20);
    }

    #[tokio::test(start_paused = true)]
    async fn complaints_are_counted_until_the_next_warning() {
        let complaints = Complaints::default();
        for _ in 0..3 {
            complaints.complain(1, "it is not valid JSON", "it was skipped");
        }
        assert_eq!(complaints.lock().untold, 2);
        tokio::time::advance(PAUSE).await;
        complaints.complain(1, "it is not valid JSON", "it was skipped");
        assert_eq!(complaints.lock().untold, 0);
    }
}
