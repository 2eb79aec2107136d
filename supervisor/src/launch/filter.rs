//! The system calls that a child does without.

use std::{collections::BTreeMap, sync::OnceLock};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
};

use super::plan::{Plan, Reach};

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

/// Requests by which a process types into the terminal that it has, as if its user did: `TIOCSTI` and
/// `TIOCLINUX`, which C libraries declare as different types.
const TYPING: [u64; 2] = [0x5412, 0x541c];

/// Its calls come by no filter: a socket that is refused here could be had there. Programs that know it
/// know kernels without it, and those of containers refuse it too.
const RINGS: [i64; 3] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// The families of sockets that namespaces and rules hold; others, such as those to the machine's host
/// (`vsock`), know no namespace of the network.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// The protocols of the internet that are TCP to the rules of Landlock, or none of TCP's ports: MPTCP
/// reaches the same servers and the rules do not see it.
const PROTOCOLS: [i32; 5] =
    [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6];

/// Types of sockets that protocol 0 makes to be neither.
const OTHER_TYPES: [i32; 2] = [libc::SOCK_SEQPACKET, libc::SOCK_DCCP];

/// The bits of a socket's type that are not flags.
const TYPE: u64 = 0xf;

/// Calls that connect by what they send (`MSG_FASTOPEN`), which the rules do not see, and which argument
/// has the flags.
const SENDING: [(i64, u8); 3] =
    [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Makes what of the filters takes long, before there is a child that waits for it.
pub(super) fn prepare() {
    // Those who need it are told of a failure.
    let _ = long();
}

/// The filter that each sandbox has.
fn long() -> Result<BpfProgram, BackendError> {
    static MADE: OnceLock<BpfProgram> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made.clone());
    }
    let made = answering(libc::EPERM, refused()?)?;
    Ok(MADE.get_or_init(|| made).clone())
}

/// One filter for each answer that a refused call gets.
pub(super) fn of(plan: &Plan) -> Result<Vec<BpfProgram>, BackendError> {
    let has_ports = matches!(plan.network, Reach::Ports(_));
    let is_limited = has_ports || plan.network.is_own();
    let mut filters = Vec::new();
    if !plan.confined && !is_limited {
        return Ok(filters);
    }
    let mut missing: Rules = RINGS.into_iter().map(|call| (call, Vec::new())).collect();
    if plan.confined {
        // Its flags are behind a pointer. Without it the C library uses `clone`.
        missing.insert(libc::SYS_clone3, Vec::new());
        filters.push(long()?);
    }
    filters.push(answering(libc::ENOSYS, missing)?);
    if is_limited {
        filters.push(answering(libc::EPROTONOSUPPORT, sockets(has_ports)?)?);
    }
    if has_ports {
        filters.push(answering(libc::EOPNOTSUPP, sending()?)?);
    }
    filters.extend(other_numbers());
    Ok(filters)
}

fn answering(errno: i32, rules: Rules) -> Result<BpfProgram, BackendError> {
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture)?.try_into()
}

fn refused() -> Result<Rules, BackendError> {
    let mut refused: Rules = REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        let flags = (0..64).map(|bit| 1_u64 << bit).filter(|flag| NAMESPACES & flag != 0);
        let rules = flags.map(|flag| has_bits(0, SeccompCmpArgLen::Qword, flag, flag));
        refused
            .insert(call, rules.map(|has| SeccompRule::new(vec![has?])).collect::<Result<_, _>>()?);
    }
    // The kernel looks at the lower half.
    let typing = TYPING.map(|request| {
        let is = condition(1, SeccompCmpOp::Eq, request)?;
        SeccompRule::new(vec![is])
    });
    refused.insert(libc::SYS_ioctl, typing.into_iter().collect::<Result<_, _>>()?);
    Ok(refused)
}

/// Sockets of other families, and with a list of ports those of other protocols.
fn sockets(has_ports: bool) -> Result<Rules, BackendError> {
    let mut rules = vec![SeccompRule::new(none_of(0, &FAMILIES)?)?];
    for family in [libc::AF_INET, libc::AF_INET6].into_iter().filter(|_| has_ports) {
        let of_family = || condition(0, SeccompCmpOp::Eq, number(family));
        let mut other_protocol = none_of(2, &PROTOCOLS)?;
        other_protocol.push(of_family()?);
        rules.push(SeccompRule::new(other_protocol)?);
        for kind in OTHER_TYPES {
            let of_type = has_bits(1, SeccompCmpArgLen::Dword, TYPE, number(kind))?;
            rules.push(SeccompRule::new(vec![of_family()?, of_type])?);
        }
    }
    Ok(BTreeMap::from([(libc::SYS_socket, rules)]))
}

fn sending() -> Result<Rules, BackendError> {
    let flag = number(libc::MSG_FASTOPEN);
    let rule = |argument| {
        let has = has_bits(argument, SeccompCmpArgLen::Dword, flag, flag)?;
        SeccompRule::new(vec![has])
    };
    SENDING.into_iter().map(|(call, flags)| Ok((call, vec![rule(flags)?]))).collect()
}

fn none_of(argument: u8, values: &[i32]) -> Result<Vec<SeccompCondition>, BackendError> {
    values.iter().map(|value| condition(argument, SeccompCmpOp::Ne, number(*value))).collect()
}

fn has_bits(
    argument: u8,
    length: SeccompCmpArgLen,
    mask: u64,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, length, SeccompCmpOp::MaskedEq(mask), value)
}

fn condition(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)
}

/// A small number, none of which is below zero.
fn number(value: i32) -> u64 {
    u64::from(value.unsigned_abs())
}

/// On x86 every call has a second number, of the 32 bit form with long registers (x32), where the kernel
/// knows that. The filters above do not.
fn other_numbers() -> Option<BpfProgram> {
    const X32: u32 = 0x4000_0000;
    let step = |code: u32, to: (u8, u8), value| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: to.0,
        jf: to.1,
        k: value,
    };
    let answer = |value| step(libc::BPF_RET | libc::BPF_K, (0, 0), value);
    cfg!(target_arch = "x86_64").then(|| {
        vec![
            // The number of the call comes first in what a filter sees.
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), 0),
            step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, (0, 1), X32),
            answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
            answer(libc::SECCOMP_RET_ALLOW),
        ]
    })
}
