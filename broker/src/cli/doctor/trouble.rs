//! Words for what goes wrong between two machines.

use std::{error::Error, io};

use http::{StatusCode, header};
use rustls::CertificateError;
use url::Url;

use super::{
    outcome::{Fault, shown},
    wire::{Answer, WireError},
};
use crate::{error_chain::error_with_causes, fetch::network::DialError};

/// Explains why there is no answer from `url`.
pub(super) fn unreachable(url: &Url, error: &WireError) -> Fault {
    match error {
        WireError::Address => Fault::new(
            format!("{} cannot be asked", shown(url.as_str())),
            "it must begin with http:// or https://, and have no user name in it",
        ),
        WireError::Dial(error) => undialled(url, error),
        WireError::Http(error) => Fault::new(
            format!("what answers at {} does not speak HTTP ({})", at(url), shown_error(error)),
            if url.scheme() == "http" {
                "if that port speaks TLS, the address must begin with https://"
            } else {
                "is another program behind that port, or a proxy for TCP instead of HTTP?"
            },
        ),
        WireError::Body(error) => Fault::new(
            format!("the answer from {} broke off ({})", at(url), shown_error(error)),
            "look into the log of the proxy; it may cut long answers, or compress what was not \
             asked to be compressed",
        ),
        WireError::TimedOut => Fault::new(
            format!("no answer from {} in time", at(url)),
            "a firewall may swallow the packets, or a proxy wait for a broker that is not there",
        ),
    }
}

fn undialled(url: &Url, error: &DialError) -> Fault {
    match error {
        DialError::Resolve { host, source } => Fault::new(
            format!("DNS: the name {} cannot be resolved ({source})", shown(host)),
            "is there a record for it, spelled like this, and does this machine's resolver know it?",
        ),
        DialError::Nowhere { host } => Fault::new(
            format!("DNS: the name {} has no address", shown(host)),
            "add an A or AAAA record for it",
        ),
        DialError::Connect { address, source } => match source.kind() {
            io::ErrorKind::ConnectionRefused => Fault::new(
                format!("TCP: {address} refuses the connection; nothing listens there"),
                "is the broker (or the proxy before it) running, on this port? In a container, \
                 `listen` must not be 127.0.0.1, and the port must be published",
            ),
            io::ErrorKind::TimedOut => Fault::new(
                format!("TCP: {address} does not answer"),
                "a firewall may swallow the packets, or the name points to the wrong machine",
            ),
            _ => Fault::new(
                format!("TCP: no connection to {address} ({source})"),
                "is there a route to that address? An AAAA record is a promise that IPv6 works",
            ),
        },
        DialError::Tls { address, source } => untrusted(url, &address.to_string(), source),
        DialError::Name => {
            Fault::new(format!("TLS: no certificate can name {}", at(url)), "use a proper DNS name")
        }
    }
}

fn untrusted(url: &Url, address: &str, error: &io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let host = url.host_str().unwrap_or_default();
    match inner {
        Some(rustls::Error::InvalidCertificate(reason)) => match reason {
            CertificateError::UnknownIssuer => Fault::new(
                "TLS: the certificate comes from an authority that is not believed here",
                "if it is your own authority, give it with --ca-file (clients need it, too: \
                 NODE_EXTRA_CA_CERTS, or the system's store); if not, the server may not send its \
                 intermediate certificate (use the full chain)",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Fault::new(
                    format!("TLS: the certificate is for another name than {}", shown(host)),
                    "get a certificate for this name, or give clients the name it has; a proxy \
                     that does not know the name shows its default certificate",
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Fault::new(
                "TLS: the certificate has expired",
                "renew it, and have the server read it again; is this machine's clock right?",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Fault::new(
                    "TLS: the certificate is not valid yet",
                    "is this machine's clock right?",
                )
            }
            other => Fault::new(
                format!("TLS: the certificate cannot be used ({})", shown(&other.to_string())),
                "look at it with: openssl s_client -connect HOST:PORT -servername HOST",
            ),
        },
        Some(rustls::Error::InvalidMessage(_)) => Fault::new(
            format!("TLS: {address} answers, but not with TLS"),
            "that port seems to speak plain HTTP; give clients http:// (on this machine only), or \
             the port of the proxy that speaks TLS",
        ),
        _ => Fault::new(
            format!("TLS: no agreement with {address} ({})", shown(&error.to_string())),
            "does that port speak TLS 1.2 or 1.3, for this name?",
        ),
    }
}

/// Explains an answer of `url` that is not what `wanted` names. `None` when nothing is known that is
/// more than the status.
fn known(url: &Url, answer: &Answer) -> Option<Fault> {
    let status = answer.status;
    if status.is_redirection() {
        return Some(redirect(url, answer));
    }
    let says = |needle: &[u8]| answer.body.windows(needle.len()).any(|part| part == needle);
    if url.scheme() == "http"
        && status == StatusCode::BAD_REQUEST
        && (says(b"HTTPS port") || says(b"HTTPS server"))
    {
        return Some(Fault::new(
            format!("{} is plain http, and that port speaks TLS", at(url)),
            "give clients the address with https://",
        ));
    }
    if answer.is_html() && !status.is_server_error() && status != StatusCode::NOT_FOUND {
        let title = answer.title().map(|title| format!(" titled {:?}", shown(&title)));
        return Some(Fault::new(
            format!(
                "{} answers with a web page{} (status {})",
                at(url),
                title.unwrap_or_default(),
                status.as_u16()
            ),
            "another program answers here: the login page of a proxy or of another product, or the \
             start page of a web application. Have the proxy send /mcp, /oauth, /login, /consent, \
             /callback and /.well-known to the broker, before any sign-in of its own",
        ));
    }
    None
}

/// Explains an answer of `url` that is not `wanted`.
pub(super) fn unexpected(url: &Url, answer: &Answer, wanted: &str) -> Fault {
    if let Some(fault) = known(url, answer) {
        return fault;
    }
    let status = answer.status;
    let words = words(answer).map(|words| format!(", saying {words:?}")).unwrap_or_default();
    let what =
        format!("{} answers with status {} instead of {wanted}{words}", at(url), status.as_u16());
    let hint = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if url.path() == "/" => {
            "an MCP endpoint has a path most of the time; try /mcp behind the host"
        }
        StatusCode::NOT_FOUND => {
            "does the proxy send this path to the broker, unchanged? A `proxy_pass` with a path of \
             its own, or a `strip_prefix`, changes it"
        }
        StatusCode::GONE => {
            "clients begin anew after 404 only; after 410 many ask for ever. In this broker that is \
             `session.unknown_status`; before it, something else says that the site has moved"
        }
        StatusCode::UNAUTHORIZED => {
            "was the token made for this address, and is it neither expired nor revoked? A token \
             for http:// or for another host name is not one for this address"
        }
        StatusCode::FORBIDDEN => {
            "does the broker know the host name that clients use (`public_url`, `allowed_hosts`)? \
             Does a firewall for web applications stand before it?"
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            "does something before the broker let GET through only? It must let POST, GET and \
             DELETE through"
        }
        StatusCode::PAYLOAD_TOO_LARGE => "raise the proxy's limit for bodies",
        StatusCode::TOO_MANY_REQUESTS => "there is a limit for requests; wait, and try again",
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            "does the broker run, and does the proxy reach it? In containers, 127.0.0.1 is the \
             proxy itself; use the name of the broker's container"
        }
        status if status.is_server_error() => "look into the log of the broker, and of the proxy",
        _ => "is this the address of an MCP endpoint? It usually ends with /mcp",
    };
    Fault::new(what, hint)
}

fn redirect(url: &Url, answer: &Answer) -> Fault {
    let location = answer.header(header::LOCATION).unwrap_or_default();
    let what = format!(
        "{} redirects to {:?} (status {})",
        at(url),
        shown(location),
        answer.status.as_u16()
    );
    let to = url.join(location).ok();
    let same = |to: &Url| to.host() == url.host();
    let hint = match to {
        Some(to) if same(&to) && url.scheme() == "http" && to.scheme() == "https" => {
            "give clients the address with https://; they do not send a token after a redirect, and \
             a POST may become a GET on its way"
        }
        Some(to)
            if same(&to) && to.path().trim_end_matches('/') == url.path().trim_end_matches('/') =>
        {
            "only the slash at the end differs: give clients the address without the redirect, or \
             have the proxy not redirect"
        }
        Some(to) if !same(&to) => {
            "a sign-in of the proxy, or a move to another host? Clients do not follow: they must be \
             able to reach the broker without it"
        }
        _ => "clients do not follow redirects here; have the proxy answer at this address",
    };
    Fault::new(what, hint)
}

/// What an answer says in words: a JSON-RPC error, an OAuth error, or a line of plain text.
pub(super) fn words(answer: &Answer) -> Option<String> {
    let text = match answer.json() {
        Some(body) => {
            let message = body["error"]["message"].as_str();
            let oauth = || match (body["error"].as_str()?, body["error_description"].as_str()) {
                (error, Some(description)) => Some(format!("{error}: {description}")),
                (error, None) => Some(error.to_owned()),
            };
            message.map(ToOwned::to_owned).or_else(oauth)?
        }
        None if answer.media_type() == "text/plain" => {
            String::from_utf8_lossy(&answer.body).lines().next()?.to_owned()
        }
        None => return None,
    };
    Some(shown(&text)).filter(|text| !text.is_empty())
}

/// How an address is named in a sentence.
pub(super) fn at(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    shown(url.as_str())
}

/// An error with its causes.
pub(super) fn shown_error(error: &dyn Error) -> String {
    shown(&error_with_causes(error))
}
