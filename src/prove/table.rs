//! The table of all attempts. A number is never given to another attempt.

use std::path::Path;

use super::Expected::{self, Stopped, Through};
use super::Group::{
    self, DaemonProcesses, Kernel, Needed, Own, Person, Root, Services, Shared, SiblingFiles, SiblingProcesses,
};
use super::{Attempt, By, Over, Scene, Tried, files, kernel, own, processes, sockets};

const T: Expected = Through;
const M: Expected = Stopped(By::Mounts);
const P: Expected = Stopped(By::Pids);
const I: Expected = Stopped(By::Ipc);
const N: Expected = Stopped(By::Name);
const R: Expected = Stopped(By::Rights);
const L: Expected = Stopped(By::Landlock);
const S: Expected = Stopped(By::Scopes);
const C: Expected = Stopped(By::Seccomp);
const A: Expected = Stopped(By::Launcher);
const D: Expected = Stopped(By::Denizen);

/// An attempt, with what has to come of it in the modes `full`, `kernel`, `off`.
const fn at(
    number: u16,
    group: Group,
    name: &'static str,
    [full, kernel, off]: [Expected; 3],
    make: fn(&Scene) -> Tried,
) -> Attempt {
    Attempt { number, group, name, full, kernel, off, unless: None, over: None, make }
}

impl Attempt {
    /// Why even a plain process may fail at it.
    const fn unless(mut self, reason: &'static str) -> Self {
        self.unless = Some(reason);
        self
    }

    /// What kind of network it needs.
    const fn over(mut self, network: Over) -> Self {
        self.over = Some(network);
        self
    }
}

/// All attempts, in the order in which they are made.
#[rustfmt::skip]
pub const ATTEMPTS: &[Attempt] = &[
    at(1, SiblingFiles, "read another session's file by its absolute path", [M, L, T], files::read_absolute),
    at(2, SiblingFiles, "read it by `../`", [M, L, T], files::read_relative),
    at(3, SiblingFiles, "read it by a symbolic link in the own folder", [M, L, T], files::read_by_link),
    at(4, SiblingFiles, "read it by a hard link in the own folder", [M, L, T], files::hard_link),
    at(5, SiblingFiles, "write another session's file", [M, L, T], files::write),
    at(6, SiblingFiles, "move its file into the own folder", [M, L, T], files::take_by_rename),
    at(7, SiblingFiles, "exchange its file with an own one", [M, L, T], files::exchange),
    at(8, SiblingFiles, "list all sessions", [M, L, T], files::list_sessions),
    at(9, SiblingFiles, "see size and time of its file", [M, T, T], files::stat),
    at(10, SiblingFiles, "change the mode of its file", [M, T, T], files::chmod),
    at(11, SiblingFiles, "change the time of its file", [M, T, T], files::utime),
    at(12, SiblingFiles, "set an attribute of its file", [M, T, T], files::set_attribute).unless("the file system has no attributes"),
    at(13, SiblingFiles, "empty its file by path", [M, L, T], files::truncate),
    at(14, SiblingFiles, "remove its file", [M, L, T], files::unlink),
    at(15, SiblingFiles, "go into its folder and read there", [M, L, T], files::change_directory),
    at(16, SiblingFiles, "watch its folder", [M, T, T], files::watch),
    at(17, SiblingFiles, "read below a descriptor of its folder", [M, L, T], files::path_descriptor),
    at(18, SiblingProcesses, "read the environment of its process", [P, L, T], |s| processes::environment(&s.sibling)),
    at(19, SiblingProcesses, "read the arguments of its process", [P, T, T], |s| processes::arguments(&s.sibling)),
    at(20, SiblingProcesses, "read below the working directory of its process", [P, L, T], |s| processes::directory(&s.sibling)),
    at(21, SiblingProcesses, "read below the root of its process", [P, L, T], |s| processes::root(&s.sibling)),
    at(22, SiblingProcesses, "read by a descriptor of its process in `/proc`", [P, L, T], |s| processes::descriptor(&s.sibling)),
    at(23, SiblingProcesses, "read the memory of its process in `/proc`", [P, L, T], |s| processes::memory(&s.sibling)),
    at(24, SiblingProcesses, "read the memory of its process by a system call", [P, C, T], |s| processes::read_memory_by_call(s, &s.sibling)),
    at(25, SiblingProcesses, "trace its process", [P, C, T], |s| processes::trace_party(s, &s.sibling)),
    at(26, SiblingProcesses, "send its process a signal", [P, S, T], |s| processes::kill(&s.sibling)),
    at(27, SiblingProcesses, "send its process a signal by a descriptor of it", [P, S, T], |s| processes::kill_by_descriptor(&s.sibling)),
    at(28, SiblingProcesses, "take a descriptor of its process", [P, C, T], |s| processes::take_descriptor(&s.sibling)),
    at(29, SiblingProcesses, "set the limits of its process", [P, C, T], |s| processes::set_limits(s, &s.sibling)),
    at(30, SiblingProcesses, "set the priority of its process", [P, C, T], |s| processes::set_priority(&s.sibling)),
    at(31, SiblingProcesses, "choose the processors of its process", [P, C, T], |s| processes::set_processors(&s.sibling)),
    at(32, DaemonProcesses, "read the environment of Denizen's process", [P, L, T], |s| processes::environment(&s.daemon)),
    at(33, DaemonProcesses, "read the arguments of Denizen's process", [P, T, T], |s| processes::arguments(&s.daemon)),
    at(34, DaemonProcesses, "read below the working directory of Denizen's process", [P, L, T], |s| processes::directory(&s.daemon)),
    at(35, DaemonProcesses, "read below the root of Denizen's process", [P, L, T], |s| processes::root(&s.daemon)),
    at(36, DaemonProcesses, "read by a descriptor of Denizen's process in `/proc`", [P, L, T], |s| processes::descriptor(&s.daemon)),
    at(37, DaemonProcesses, "read the memory of Denizen's process in `/proc`", [P, L, T], |s| processes::memory(&s.daemon)),
    at(38, DaemonProcesses, "read the memory of Denizen's process by a system call", [P, C, T], |s| processes::read_memory_by_call(s, &s.daemon)),
    at(39, DaemonProcesses, "trace Denizen's process", [P, C, T], |s| processes::trace_party(s, &s.daemon)),
    at(40, DaemonProcesses, "send Denizen's process a signal", [P, S, T], |s| processes::kill(&s.daemon)),
    at(41, DaemonProcesses, "send Denizen's process a signal by a descriptor of it", [P, S, T], |s| processes::kill_by_descriptor(&s.daemon)),
    at(42, DaemonProcesses, "take a descriptor of Denizen's process", [P, C, T], |s| processes::take_descriptor(&s.daemon)),
    at(43, DaemonProcesses, "set the limits of Denizen's process", [P, C, T], |s| processes::set_limits(s, &s.daemon)),
    at(44, DaemonProcesses, "set the priority of Denizen's process", [P, C, T], |s| processes::set_priority(&s.daemon)),
    at(45, DaemonProcesses, "choose the processors of Denizen's process", [P, C, T], |s| processes::set_processors(&s.daemon)),
    at(46, Shared, "connect to another session's abstract socket", [S, C, T], |s| sockets::abstract_socket(&s.sibling)),
    at(47, Shared, "connect to another session's socket by its path", [M, C, T], |s| sockets::socket(&s.sibling)),
    at(48, Shared, "connect to another session's TCP port", [T, T, T], |s| sockets::tcp(&s.sibling)).over(Over::Tcp),
    at(49, Shared, "read another session's file in `/tmp`", [M, L, T], |s| files::read(&s.sibling.tmp, &s.sibling.secret)),
    at(50, Shared, "read another session's file in `/dev/shm`", [M, L, T], |s| files::read(&s.sibling.shm, &s.sibling.secret)),
    at(51, Shared, "read another session's System V shared memory", [I, C, T], |s| sockets::shared_memory(s, &s.sibling)),
    at(52, Shared, "connect to Denizen's abstract socket", [S, C, T], |s| sockets::abstract_socket(&s.daemon)),
    at(53, Shared, "connect to Denizen's socket by its path", [M, C, T], |s| sockets::socket(&s.daemon)),
    at(54, Shared, "connect to Denizen's TCP port", [T, T, T], |s| sockets::tcp(&s.daemon)).over(Over::Tcp),
    at(55, Shared, "read Denizen's file in `/tmp`", [M, L, T], |s| files::read(&s.daemon.tmp, &s.daemon.secret)),
    at(56, Shared, "read Denizen's file in `/dev/shm`", [M, L, T], |s| files::read(&s.daemon.shm, &s.daemon.secret)),
    at(57, Shared, "read Denizen's System V shared memory", [I, C, T], |s| sockets::shared_memory(s, &s.daemon)),
    at(58, Shared, "leave a file in the shared `/tmp`", [M, L, T], |s| kernel::shared_dir(s, "/tmp")),
    at(59, Kernel, "leave a file in Denizen's state", [M, L, T], |s| files::plant(&s.root.join("state"), s, "planted-")),
    at(60, Kernel, "make a user namespace by `unshare`", [C, C, T], kernel::new_user_namespace).unless("the kernel or a limit forbids user namespaces"),
    at(61, Kernel, "mount another session's folder in an own user namespace", [C, C, T], kernel::bind_in_namespace).unless("the kernel or a limit forbids user namespaces"),
    at(62, Kernel, "mount a file system", [C, C, T], kernel::mount).unless("only root may"),
    at(63, Kernel, "open another session's file by the kernel's handle", [C, C, T], kernel::open_by_handle).unless("only root may"),
    at(64, Kernel, "set up io_uring", [C, C, T], kernel::io_uring).unless("the kernel has it switched off"),
    at(65, Kernel, "read by a descriptor that was left open", [A, A, A], kernel::leaked),
    at(66, Kernel, "find a token of Denizen's in the own environment", [A, A, A], own::token),
    at(67, Kernel, "start a program with root's rights", [R, R, T], kernel::setuid).unless("there is no such program"),
    at(68, Kernel, "start programs that may gain rights", [R, R, T], kernel::may_gain_rights),
    at(69, Kernel, "see another session's processes", [P, T, T], |s| processes::visible(&s.sibling)),
    at(70, Own, "change the own `session.json`", [M, T, T], own::change_record),
    at(71, Own, "replace the own `session.json`", [M, T, T], own::replace_record),
    at(72, Own, "plant a git configuration", [T, T, T], own::plant_git),
    at(73, Own, "plant hooks of Claude Code", [T, T, T], own::plant_hooks),
    at(74, Own, "put a link to another session in the place of `memory/`", [T, T, T], own::swap_memory),
    at(75, Own, "put a FIFO in the place of `settings.json`", [M, T, T], own::swap_settings),
    at(76, Own, "have a planted git configuration run by Denizen", [D, D, D], own::have_git_run).unless("git is not installed"),
    at(77, Own, "plant an MCP server", [T, T, T], own::plant_server),
    at(78, Own, "plant a file of direnv", [T, T, T], own::plant_direnv),
    at(80, Root, "read in another session's provider home", [M, L, T], |s| files::read(&s.root.join("state/homes/beside/claude/history"), &s.sibling.secret)),
    at(81, Root, "plant a file in another session's provider home", [M, L, T], |s| files::plant(&s.root.join("state/homes/beside/claude"), s, "")),
    at(82, Root, "read another session's waiting message", [M, L, T], |s| files::read(&s.root.join("state/queue/beside/message"), &s.sibling.secret)),
    at(83, Root, "put a message into another session's queue", [M, L, T], |s| files::plant(&s.root.join("state/queue/beside"), s, "")),
    at(84, Root, "read Denizen's HTTP token", [M, L, T], |s| files::read(&s.root.join("access/token"), &s.daemon.secret)),
    at(85, Root, "grant itself something", [M, L, T], |s| files::plant(&s.root.join("access/sessions"), s, "")),
    at(86, Root, "read `denizen.toml`", [M, L, T], |s| files::read(&s.root.join("denizen.toml"), &s.daemon.secret)),
    at(87, Root, "write `denizen.toml`", [M, L, T], |s| files::append(&s.root.join("denizen.toml"))),
    at(88, Root, "read the logs", [M, L, T], |s| files::read(&s.root.join("logs/log"), &s.daemon.secret)),
    at(89, Root, "read the trash", [M, L, T], |s| files::read(&s.root.join("trash/removed/MEMORY.md"), &s.sibling.secret)),
    at(90, Root, "read what was set aside", [M, L, T], |s| files::read(&s.root.join("state/conflicts/aside"), &s.sibling.secret)),
    at(91, Root, "take another session's lock", [M, L, T], |s| files::lock(s, "other")),
    at(92, Root, "have another session stopped", [M, L, T], |s| files::plant(&s.root.join("state/control"), s, "beside-")),
    at(93, Root, "make a session", [M, L, T], files::make_session),
    at(94, Root, "move the own folder", [M, L, T], files::move_own),
    at(95, Root, "plant a file beside Denizen's program", [M, L, T], |s| files::plant(&s.program_dir, s, ".")).unless("the program lies where its user may not write"),
    at(96, Root, "connect to a socket in another session's provider home", [M, C, T], |s| files::found_socket(&s.root.join("state/homes/beside/codex/server"))),
    at(100, Person, "read the person's SSH key", [M, L, T], |s| files::read(&s.home.join(".ssh/id_ed25519"), &s.daemon.secret)),
    at(101, Person, "read another provider's login", [M, L, T], |s| files::read(&s.home.join(".claude/.credentials.json"), &s.daemon.secret)),
    at(102, Person, "write what the person's shell reads", [M, L, T], |s| files::append(&s.home.join(".bashrc"))),
    at(103, Person, "list the person's home", [M, L, T], |s| files::list(&s.home, ".bashrc")),
    at(104, Person, "read a repository that was not granted", [M, L, T], |s| files::read(&s.outside.join("repository/.git/config"), &s.daemon.secret)),
    at(105, Person, "plant a hook in a worktree's repository", [M, L, T], |s| files::plant(&s.outside.join("repository/.git/hooks"), s, "hook-")),
    at(106, Person, "read what Claude Code keeps in `/tmp`", [M, L, T], files::claude_tmp),
    at(110, Services, "reach the session bus, which starts programs", [M, C, T], |s| sockets::service(s, "bus")).unless("none listens here"),
    at(111, Services, "reach the person's systemd", [M, C, T], |s| sockets::service(s, "systemd")).unless("none listens here"),
    at(112, Services, "reach docker", [M, C, T], |s| sockets::service(s, "docker")).unless("none listens here"),
    at(113, Services, "reach the X server", [M, C, T], |s| sockets::service(s, "x11")).unless("none listens here"),
    at(114, Services, "reach the Wayland compositor", [M, C, T], |s| sockets::service(s, "wayland")).unless("none listens here"),
    at(115, Services, "reach the SSH agent", [M, C, T], |s| sockets::service(s, "ssh-agent")).unless("none listens here"),
    at(116, Services, "reach the GPG agent", [M, C, T], |s| sockets::service(s, "gpg-agent")).unless("none listens here"),
    at(117, Services, "reach tmux, which types into the person's shells", [M, C, T], |s| sockets::service(s, "tmux")).unless("none listens here"),
    at(118, Services, "reach the system bus", [M, C, T], |s| sockets::service(s, "system-bus")).unless("none listens here"),
    at(119, Services, "leave a job for cron", [M, L, T], |s| files::plant(Path::new("/var/spool/cron/crontabs"), s, "")).unless("only root may, where there is cron"),
    at(120, Services, "leave a job for at", [M, L, T], |s| files::plant(Path::new("/var/spool/cron/atjobs"), s, "")).unless("only root may, where there is at"),
    at(121, Services, "leave a file in `/etc`", [M, L, T], |s| files::plant(Path::new("/etc"), s, "denizen-")).unless("only root may"),
    at(122, Services, "connect to another session's UDP port", [T, T, T], |s| sockets::udp(&s.sibling)).over(Over::Udp),
    at(130, Kernel, "read a key of the person's", [C, C, T], sockets::read_key).unless("the kernel keeps no keys"),
    at(131, Kernel, "add a key to the person's", [C, C, T], sockets::add_key).unless("the kernel keeps no keys"),
    at(132, Kernel, "take a message from a System V queue", [I, C, T], |s| sockets::system_v_queue(s, &s.daemon)),
    at(133, Kernel, "set a System V semaphore", [I, C, T], |s| sockets::semaphore(s, &s.daemon)),
    at(134, Kernel, "take a message from a POSIX queue", [I, C, T], |s| sockets::posix_queue(s, &s.daemon)).unless("the kernel has none"),
    at(135, Kernel, "use userfaultfd", [C, C, T], kernel::userfaultfd).unless("the kernel has none"),
    at(136, Kernel, "use bpf", [C, C, T], kernel::bpf).unless("only root may"),
    at(137, Kernel, "count events with perf", [C, C, T], kernel::perf).unless("the kernel forbids it"),
    at(138, Kernel, "type into a terminal", [C, C, T], kernel::type_into_terminal).unless("the kernel forbids it"),
    at(139, Kernel, "trace the launcher", [P, C, T], processes::trace_launcher).unless("there is no launcher"),
    at(140, Kernel, "end the own turn by a signal to the launcher", [P, S, T], processes::signal_launcher).unless("there is no launcher"),
    at(141, Kernel, "take the launcher's lock", [P, C, T], processes::take_run_lock).unless("there is no launcher"),
    at(142, Kernel, "write the launcher's memory", [P, L, T], processes::launcher_memory).unless("there is no launcher"),
    at(143, Kernel, "call the kernel by the gate for 32 bits", [C, C, T], kernel::old_gate).unless("the kernel has no such gate"),
    at(144, Kernel, "call the kernel by the numbers of x32", [C, C, T], kernel::x32_gate),
    at(145, Kernel, "make a vsock", [C, C, T], |s| sockets::make_socket(s, libc::AF_VSOCK, libc::SOCK_STREAM, 0)).unless("the kernel has none"),
    at(146, Kernel, "make a netlink socket that changes the network", [T, T, T], |s| sockets::make_socket(s, libc::AF_NETLINK, libc::SOCK_RAW, 0)).over(Over::Netlink),
    at(147, Kernel, "make a packet socket", [C, C, T], |s| sockets::make_socket(s, libc::AF_PACKET, libc::SOCK_RAW, 0)).unless("only root may"),
    at(148, Kernel, "make a raw socket", [R, R, T], |s| sockets::make_socket(s, libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)).unless("only root may"),
    at(149, Kernel, "run a program from memory", [T, T, T], kernel::run_from_memory),
    at(150, Kernel, "change the own root directory", [C, C, T], kernel::chroot).unless("only root may"),
    at(151, Kernel, "pivot to another root", [C, C, T], kernel::pivot_root).unless("only root may"),
    at(152, Kernel, "enter the mounts of Denizen's process", [C, C, T], |s| processes::enter_mounts(s, &s.daemon)).unless("only root may"),
    at(153, Kernel, "make a user namespace by `clone`", [C, C, T], kernel::clone_user_namespace).unless("the kernel or a limit forbids user namespaces"),
    at(154, Kernel, "make a user namespace by `clone3`", [C, C, T], kernel::clone3_user_namespace).unless("the kernel or a limit forbids user namespaces"),
    at(155, Kernel, "copy a mount by `open_tree`", [C, C, T], kernel::open_tree).unless("only root may"),
    at(156, Kernel, "open a file system by `fsopen`", [C, C, T], kernel::open_file_system).unless("only root may"),
    at(157, Kernel, "unmount what covers a directory", [C, C, T], kernel::unmount).unless("only root may"),
    at(158, Kernel, "make read-only mounts writable", [C, C, T], kernel::remount).unless("only root may"),
    at(159, Kernel, "have the own mounts seen outside", [C, C, T], kernel::propagate).unless("only root may"),
    at(160, Kernel, "write a setting of the kernel", [M, L, T], |_| kernel::write_setting("/proc/sys/kernel/hostname")).unless("only root may"),
    at(161, Kernel, "write where cores are dumped to", [M, L, T], |_| kernel::write_setting("/proc/sys/kernel/core_pattern")).unless("only root may"),
    at(162, Kernel, "write a setting of a device", [M, L, T], |_| kernel::write_setting("/sys/kernel/mm/ksm/run")).unless("only root may"),
    at(163, Kernel, "leave the group that limits it", [M, L, T], kernel::leave_group).unless("only root may"),
    at(164, Kernel, "read the disk below the file system", [M, L, T], files::disk).unless("only root may"),
    at(165, Kernel, "make a device file", [R, R, T], kernel::make_device).unless("only root may"),
    at(166, Kernel, "load a kernel module", [C, C, T], kernel::load_module).unless("only root may, where the kernel takes modules"),
    at(167, Kernel, "watch a whole mount", [C, C, T], kernel::fanotify).unless("only root may"),
    at(168, Kernel, "read the kernel's log", [C, C, T], kernel::kernel_log).unless("only root may, where the log is closed"),
    at(169, Kernel, "set the machine's name", [C, C, T], kernel::host_name).unless("only root may"),
    at(170, Kernel, "have rights over the kernel", [R, R, T], kernel::has_rights).unless("only root has"),
    at(171, Kernel, "have Denizen's process killed first when memory is short", [P, L, T], |s| processes::set_memory_score(&s.daemon)),
    at(172, Kernel, "set the policy of Denizen's process", [P, C, T], |s| processes::set_policy(s, &s.daemon)),
    at(173, Kernel, "set the class of the reads of Denizen's process", [P, C, T], |s| processes::set_io_class(s, &s.daemon)),
    at(174, Kernel, "set the priority of all processes of the user", [C, C, T], processes::set_priorities),
    at(175, Kernel, "set the class of the reads of all processes of the user", [C, C, T], processes::set_io_classes),
    at(180, Kernel, "have the kernel look at a mount", [C, C, T], kernel::reach_mounts),
    at(181, Kernel, "have the kernel trace", [C, C, T], kernel::reach_tracing),
    at(182, Kernel, "have the kernel give a handle", [C, C, T], kernel::reach_handles).unless("the file system has no handles"),
    at(183, Kernel, "see the machine's name", [N, T, T], kernel::see_host_name),
    at(184, Kernel, "read below the root of process 1", [P, L, T], processes::root_of_first).unless("only root may"),
    at(185, Kernel, "see the descriptors of process 1", [P, L, T], processes::descriptors_of_first).unless("only root may"),
    at(186, Kernel, "open the memory of process 1", [P, L, T], processes::memory_of_first).unless("only root may"),
    at(200, Needed, "keep something in the own memory", [T, T, T], own::keep_memory),
    at(201, Needed, "use the own HOME", [T, T, T], |_| own::use_dir("HOME")),
    at(202, Needed, "use a directory for temporaries", [T, T, T], own::use_temporaries),
    at(203, Needed, "run a program of the system", [T, T, T], kernel::shell),
    at(204, Needed, "use `/dev/null` and `/dev/urandom`", [T, T, T], own::use_devices),
    at(205, Needed, "read the system's files", [T, T, T], own::read_system),
    at(206, Needed, "see itself in `/proc`", [T, T, T], own::know_itself),
    at(207, Needed, "end an own process", [T, T, T], own::signal_own),
    at(208, Needed, "use a pair of sockets", [T, T, T], sockets::pair),
    at(209, Needed, "leave a file for the person in `outbox/`", [T, T, T], own::use_outbox),
];
