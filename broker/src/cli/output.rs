//! What a command prints, and the code that it exits with.

use std::process::ExitCode;

/// The exit codes, by the conventions of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Done, or stopped as asked.
    Ok = 0,
    /// A check failed (`healthcheck`, `doctor`), or what was named was not found.
    No = 1,
    /// The command line is wrong.
    Usage = 64,
    /// It cannot listen, or cannot use a file or the store.
    Unavailable = 69,
    /// An error inside the broker.
    Internal = 70,
    /// The configuration has mistakes.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Writes a line to standard output. A reader that has closed it (`| head`) is not an error.
pub(super) fn print(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes a line to standard error.
pub(super) fn print_error(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
