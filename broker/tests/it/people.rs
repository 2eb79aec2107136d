//! People sign in: the whole way from a bare address to a tool call, with the real program, a double
//! of a forge, a small browser and a small OAuth client.

mod admission;
mod attacks;
mod blocking;
mod browser_clients;
mod canary;
mod credentials;
mod deployment;
mod egress;
mod fewer_rights;
mod forge_users;
mod local;
mod names;
mod own_token;
mod pages;
mod revocation;
mod rotation;
mod scopes;
mod setup;
mod standing;
mod store_down;
mod token_file;
mod two_forges;
mod without_session;

// The double is a program of its own; a test has it in its own process.
#[path = "../../rigs/forge/forge.rs"]
mod forge;
