//! Why a child did not start.

use std::{ffi::OsString, io, path::PathBuf};

use rustix::io::Errno;

use crate::launch::report::{EXEC, Failure};

/// Why a child did not start. In every case no process is left behind.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no such file, or no such name in `PATH`.
    #[error("no program {program:?}")]
    Missing {
        /// As the [`Spec`](crate::Spec) named it.
        program: OsString,
    },
    /// The file exists and the system will not run it: no permission, a directory, an unknown
    /// format, or a script whose interpreter is missing.
    #[error("cannot execute {program:?}")]
    NotExecutable {
        /// As the [`Spec`](crate::Spec) named it.
        program: OsString,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The working directory cannot be entered.
    #[error("cannot enter the working directory {path:?}")]
    Cwd {
        /// As the [`Spec`](crate::Spec) named it.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Processes, descriptors or memory ran out; worth another try later.
    #[error("out of processes, descriptors or memory")]
    OutOfResources(#[source] io::Error),
    /// What the [`Spec`](crate::Spec) asks of the kernel to isolate the child could not be had.
    #[error("cannot isolate the child: {step}")]
    Isolation {
        /// What was tried.
        step: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The [`Spec`](crate::Spec) cannot be carried out as written; trying again will not help.
    #[error("bad spec: {reason}")]
    BadSpec {
        /// What is wrong, without the offending value, which may be a secret.
        reason: &'static str,
    },
    /// Anything else the system said.
    #[error("the system refused to start the child")]
    Other(#[source] io::Error),
}

impl SpawnError {
    /// Sorts what the launcher reports.
    pub(crate) fn from_launch(program: OsString, failure: &Failure) -> Self {
        if failure.step == EXEC {
            return Self::from_exec(program, failure.error());
        }
        Self::Isolation { step: failure.step.clone(), source: failure.error() }
    }

    /// Sorts what `fork` and `exec` report. By then the program was found, so *not found* speaks of
    /// its interpreter.
    pub(crate) fn from_exec(program: OsString, error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::ACCESS | Errno::PERM | Errno::NOEXEC | Errno::NOENT | Errno::NOTDIR) => {
                Self::NotExecutable { program, source: error }
            }
            Some(Errno::TOOBIG) => {
                Self::BadSpec { reason: "the arguments and the environment are too long" }
            }
            _ => Self::from_system(error),
        }
    }

    /// Sorts what descriptors, pipes and threads report.
    pub(crate) fn from_system(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::NOSPC) => {
                Self::OutOfResources(error)
            }
            _ => Self::Other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_process_table_is_told_from_a_program_that_cannot_run() {
        let sorted = |errno: Errno| SpawnError::from_exec("x".into(), errno.into());
        assert!(matches!(sorted(Errno::AGAIN), SpawnError::OutOfResources(_)));
        assert!(matches!(sorted(Errno::MFILE), SpawnError::OutOfResources(_)));
        assert!(matches!(sorted(Errno::ACCESS), SpawnError::NotExecutable { .. }));
        assert!(matches!(sorted(Errno::NOEXEC), SpawnError::NotExecutable { .. }));
        assert!(matches!(sorted(Errno::TOOBIG), SpawnError::BadSpec { .. }));
        assert!(matches!(sorted(Errno::TXTBSY), SpawnError::Other(_)));
    }
}
