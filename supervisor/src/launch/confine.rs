//! What the child may do, set in the child itself just before it is executed.

use std::{fmt::Display, fs, io};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope, path_beneath_rules,
};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid, set_capabilities, set_no_new_privs};
use seccompiler::apply_filter;

use super::{
    filter,
    plan::{Access, Plan, Reach},
    report::{Failure, Step},
};
use crate::rlimits;

/// More likely than the program that started it to be ended when the whole machine is out of memory.
const OOM_SCORE: &str = "500";

/// For a process by its number, or `self`, and all that it starts from then on. Where it cannot be had,
/// nothing is lost but a preference.
pub(crate) fn prefer_for_out_of_memory(process: impl Display) {
    let _ = fs::write(format!("/proc/{process}/oom_score_adj"), OOM_SCORE);
}

pub(super) fn confine(plan: &Plan) -> Result<(), Failure> {
    prefer_for_out_of_memory("self");
    set_limits(plan)?;
    if let Some(user) = plan.user {
        become_user(user)?;
    }
    if !plan.new_privs {
        set_no_new_privs(true).step("refuse new privileges")?;
    }
    let restricted = restrict(plan).map_err(io::Error::other);
    if plan.by_landlock || matches!(plan.network, Reach::Ports(_)) {
        restricted.step("limit files and the network by Landlock")?;
    }
    if plan.confined {
        drop_capabilities()?;
    }
    for filter in filter::of(plan).map_err(io::Error::other).step("make a filter")? {
        apply_filter(&filter).map_err(io::Error::other).step("filter system calls")?;
    }
    Ok(())
}

fn set_limits(plan: &Plan) -> Result<(), Failure> {
    rlimits::no_core_dumps().step("limit core dumps")?;
    plan.limits
        .iter()
        .try_for_each(|(resource, value)| rlimits::set(*resource, *value).step("set limits"))
}

/// One person's user: no group of another, and no way back.
fn become_user(user: u32) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    rustix::thread::set_thread_groups(&[]).step("leave the groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).step("become the group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).step("become the user")
}

/// The rules of Landlock, in one set: of several, one that has nothing to say of files would still keep
/// the child from moving any to another directory.
///
/// The rights of files of Landlock's first version are needed, and those of the network; what came later
/// is taken where the kernel knows it. Without scopes an abstract socket is reached as any other. Whoever
/// is under rules for files cannot trace, nor read the environment of, a process that is not.
fn restrict(plan: &Plan) -> Result<(), RulesetError> {
    let view = plan.view.as_deref().filter(|_| plan.by_landlock);
    let ports = match &plan.network {
        Reach::Ports(ports) => Some(ports),
        Reach::Any | Reach::None | Reach::Listener(_) => None,
    };
    if view.is_none() && ports.is_none() && !plan.confined {
        return Ok(());
    }
    let rights = AccessFs::from_all(ABI::V3);
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if view.is_some() {
        rules = rules.handle_access(AccessFs::from_all(ABI::V1))?;
    }
    if ports.is_some() {
        rules = rules.handle_access(AccessNet::ConnectTcp)?;
    }
    rules = rules.set_compatibility(CompatLevel::BestEffort);
    if view.is_some() {
        rules = rules.handle_access(rights)?;
    }
    if plan.confined {
        rules = rules.scope(Scope::from_all(ABI::V6))?;
    }
    let mut rules = rules.create()?;
    if let Some(view) = view {
        let paths = |access| {
            let places = view.iter().filter(move |place| place.access == access);
            places.map(|place| place.path.as_path())
        };
        rules = rules
            .add_rules(path_beneath_rules(paths(Access::Read), AccessFs::from_read(ABI::V3)))?
            .add_rules(path_beneath_rules(paths(Access::Write), rights))?;
    }
    for port in ports.into_iter().flatten() {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    rules.restrict_self().map(drop)
}

fn drop_capabilities() -> Result<(), Failure> {
    for capability in 0..64 {
        #[expect(
            unsafe_code,
            reason = "the safe form knows no capability that is newer than it is"
        )]
        // SAFETY: one system call on constants.
        unsafe {
            // Those that the kernel does not have fail.
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).step("drop capabilities")
}
