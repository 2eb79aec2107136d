//! The last bytes of a stream.

use std::collections::VecDeque;

/// Keeps the last `max_bytes` bytes pushed; allocates as it fills.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: VecDeque<u8>,
    max_bytes: usize,
    /// Bytes pushed so far.
    pushed: u64,
    /// Whether anything was dropped, so that the first line may lack its beginning.
    overflowed: bool,
}

impl Ring {
    pub(crate) const fn new(max_bytes: usize) -> Self {
        Self { bytes: VecDeque::new(), max_bytes, pushed: 0, overflowed: false }
    }

    /// How many bytes were pushed so far, kept or not.
    pub(crate) const fn pushed(&self) -> u64 {
        self.pushed
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.pushed += chunk.len() as u64;
        let kept = &chunk[chunk.len().saturating_sub(self.max_bytes)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(self.max_bytes);
        self.overflowed |= excess > 0 || kept.len() < chunk.len();
        self.bytes.drain(..excess);
        // Doubling, as the deque would do, but never past the limit.
        let needed = self.bytes.len() + kept.len();
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity() * 2).min(self.max_bytes);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend(kept);
    }

    /// What is kept, from the first whole line on (or all of it, when it is less than a line).
    pub(crate) fn tail(&self) -> String {
        let mut from = 0;
        if self.overflowed
            && let Some(newline) = self.bytes.iter().position(|byte| *byte == b'\n')
            && newline + 1 < self.bytes.len()
        {
            from = newline + 1;
        }
        let tail: Vec<u8> = self.bytes.range(from..).copied().collect();
        String::from_utf8_lossy(&tail).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_last_whole_lines() {
        let mut ring = Ring::new(8);
        assert_eq!(ring.tail(), "");
        ring.push(b"one\n");
        assert_eq!(ring.tail(), "one\n", "nothing was dropped");
        ring.push(b"two\nthree\n");
        assert_eq!(ring.tail(), "three\n");
        ring.push(b"no newline at all");
        assert_eq!(ring.tail(), "e at all", "less than a line is better than nothing");
        assert!(ring.bytes.capacity() <= 8);
    }

    #[test]
    fn a_ring_of_size_zero_keeps_nothing() {
        let mut ring = Ring::new(0);
        ring.push(b"one\n");
        assert_eq!((ring.tail().as_str(), ring.bytes.capacity()), ("", 0));
    }

    #[test]
    fn a_ring_that_never_fills_stays_small() {
        let mut ring = Ring::new(64 * 1024);
        ring.push(&[b'x'; 100]);
        assert!(ring.bytes.capacity() < 1024);
        for _ in 0..2000 {
            ring.push(&[b'x'; 100]);
        }
        assert!(ring.bytes.capacity() <= 64 * 1024, "{}", ring.bytes.capacity());
        ring.push(&[b'y'; 100 * 1024]);
        assert_eq!(ring.tail().len(), 64 * 1024);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_all_the_same() {
        let mut ring = Ring::new(64);
        ring.push(b"caf\xe9\n");
        assert_eq!(ring.tail(), "caf\u{fffd}\n");
    }
}
