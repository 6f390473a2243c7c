//! The socket that a server listens on, bound and not served yet.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

const BACKLOG: i32 = 4096;
const UNIX: &str = "unix:";

/// A bound socket that nobody serves yet.
pub enum BoundSocket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl BoundSocket {
    /// Binds `HOST:PORT` or `unix:PATH`; with `reuse_port`, beside others that say so too.
    pub fn new(address: &str, reuse_port: bool) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix(UNIX) {
            let path = Path::new(path);
            remove_stale(path)?;
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            return Ok(BoundSocket::Unix(listener, path.to_owned()));
        }
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        for address in address.to_socket_addrs()? {
            match bind(address, reuse_port) {
                Ok(listener) => return Ok(BoundSocket::Tcp(listener)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The port, 0 for a Unix socket.
    pub fn port(&self) -> io::Result<u16> {
        match self {
            BoundSocket::Tcp(listener) => Ok(listener.local_addr()?.port()),
            BoundSocket::Unix(..) => Ok(0),
        }
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if let BoundSocket::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket that a process left behind is in the way; one that is served, or any other file, stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}
