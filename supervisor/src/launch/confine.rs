//! What the child may do, set in the child itself just before it is executed.

use std::{collections::BTreeMap, fmt::Display, fs, io};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope, path_beneath_rules,
};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid, set_capabilities, set_no_new_privs};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

use super::{
    plan::{Access, Plan, Reach},
    report::{Failure, Step},
};
use crate::rlimits;

/// System calls by which a process reaches into others, or into the kernel.
const REFUSED: [i64; 39] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
];

/// `fanotify`, `lookup_dcookie` and their like need capabilities, and the child has none.
const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

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
        for filter in filters().map_err(io::Error::other).step("make a filter")? {
            apply_filter(&filter).map_err(io::Error::other).step("filter system calls")?;
        }
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

/// One filter for each answer that a refused call gets.
fn filters() -> Result<Vec<BpfProgram>, BackendError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    let makes_namespace = |flag: u64| {
        let has = SeccompCmpOp::MaskedEq(flag);
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, has, flag)?;
        SeccompRule::new(vec![condition])
    };
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        let flags = (0..64).map(|bit| 1_u64 << bit).filter(|flag| NAMESPACES & flag != 0);
        let rules = flags.map(makes_namespace).collect::<Result<_, _>>();
        refused.insert(call, rules?);
    }
    // Its flags are behind a pointer. Without it the C library uses `clone`.
    let missing = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let filter = |rules, errno: i32| {
        let answer = SeccompAction::Errno(errno.unsigned_abs());
        SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture)?.try_into()
    };
    Ok(vec![filter(refused, libc::EPERM)?, filter(missing, libc::ENOSYS)?])
}
