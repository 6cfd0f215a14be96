//! System calls that a child may not make: seccomp filters.
//!
//! Everything else is allowed, so that an agent's tools work; what is refused
//! reaches other processes, passes by the other walls, or changes the machine.
//! Refused calls fail with EPERM, and `clone3` with ENOSYS, after which the C
//! libraries use `clone`, whose flags can be looked at. Numbers and arguments:
//! syscalls(2), x86 and arm64 tables of Linux 6.18.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Cmp, SeccompCondition as Condition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use super::{EgressPolicy, Level, Policy, Rule, Walls};

/// The bits of a socket's type that are its kind: SOCK_TYPE_MASK in
/// include/linux/net.h of Linux 6.18.
const KIND: u64 = 0xf;

/// Why there are no filters.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The machine's architecture has no table of calls here.
    #[error("system calls cannot be filtered on {0}")]
    Architecture(&'static str),
    /// A filter could not be built or installed.
    #[error("system calls could not be filtered: {0}")]
    Filter(String),
}

impl<T: Into<seccompiler::Error>> From<T> for SeccompError {
    fn from(error: T) -> Self {
        Self::Filter(error.into().to_string())
    }
}

type SyscallRules = BTreeMap<i64, Vec<SeccompRule>>;

/// Filters the calls of this thread and of everything that it starts.
///
/// # Errors
/// If the kernel or the architecture has no filters.
pub fn apply(confinement: &Policy, walls: &Walls) -> Result<(), SeccompError> {
    for program in programs(confinement, walls)? {
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

/// The filters, in the order in which they are installed.
///
/// # Errors
/// If one cannot be built.
pub fn programs(confinement: &Policy, walls: &Walls) -> Result<Vec<BpfProgram>, SeccompError> {
    let architecture: TargetArch =
        std::env::consts::ARCH.try_into().map_err(|_| SeccompError::Architecture(std::env::consts::ARCH))?;
    let build = |rules: SyscallRules, errno: i32| -> Result<Option<BpfProgram>, SeccompError> {
        if rules.is_empty() {
            return Ok(None);
        }
        let refuse = SeccompAction::Errno(errno.unsigned_abs());
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).map_err(seccompiler::Error::from)?;
        Ok(Some(filter.try_into().map_err(seccompiler::Error::from)?))
    };
    let mut absent = SyscallRules::new();
    if confinement.has(Rule::Namespaces) {
        absent.insert(libc::SYS_clone3, Vec::new());
    }
    let mut programs: Vec<BpfProgram> =
        [build(refused(confinement, walls)?, libc::EPERM)?, build(absent, libc::ENOSYS)?]
            .into_iter()
            .flatten()
            .collect();
    if confinement.has(Rule::ForeignCalls) && cfg!(target_arch = "x86_64") {
        programs.push(no_x32());
    }
    Ok(programs)
}

/// The x32 interface has numbers of its own for the same calls, from bit 30 on.
/// Any other architecture ends the process in each of the filters above.
fn no_x32() -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS, at offset 0 of seccomp_data
    const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const X32_BIT: u32 = 0x4000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_IF_AT_LEAST, 0, 1, X32_BIT),
        step(RETURN, 0, 0, ERRNO | libc::EPERM.unsigned_abs()),
        step(RETURN, 0, 0, ALLOW),
    ]
}

fn refused(confinement: &Policy, walls: &Walls) -> Result<SyscallRules, SeccompError> {
    let mut rules = SyscallRules::new();
    for (rule, calls) in WHOLE_CALLS {
        if applies(confinement, walls, *rule) {
            rules.extend(calls.iter().map(|call| (*call, Vec::new())));
        }
    }
    if confinement.has(Rule::Namespaces) {
        // Any new namespace, by the flags of `clone`.
        for flag in NEW_NAMESPACES {
            let flag = u64::from(flag.cast_unsigned());
            add(&mut rules, libc::SYS_clone, vec![Condition::new(0, Len::Qword, Cmp::MaskedEq(flag), flag)])?;
        }
    }
    if confinement.has(Rule::Others) {
        // The first argument names the process, and 0 is the caller.
        for call in [
            libc::SYS_prlimit64,
            libc::SYS_sched_setaffinity,
            libc::SYS_sched_setscheduler,
            libc::SYS_sched_setparam,
            libc::SYS_sched_setattr,
        ] {
            add(&mut rules, call, vec![Condition::new(0, Len::Dword, Cmp::Ne, 0)])?;
        }
        // The second does. Of the kinds that the first names, the user's (2 and 3)
        // means all processes of the user, also where the second is 0.
        for (call, user) in [(libc::SYS_setpriority, 2), (libc::SYS_ioprio_set, 3)] {
            add(&mut rules, call, vec![Condition::new(1, Len::Dword, Cmp::Ne, 0)])?;
            add(&mut rules, call, vec![Condition::new(0, Len::Dword, Cmp::Eq, user)])?;
        }
    }
    if confinement.has(Rule::Terminal) {
        for request in [libc::TIOCSTI, libc::TIOCLINUX] {
            add(&mut rules, libc::SYS_ioctl, vec![Condition::new(1, Len::Dword, Cmp::Eq, request)])?;
        }
    }
    if applies(confinement, walls, Rule::LocalSockets) {
        let local = u64::from(libc::AF_UNIX.cast_unsigned());
        add(&mut rules, libc::SYS_socket, vec![Condition::new(0, Len::Dword, Cmp::Eq, local)])?;
        // One end of such a pair can be connected again, to any socket with a name.
        let datagrams = Condition::new(1, Len::Dword, Cmp::MaskedEq(KIND), number(libc::SOCK_DGRAM));
        add(&mut rules, libc::SYS_socketpair, vec![datagrams])?;
    }
    if confinement.has(Rule::Families) {
        let mut others = Vec::new();
        for family in allowed_families(walls) {
            others.push(Condition::new(0, Len::Dword, Cmp::Ne, u64::from(family.cast_unsigned())));
        }
        add(&mut rules, libc::SYS_socket, others)?;
        let local = u64::from(libc::AF_UNIX.cast_unsigned());
        add(&mut rules, libc::SYS_socketpair, vec![Condition::new(0, Len::Dword, Cmp::Ne, local)])?;
    }
    if confinement.has(Rule::Netlink) {
        let routes = Condition::new(2, Len::Dword, Cmp::Ne, number(libc::NETLINK_ROUTE));
        add(&mut rules, libc::SYS_socket, vec![is(0, libc::AF_NETLINK), routes])?;
    }
    if applies(confinement, walls, Rule::Protocols) {
        only_tcp_and_udp(&mut rules)?;
    }
    if applies(confinement, walls, Rule::FastOpen) {
        for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            let flag = number(libc::MSG_FASTOPEN);
            add(&mut rules, call, vec![Condition::new(flags, Len::Dword, Cmp::MaskedEq(flag), flag)])?;
        }
    }
    Ok(rules)
}

/// Of the sockets over IP, only those of TCP and UDP. Landlock sees a connection
/// of plain TCP only (`sk_is_tcp` in security/landlock/net.c), and MPTCP, SMC and
/// SCTP reach the same ports. A socket of TCP may not become one of another kind
/// either (`TCP_ULP`).
fn only_tcp_and_udp(rules: &mut SyscallRules) -> Result<(), SeccompError> {
    let kind = |mask: u64, value: u64| Condition::new(1, Len::Dword, Cmp::MaskedEq(mask), value);
    let other = |protocol| Condition::new(2, Len::Dword, Cmp::Ne, number(protocol));
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (sort, protocol) in [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)] {
            let conditions = vec![is(0, family), kind(KIND, number(sort)), other(0), other(protocol)];
            add(rules, libc::SYS_socket, conditions)?;
        }
        // Every kind but 1 and 2.
        for (mask, value) in [(KIND, 0), (KIND, 3), (4, 4), (8, 8)] {
            add(rules, libc::SYS_socket, vec![is(0, family), kind(mask, value)])?;
        }
    }
    add(rules, libc::SYS_setsockopt, vec![is(1, libc::IPPROTO_TCP), is(2, libc::TCP_ULP)])
}

/// That an argument is this number.
fn is(argument: u8, value: i32) -> Result<Condition, seccompiler::BackendError> {
    Condition::new(argument, Len::Dword, Cmp::Eq, number(value))
}

fn number(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

fn add(
    rules: &mut SyscallRules,
    call: i64,
    conditions: Vec<Result<Condition, seccompiler::BackendError>>,
) -> Result<(), SeccompError> {
    let conditions: Result<Vec<_>, _> = conditions.into_iter().collect();
    let rule = SeccompRule::new(conditions.map_err(seccompiler::Error::from)?).map_err(seccompiler::Error::from)?;
    rules.entry(call).or_default().push(rule);
    Ok(())
}

/// Whether a rule belongs to these walls, and is not left out.
fn applies(confinement: &Policy, walls: &Walls, rule: Rule) -> bool {
    let full = matches!(walls.level, Level::Full { .. });
    confinement.has(rule)
        && match rule {
            // In namespaces of its own there is nothing of others.
            Rule::SystemV => !full,
            // Landlock does not see sockets in the file system, and abstract
            // ones only from version 6 on.
            Rule::LocalSockets => !full || !walls.has_scopes(),
            Rule::Protocols | Rule::FastOpen => matches!(walls.network, EgressPolicy::Ports(_)),
            _ => true,
        }
}

/// The kinds of socket that tools need: local, IP, and asking for routes, which
/// listing one's own addresses is.
fn allowed_families(walls: &Walls) -> Vec<i32> {
    match (&walls.network, &walls.level) {
        (EgressPolicy::None, Level::Kernel) => vec![libc::AF_UNIX],
        _ => vec![libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK],
    }
}

const NEW_NAMESPACES: &[i32] = &[
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Calls that are refused whatever their arguments.
const WHOLE_CALLS: &[(Rule, &[i64])] = &[
    (
        Rule::Trace,
        &[
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_kcmp,
            libc::SYS_process_madvise,
            libc::SYS_process_mrelease,
            libc::SYS_migrate_pages,
            libc::SYS_move_pages,
        ],
    ),
    (Rule::Namespaces, &[libc::SYS_unshare, libc::SYS_setns]),
    (
        Rule::Mounting,
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_mount_setattr,
        ],
    ),
    (Rule::Keyrings, &[libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl]),
    (Rule::IoUring, &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register]),
    (
        Rule::Kernel,
        &[
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_kexec_load,
            libc::SYS_kexec_file_load,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_acct,
            libc::SYS_quotactl,
            libc::SYS_syslog,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_adjtimex,
            libc::SYS_clock_adjtime,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_vhangup,
            libc::SYS_fanotify_init,
            libc::SYS_lookup_dcookie,
            libc::SYS_nfsservctl,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_iopl,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_ioperm,
        ],
    ),
    (Rule::Handles, &[libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at]),
    (
        Rule::SystemV,
        &[
            libc::SYS_shmget,
            libc::SYS_shmat,
            libc::SYS_shmctl,
            libc::SYS_msgget,
            libc::SYS_msgsnd,
            libc::SYS_msgrcv,
            libc::SYS_msgctl,
            libc::SYS_semget,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_semctl,
            libc::SYS_mq_open,
            libc::SYS_mq_unlink,
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What a filter says of a call: whether it is refused. The few instructions
    /// that filters are made of (Documentation/networking/filter.rst).
    fn refuses(program: &BpfProgram, call: i64, args: [u64; 6]) -> bool {
        let arch: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let mut data = Vec::new();
        data.extend(u32::try_from(call).expect("a number").to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend([0; 8]);
        data.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let jump = |taken: bool| usize::from(if taken { jt } else { jf });
            at += 1;
            match code {
                0x20 => accumulator = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().expect("4 bytes")),
                0x54 => accumulator &= k,
                0x05 => at += k as usize,
                0x15 => at += jump(accumulator == k),
                0x25 => at += jump(accumulator > k),
                0x35 => at += jump(accumulator >= k),
                0x06 => return k != 0x7fff_0000,
                other => panic!("an instruction that nobody knows: {other:#x}"),
            }
        }
    }

    fn refused(walls: &Walls, call: i64, args: [i32; 4]) -> bool {
        let args = [args[0], args[1], args[2], args[3], 0, 0].map(number);
        let programs = programs(&Policy::default(), walls).expect("filters");
        programs.iter().any(|program| refuses(program, call, args))
    }

    fn walls(network: EgressPolicy) -> Walls {
        Walls { network, ..crate::sandbox::testing::walls() }
    }

    #[test]
    fn with_a_limit_to_ports_only_tcp_and_udp_are_made() {
        let (open, ports) = (walls(EgressPolicy::Open), walls(EgressPolicy::Ports(vec![443])));
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        for family in [libc::AF_INET, libc::AF_INET6] {
            for sort in 0..16 {
                for protocol in [0, 1, 6, 17, 33, 58, 132, 136, 255, 256, 262] {
                    let plain = matches!((sort, protocol), (1, 0 | 6) | (2, 0 | 17));
                    for sort in [sort, sort | flags] {
                        let args = [family, sort, protocol, 0];
                        assert_eq!(refused(&ports, libc::SYS_socket, args), !plain, "{args:?}");
                        assert!(!refused(&open, libc::SYS_socket, args), "{args:?}");
                    }
                }
            }
        }
        assert!(refused(&ports, libc::SYS_setsockopt, [3, libc::IPPROTO_TCP, libc::TCP_ULP, 0]));
        assert!(!refused(&ports, libc::SYS_setsockopt, [3, libc::IPPROTO_TCP, libc::TCP_NODELAY, 0]));
    }

    #[test]
    fn with_a_limit_to_ports_no_data_goes_before_the_connection() {
        let (open, ports) = (walls(EgressPolicy::Open), walls(EgressPolicy::Ports(vec![443])));
        let flag = libc::MSG_FASTOPEN | libc::MSG_DONTWAIT;
        for (call, args) in [
            (libc::SYS_sendto, [3, 0, 0, flag]),
            (libc::SYS_sendmsg, [3, 0, flag, 0]),
            (libc::SYS_sendmmsg, [3, 0, 0, flag]),
        ] {
            assert!(refused(&ports, call, args));
            assert!(!refused(&open, call, args));
            assert!(!refused(&ports, call, args.map(|arg| arg & !libc::MSG_FASTOPEN)));
        }
    }

    #[test]
    fn of_netlink_only_routes_are_left_and_of_pairs_local_ones() {
        for network in [EgressPolicy::Open, EgressPolicy::Ports(Vec::new()), EgressPolicy::None] {
            let walls = walls(network);
            for protocol in 0..32 {
                let args = [libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol, 0];
                assert_eq!(refused(&walls, libc::SYS_socket, args), protocol != 0, "{args:?}");
            }
            for family in 0..46 {
                let args = [family, libc::SOCK_STREAM, 0, 0];
                assert_eq!(refused(&walls, libc::SYS_socketpair, args), family != libc::AF_UNIX, "{family}");
            }
            // Where local sockets with a name are shared, no end of a pair may reach them.
            let kernel = Walls { level: Level::Kernel, ..walls.clone() };
            for (kind, reaches) in [(libc::SOCK_STREAM, false), (libc::SOCK_DGRAM, true), (libc::SOCK_SEQPACKET, false)]
            {
                let args = [libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, 0];
                assert_eq!(refused(&kernel, libc::SYS_socketpair, args), reaches, "{kind}");
                assert!(!refused(&walls, libc::SYS_socketpair, args), "{kind}");
            }
        }
    }
}
