//! Why a backend did not come up.

use std::io;

use auth::upstream::CredentialError;
use bridge::{Closed, InitializeError, ResumeError, SnapshotError};
use supervisor::{Exit, SpawnError};

use super::directory::DirectoryError;
use crate::{
    config::{EraChoice, UnfitValue, Upstream},
    server::{Paused, Whose},
};

/// Why a backend did not come up. The client gets a sentence by kind; this is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnFailure {
    #[error("the child's directory could not be made")]
    Directory(#[source] DirectoryError),
    #[error("the file with the user's token could not be written")]
    TokenFile(#[source] io::Error),
    #[error("the child's way to its upstream could not be opened")]
    Egress(#[source] io::Error),
    #[error("the child's environment could not be filled")]
    Environment(#[source] UnfitValue),
    #[error("there is no credential of the user at {}", .upstream.name())]
    Credential {
        upstream: Upstream,
        #[source]
        source: CredentialError,
    },
    #[error("starts before failed ({}); the next is in {:?}", .0.reason, .0.retry_in)]
    Paused(Paused),
    #[error("the child did not start")]
    Start(#[source] SpawnError),
    #[error("the handshake failed")]
    Initialize(#[source] InitializeError),
    #[error("the child did not say what it is")]
    Discover(#[source] InitializeError),
    #[error("the session's record cannot be read")]
    Snapshot(#[source] SnapshotError),
    #[error("a newer version of the broker wrote the session's record")]
    NewerSnapshot(#[source] SnapshotError),
    #[error("the session did not go on with a new child")]
    Resume(#[source] ResumeError),
}

impl SpawnFailure {
    /// Lowercase and stable, for metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::TokenFile(_) => "token_file",
            Self::Egress(_) => "egress",
            Self::Environment(_) => "environment",
            Self::Credential { .. } => "credential",
            Self::Paused(_) => "paused",
            Self::Start(SpawnError::Missing { .. }) => "missing",
            Self::Start(SpawnError::NotExecutable { .. }) => "not_executable",
            Self::Start(SpawnError::OutOfResources(_)) => "out_of_resources",
            Self::Start(_) => "start",
            Self::Initialize(InitializeError::Refused(_))
            | Self::Resume(ResumeError::Refused(_)) => "refused",
            Self::Initialize(InitializeError::TimedOut) | Self::Resume(ResumeError::TimedOut) => {
                "timeout"
            }
            Self::Initialize(InitializeError::Closed(Closed::OutOfMemory))
            | Self::Resume(ResumeError::Closed(Closed::OutOfMemory)) => "out_of_memory",
            Self::Initialize(InitializeError::Closed(_)) | Self::Resume(ResumeError::Closed(_)) => {
                "died"
            }
            Self::Initialize(InitializeError::Unreadable { .. })
            | Self::Resume(ResumeError::Unreadable { .. }) => "unreadable",
            Self::Discover(_) => "discover",
            Self::Snapshot(_) => "snapshot",
            Self::NewerSnapshot(_) => "newer_snapshot",
            Self::Resume(ResumeError::Changed(_)) => "changed",
        }
    }

    /// Whether starts should pause when this happens again and again, and whose; `None` when trying again
    /// costs little or is what the user is waiting for.
    pub(super) fn pauses(&self, person: &Whose) -> Option<Whose> {
        match self {
            Self::Start(SpawnError::BadSpec { .. }) => Some(person.clone()),
            Self::Start(_) | Self::Directory(_) => Some(None),
            // A credential, what a cache has, or what the client said may be the reason.
            Self::Initialize(InitializeError::Refused(_))
            | Self::Resume(ResumeError::Refused(_) | ResumeError::Changed(_)) => None,
            Self::Initialize(_) | Self::Resume(_) => Some(person.clone()),
            Self::TokenFile(_)
            | Self::Egress(_)
            | Self::Environment(_)
            | Self::Credential { .. }
            | Self::Paused(_)
            | Self::Discover(_)
            | Self::Snapshot(_)
            | Self::NewerSnapshot(_) => None,
        }
    }

    /// Whether no later attempt to wake the session will do better.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Snapshot(_) | Self::Resume(ResumeError::Changed(_) | ResumeError::Refused(_))
        )
    }

    /// Whether only the user can change that, by signing in.
    pub(crate) fn needs_sign_in(&self) -> bool {
        matches!(
            self,
            Self::Credential {
                source: CredentialError::SignInAgain | CredentialError::Missing,
                ..
            }
        )
    }

    /// Whether nothing can be done with the credential that a child may still have: its user has to
    /// sign in, or the upstream does not let the account in.
    pub(crate) fn ends_the_credential(&self) -> bool {
        let is_refused =
            matches!(self, Self::Credential { source: CredentialError::AccountRefused { .. }, .. });
        is_refused || self.needs_sign_in()
    }

    /// Whether the child failed in its handshake, which is where servers first use a credential.
    pub(super) fn is_in_the_handshake(&self) -> bool {
        matches!(self, Self::Initialize(_))
            || matches!(self, Self::Resume(error) if !matches!(error, ResumeError::Changed(_)))
    }

    /// The child's answer to the handshake, raw, when that was an error.
    pub(super) fn refusal(&self) -> Option<&[u8]> {
        match self {
            Self::Initialize(InitializeError::Refused(error))
            | Self::Resume(ResumeError::Refused(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether the child closed its output, as it does when it ends.
    pub(super) fn is_of_a_lost_child(&self) -> bool {
        matches!(
            self,
            Self::Initialize(InitializeError::Closed(_))
                | Self::Discover(InitializeError::Closed(_))
                | Self::Resume(ResumeError::Closed(_))
        )
    }

    /// Whether a child that downloads itself had come to the end of that, since it answered or ended as
    /// it wanted to. A package runner that gives up by itself removes what it could not finish.
    pub(super) fn is_after_the_download(&self, exit: Option<Exit>) -> bool {
        match self {
            Self::Initialize(InitializeError::Refused(_) | InitializeError::Unreadable { .. })
            | Self::Discover(InitializeError::Refused(_) | InitializeError::Unreadable { .. })
            | Self::Resume(
                ResumeError::Refused(_) | ResumeError::Unreadable { .. } | ResumeError::Changed(_),
            ) => true,
            // A shell says so of a program that a signal ended, and a program may of itself.
            _ => matches!(exit, Some(Exit::Code(code)) if code < 128),
        }
    }

    /// What an operator can do about it: the key in the server's table that it is about, and the hint.
    /// `is_apart` is whether the child was in a sandbox.
    pub(crate) fn hint(&self, is_apart: bool) -> Option<(&'static str, &'static str)> {
        let hint = match self {
            Self::Start(error) => start_hint(error)?,
            Self::Initialize(InitializeError::TimedOut) | Self::Resume(ResumeError::TimedOut) => (
                "initialize_timeout",
                "set it higher if the server needs longer to start; it may also wait for input, or \
                 write what is no message",
            ),
            Self::Initialize(InitializeError::Closed(Closed::OutOfMemory))
            | Self::Resume(ResumeError::Closed(Closed::OutOfMemory)) => {
                ("limits.memory", "set it higher: the server needs more memory to start")
            }
            Self::Initialize(InitializeError::Closed(_)) | Self::Resume(ResumeError::Closed(_))
                if is_apart =>
            {
                (
                    "isolation",
                    "the server's last words say why, if it had any; it runs in a sandbox, so name \
                     files that it needs in read or write, and see whether it starts with \
                     level = \"none\"",
                )
            }
            Self::Initialize(InitializeError::Unreadable { .. })
            | Self::Resume(ResumeError::Unreadable { .. }) => (
                "command",
                "a server may write nothing but messages to standard output, one on each line",
            ),
            _ => return None,
        };
        Some(hint)
    }

    /// What it comes to when the operator has said which era the server is of. One that is said to be
    /// modern is asked for a discovery, whatever the client sent: that is what it refuses.
    pub(super) fn of_a_server_said_to_be(self, era: EraChoice) -> Self {
        match (era, self) {
            (EraChoice::Modern, Self::Initialize(error @ InitializeError::Refused(_))) => {
                Self::Discover(error)
            }
            (_, failure) => failure,
        }
    }

    /// Like [`hint`](Self::hint), of a server that may be of another era than the operator has said.
    pub(crate) fn era_hint(&self, era: EraChoice) -> Option<(&'static str, &'static str)> {
        let is_out_of_memory = self.reason() == "out_of_memory";
        let hint = match (era, self) {
            // Some servers of the legacy era end at such a request, or leave it without an answer.
            (EraChoice::Modern, Self::Discover(_) | Self::Initialize(_) | Self::Resume(_))
                if !is_out_of_memory && !matches!(self, Self::Resume(ResumeError::Changed(_))) =>
            {
                "with \"modern\" the server is sent server/discover and never initialize; if it speaks \
                 a revision up to 2025-11-25, remove the key or set it to \"legacy\""
            }
            (EraChoice::Legacy, _) if self.refusal().is_some() => {
                "with \"legacy\" the server is sent initialize and never server/discover; if it \
                 speaks revision 2026-07-28 alone, remove the key or set it to \"modern\""
            }
            _ => return None,
        };
        Some(("era", hint))
    }

    /// Whether the child's own log may say why.
    pub(super) fn is_the_childs(&self) -> bool {
        match self {
            Self::Initialize(error) => !matches!(error, InitializeError::Refused(_)),
            Self::Resume(error) => {
                matches!(
                    error,
                    ResumeError::TimedOut | ResumeError::Closed(_) | ResumeError::Unreadable { .. }
                )
            }
            _ => false,
        }
    }
}

/// The code of a JSON-RPC error, raw.
pub(crate) fn error_code(error: &[u8]) -> Option<i64> {
    serde_json::from_slice::<serde_json::Value>(error).ok()?["code"].as_i64()
}

/// What an operator can do about a child that did not even start: the key in the server's table, and the
/// hint.
pub(super) fn start_hint(error: &SpawnError) -> Option<(&'static str, &'static str)> {
    Some(match error {
        SpawnError::Missing { .. } => {
            ("command", "install the program, or write its whole path in command")
        }
        SpawnError::NotExecutable { source, .. } => match source.kind() {
            io::ErrorKind::NotFound => (
                "command",
                "the interpreter in the file's first line, or the loader that the program was built \
                 for, is not on this machine; install it",
            ),
            io::ErrorKind::PermissionDenied => (
                "command",
                "make the file executable for the broker's user (`chmod +x`); it has to be a file, \
                 and on a file system that is not mounted with noexec",
            ),
            _ => (
                "command",
                "the program was built for another kind of machine, or is a script without a first \
                 line such as #!/bin/sh",
            ),
        },
        SpawnError::Cwd { .. } => {
            ("cwd", "make the directory, or let the broker's user enter it (`chmod +x`)")
        }
        SpawnError::OutOfResources(_) => (
            "command",
            "let the broker have more processes and open files (in a systemd unit TasksMax and \
             LimitNOFILE), or let it start fewer (session.max)",
        ),
        SpawnError::Isolation { .. } => (
            "isolation",
            "`mcp-broker doctor --host` says what this machine lacks; with level = \"none\" the server \
             starts without a sandbox",
        ),
        SpawnError::BadSpec { .. } | SpawnError::Other(_) => return None,
    })
}

impl From<SnapshotError> for SpawnFailure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Newer { .. } => Self::NewerSnapshot(error),
            SnapshotError::Garbage(_) => Self::Snapshot(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_put_down_to_the_era_only_where_the_operator_has_set_it() {
        let refused = || InitializeError::Refused("{}".into());
        let key = |failure: &SpawnFailure, era| failure.era_hint(era).map(|(key, _)| key);
        let initialize = SpawnFailure::Initialize(refused());
        assert_eq!(key(&initialize, EraChoice::Auto), None);
        assert_eq!(key(&initialize, EraChoice::Legacy), Some("era"));
        let lost = SpawnFailure::Initialize(InitializeError::Closed(Closed::ChildEnded));
        assert_eq!(key(&lost, EraChoice::Modern), Some("era"), "some end at what they do not know");
        assert_eq!(key(&lost, EraChoice::Legacy), None);
        let memory = SpawnFailure::Resume(ResumeError::Closed(Closed::OutOfMemory));
        assert_eq!(key(&memory, EraChoice::Modern), None, "its cause is known");
        let resumed = SpawnFailure::Resume(ResumeError::Refused("{}".into()));
        assert_eq!(key(&resumed, EraChoice::Legacy), Some("era"));

        let discover = initialize.of_a_server_said_to_be(EraChoice::Modern);
        assert_eq!(
            (discover.reason(), key(&discover, EraChoice::Modern)),
            ("discover", Some("era"))
        );
        let own = SpawnFailure::Initialize(refused()).of_a_server_said_to_be(EraChoice::Auto);
        assert_eq!(own.reason(), "refused", "the client asked for it, and reads the answer");
    }
}
