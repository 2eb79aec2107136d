//! What a URL that a client chose can make the broker do.

use std::{io, net::TcpListener, sync::atomic::Ordering, time::Duration};

use http::StatusCode;

use super::*;
use crate::fetch::testing::{FakeTransport, LIMITS, Script, Seen, answer, get};

const PUBLIC: &str = "93.184.216.34";
const PAGE: &str = "https://app.example.org/client.json";

/// Fetches `page` from a network that resolves names so.
async fn ask(
    page: &str,
    answers: &[&[&str]],
    script: Script,
) -> (Result<Response<Bytes>, FetchError>, Arc<Seen>) {
    let (network, seen, roots) = FakeTransport::new(answers, script);
    (PublicFetcher::on(network, &roots).fetch(get(page), LIMITS).await, seen)
}

fn dialled(seen: &Seen) -> Vec<String> {
    seen.dialled.lock().unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn a_page_of_the_open_internet_is_fetched_from_the_address_that_was_checked() {
    let script = answer("200 OK", "content-type: application/json\r\n", "{}");
    let (answered, seen) = ask(&format!("{PAGE}?v=1"), &[&[PUBLIC]], script).await;
    let answered = answered.expect("an answer");
    assert_eq!((answered.status(), &answered.body()[..]), (StatusCode::OK, &b"{}"[..]));
    assert_eq!(dialled(&seen), [format!("{PUBLIC}:443")]);
    let request = seen.requests.lock().unwrap()[0].to_ascii_lowercase();
    assert!(request.starts_with("get /client.json?v=1 http/1.1\r\n"), "{request}");
    assert!(request.contains("host: app.example.org\r\n"), "{request}");
    assert!(request.contains("accept-encoding: identity\r\n"), "{request}");
    assert!(!request.contains("cookie"), "{request}");
}

#[tokio::test(start_paused = true)]
async fn a_name_with_one_inner_address_is_never_dialled() {
    for inside in [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fc00::1",
        "fe80::1",
        "fec0::1",
        "100::1",
        "2001:db8::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
        "2001:4860::5efe:a00:1",
    ] {
        for answers in [&[inside][..], &[PUBLIC, inside], &[inside, PUBLIC]] {
            let (answered, seen) = ask(PAGE, &[answers], Script::Hang).await;
            assert!(matches!(answered, Err(FetchError::Forbidden)), "{answers:?}: {answered:?}");
            assert_eq!(dialled(&seen), [""; 0], "{answers:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_in_the_address_is_judged_like_a_name() {
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.1.",
        "0",
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[fd00:ec2::254]",
    ] {
        let (answered, seen) = ask(&format!("https://{host}/c"), &[], Script::Hang).await;
        assert!(matches!(answered, Err(FetchError::Forbidden)), "{host}: {answered:?}");
        assert!(dialled(&seen).is_empty() && seen.resolved.lock().unwrap().is_empty(), "{host}");
    }
    let (answered, seen) = ask("https://93.184.216.34/c", &[], answer("200 OK", "", "")).await;
    assert_eq!(answered.expect("an answer").status(), StatusCode::OK);
    assert!(seen.resolved.lock().unwrap().is_empty(), "a number is no name");
}

#[tokio::test]
async fn a_forbidden_target_sees_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket option");
    let port = listener.local_addr().expect("an address").port();
    let connections = || {
        let waiting = std::iter::from_fn(|| match listener.accept() {
            Ok(_) => Some(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        });
        waiting.count()
    };
    for answers in [["127.0.0.1"], ["::ffff:127.0.0.1"], ["0.0.0.0"]] {
        let (network, _, roots) = FakeTransport::with_real_connections(&[&answers]);
        let page = format!("https://app.example.org:{port}/c");
        let answered = PublicFetcher::on(network, &roots).fetch(get(&page), LIMITS).await;
        assert!(matches!(answered, Err(FetchError::Forbidden)), "{answered:?}");
    }
    // The system's own resolver, and numbers it would understand.
    let fetcher = PublicFetcher::new(&Roots::load(None).expect("roots"));
    for host in ["localhost", "127.0.0.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"] {
        let page = format!("https://{host}:{port}/c");
        let answered = fetcher.fetch(get(&page), LIMITS).await;
        assert!(matches!(answered, Err(FetchError::Forbidden)), "{host}: {answered:?}");
    }
    assert_eq!(connections(), 0);
    // The counter counts.
    let _one = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    assert_eq!(connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_name_is_resolved_once_whatever_a_second_answer_would_be() {
    let answers: &[&[&str]] = &[&[PUBLIC], &["127.0.0.1"]];
    let (answered, seen) = ask(PAGE, answers, answer("200 OK", "", "{}")).await;
    assert!(answered.is_ok(), "{answered:?}");
    assert_eq!(*seen.resolved.lock().unwrap(), ["app.example.org"]);
    assert_eq!(dialled(&seen), [format!("{PUBLIC}:443")]);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_an_answer_and_nothing_more() {
    let script = answer("302 Found", "location: https://127.0.0.1/\r\n", "");
    let (answered, seen) = ask(PAGE, &[&[PUBLIC], &[PUBLIC]], script).await;
    assert_eq!(answered.expect("an answer").status(), StatusCode::FOUND);
    assert_eq!(seen.dialled.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn other_schemes_and_users_are_refused_before_anything_is_resolved() {
    for page in
        ["http://app.example.org/c", "ftp://app.example.org/c", "https://a@app.example.org/c", "/c"]
    {
        let (answered, seen) = ask(page, &[&[PUBLIC]], Script::Hang).await;
        assert!(matches!(answered, Err(FetchError::Forbidden)), "{page}: {answered:?}");
        assert!(seen.resolved.lock().unwrap().is_empty(), "{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_certificate_must_name_the_host_and_come_from_somebody_who_is_believed() {
    let (answered, seen) = ask("https://other.example.org/c", &[&[PUBLIC]], Script::Hang).await;
    assert!(matches!(answered, Err(FetchError::Failed(_))), "{answered:?}");
    assert!(seen.requests.lock().unwrap().is_empty());
    let (network, seen, _) = FakeTransport::new(&[&[PUBLIC]], Script::Hang);
    let fetcher = PublicFetcher::on(network, &Roots::load(None).expect("roots"));
    let answered = fetcher.fetch(get(PAGE), LIMITS).await;
    assert!(matches!(answered, Err(FetchError::Failed(_))), "{answered:?}");
    assert!(seen.requests.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_is_cut_off_where_it_gets_too_long_announced_or_not() {
    let exact = "x".repeat(LIMITS.max_bytes);
    let (answered, _) = ask(PAGE, &[&[PUBLIC]], answer("200 OK", "", &exact)).await;
    assert_eq!(answered.expect("it fits").body().len(), LIMITS.max_bytes);
    let longer = format!("{exact}x");
    let (answered, _) = ask(PAGE, &[&[PUBLIC]], answer("200 OK", "", &longer)).await;
    assert!(matches!(answered, Err(FetchError::TooLong)), "{answered:?}");

    // Ten gigabytes, announced and not.
    let chunk = [b"1000\r\n".to_vec(), vec![b'x'; 4096], b"\r\n".to_vec()].concat();
    for (head, again) in [
        ("content-length: 10000000000", vec![b'x'; 4096]),
        ("transfer-encoding: chunked", chunk),
        ("connection: close", vec![b'x'; 4096]),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").into_bytes();
        let script = Script::Drip(head, again, Duration::ZERO);
        let (answered, seen) = ask(PAGE, &[&[PUBLIC]], script).await;
        assert!(matches!(answered, Err(FetchError::TooLong)), "{answered:?}");
        // What fits into the buffers on the way, and no gigabytes.
        let written = seen.written.load(Ordering::Relaxed);
        assert!(written < 1_000_000, "{written}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_timeout_spans_name_connection_handshake_head_and_body() {
    for (page, address) in [("https://lost.example.org/c", PUBLIC), (PAGE, "9.9.9.9")] {
        let begun = tokio::time::Instant::now();
        let (answered, _) = ask(page, &[&[address]], Script::Hang).await;
        assert!(answered.is_err(), "{answered:?}");
        assert_eq!(begun.elapsed().as_secs(), LIMITS.timeout.as_secs(), "{page}");
    }
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n".to_vec();
    for script in [
        Script::Mute,
        Script::Hang,
        Script::Drip(head, b"x".to_vec(), Duration::from_secs(1)),
        Script::Drip(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), b"x".to_vec(), Duration::from_secs(1)),
    ] {
        let begun = tokio::time::Instant::now();
        let (answered, _) = ask(PAGE, &[&[PUBLIC]], script.clone()).await;
        assert!(matches!(answered, Err(FetchError::TimedOut)), "{script:?}: {answered:?}");
        assert_eq!(begun.elapsed().as_secs(), LIMITS.timeout.as_secs(), "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_compressed_answer_is_refused_unread() {
    for head in ["content-encoding: gzip\r\n", "content-encoding: br\r\n"] {
        let (answered, _) = ask(PAGE, &[&[PUBLIC]], answer("200 OK", head, "bomb")).await;
        assert!(matches!(answered, Err(FetchError::Failed(_))), "{head}: {answered:?}");
    }
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n4\r\nbomb\r\n0\r\n\r\n";
    let (answered, _) = ask(PAGE, &[&[PUBLIC]], Script::Say(head.as_bytes().to_vec())).await;
    assert!(matches!(answered, Err(FetchError::Failed(_))), "{answered:?}");
    let head = "content-encoding: identity\r\n";
    let (answered, _) = ask(PAGE, &[&[PUBLIC]], answer("200 OK", head, "fine")).await;
    assert_eq!(&answered.expect("an answer").body()[..], b"fine");
}

#[tokio::test(start_paused = true)]
async fn a_head_without_end_is_an_error() {
    let script = Script::Drip(
        b"HTTP/1.1 200 OK\r\n".to_vec(),
        format!("x-filler: {}\r\n", "x".repeat(1000)).into_bytes(),
        Duration::ZERO,
    );
    let (answered, seen) = ask(PAGE, &[&[PUBLIC]], script).await;
    assert!(matches!(answered, Err(FetchError::Failed(_))), "{answered:?}");
    let written = seen.written.load(Ordering::Relaxed);
    assert!(written < 1_000_000, "{written}");
}

#[tokio::test(start_paused = true)]
async fn the_port_of_the_address_is_the_one_that_is_dialled() {
    let page = "https://app.example.org:8443/c";
    let (answered, seen) = ask(page, &[&[PUBLIC]], answer("200 OK", "", "")).await;
    assert!(answered.is_ok(), "{answered:?}");
    assert_eq!(dialled(&seen), [format!("{PUBLIC}:8443")]);
    let request = seen.requests.lock().unwrap()[0].clone();
    assert!(request.contains("host: app.example.org:8443\r\n"), "{request}");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    let all = ["1.1.1.1", "9.9.9.9", PUBLIC];
    let (answered, seen) = ask(PAGE, &[&all], answer("200 OK", "", "{}")).await;
    assert_eq!(answered.expect("an answer").status(), StatusCode::OK);
    assert_eq!(dialled(&seen), all.map(|ip| format!("{ip}:443")));
}
