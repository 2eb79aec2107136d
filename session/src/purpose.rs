//! What a lease is for.

/// What a session's backend is needed for, and so what may be taken from others for it.
///
/// A session that only listens gives its slot up before one with a call under way does, and after
/// one that is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To get something done. A session with a call under way is busy: it makes no room for another.
    Call,
    /// To hear from the backend. A wake for this takes no slot from a session that listens too, or
    /// two listening clients would take one slot from each other for ever; and it does not wait.
    Stream,
}
