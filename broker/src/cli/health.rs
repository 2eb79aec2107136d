//! `mcp-broker healthcheck`: for containers and scripts that have no HTTP client.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    time::Duration,
};

use clap::Args;

use super::{
    arguments::ConfigArgs,
    output::{Exit, print, print_error},
};
use crate::config::{Environment, Listen};

/// A healthy broker answers at once.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Where to ask [default: /readyz at the configured address]
    #[arg(value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &HealthArgs, environment: &dyn Environment) -> Exit {
    let answer = match &args.url {
        Some(url) => ask_url(url),
        None => match args.config.load(environment) {
            Ok(loaded) if loaded.config.tls.is_some() => {
                print_error(
                    "the broker uses TLS, which this command does not; give the URL of a proxy without TLS",
                );
                return Exit::No;
            }
            Ok(loaded) => ask_listener(&loaded.config.listen),
            Err(mistakes) => {
                print_error(&mistakes);
                return Exit::Config;
            }
        },
    };
    match answer {
        Ok(status) if (200..300).contains(&status) => {
            print("ready");
            Exit::Ok
        }
        Ok(status) => {
            print_error(format_args!("not ready: status {status}"));
            Exit::No
        }
        Err(error) => {
            print_error(format_args!("no answer: {error}"));
            Exit::No
        }
    }
}

fn ask_listener(listen: &Listen) -> io::Result<u16> {
    match listen {
        Listen::Tcp(address) => {
            let mut address = *address;
            if address.ip().is_unspecified() {
                address.set_ip(match address {
                    std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                    std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                });
            }
            let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            ask(stream, &address.to_string(), "/readyz")
        }
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            ask(stream, "localhost", "/readyz")
        }
    }
}

fn ask_url(url: &str) -> io::Result<u16> {
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    let rest = url.strip_prefix("http://").ok_or_else(|| wrong("the URL must be http://…"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "readyz"));
    let with_port = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = with_port.to_socket_addrs()?.next().ok_or_else(|| wrong("unknown host"))?;
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    ask(stream, host, &format!("/{path}"))
}

/// One request written by hand: an HTTP client would be most of this command.
fn ask(mut stream: impl Read + Write, host: &str, path: &str) -> io::Result<u16> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let status = head.strip_prefix(b"HTTP/1.1 ").and_then(|code| std::str::from_utf8(code).ok());
    status
        .and_then(|code| code.trim().parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_the_first_line() {
        struct Fake(io::Cursor<&'static [u8]>, Vec<u8>);
        impl Read for Fake {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(buffer)
            }
        }
        impl Write for Fake {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let fake = |answer: &'static [u8]| Fake(io::Cursor::new(answer), Vec::new());
        let status = ask(fake(b"HTTP/1.1 503 Service Unavailable\r\n"), "h", "/").expect("HTTP");
        assert_eq!(status, 503);
        assert!(ask(fake(b"SSH-2.0-OpenSSH_9\r\n"), "h", "/").is_err());
        assert!(ask(fake(b"HTTP"), "h", "/").is_err());
    }
}
