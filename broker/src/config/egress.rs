//! A server's way to its upstream, on which the broker puts the user's token in.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::words::words;
use crate::settings;

settings! {
    /// The way to the upstream on which the user's token stays in the broker. The process gets a
    /// loopback address of the broker in the place of its upstream's, ${egress.base_url} in env, and
    /// a random token that is worth nothing elsewhere, ${egress.token}. The broker forwards requests
    /// that have that token to origin, with the user's current token in its place. The random token
    /// ends with the process, and a renewed token of the user needs no new process.
    pub struct EgressConfig {
        /// The address that requests are forwarded to, and to no other. With a path, only what lies
        /// below it is forwarded.
        pub origin: Option<String> = address()
            .computed("the address of the forge that upstream names, or GitHub's API")
            .example(r#""https://git.example.org""#)
            .live(),
        /// How the upstream wants the token: "bearer" and "token" are words of the Authorization
        /// header, "basic" is a password there, "private-token" is a header of that name.
        pub style: EgressStyle = word(r#""bearer""#).live(),
        /// Whether the origin's own address becomes ${egress.base_url} in JSON answers and in the
        /// headers Link, Location and Content-Location, so that a process which follows it comes back
        /// to the broker. Other addresses stay what they are.
        pub rewrite: bool = flag("true").live(),
        /// How many requests of one process may be under way at once. Others wait.
        pub max_requests: usize = count("64").live(),
        /// How many requests a second one process may make. Others wait.
        pub max_rate: Option<NonZeroUsize> = count("200").zero("no limit").live(),
        /// How long the upstream may be silent, before its answer and within it.
        pub silence_timeout: Duration = duration(r#""5m""#).live(),
    }
}

words! {
    /// How an upstream wants a token.
    pub enum EgressStyle {
        /// `Authorization: Bearer` (RFC 6750).
        Bearer = "bearer",
        /// `Authorization: token`, as forges and GitHub know it.
        Token = "token",
        /// `Authorization: Basic`, as a password (RFC 7617).
        Basic = "basic",
        /// `PRIVATE-TOKEN`, for personal tokens of GitLab.
        PrivateToken = "private-token",
    }
}
