//! The authorization server, played through by a browser and a client.

mod authorize;
mod browser;
mod code;
mod documents;
mod endpoints;
mod failures;
mod machine;
mod rates;
mod refresh;
mod registration;
mod removal;
mod rig;
mod timing;
mod verifier;
