//! The authorization server, played through by a browser and a client.

mod authorize;
mod browser;
mod code;
mod documents;
mod endpoints;
mod failures;
mod machine;
mod refresh;
mod registration;
mod rig;
mod verifier;
