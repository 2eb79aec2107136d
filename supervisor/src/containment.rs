//! How all descendants of a child are held together, so that none outlives it or this process.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use rustix::process::{Pid, geteuid};

use crate::{
    cgroup::{Cgroup, ChildCgroup, Controller, Version},
    enforcement::{Enforcement, Limit},
    error::SpawnError,
    isolation::Sandbox,
    launch::{
        is_in_this_program,
        plan::{Plan, Reach},
        report::Failure,
        start::{LauncherKind, attempt},
    },
    limits::Limits,
    orphans::{OrphanCleanup, Registration},
    view,
};

/// How descendants are held together, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// A cgroup of version 2 for each child, ended by `cgroup.kill`; a process that outlives this one
    /// for a moment writes to it when this one is killed.
    Cgroup,
    /// A PID namespace for each child: the kernel ends what is in it with its first process, which dies
    /// with this process.
    PidNamespace,
    /// A process for each child that outlives this one for a moment, adopts what the child abandons, and
    /// ends it. A descendant that ends that process first leaves others behind, as does one that starts
    /// processes faster than they are ended.
    Helper,
    /// The child's process group. What leaves the group survives.
    ProcessGroup,
}

impl Mechanism {
    /// All of them, the strongest first.
    pub const ALL: [Self; 4] = [Self::Cgroup, Self::PidNamespace, Self::Helper, Self::ProcessGroup];

    /// In the words of an operator.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup v2",
            Self::PidNamespace => "PID namespace",
            Self::Helper => "helper process",
            Self::ProcessGroup => "process group",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What keeps a child of a [`Sandbox`](crate::Sandbox) apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walls {
    /// Namespaces of its own.
    Namespaces,
    /// Rules of Landlock, where namespaces are not to be had. The child sees the names of other processes
    /// and files, and opens neither. It can connect to sockets that have a path; it has no `/tmp`; and
    /// on kernels before 6.12 it can signal processes of its user.
    Landlock,
}

/// A user to try with.
const SOMEBODY: u32 = 65534;

/// Holds the descendants of children together. One for a program, cheap to clone.
#[derive(Debug, Clone)]
pub struct Containment {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mechanism: Mechanism,
    /// Ends groups and the cgroup after a SIGKILL. Before the cgroup, so that a drop ends children
    /// while their cgroup is there.
    orphan_cleanup: Option<OrphanCleanup>,
    cgroup: Arc<Cgroup>,
    /// Whether namespaces take a user namespace first.
    user_namespace: bool,
    sandbox: Result<Walls, Failure>,
    /// Why a sandbox is not made of namespaces.
    without_namespaces: Option<Failure>,
    /// Why a sandbox of root reads what only root may; `None` where it does not.
    root_files: Option<Failure>,
    /// Whether there are PID namespaces.
    has_namespaces: bool,
    /// The same for a sandbox of another user; tried when it is first asked for.
    sandbox_of_users: OnceLock<Result<(), Failure>>,
    /// The same for a list of ports.
    ports: OnceLock<Result<(), Failure>>,
}

impl Containment {
    /// Chooses the best mechanism that the system has, and prepares it. `name` must be the same after a
    /// restart, and no other running program's: what an earlier run left in the cgroup of that name is
    /// ended. Blocks for some milliseconds. Call it early: see the orphan-cleanup process's memory.
    ///
    /// # Errors
    /// When the system is out of descriptors or processes.
    pub fn start(name: &str) -> io::Result<Self> {
        Self::start_with(name, &Mechanism::ALL)
    }

    /// As [`start`](Self::start), with a choice of mechanisms. The process group is always there.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with(name: &str, allowed: &[Mechanism]) -> io::Result<Self> {
        let user_namespace = !geteuid().is_root() || !can_separate_as_root();
        let namespaces = Self::try_namespaces(&Plan { user_namespace, ..plain() });
        let has_namespaces = namespaces.is_ok();
        let sandboxed = sandboxed();
        let sandbox = namespaces.clone().and_then(|()| Self::try_namespaces(&sandboxed));
        let without_namespaces = sandbox.as_ref().err().cloned();
        let root_files = match &sandbox {
            _ if !geteuid().is_root() => None,
            Ok(()) => Self::try_namespaces(&Plan { strange: true, ..sandboxed }).err(),
            Err(failure) => Some(failure.clone()),
        };
        let sandbox = match sandbox {
            Ok(()) => Ok(Walls::Namespaces),
            Err(failure) => Self::try_landlock().map(|()| Walls::Landlock).map_err(|_| failure),
        };
        let cgroup = Arc::new(Cgroup::create(name));
        let mechanism = if allowed.contains(&Mechanism::Cgroup) && cgroup.can_kill() {
            Mechanism::Cgroup
        } else if allowed.contains(&Mechanism::PidNamespace) && namespaces.is_ok() {
            Mechanism::PidNamespace
        } else if allowed.contains(&Mechanism::Helper) && Self::can_adopt() {
            Mechanism::Helper
        } else {
            Mechanism::ProcessGroup
        };
        let held = if mechanism == Mechanism::Cgroup { cgroup.kill_folder() } else { None };
        let orphan_cleanup = Some(OrphanCleanup::start(held.as_ref())?);
        let inner = Inner {
            mechanism,
            orphan_cleanup,
            cgroup,
            user_namespace,
            sandbox,
            without_namespaces,
            root_files,
            has_namespaces,
            sandbox_of_users: OnceLock::new(),
            ports: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn try_namespaces(plan: &Plan) -> Result<(), Failure> {
        if !is_in_this_program() {
            return Err(Failure { step: "find the launcher".to_owned(), errno: libc::ENOSYS });
        }
        attempt(plan)
    }

    fn try_landlock() -> Result<(), Failure> {
        if !is_in_this_program() {
            return Err(Failure { step: "find the launcher".to_owned(), errno: libc::ENOSYS });
        }
        attempt(&Plan {
            user_namespace: false,
            view: Some(view::rules(&Sandbox::default())),
            by_landlock: true,
            in_place: true,
            confined: true,
            ..plain()
        })
    }

    fn try_ports() -> Result<(), Failure> {
        if !is_in_this_program() {
            return Err(Failure { step: "find the launcher".to_owned(), errno: libc::ENOSYS });
        }
        attempt(&Plan {
            user_namespace: false,
            in_place: true,
            network: Reach::Ports(Vec::new()),
            ..plain()
        })
    }

    fn can_adopt() -> bool {
        is_in_this_program() && attempt(&Plan { adopts: true, ..plain() }).is_ok()
    }

    /// How descendants of children without a sandbox are held together. Those with one of
    /// [namespaces](Walls::Namespaces) have a PID namespace always.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.inner.mechanism
    }

    /// What keeps children in a [`Sandbox`](crate::Sandbox) apart here; else what was refused.
    ///
    /// # Errors
    /// What the sandbox failed at, and what the system said.
    pub fn sandbox(&self) -> Result<Walls, SpawnError> {
        match &self.inner.sandbox {
            Ok(walls) => Ok(*walls),
            Err(failure) => Err(refused(failure)),
        }
    }

    /// Why a sandbox is not made of namespaces here, where [`Walls::Landlock`] stands in or there is none.
    #[must_use]
    pub fn without_namespaces(&self) -> Option<SpawnError> {
        self.inner.without_namespaces.as_ref().map(refused)
    }

    /// Whether a child in a [`Sandbox`](crate::Sandbox) without a user of its own reads no more of this
    /// machine than any other user, where this process is root; else why it reads what root may. Always so
    /// where this process is not root. File systems other than that of `/` may lack idmapped mounts still.
    ///
    /// # Errors
    /// As [`sandbox`](Self::sandbox).
    pub fn root_files(&self) -> Result<(), SpawnError> {
        self.inner.root_files.as_ref().map_or(Ok(()), |failure| Err(refused(failure)))
    }

    /// Whether the files of this process's user can be a stranger's for a child.
    pub(crate) fn has_strangers(&self) -> bool {
        geteuid().is_root() && self.inner.root_files.is_none()
    }

    /// Whether children can have a sandbox with a [user](crate::Sandbox::user) of their own; else what
    /// was refused. Blocks for some milliseconds the first time.
    ///
    /// # Errors
    /// As [`sandbox`](Self::sandbox).
    pub fn sandbox_of_users(&self) -> Result<(), SpawnError> {
        let tried = self.inner.sandbox_of_users.get_or_init(|| {
            if self.inner.user_namespace {
                let takes = if geteuid().is_root() { "CAP_SYS_ADMIN" } else { "root" };
                let step = format!("run a child as another user, which takes {takes}");
                return Err(Failure { step, errno: libc::EPERM });
            }
            Self::try_namespaces(&Plan {
                user_namespace: false,
                user: Some(SOMEBODY),
                ..sandboxed()
            })
        });
        tried.as_ref().copied().map_err(refused)
    }

    /// Whether children can be kept to a list of [ports](crate::Network::Ports); else what was refused.
    /// Blocks for some milliseconds the first time.
    ///
    /// # Errors
    /// As [`sandbox`](Self::sandbox).
    pub fn ports(&self) -> Result<(), SpawnError> {
        let tried = self.inner.ports.get_or_init(Self::try_ports);
        tried.as_ref().copied().map_err(refused)
    }

    /// Whether there are PID namespaces.
    pub(crate) fn has_namespaces(&self) -> bool {
        self.inner.has_namespaces
    }

    /// Whether namespaces take a user namespace first.
    pub(crate) fn needs_user_namespace(&self) -> bool {
        self.inner.user_namespace
    }

    /// The cgroup of one more child, if it takes one.
    pub(crate) fn cgroup(
        &self,
        keeper: Option<LauncherKind>,
        limits: &Limits,
    ) -> Result<Option<ChildCgroup>, SpawnError> {
        let is_held = self.inner.mechanism == Mechanism::Cgroup && keeper.is_none();
        // They are in there as well.
        let launchers = match keeper {
            Some(LauncherKind::Separates) => 2,
            Some(LauncherKind::Adopts) => 1,
            None => 0,
        };
        let mut limits = *limits;
        limits.processes = limits.processes.map(|processes| processes.saturating_add(launchers));
        self.inner.cgroup.child(is_held, &limits).map_err(SpawnError::from_system)
    }

    /// Whether each process gets the limit on memory, because there is nothing better.
    pub(crate) fn limits_each_process(&self, limits: &Limits) -> bool {
        limits.memory.is_some() && self.enforcement(Limit::Memory) == Enforcement::EachProcess
    }

    /// What holds children to a limit here. Makes the folders in which children are limited when it is
    /// asked first, so ask only where a limit is wanted.
    #[must_use]
    pub fn enforcement(&self, limit: Limit) -> Enforcement {
        let controller = match limit {
            Limit::Memory => Controller::Memory,
            Limit::Processes => Controller::Pids,
            Limit::Cpu => Controller::Cpu,
            Limit::OpenFiles | Limit::FileSize => return Enforcement::EachProcess,
        };
        match (self.inner.cgroup.version(controller), limit) {
            (Some(Version::V2), _) => Enforcement::CgroupV2,
            (Some(Version::V1), _) => Enforcement::CgroupV1,
            (None, Limit::Memory) => Enforcement::EachProcess,
            (None, _) => Enforcement::Missing,
        }
    }

    pub(crate) fn register(&self, group: Pid) -> Option<Registration> {
        self.inner.orphan_cleanup.as_ref().map(|cleanup| cleanup.register(group))
    }
}

/// A step that failed, to who asked what there is.
fn refused(failure: &Failure) -> SpawnError {
    SpawnError::Isolation { step: failure.step.clone(), source: failure.error() }
}

/// Nothing but the file system's root to work in.
fn plain() -> Plan {
    Plan { cwd: PathBuf::from("/"), ..Plan::default() }
}

/// A sandbox with nothing more in it.
fn sandboxed() -> Plan {
    Plan {
        user_namespace: true,
        view: Some(view::places(&Sandbox::default(), false)),
        confined: true,
        ..plain()
    }
}

/// Root may lack the capability for namespaces, as in a container.
fn can_separate_as_root() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};

    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}
