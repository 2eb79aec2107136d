//! An upstream that answers what a well-behaved one would not.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The upstream; it ends with this.
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    _running: JoinSet<()>,
}

impl Scripted {
    /// `stranger` is where its redirects lead.
    pub(super) async fn start(stranger: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                connections.spawn(serve(stream, stranger));
            }
        });
        Self { address, _running: running }
    }
}

async fn serve(stream: TcpStream, stranger: SocketAddr) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut path, mut token) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            }
            if let Some(value) = line.strip_prefix("authorization: Bearer ") {
                token = value.to_owned();
            }
            if line.is_empty() {
                break;
            }
        }
        let answer = answer(&path, &token, stranger);
        stream.get_mut().write_all(answer.as_bytes()).await.ok()?;
    }
}

fn answer(path: &str, token: &str, stranger: SocketAddr) -> String {
    let fine = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    match path {
        // A file, which is not looked into.
        "/token" => format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
             content-length: {}\r\n\r\n{token}",
            token.len()
        ),
        // In pieces, of which none has all of it.
        "/shown" | "/shown-as-json" | "/shown-as-events" => {
            let kind = match path {
                "/shown-as-json" => "content-type: application/json\r\n",
                "/shown-as-events" => "content-type: text/event-stream\r\n",
                _ => "",
            };
            let (head, tail) = token.split_at(token.len() / 2);
            format!(
                "HTTP/1.1 200 OK\r\n{kind}transfer-encoding: chunked\r\n\r\n\
                 {:x}\r\n\"{head}\r\n{:x}\r\n{tail}\"\r\n0\r\n\r\n",
                head.len() + 1,
                tail.len() + 1
            )
        }
        // As the answer to TRACE is.
        "/message" => format!(
            "HTTP/1.1 200 OK\r\ncontent-type: message/http\r\ncontent-length: {}\r\n\r\n{token}",
            token.len()
        ),
        "/reason" => format!("HTTP/1.1 200 Bearer {token}\r\ncontent-length: 0\r\n\r\n"),
        "/echo" => format!(
            "HTTP/1.1 200 OK\r\nx-seen: Bearer {token}\r\nset-cookie: t={token}\r\n\
             connection: x-hop\r\nx-hop: {token}\r\nproxy-authenticate: Basic\r\n\
             alt-svc: h2=\"{stranger}\"\r\ncontent-length: 2\r\n\r\nok"
        ),
        "/away" => format!(
            "HTTP/1.1 307 Temporary Redirect\r\n\
             location: http://{stranger}/?access_token={token}\r\ncontent-length: 0\r\n\r\n"
        ),
        "/hints" => format!(
            "HTTP/1.1 103 Early Hints\r\nlink: <http://{stranger}/{token}>\r\n\r\n\
             HTTP/1.1 102 Processing\r\nx-seen: {token}\r\n\r\n{fine}"
        ),
        "/trailers" => format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-seen\r\n\r\n\
             2\r\nok\r\n0\r\nx-seen: {token}\r\n\r\n"
        ),
        "/switch" => format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\
             x-seen: {token}\r\n\r\n"
        ),
        // The answer to a request that nobody has made yet.
        "/extra" => format!("{fine}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nplants"),
        "/two-lengths" => {
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 40\r\n\r\nok".to_owned()
        }
        "/both" => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n\
                    2\r\nok\r\n0\r\n\r\n"
            .to_owned(),
        "/packed-chunks" => "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n\
                             2\r\nok\r\n0\r\n\r\n"
            .to_owned(),
        "/folded" => "HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\ncontent-length: 2\r\n\r\nok".to_owned(),
        "/nul" => "HTTP/1.1 200 OK\r\nx-a: b\0c\r\ncontent-length: 2\r\n\r\nok".to_owned(),
        "/bad-length" => "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok".to_owned(),
        "/bare-return" => {
            "HTTP/1.1 200 OK\r\nx-a: b\rx-c: d\r\ncontent-length: 2\r\n\r\nok".to_owned()
        }
        "/bad-chunk" => {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0x1\r\np".to_owned()
        }
        "/many-hints" => {
            let hint = format!("HTTP/1.1 103 Early Hints\r\nx-seen: {token}\r\n\r\n");
            format!("{}{fine}", hint.repeat(1000))
        }
        // With a body where there is none (RFC 9112 section 6.3).
        "/no-content" => "HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\nplants".to_owned(),
        "/not-modified" => {
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\nplants".to_owned()
        }
        "/head-with-a-body" => "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nplants".to_owned(),
        _ => fine.to_owned(),
    }
}
