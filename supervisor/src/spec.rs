//! What to start, and how much it may cost.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use crate::{
    containment::Containment, environment::Environment, error::SpawnError, isolation::Isolation,
    limits::Limits,
};

/// What to start. `Debug` shows the names of the environment but not its values, which may be
/// secrets.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The program. With a slash it is a path, taken from this process's working directory when
    /// relative. Without one it is looked up in the `PATH` that [`env`](Self::env) gives, or in
    /// `/usr/local/bin:/usr/bin:/bin` when it gives none; relative entries of `PATH` are skipped.
    /// The child sees it, as written, as its `argv[0]`. No shell comes between: a script without a `#!` line
    /// is no program.
    pub program: OsString,
    /// The arguments after the program's name, passed as they are.
    pub args: Vec<OsString>,
    /// The whole environment; nothing is inherited. A later entry replaces an earlier one of the
    /// same name.
    pub env: Environment,
    /// Where the child works: an absolute path. `None` means this process's own directory.
    pub cwd: Option<PathBuf>,
    /// Ends every descendant of the child when the child ends, is killed, or this process is killed.
    /// `None` leaves to themselves those that left the child's process group, and all of them if
    /// this process is killed.
    pub containment: Option<Containment>,
    /// What the child sees and reaches. More than the default takes a [`containment`](Self::containment).
    pub isolation: Isolation,
    /// Whether the child and what it starts may gain privileges that this process does not have, by
    /// setuid programs or file capabilities: `sudo` needs that. Without it the kernel ignores both
    /// (`PR_SET_NO_NEW_PRIVS`), where it is Linux.
    pub new_privs: bool,
    /// What the child may cost.
    pub limits: Limits,
}

impl Spec {
    /// Refuses what `exec` would truncate or misread.
    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        let refuse = |reason| Err(SpawnError::BadSpec { reason });
        if self.program.is_empty() {
            return refuse("the program is empty");
        }
        if holds_nul(&self.program) {
            return refuse("the program holds a NUL byte");
        }
        if self.args.iter().any(|arg| holds_nul(arg)) {
            return refuse("an argument holds a NUL byte");
        }
        for (name, value) in self.env.iter() {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return refuse("the name of an environment entry is empty or holds an equals sign");
            }
            if holds_nul(name) || holds_nul(value) {
                return refuse("an environment entry holds a NUL byte");
            }
        }
        if let Some(cwd) = &self.cwd {
            if holds_nul(cwd.as_os_str()) {
                return refuse("the working directory holds a NUL byte");
            }
            if !cwd.is_absolute() {
                return refuse("the working directory is not absolute");
            }
        }
        Ok(())
    }
}

fn holds_nul(text: &OsStr) -> bool {
    text.as_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            program: "program".into(),
            args: vec!["argument".into()],
            env: vec![("TOKEN".into(), "hunter2".into())].into(),
            cwd: Some("/".into()),
            containment: None,
            isolation: Isolation::default(),
            new_privs: false,
            limits: Limits::default(),
        }
    }

    fn refused(change: impl FnOnce(&mut Spec)) -> &'static str {
        let mut spec = spec();
        change(&mut spec);
        match spec.check() {
            Err(SpawnError::BadSpec { reason }) => reason,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn what_exec_would_misread_is_refused() {
        spec().check().unwrap();
        refused(|spec| spec.program.clear());
        refused(|spec| spec.program = "a\0b".into());
        refused(|spec| spec.args.push("a\0b".into()));
        refused(|spec| spec.env.set("TOKEN", "a\0b"));
        refused(|spec| spec.env.set("A\0B", ""));
        refused(|spec| spec.env.set("", "value"));
        refused(|spec| spec.env.set("A=B", "value"));
        refused(|spec| spec.cwd = Some("relative".into()));
    }

    #[test]
    fn the_debug_form_names_the_environment_but_keeps_its_values() {
        let shown = format!("{:?}", spec());
        assert!(shown.contains("TOKEN"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
