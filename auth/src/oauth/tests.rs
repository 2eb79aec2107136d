//! The authorization server, played through by a browser and a client.

mod authorize;
mod browser;
mod code;
mod corpus;
mod documents;
mod endpoints;
mod failures;
mod fewer_rights;
mod harness;
mod machine;
mod rates;
mod refresh;
mod registration;
mod removal;
mod required_provider;
mod send_back;
mod timing;
mod verifier;
