//! An upstream in the hands of the test.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// It listens, and does nothing by itself.
pub(super) struct ByHand {
    listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl ByHand {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        Self { listener, address }
    }

    pub(super) fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next connection, when the head of a request has come by it, and that head.
    pub(super) async fn asked(&self) -> (String, TcpStream) {
        let (mut stream, _) = self.listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        (String::from_utf8_lossy(&head).into_owned(), stream)
    }

    /// Answers when the head of the next request has come, which it returns, and closes the connection. That
    /// resets it where more has come.
    pub(super) async fn answer(&self, answer: &str) -> String {
        self.answer_to(|_| answer.to_owned()).await
    }

    /// The same, with what `answer` says to that head.
    pub(super) async fn answer_to(&self, answer: impl FnOnce(&str) -> String) -> String {
        let (head, mut stream) = self.asked().await;
        // What is too long is not read to its end; what comes of it the child tells.
        let _ = stream.write_all(answer(&head).as_bytes()).await;
        head
    }

    /// Whether a connection has come that was not taken.
    pub(super) async fn was_reached(&self) -> bool {
        timeout(Duration::ZERO, self.listener.accept()).await.is_ok()
    }
}
