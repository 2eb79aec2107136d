//! From chunks of bytes to a bounded number of log events.

use std::time::Duration;

use tokio::time::Instant;

/// A longer line is logged in pieces of this size.
const MAX_LINE: usize = 4096;

/// The span over which events are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// What is to be logged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// One line without its end, or a piece of one.
    Line(&'a [u8]),
    /// So many lines came too fast. Said when the next line is logged, or at the end.
    Suppressed(u64),
}

/// Splits a stream into lines and lets so many of them through per second.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The beginning of a line whose end is not here yet; empty and unallocated between lines.
    partial: Vec<u8>,
    gate: Gate,
}

#[derive(Debug)]
struct Gate {
    per_second: u32,
    /// When the current window began; `None` before the first line.
    since: Option<Instant>,
    passed: u32,
    suppressed: u64,
}

impl Lines {
    pub(crate) const fn new(per_second: u32) -> Self {
        let gate = Gate { per_second, since: None, passed: 0, suppressed: 0 };
        Self { partial: Vec::new(), gate }
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8], now: Instant, sink: &mut dyn FnMut(Event<'_>)) {
        while let Some((piece, rest)) = cut(bytes, MAX_LINE - self.partial.len()) {
            bytes = rest;
            if self.partial.is_empty() {
                self.gate.pass(piece, now, sink);
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(piece);
                self.gate.pass(&line, now, sink);
            }
        }
        self.partial.extend_from_slice(bytes);
    }

    /// The stream is over: what is left is a line, and the count is due.
    pub(crate) fn finish(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            self.gate.pass(&line, Instant::now(), sink);
        }
        self.gate.report(sink);
    }
}

impl Gate {
    fn pass(&mut self, line: &[u8], now: Instant, sink: &mut dyn FnMut(Event<'_>)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return;
        }
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            self.since = Some(now);
            self.passed = 0;
        }
        if self.passed < self.per_second {
            self.passed += 1;
            self.report(sink);
            sink(Event::Line(line));
        } else {
            self.suppressed += 1;
        }
    }

    fn report(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        if self.suppressed > 0 {
            sink(Event::Suppressed(std::mem::take(&mut self.suppressed)));
        }
    }
}

/// Cuts off one line, or a piece of `room` bytes when there is no end of line so soon; `None` when
/// `bytes` is neither.
fn cut(bytes: &[u8], room: usize) -> Option<(&[u8], &[u8])> {
    let near = &bytes[..bytes.len().min(room)];
    match near.iter().position(|byte| *byte == b'\n') {
        Some(end) => Some((&bytes[..end], &bytes[end + 1..])),
        None if bytes.len() >= room => Some(bytes.split_at(room)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen(Vec<String>);

    impl Seen {
        fn sink(&mut self) -> impl FnMut(Event<'_>) {
            |event| {
                self.0.push(match event {
                    Event::Line(line) => String::from_utf8_lossy(line).into_owned(),
                    Event::Suppressed(lines) => format!("({lines} more)"),
                });
            }
        }
    }

    #[test]
    fn lines_are_put_together_from_chunks() {
        let (mut lines, mut seen) = (Lines::new(100), Seen::default());
        let now = Instant::now();
        for chunk in ["one\ntw", "", "o\r\n\n", "three\nfo", "ur"] {
            lines.feed(chunk.as_bytes(), now, &mut seen.sink());
        }
        assert_eq!(seen.0, ["one", "two", "three"]);
        lines.finish(&mut seen.sink());
        assert_eq!(seen.0, ["one", "two", "three", "four"]);
        assert_eq!(lines.partial.capacity(), 0);
    }

    #[test]
    fn an_overlong_line_is_logged_in_pieces() {
        let (mut lines, mut seen) = (Lines::new(100), Seen::default());
        let long = "x".repeat(2 * MAX_LINE + 10) + "\nshort\n";
        for chunk in long.as_bytes().chunks(1000) {
            lines.feed(chunk, Instant::now(), &mut seen.sink());
            assert!(lines.partial.len() < MAX_LINE);
        }
        let lengths: Vec<_> = seen.0.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 10, 5]);
    }

    #[test]
    fn a_flood_is_counted_rather_than_logged() {
        let (mut lines, mut seen) = (Lines::new(2), Seen::default());
        let start = Instant::now();
        lines.feed(b"a\nb\nc\nd\ne\n", start, &mut seen.sink());
        assert_eq!(seen.0, ["a", "b"]);
        lines.feed(b"f\n", start + WINDOW, &mut seen.sink());
        assert_eq!(seen.0, ["a", "b", "(3 more)", "f"]);
        lines.feed(b"g\nh\n", start + WINDOW, &mut seen.sink());
        lines.finish(&mut seen.sink());
        assert_eq!(seen.0[4..], ["g", "(1 more)"]);
    }

    #[test]
    fn with_a_rate_of_zero_only_the_count_is_logged() {
        let (mut lines, mut seen) = (Lines::new(0), Seen::default());
        lines.feed(b"a\nb\n", Instant::now(), &mut seen.sink());
        lines.finish(&mut seen.sink());
        assert_eq!(seen.0, ["(2 more)"]);
    }
}
