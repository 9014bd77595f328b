//! The system calls that the app may make: an allow list.
//!
//! It starts from what container engines allow by default and leaves out what
//! only reaches for the kernel: mounts, namespaces, tracing and other processes'
//! memory, keys, kernel modules, bpf, perf events, userfaultfd, io_uring. A call
//! that is not listed fails with `EPERM`, as if a capability were missing.

use std::collections::BTreeMap;
use std::io;

use libc::{self as c, c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// Puts this thread, and all that it starts, under the filter for good.
pub(super) fn apply() -> io::Result<()> {
    for program in [allow_list(), not_implemented()] {
        let program = program.map_err(io::Error::other)?;
        seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn allow_list() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = ALLOWED
        .iter()
        .flat_map(|group| group.iter())
        .map(|call| (*call, Vec::new()))
        .collect();

    // Threads and processes, but no namespaces.
    rules.insert(
        c::SYS_clone,
        vec![rule([arg(
            0,
            Len::Qword,
            Op::MaskedEq(NAMESPACE_FLAGS),
            0,
        )])?],
    );
    // Local, IPv4 and IPv6 sockets; routing queries, which name resolution makes.
    let domain = |domain: c_int| arg(0, Len::Dword, Op::Eq, word(domain));
    rules.insert(
        c::SYS_socket,
        vec![
            rule([domain(c::AF_UNIX)])?,
            rule([domain(c::AF_INET)])?,
            rule([domain(c::AF_INET6)])?,
            rule([
                domain(c::AF_NETLINK),
                arg(2, Len::Dword, Op::Eq, word(c::NETLINK_ROUTE)),
            ])?,
        ],
    );
    rules.insert(c::SYS_socketpair, vec![rule([domain(c::AF_UNIX)])?]);
    // Everything but writing into a terminal's input.
    rules.insert(
        c::SYS_ioctl,
        vec![rule([
            arg(1, Len::Dword, Op::Ne, c::TIOCSTI),
            arg(1, Len::Dword, Op::Ne, c::TIOCLINUX),
        ])?],
    );
    // Asking for the personality, and setting the usual one.
    rules.insert(
        c::SYS_personality,
        vec![
            rule([arg(0, Len::Dword, Op::Eq, 0)])?,
            rule([arg(0, Len::Dword, Op::Eq, u64::from(u32::MAX))])?,
        ],
    );
    compile(
        rules,
        SeccompAction::Errno(c::EPERM.cast_unsigned()),
        SeccompAction::Allow,
    )
}

/// Calls that must look as if the kernel did not know them, so that libraries
/// take the older way: `clone3` hides its flags from a filter, `clone` does not.
///
/// A filter of its own: of two filters that both refuse, the later one's error
/// is returned.
fn not_implemented() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = [(c::SYS_clone3, Vec::new())].into();
    compile(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(c::ENOSYS.cast_unsigned()),
    )
}

fn compile(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, otherwise, matched, architecture)?.try_into()
}

fn rule<const N: usize>(
    conditions: [Result<SeccompCondition, seccompiler::BackendError>; N],
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

fn arg(
    index: u8,
    length: Len,
    op: Op,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, length, op, value)
}

fn word(value: c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

/// Flags of `clone` that make a namespace. `CLONE_NEWTIME` is not one of them:
/// `clone` reads its bit as part of the exit signal.
const NAMESPACE_FLAGS: u64 = (c::CLONE_NEWNS
    | c::CLONE_NEWUTS
    | c::CLONE_NEWIPC
    | c::CLONE_NEWUSER
    | c::CLONE_NEWPID
    | c::CLONE_NEWNET
    | c::CLONE_NEWCGROUP) as u64;

const ALLOWED: &[&[c_long]] = &[
    FILES, MEMORY, PROCESSES, IDENTITY, SIGNALS, TIME, EVENTS, NETWORK, IPC, LEGACY,
];

/// Files and directories, within the root directory that the sandbox has.
#[rustfmt::skip]
const FILES: &[c_long] = &[
    c::SYS_read, c::SYS_write, c::SYS_readv, c::SYS_writev, c::SYS_pread64, c::SYS_pwrite64,
    c::SYS_preadv, c::SYS_pwritev, c::SYS_preadv2, c::SYS_pwritev2, c::SYS_lseek,
    c::SYS_openat, c::SYS_openat2, c::SYS_close, c::SYS_close_range, c::SYS_dup, c::SYS_dup3,
    c::SYS_fcntl, c::SYS_flock, c::SYS_fstat, c::SYS_newfstatat, c::SYS_statx, c::SYS_statfs,
    c::SYS_fstatfs, c::SYS_faccessat, c::SYS_faccessat2, c::SYS_getdents64, c::SYS_getcwd,
    c::SYS_chdir, c::SYS_fchdir, c::SYS_mkdirat, c::SYS_mknodat, c::SYS_unlinkat, c::SYS_linkat,
    c::SYS_symlinkat, c::SYS_readlinkat, c::SYS_renameat, c::SYS_renameat2, c::SYS_truncate,
    c::SYS_ftruncate, c::SYS_fallocate, c::SYS_fchmod, c::SYS_fchmodat,
    c::SYS_fchown, c::SYS_fchownat, c::SYS_utimensat, c::SYS_umask, c::SYS_fsync,
    c::SYS_fdatasync, c::SYS_sync, c::SYS_syncfs, c::SYS_sync_file_range, c::SYS_fadvise64,
    c::SYS_readahead, c::SYS_sendfile, c::SYS_splice, c::SYS_tee, c::SYS_vmsplice,
    c::SYS_copy_file_range, c::SYS_pipe2, c::SYS_name_to_handle_at,
    c::SYS_getxattr, c::SYS_lgetxattr, c::SYS_fgetxattr, c::SYS_setxattr, c::SYS_lsetxattr,
    c::SYS_fsetxattr, c::SYS_listxattr, c::SYS_llistxattr, c::SYS_flistxattr,
    c::SYS_removexattr, c::SYS_lremovexattr, c::SYS_fremovexattr,
    c::SYS_inotify_init1, c::SYS_inotify_add_watch, c::SYS_inotify_rm_watch,
    c::SYS_io_setup, c::SYS_io_destroy, c::SYS_io_submit, c::SYS_io_getevents, c::SYS_io_cancel,
];

/// The process's own memory.
#[rustfmt::skip]
const MEMORY: &[c_long] = &[
    c::SYS_brk, c::SYS_mmap, c::SYS_munmap, c::SYS_mremap, c::SYS_mprotect, c::SYS_madvise,
    c::SYS_mincore, c::SYS_msync, c::SYS_mlock, c::SYS_mlock2, c::SYS_mlockall, c::SYS_munlock,
    c::SYS_munlockall, c::SYS_remap_file_pages, c::SYS_memfd_create, c::SYS_memfd_secret,
    c::SYS_membarrier, c::SYS_mseal, c::SYS_pkey_alloc, c::SYS_pkey_free, c::SYS_pkey_mprotect,
    c::SYS_get_mempolicy, c::SYS_set_mempolicy, c::SYS_mbind,
];

/// Programs, threads, scheduling, limits. `clone` has a rule of its own.
#[rustfmt::skip]
const PROCESSES: &[c_long] = &[
    c::SYS_execve, c::SYS_execveat, c::SYS_exit, c::SYS_exit_group, c::SYS_wait4, c::SYS_waitid,
    c::SYS_getpid, c::SYS_getppid, c::SYS_gettid, c::SYS_set_tid_address, c::SYS_getpgid,
    c::SYS_setpgid, c::SYS_getsid, c::SYS_setsid, c::SYS_futex, c::SYS_futex_waitv,
    c::SYS_set_robust_list, c::SYS_get_robust_list, c::SYS_rseq, c::SYS_restart_syscall,
    c::SYS_prctl, c::SYS_seccomp, c::SYS_landlock_create_ruleset, c::SYS_landlock_add_rule,
    c::SYS_landlock_restrict_self, c::SYS_pidfd_open, c::SYS_pidfd_send_signal,
    c::SYS_sched_yield, c::SYS_sched_getaffinity, c::SYS_sched_setaffinity,
    c::SYS_sched_getattr, c::SYS_sched_setattr, c::SYS_sched_getparam, c::SYS_sched_setparam,
    c::SYS_sched_getscheduler, c::SYS_sched_setscheduler, c::SYS_sched_get_priority_max,
    c::SYS_sched_get_priority_min, c::SYS_sched_rr_get_interval, c::SYS_getpriority,
    c::SYS_setpriority, c::SYS_ioprio_get, c::SYS_ioprio_set, c::SYS_getrusage,
    c::SYS_prlimit64, c::SYS_getcpu, c::SYS_sysinfo, c::SYS_uname, c::SYS_getrandom,
];

/// The app has one user, one group and no capability: none of these gains any.
#[rustfmt::skip]
const IDENTITY: &[c_long] = &[
    c::SYS_getuid, c::SYS_geteuid, c::SYS_getgid, c::SYS_getegid, c::SYS_getgroups,
    c::SYS_getresuid, c::SYS_getresgid, c::SYS_setuid, c::SYS_setgid, c::SYS_setgroups,
    c::SYS_setreuid, c::SYS_setregid, c::SYS_setresuid, c::SYS_setresgid, c::SYS_setfsuid,
    c::SYS_setfsgid, c::SYS_capget, c::SYS_capset,
];

#[rustfmt::skip]
const SIGNALS: &[c_long] = &[
    c::SYS_kill, c::SYS_tkill, c::SYS_tgkill, c::SYS_rt_sigaction, c::SYS_rt_sigprocmask,
    c::SYS_rt_sigreturn, c::SYS_rt_sigpending, c::SYS_rt_sigqueueinfo, c::SYS_rt_tgsigqueueinfo,
    c::SYS_rt_sigsuspend, c::SYS_rt_sigtimedwait, c::SYS_sigaltstack, c::SYS_signalfd4,
];

#[rustfmt::skip]
const TIME: &[c_long] = &[
    c::SYS_clock_gettime, c::SYS_clock_getres, c::SYS_clock_nanosleep, c::SYS_nanosleep,
    c::SYS_gettimeofday, c::SYS_times, c::SYS_adjtimex, c::SYS_getitimer, c::SYS_setitimer,
    c::SYS_timer_create, c::SYS_timer_delete, c::SYS_timer_gettime, c::SYS_timer_settime,
    c::SYS_timer_getoverrun, c::SYS_timerfd_create, c::SYS_timerfd_gettime,
    c::SYS_timerfd_settime,
];

#[rustfmt::skip]
const EVENTS: &[c_long] = &[
    c::SYS_epoll_create1, c::SYS_epoll_ctl, c::SYS_epoll_pwait, c::SYS_epoll_pwait2,
    c::SYS_eventfd2, c::SYS_ppoll, c::SYS_pselect6,
];

/// `socket` and `socketpair` have rules of their own.
#[rustfmt::skip]
const NETWORK: &[c_long] = &[
    c::SYS_bind, c::SYS_listen, c::SYS_accept, c::SYS_accept4, c::SYS_connect, c::SYS_shutdown,
    c::SYS_getsockname, c::SYS_getpeername, c::SYS_getsockopt, c::SYS_setsockopt, c::SYS_sendto,
    c::SYS_sendmsg, c::SYS_sendmmsg, c::SYS_recvfrom, c::SYS_recvmsg, c::SYS_recvmmsg,
];

/// System V and POSIX objects, within the sandbox's ipc namespace.
#[rustfmt::skip]
const IPC: &[c_long] = &[
    c::SYS_shmget, c::SYS_shmat, c::SYS_shmdt, c::SYS_shmctl, c::SYS_semget, c::SYS_semop,
    c::SYS_semtimedop, c::SYS_semctl, c::SYS_msgget, c::SYS_msgsnd, c::SYS_msgrcv,
    c::SYS_msgctl, c::SYS_mq_open, c::SYS_mq_unlink, c::SYS_mq_timedsend,
    c::SYS_mq_timedreceive, c::SYS_mq_notify, c::SYS_mq_getsetattr,
];

/// Older forms of the calls above, which only this architecture has, and
/// `fchmodat2`, which the `libc` crate names only here.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const LEGACY: &[c_long] = &[
    c::SYS_open, c::SYS_creat, c::SYS_stat, c::SYS_lstat, c::SYS_access, c::SYS_dup2,
    c::SYS_pipe, c::SYS_mkdir, c::SYS_rmdir, c::SYS_mknod, c::SYS_link, c::SYS_unlink,
    c::SYS_symlink, c::SYS_readlink, c::SYS_rename, c::SYS_chmod, c::SYS_chown, c::SYS_lchown,
    c::SYS_utime, c::SYS_utimes, c::SYS_futimesat, c::SYS_getdents, c::SYS_fork, c::SYS_vfork,
    c::SYS_getpgrp, c::SYS_arch_prctl, c::SYS_getrlimit, c::SYS_setrlimit, c::SYS_time,
    c::SYS_alarm, c::SYS_pause, c::SYS_signalfd, c::SYS_epoll_create, c::SYS_epoll_wait,
    c::SYS_eventfd, c::SYS_poll, c::SYS_select, c::SYS_inotify_init, c::SYS_fchmodat2,
];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_filters_compile_below_the_kernel_s_limit() {
        for program in [allow_list().unwrap(), not_implemented().unwrap()] {
            assert!(
                (1..=4096).contains(&program.len()),
                "{} instructions",
                program.len()
            );
        }
    }

    #[test]
    fn nothing_that_reaches_for_the_kernel_is_listed() {
        #[rustfmt::skip]
        let forbidden = [
            c::SYS_mount, c::SYS_umount2, c::SYS_pivot_root, c::SYS_chroot, c::SYS_unshare,
            c::SYS_setns, c::SYS_clone, c::SYS_clone3, c::SYS_ptrace, c::SYS_process_vm_readv,
            c::SYS_process_vm_writev, c::SYS_pidfd_getfd, c::SYS_kcmp, c::SYS_bpf,
            c::SYS_perf_event_open, c::SYS_userfaultfd, c::SYS_keyctl, c::SYS_add_key,
            c::SYS_request_key, c::SYS_kexec_load, c::SYS_init_module, c::SYS_finit_module,
            c::SYS_delete_module, c::SYS_io_uring_setup, c::SYS_io_uring_enter,
            c::SYS_io_uring_register, c::SYS_open_tree, c::SYS_move_mount, c::SYS_fsopen,
            c::SYS_fsmount, c::SYS_mount_setattr, c::SYS_open_by_handle_at, c::SYS_reboot,
            c::SYS_swapon, c::SYS_settimeofday, c::SYS_clock_settime, c::SYS_syslog,
            c::SYS_acct, c::SYS_quotactl, c::SYS_socket, c::SYS_ioctl, c::SYS_personality,
        ];
        for call in ALLOWED.iter().flat_map(|group| group.iter()) {
            assert!(
                !forbidden.contains(call),
                "system call {call} is allowed without condition"
            );
        }
    }
}
