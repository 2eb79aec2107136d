//! From a [`Spec`] to what the launcher is to prepare.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::{
    containment::{Containment, Mechanism, Walls},
    error::SpawnError,
    isolation::{Isolation, Network},
    launch::plan::{Plan, Reach},
    rlimits,
    spec::Spec,
    view,
};

/// So much goes into each place that is a child's alone, unless it has a limit on memory: what is in there
/// is memory, of which the system would give half of what there is to each.
pub(crate) const SCRATCH: u64 = 512 << 20;

/// What the launcher is to prepare for the child of `spec`, if that takes one.
pub(crate) fn plan(
    with: &Containment,
    spec: &Spec,
    program: &Path,
) -> Result<Option<Plan>, SpawnError> {
    let Isolation { sandbox, network } = &spec.isolation;
    let is_plain = sandbox.is_none() && *network == Network::Any;
    // A user namespace takes setuid programs their power.
    let contained = match with.mechanism() {
        Mechanism::PidNamespace => !(spec.new_privs && with.needs_user_namespace()),
        Mechanism::Helper => true,
        Mechanism::Cgroup | Mechanism::ProcessGroup => false,
    };
    if is_plain && !contained {
        return Ok(None);
    }
    let user = sandbox.as_ref().and_then(|sandbox| sandbox.user);
    // Both take a launcher, and rules do where namespaces are not to be had.
    let by_landlock = !is_plain && user.is_none() && matches!(with.sandbox(), Ok(Walls::Landlock));
    if by_landlock && matches!(network, Network::None | Network::Listener(_)) {
        let step = "make a network of the child's own".to_owned();
        return Err(SpawnError::Isolation { step, source: io::Error::from(Errno::PERM) });
    }
    let cwd = match &spec.cwd {
        Some(cwd) => cwd.clone(),
        None => std::env::current_dir().map_err(SpawnError::Other)?,
    };
    let strange = sandbox.is_some() && user.is_none() && !by_landlock && with.has_strangers();
    let view = sandbox.as_ref().map(|sandbox| {
        let mut sandbox = sandbox.clone();
        let search = search_path(spec);
        sandbox.read.extend(view::of_program(program, &search));
        let installed = search.iter().filter_map(|folder| view::installation(&folder.join("x")));
        sandbox.read.extend(installed);
        sandbox.write.push(cwd.clone());
        if by_landlock { view::rules(&sandbox) } else { view::places(&sandbox, strange) }
    });
    let in_place = by_landlock && !with.has_namespaces();
    let adopts = with.mechanism() == Mechanism::Helper && (is_plain || in_place);
    Ok(Some(Plan {
        user_namespace: user.is_none()
            && (with.needs_user_namespace() || sandbox.is_some() && !by_landlock),
        view,
        strange,
        scratch: spec.limits.memory.unwrap_or(SCRATCH),
        by_landlock,
        in_place: in_place && !adopts,
        cwd,
        network: match network {
            Network::Any => Reach::Any,
            Network::None => Reach::None,
            Network::Listener(port) => Reach::Listener(*port),
            Network::Ports(ports) => Reach::Ports(ports.clone()),
        },
        new_privs: spec.new_privs && sandbox.is_none(),
        confined: sandbox.is_some(),
        user,
        adopts,
        limits: rlimits::of(&spec.limits, with.limits_each_process(&spec.limits))
            .into_iter()
            .flatten()
            .collect(),
    }))
}

/// Where the child looks for programs.
fn search_path(spec: &Spec) -> Vec<PathBuf> {
    let path = spec.env.iter().rev().find(|(name, _)| name == "PATH");
    let folders = path.into_iter().flat_map(|(_, value)| std::env::split_paths(value));
    folders.filter(|folder| folder.is_absolute()).collect()
}
