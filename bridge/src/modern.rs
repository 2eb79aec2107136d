//! The modern era on the wire: requests that carry everything with them (MCP 2026-07-28).
//!
//! [`request`] says whether a request belongs to this era and whether its headers
//! ([`request_headers`]) and body agree, [`metadata`] what it says of its client; [`rejection`] is what its
//! sender is told if something is wrong.
//! [`header_value`] reads headers that mirror the body; [`parameters`] checks those that a tool's
//! schema asks for. The others translate between the eras, for a child that only knows the one before:
//! [`to_legacy`] what goes to it, [`from_legacy`] what comes from it, [`discovery`] what it says of
//! itself, [`input`] what it asks. [`tasks`] reads what says of a call that it goes on in the
//! background. An `adapter` holds what a session of the legacy era keeps of a child that knows only
//! this one.

pub(crate) mod adapter;
pub mod discovery;
pub mod from_legacy;
pub mod header_value;
pub mod input;
pub mod listening;
pub mod metadata;
mod object;
pub mod parameters;
pub mod rejection;
pub mod request;
pub mod request_headers;
mod subscription;
pub mod tasks;
pub mod to_legacy;

/// The revision that is spoken here.
pub const VERSION: &str = "2026-07-28";

/// The member of `_meta` that names the subscription a notification belongs to.
pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// A request's headers do not match its body (MCP 2026-07-28, "Error Codes").
pub const HEADER_MISMATCH: i32 = -32020;
/// The client lacks a capability that its request needs.
pub const MISSING_CAPABILITY: i32 = -32021;
/// The request names a revision that is not spoken here.
pub const UNSUPPORTED_VERSION: i32 = -32022;
