//! What kinds of response a client takes.

/// What kinds of response the client of a POST takes, by its `Accept` header. The specification
/// asks for both (MCP transports, "Sending Messages to the Server"); some clients name one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accepts {
    /// One JSON document, or a stream of events.
    #[default]
    Both,
    /// One JSON document. What comes before the answer is dropped, requests of the child are refused
    /// while there is no other stream, and a long call is answered when it is done.
    Json,
    /// A stream of events, also for an answer with nothing before it.
    Events,
}
