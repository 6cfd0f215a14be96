//! `denizen __adversary`: what the proof starts. It is told what it is: the
//! adversary itself, or a party that the adversary would reach.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use super::attempt::{AttemptLine, Got, PARTY, Party, SCENE, Scene, stopped};
use super::table::ATTEMPTS;

/// The name of a party's socket, in its folder.
const SOCKET: &str = "socket";

/// Runs it, with the arguments after `__adversary`.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.into_iter().filter_map(|arg| arg.into_string().ok()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["attack"] => attack(),
        ["party", ends, token, secret, file] => party(*ends == "with-input", token, secret, Path::new(file)),
        _ => Err(stopped("it was not told what it is")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _said = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes all attempts, and says of each what came of it.
fn attack() -> io::Result<()> {
    let scene: Scene = serde_json::from_reader(io::BufReader::new(File::open(SCENE)?))?;
    let mut out = io::stdout().lock();
    for attempt in ATTEMPTS {
        let mut line = AttemptLine { n: attempt.number, through: true, how: String::new(), untried: false, left: None };
        match (attempt.make)(&scene) {
            Ok(Got::Through(how)) => line.how = how,
            Ok(Got::Left(path)) => {
                line.how = format!("it left `{}`", path.display());
                line.left = Some(path);
            }
            Err(error) => {
                line.through = false;
                line.untried = error.kind() == io::ErrorKind::Unsupported && error.raw_os_error().is_none();
                line.how = error.to_string();
            }
        }
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
        // What was tried is known also where the next attempt is its end.
        out.flush()?;
    }
    Ok(())
}

/// Lives beside the adversary, with a secret wherever a process can have one.
fn party(ends_with_input: bool, token: &str, secret: &str, file: &Path) -> io::Result<()> {
    let _name = std::ffi::CString::new(PARTY).map(|name| rustix::thread::set_name(&name));
    // Signals that get through must not end it.
    let _heard = signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::default())?;
    let in_memory = secret.to_owned().into_bytes();
    let open = File::open(file)?;
    let name = format!("{PARTY}-{token}");
    // A confinement may leave it no local sockets. The paths of the folder may be
    // too long for the address of one.
    let address = SocketAddr::from_abstract_name(&name)?;
    let listening = UnixListener::bind(SOCKET).and_then(|one| Ok([one, UnixListener::bind_addr(&address)?]));
    let socket = if listening.is_ok() { SOCKET } else { "" };
    for listener in listening.into_iter().flatten() {
        let secret = secret.to_owned();
        let _served = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                tell(stream, &secret);
            }
        });
    }
    let mut party = Party {
        secret: secret.to_owned(),
        pid: std::process::id().cast_signed(),
        fd: open.as_raw_fd(),
        address: in_memory.as_ptr().addr() as u64,
        file: file.to_owned(),
        dir: std::fs::read_link("/proc/self/cwd").unwrap_or_else(|_| PathBuf::from("/")),
        socket: socket.into(),
        name,
        ..Party::default()
    };
    // A confinement may leave it no network.
    if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
        party.tcp = listener.local_addr()?.port();
        let secret = secret.to_owned();
        let _served = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                tell(stream, &secret);
            }
        });
    }
    if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
        party.udp = socket.local_addr()?.port();
        let secret = secret.to_owned();
        let _served = thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
                let _answered = socket.send_to(secret.as_bytes(), from);
            }
        });
    }
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &party)?;
    out.write_all(b"\n")?;
    out.flush()?;
    if ends_with_input {
        io::stdin().read_to_end(&mut Vec::new())?;
    } else {
        // The launcher ends it.
        loop {
            thread::park();
        }
    }
    // Kept where it says it is.
    drop((in_memory, open));
    Ok(())
}

fn tell(mut stream: impl Write, secret: &str) {
    // Whoever asked may be gone.
    let _told = stream.write_all(secret.as_bytes());
}
