//! Attempts on what all processes share: sockets, System V objects, message
//! queues, keys, and the services that listen on the machine.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::attempt::{Party, Scene, Tried, stopped, through};
use super::files::found;
use super::raw::{ArgValue, CallProgram};

/// Longer than a process on the same machine takes to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a path of a socket may be.
const LONGEST: usize = 107;

fn hear(mut from: impl Read, word: &str) -> Tried {
    let mut heard = vec![0; 4096];
    let count = from.read(&mut heard)?;
    found(&String::from_utf8_lossy(&heard[..count]), word)
}

pub(super) fn abstract_socket(party: &Party) -> Tried {
    let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(&party.name)?)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    hear(stream, &party.secret)
}

/// A socket by its path, which may be longer than the address of one.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Err(stopped("it has no path")) };
    let stream = if path.as_os_str().len() <= LONGEST {
        UnixStream::connect(path)?
    } else {
        let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        UnixStream::connect(Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))?
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A socket of a program of another session's.
pub(super) fn found_socket(path: &Path) -> Tried {
    connect(path)?;
    through("it took the connection")
}

pub(super) fn socket(party: &Party) -> Tried {
    hear(connect(&party.dir.join(&party.socket))?, &party.secret)
}

/// A socket of a service: that somebody listens is enough.
pub(super) fn service(scene: &Scene, name: &str) -> Tried {
    let path = scene.services.get(name).ok_or_else(|| stopped("no such service is known here"))?;
    connect(path)?;
    through("it took the connection")
}

pub(super) fn tcp(party: &Party) -> Tried {
    let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, party.tcp).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    hear(stream, &party.secret)
}

/// How a connection is made without the call for it, or not by plain TCP.
#[derive(Clone, Copy)]
pub(super) enum ConnectVariant {
    /// By MPTCP, which falls back to TCP.
    Multipath,
    /// With the first data, by `sendto`.
    SendTo,
    /// The same, by `sendmsg`.
    SendMessage,
    /// The same, by `sendmmsg`.
    SendMessages,
}

/// Connects to the other's TCP port in another way, and hears what it says.
pub(super) fn tcp_by(scene: &Scene, party: &Party, way: ConnectVariant) -> Tried {
    let mut program = CallProgram::default();
    let [high, low] = party.tcp.to_be_bytes();
    let family = u8::try_from(libc::AF_INET).unwrap_or_default();
    let address = program.bytes(&[family, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let (data, buffer, size) = (program.bytes(b"hello"), program.space(256), ArgValue::from(16));
    let protocol = if matches!(way, ConnectVariant::Multipath) { libc::IPPROTO_MPTCP } else { 0 };
    let fd = program.call(libc::SYS_socket, &[libc::AF_INET.into(), libc::SOCK_STREAM.into(), protocol.into()]);
    let flag = ArgValue::from(libc::MSG_FASTOPEN);
    let vector = program.words(&[data, 5.into()]);
    // Of `sendmmsg`, the length that was sent follows.
    let none = ArgValue::from(0);
    let message = program.words(&[address, size, vector, 1.into(), none, none, none, none]);
    match way {
        ConnectVariant::Multipath => program.call(libc::SYS_connect, &[fd, address, size]),
        ConnectVariant::SendTo => program.call(libc::SYS_sendto, &[fd, data, 5.into(), flag, address, size]),
        ConnectVariant::SendMessage => program.call(libc::SYS_sendmsg, &[fd, message, flag]),
        ConnectVariant::SendMessages => program.call(libc::SYS_sendmmsg, &[fd, message, 1.into(), flag]),
    };
    let length = program.call(libc::SYS_read, &[fd, buffer, 256.into()]);
    program.print(buffer, length);
    found(&String::from_utf8_lossy(&program.run(&scene.own, b"")?), &party.secret)
}

pub(super) fn udp(party: &Party) -> Tried {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((Ipv4Addr::LOCALHOST, party.udp))?;
    socket.send(b"hello")?;
    let mut heard = vec![0; 4096];
    let count = socket.recv(&mut heard)?;
    found(&String::from_utf8_lossy(&heard[..count]), &party.secret)
}

/// Reads the other's System V shared memory.
pub(super) fn shared_memory(scene: &Scene, party: &Party) -> Tried {
    let mut program = CallProgram::default();
    let id = program.call(libc::SYS_shmget, &[party.key.into(), 0.into(), 0.into()]);
    let address = program.call(libc::SYS_shmat, &[id, 0.into(), 0.into()]);
    program.print(address, party.secret.len());
    found(&String::from_utf8_lossy(&program.run(&scene.own, b"")?), &party.secret)
}

/// Takes a message out of the other's System V queue.
pub(super) fn system_v_queue(scene: &Scene, party: &Party) -> Tried {
    let mut program = CallProgram::default();
    let (buffer, length) = (program.space(8 + 256), 256.into());
    let id = program.call(libc::SYS_msgget, &[party.key.into(), 0.into()]);
    program.call(libc::SYS_msgrcv, &[id, buffer, length, 0.into(), libc::IPC_NOWAIT.into()]);
    program.print(buffer, 8 + party.secret.len());
    found(&String::from_utf8_lossy(&program.run(&scene.own, b"")?), &party.secret)
}

pub(super) fn semaphore(scene: &Scene, party: &Party) -> Tried {
    let mut program = CallProgram::default();
    let id = program.call(libc::SYS_semget, &[party.key.into(), 0.into(), 0.into()]);
    program.call(libc::SYS_semctl, &[id, 0.into(), libc::SETVAL.into(), 0.into()]);
    program.run(&scene.own, b"")?;
    through("it was set")
}

/// Takes a message out of the other's POSIX queue.
pub(super) fn posix_queue(scene: &Scene, party: &Party) -> Tried {
    let mut program = CallProgram::default();
    let (name, buffer) = (program.text(party.name.as_bytes()), program.space(256));
    let fd = program.call(libc::SYS_mq_open, &[name, (libc::O_RDONLY | libc::O_NONBLOCK).into(), 0.into(), 0.into()]);
    let length = program.call(libc::SYS_mq_timedreceive, &[fd, buffer, 256.into(), 0.into(), 0.into()]);
    program.print(buffer, length);
    found(&String::from_utf8_lossy(&program.run(&scene.own, b"")?), &party.secret)
}

/// The keyring of the user, where programs keep passwords.
const USER_KEYRING: i32 = -4;

/// Reads a key of the person's.
pub(super) fn read_key(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let (kind, name, buffer) = (program.text(b"user"), program.text(scene.token.as_bytes()), program.space(256));
    let (search, read) = (ArgValue::from(libc::KEYCTL_SEARCH), ArgValue::from(libc::KEYCTL_READ));
    let key = program.call(libc::SYS_keyctl, &[search, USER_KEYRING.into(), kind, name, 0.into()]);
    let length = program.call(libc::SYS_keyctl, &[read, key, buffer, 256.into()]);
    program.print(buffer, length);
    found(&String::from_utf8_lossy(&program.run(&scene.own, b"")?), &scene.daemon.secret)
}

/// Puts a key among the person's, and takes it away again.
pub(super) fn add_key(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let name = program.text(format!("{}-added", scene.token).as_bytes());
    let (kind, content) = (program.text(b"user"), program.bytes(b"x"));
    let key = program.call(libc::SYS_add_key, &[kind, name, content, 1.into(), USER_KEYRING.into()]);
    program.call(libc::SYS_keyctl, &[libc::KEYCTL_UNLINK.into(), key, USER_KEYRING.into()]);
    program.run(&scene.own, b"")?;
    through("a key was added")
}

/// What the stage makes of these for a party, by children of its own. A kernel,
/// or the limits of a user, may not have one or the other.
pub(super) fn plant(dir: &Path, party: &Party, key: Option<&str>) {
    let make = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;
    let (secret, length) = (party.secret.as_bytes(), party.secret.len());
    let mut memory = CallProgram::default();
    let id = memory.call(libc::SYS_shmget, &[party.key.into(), 4096.into(), make.into()]);
    let address = memory.call(libc::SYS_shmat, &[id, 0.into(), 0.into()]);
    memory.call(libc::SYS_read, &[0.into(), address, length.into()]);

    let mut queue = CallProgram::default();
    let message = queue.bytes(&[&1_u64.to_le_bytes(), secret].concat());
    let id = queue.call(libc::SYS_msgget, &[party.key.into(), make.into()]);
    queue.call(libc::SYS_msgsnd, &[id, message, length.into(), 0.into()]);

    let mut semaphore = CallProgram::default();
    semaphore.call(libc::SYS_semget, &[party.key.into(), 1.into(), make.into()]);

    let mut posix = CallProgram::default();
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    let (name, message) = (posix.text(party.name.as_bytes()), posix.bytes(secret));
    let attributes = posix.words(&[0, 1, 256, 0, 0, 0, 0, 0].map(ArgValue::Number));
    let fd = posix.call(libc::SYS_mq_open, &[name, flags.into(), 0o600.into(), attributes]);
    posix.call(libc::SYS_mq_timedsend, &[fd, message, length.into(), 0.into(), 0.into()]);

    let mut programs = vec![memory, queue, semaphore, posix];
    if let Some(key) = key {
        let mut keys = CallProgram::default();
        let (kind, name, content) = (keys.text(b"user"), keys.text(key.as_bytes()), keys.bytes(secret));
        keys.call(libc::SYS_add_key, &[kind, name, content, length.into(), USER_KEYRING.into()]);
        programs.push(keys);
    }
    for program in programs {
        let _may_be_absent = program.run(dir, secret);
    }
}

/// Removes it again.
pub(super) fn remove(dir: &Path, party: &Party, key: Option<&str>) {
    let mut program = CallProgram::default();
    let id = program.try_call(libc::SYS_shmget, &[party.key.into(), 0.into(), 0.into()]);
    program.try_call(libc::SYS_shmctl, &[id, libc::IPC_RMID.into(), 0.into()]);
    let id = program.try_call(libc::SYS_msgget, &[party.key.into(), 0.into()]);
    program.try_call(libc::SYS_msgctl, &[id, libc::IPC_RMID.into(), 0.into()]);
    let id = program.try_call(libc::SYS_semget, &[party.key.into(), 0.into(), 0.into()]);
    program.try_call(libc::SYS_semctl, &[id, 0.into(), libc::IPC_RMID.into()]);
    let name = program.text(party.name.as_bytes());
    program.try_call(libc::SYS_mq_unlink, &[name]);
    if let Some(key) = key {
        let (kind, name) = (program.text(b"user"), program.text(key.as_bytes()));
        let search = ArgValue::from(libc::KEYCTL_SEARCH);
        let key = program.try_call(libc::SYS_keyctl, &[search, USER_KEYRING.into(), kind, name, 0.into()]);
        program.try_call(libc::SYS_keyctl, &[libc::KEYCTL_UNLINK.into(), key, USER_KEYRING.into()]);
    }
    let _removed = program.run(dir, b"");
}

/// Makes a socket of a kind that agents have no use for.
pub(super) fn make_socket(scene: &Scene, family: i32, kind: i32, protocol: i32) -> Tried {
    let mut program = CallProgram::default();
    program.call(libc::SYS_socket, &[family.into(), kind.into(), protocol.into()]);
    program.run(&scene.own, b"")?;
    through("the socket was made")
}

/// A pair of datagram sockets, an end of which can be connected to any other that
/// has a name.
pub(super) fn pair_of_datagrams(_scene: &Scene) -> Tried {
    let (one, _other) = UnixDatagram::pair()?;
    through(format!("{one:?}"))
}

/// A pair of connected sockets, as most runtimes use between their processes.
pub(super) fn pair(_scene: &Scene) -> Tried {
    let (mut one, other) = UnixStream::pair()?;
    one.write_all(b"hello")?;
    hear(other, "hello")
}
