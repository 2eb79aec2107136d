//! Where the browser comes back to: a port of this machine (RFC 8252 §7.3).

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    select,
    task::JoinSet,
    time::timeout,
};
use url::Url;

const PATH: &str = "/callback";
/// How long one connection of the browser may take; it opens some that it never uses.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 16 * 1024;
const MAX_CONNECTIONS: usize = 32;

/// The waiting port.
#[derive(Debug)]
pub(super) struct Callback {
    listener: TcpListener,
    redirect: String,
}

/// What the browser brought back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Returned {
    /// The code, or the error and its description.
    pub(super) result: Result<String, String>,
    pub(super) iss: Option<String>,
}

impl Callback {
    pub(super) async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let redirect = format!("http://{}{PATH}", listener.local_addr()?);
        Ok(Self { listener, redirect })
    }

    pub(super) fn redirect(&self) -> &str {
        &self.redirect
    }

    /// Waits for the browser with our `state`. Others are told to go away: any page can open
    /// connections to this port.
    pub(super) async fn returned(&self, state: &str) -> io::Result<Returned> {
        let mut connections = JoinSet::new();
        loop {
            select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted?;
                    if connections.len() < MAX_CONNECTIONS {
                        let state = state.to_owned();
                        connections.spawn(async move {
                            timeout(PATIENCE, converse(stream, &state)).await.ok().flatten()
                        });
                    }
                }
                Some(ended) = connections.join_next() => {
                    if let Ok(Some(returned)) = ended {
                        return Ok(returned);
                    }
                }
            }
        }
    }
}

/// Answers one request; what it brought, if it is the one.
async fn converse(mut stream: TcpStream, state: &str) -> Option<Returned> {
    let mut head = Vec::new();
    let mut piece = [0; 2048];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut piece).await.ok()?;
        head.extend_from_slice(&piece[..read]);
        if read == 0 || head.len() > MAX_HEAD {
            return None;
        }
    }
    let returned = understand(&head, state);
    let (status, words) = match &returned {
        Some(Returned { result: Ok(_), .. }) => ("200 OK", "Done. Go back to the terminal."),
        Some(_) => ("200 OK", "That did not work. Go back to the terminal."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{words}",
        words.len(),
    );
    // The answer is a courtesy.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    returned
}

fn understand(head: &[u8], state: &str) -> Option<Returned> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    let url = Url::parse("http://127.0.0.1").ok()?.join(target).ok()?;
    let one = |name: &str| {
        let mut found = url.query_pairs().filter(|(known, _)| known == name);
        let value = found.next()?.1.into_owned();
        // Twice is never (RFC 6749 §3.1).
        found.next().is_none().then_some(value)
    };
    if url.path() != PATH || one("state").as_deref() != Some(state) {
        return None;
    }
    let result = match (one("code"), one("error")) {
        (Some(code), None) => Ok(code),
        (_, error) => {
            let error = error.unwrap_or_else(|| "neither a code nor an error".to_owned());
            let description = one("error_description").map(|text| format!(": {text}"));
            Err(error + &description.unwrap_or_default())
        }
    };
    Some(Returned { result, iss: one("iss") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood(target: &str) -> Option<Returned> {
        understand(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes(), "s")
    }

    #[test]
    fn only_our_state_at_our_path_counts_and_only_once() {
        let code = |code: &str, iss: Option<&str>| {
            Some(Returned { result: Ok(code.to_owned()), iss: iss.map(ToOwned::to_owned) })
        };
        assert_eq!(understood("/callback?state=s&code=c"), code("c", None));
        assert_eq!(
            understood("/callback?code=a%20b&state=s&iss=https%3A%2F%2Fh"),
            code("a b", Some("https://h"))
        );
        for other in [
            "/callback?state=x&code=c",
            "/callback?code=c",
            "/x?state=s&code=c",
            "/",
            "/callback?state=s&state=s&code=c",
        ] {
            assert_eq!(understood(other), None, "{other}");
        }
        let error = understood("/callback?state=s&error=access_denied&error_description=No")
            .expect("an answer");
        assert_eq!(error.result, Err("access_denied: No".to_owned()));
        assert!(understood("/callback?state=s").expect("an answer").result.is_err());
    }
}
