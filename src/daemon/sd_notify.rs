//! Telling the service manager that the daemon is ready, or leaves
//! (`sd_notify(3)`): one datagram to the socket that it named.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends a state to the socket, if there is one. Who started the daemon
/// without one does not wait for it either.
pub(super) fn tell(socket: Option<&str>, state: &str) {
    let Some(name) = socket else { return };
    let address = match name.strip_prefix('@') {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(name),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!("the service manager could not be told `{state}`: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_hears_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        tell(path.to_str(), "READY=1");
        let mut heard = [0; 16];
        let length = socket.recv(&mut heard).expect("a datagram");
        assert_eq!(&heard[..length], b"READY=1");
        tell(None, "READY=1");
    }
}
