//! A port for a program that others have to know the address of before it listens, or while it is away.

use std::{
    fs,
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Context;

/// The lowest port that is given. Below it listen programs that were here before.
const LOWEST: u32 = 10_000;

/// Where the system's own choice begins when it does not say so.
const USUAL: u32 = 32_768;

/// A port on loopback at which nothing listens.
///
/// One that the system chose would be given to the next program that lets it choose, or to a connection,
/// as soon as it is let go of. So this is one of those that the system never chooses, and none is given
/// twice to callers in this process.
pub(crate) fn free() -> anyhow::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let ports = chosen_by_the_system() - LOWEST;
    // Other parts run at the same time, and begin elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    (0..ports)
        .map(|_| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)))
        .filter_map(|number| u16::try_from(LOWEST + number % ports).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no port is free")
}

/// The first of the ports that connections have, and programs that let the system choose.
fn chosen_by_the_system() -> u32 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|port| port.parse().ok());
    first.filter(|port| *port > LOWEST + 1000).unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_let_go_of_is_given_to_no_other_program() {
        let ports: Vec<_> = (0..20).map(|_| free().unwrap()).collect();
        let mut others = ports.clone();
        others.sort_unstable();
        others.dedup();
        assert_eq!(others.len(), ports.len(), "{ports:?}");
        assert!(ports.iter().all(|port| u32::from(*port) < chosen_by_the_system()), "{ports:?}");
        assert!(TcpListener::bind(("127.0.0.1", ports[0])).is_ok(), "nothing listens there");
    }
}
