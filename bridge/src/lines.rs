//! The way from the child: its output cut into lines of bounded length.

use std::{
    io,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is asked of the pipe at once. Small, because every session has one such buffer.
const CHUNK: usize = 4096;

/// Cuts what a child writes into lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line feed.
    searched: usize,
    max_line: usize,
}

/// Why there are no more lines.
#[derive(Debug)]
pub(crate) enum End {
    /// The child closed its output. An unfinished line is dropped: it is no message.
    Closed,
    /// A line grew past the bound.
    TooLong,
    /// Reading failed.
    Failed(io::Error),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R, max_line: usize) -> Self {
        Self { reader, buffer: BytesMut::new(), searched: 0, max_line }
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

    /// The next line without its line feed, reading when the buffer holds none.
    pub(crate) fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return Poll::Ready(if line.len() > self.max_line {
                    Err(End::TooLong)
                } else {
                    Ok(line.freeze())
                });
            }
            self.searched = self.buffer.len();
            if self.searched > self.max_line {
                return Poll::Ready(Err(End::TooLong));
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn next(lines: &mut Lines<tokio::io::DuplexStream>) -> Result<Bytes, End> {
        poll_fn(|cx| lines.poll_line(cx)).await
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
            assert_eq!(next(&mut lines).await.expect("a line"), expected.as_bytes());
        }
        assert!(matches!(next(&mut lines).await, Err(End::Closed)));
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up_at_the_bound() {
        let (mut child, ours) = tokio::io::duplex(1 << 20);
        let mut lines = Lines::new(ours, 10_000);
        child.write_all(&vec![b'x'; 30_000]).await.expect("there is room");
        assert!(matches!(next(&mut lines).await, Err(End::TooLong)));
        assert!(lines.buffer.len() <= 10_000 + 2 * CHUNK, "no more is read than needed");
    }
}
