//! The way from the child: its output cut into lines of bounded length.

use std::{
    io,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::child_line::SEARCHED;

/// How much is asked of the pipe at once. Small, because every session has one such buffer.
const CHUNK: usize = 4096;

/// Reads between two turns of other tasks while a line is skipped.
const SKIPPED_READS: u32 = 64;

/// Cuts what a child writes into lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line feed.
    searched: usize,
    max_line: usize,
    /// The rest of a line that was too long is being dropped.
    is_skipping: bool,
}

/// One line of the child.
#[derive(Debug)]
pub(crate) enum Line {
    /// A line without its line feed.
    Whole(Bytes),
    /// The beginning of a line that is longer than the bound. It is known once the bound is passed;
    /// the rest is dropped as it comes.
    TooLong {
        /// The first [`SEARCHED`] bytes.
        head: Bytes,
    },
}

/// Why there are no more lines.
#[derive(Debug)]
pub(crate) enum End {
    /// The child closed its output. An unfinished line is dropped: it is no message.
    Closed,
    /// Reading failed.
    Failed(io::Error),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R, max_line: usize) -> Self {
        let buffer = BytesMut::new();
        Self { reader, buffer, searched: 0, max_line, is_skipping: false }
    }

    /// What was read of a line that has not ended.
    pub(crate) fn unfinished(&self) -> &[u8] {
        &self.buffer
    }

    /// Makes room for the next read. A buffer left to itself doubles up to twice the longest line, and
    /// allocators keep what was freed on the way for a while. Few large steps, none past the bound,
    /// cost less: pages that were never written to take no memory.
    fn grow(&mut self) {
        let len = self.buffer.len();
        if len < 64 * CHUNK || self.buffer.capacity() - len >= CHUNK {
            return self.buffer.reserve(CHUNK);
        }
        let room = len.saturating_mul(4).min(self.max_line.saturating_add(1)).max(len) + CHUNK;
        let mut larger = BytesMut::with_capacity(room);
        larger.extend_from_slice(&self.buffer);
        self.buffer = larger;
    }

    /// The next line, reading when the buffer holds none.
    pub(crate) fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<Line, End>> {
        let mut skipped_reads = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                if std::mem::take(&mut self.is_skipping) {
                    continue;
                }
                line.truncate(line.len() - 1);
                if line.len() > 64 * CHUNK {
                    // What is left shares the memory of the line, and would keep it for the next one.
                    self.buffer = BytesMut::from(&self.buffer[..]);
                }
                let is_whole = line.len() <= self.max_line;
                let line = line.freeze();
                let line = if is_whole { Line::Whole(line) } else { too_long(&line) };
                return Poll::Ready(Ok(line));
            }
            self.searched = self.buffer.len();
            if self.is_skipping {
                self.buffer.clear();
                self.searched = 0;
                skipped_reads += 1;
                if skipped_reads > SKIPPED_READS {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            } else if self.searched > self.max_line {
                let line = too_long(&self.buffer);
                self.is_skipping = true;
                // A buffer of the size of the longest line is not kept for what is dropped.
                self.buffer = BytesMut::new();
                self.searched = 0;
                return Poll::Ready(Ok(line));
            }
            self.grow();
            // Cancel safe: a pending read has put nothing into the buffer.
            let read = pin!(self.reader.read_buf(&mut self.buffer));
            match ready!(read.poll(cx)) {
                Ok(0) => return Poll::Ready(Err(End::Closed)),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(End::Failed(error))),
            }
        }
    }
}

fn too_long(line: &[u8]) -> Line {
    Line::TooLong { head: Bytes::copy_from_slice(&line[..line.len().min(SEARCHED)]) }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn next(lines: &mut Lines<tokio::io::DuplexStream>) -> Result<Line, End> {
        poll_fn(|cx| lines.poll_line(cx)).await
    }

    async fn whole(lines: &mut Lines<tokio::io::DuplexStream>) -> Bytes {
        match next(lines).await {
            Ok(Line::Whole(line)) => line,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn lines_come_out_whole_however_they_were_written() {
        let (mut child, ours) = tokio::io::duplex(1 << 20);
        let mut lines = Lines::new(ours, 100_000);
        let long = "x".repeat(50_000);
        for piece in ["a", "b\nc\n\n", &long, "\nunfinished"] {
            child.write_all(piece.as_bytes()).await.expect("there is room");
        }
        drop(child);
        for expected in ["ab", "c", "", &long] {
            assert_eq!(whole(&mut lines).await, expected.as_bytes());
        }
        assert!(matches!(next(&mut lines).await, Err(End::Closed)));
    }

    #[tokio::test]
    async fn a_long_line_takes_its_memory_with_it() {
        let (mut child, ours) = tokio::io::duplex(8 << 20);
        let mut lines = Lines::new(ours, 16 << 20);
        let long = vec![b'x'; 4 << 20];
        child.write_all(&long).await.expect("there is room");
        child.write_all(b"\nnext\n").await.expect("there is room");
        assert_eq!(whole(&mut lines).await.len(), long.len());
        assert_eq!(whole(&mut lines).await, "next");
        child.write_all(b"one more\n").await.expect("there is room");
        assert_eq!(whole(&mut lines).await, "one more");
        // Asked for room, a buffer says how much it has had all the time.
        lines.buffer.reserve(1);
        assert!(lines.buffer.capacity() <= 64 * CHUNK, "{} are kept", lines.buffer.capacity());
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up_at_the_bound() {
        let (mut child, ours) = tokio::io::duplex(1 << 20);
        let mut lines = Lines::new(ours, 10_000);
        child.write_all(&vec![b'x'; 500_000]).await.expect("there is room");
        let line = next(&mut lines).await;
        assert!(matches!(&line, Ok(Line::TooLong { head }) if head.len() <= 10_000 + 2 * CHUNK));
        assert!(lines.buffer.len() <= 10_000 + 2 * CHUNK, "no more is read than needed");
        drop(child);
        assert!(matches!(next(&mut lines).await, Err(End::Closed)), "the rest is no line");
        assert!(lines.buffer.capacity() <= 64 * CHUNK, "nothing is kept of what is dropped");
    }

    #[tokio::test]
    async fn what_follows_a_line_that_is_too_long_is_read_as_if_it_had_not_been() {
        let (mut child, ours) = tokio::io::duplex(1 << 20);
        let mut lines = Lines::new(ours, 10_000);
        for length in [10_001, 300_000] {
            child.write_all("before\n".as_bytes()).await.expect("there is room");
            child.write_all(&vec![b'x'; length]).await.expect("there is room");
            child.write_all("\n\nafter\n".as_bytes()).await.expect("there is room");
            assert_eq!(whole(&mut lines).await, "before");
            let line = next(&mut lines).await;
            assert!(matches!(&line, Ok(Line::TooLong { head }) if head.starts_with(b"xxx")));
            assert_eq!(whole(&mut lines).await, "");
            assert_eq!(whole(&mut lines).await, "after");
        }
    }
}
