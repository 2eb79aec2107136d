//! A machine that lacks something, made so for one broker.

use std::process::Stdio;

use tokio::process::Command;

/// What this machine is to lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    Nothing,
    /// Control groups of version 2 can be read, and no more.
    CgroupsOfVersion2,
    /// Nor can processes have namespaces of their own.
    CgroupsOfVersion2AndNamespaces,
    /// Control groups of either version can be read, and no more.
    Cgroups,
    /// A part of `/proc` is covered, as in most containers: no process gets a `/proc` of its own.
    WholeProc,
}

impl Lack {
    /// The program and its arguments that run another one without it.
    pub(crate) fn wrapper(self) -> Vec<String> {
        let read_only = |kinds: &str| {
            format!(
                "for folder in $(awk '$3 ~ /^{kinds}$/ {{ print $2 }}' /proc/mounts); do \
                 mount --bind $folder $folder; \
                 mount -o remount,bind,ro,nosuid,nodev,noexec $folder; done"
            )
        };
        let script = match self {
            Self::Nothing => return Vec::new(),
            Self::CgroupsOfVersion2 => read_only("cgroup2"),
            // Their number is limited for what is in this user namespace, and for nothing else.
            Self::CgroupsOfVersion2AndNamespaces => {
                read_only("cgroup2") + "; echo 0 > /proc/sys/user/max_pid_namespaces"
            }
            Self::Cgroups => read_only("cgroup2?"),
            Self::WholeProc => "mount --bind /proc/sys /proc/sys; \
                 mount -o remount,bind,ro,nosuid,nodev,noexec /proc/sys"
                .to_owned(),
        };
        let script = format!("set -e; {script}; exec \"$0\" \"$@\"");
        ["unshare", "-Urm", "sh", "-c", &script].map(str::to_owned).to_vec()
    }

    /// Whether this machine lets itself be made so. A system without user namespaces does not.
    #[expect(clippy::disallowed_methods, reason = "a program of the system is tried")]
    pub(crate) async fn can_be_had(self) -> bool {
        let wrapper = self.wrapper();
        let Some((program, args)) = wrapper.split_first() else { return true };
        let mut tried = Command::new(program);
        tried.args(args).arg("true").stdin(Stdio::null()).stderr(Stdio::null());
        tried.status().await.is_ok_and(|status| status.success())
    }
}
