//! The listening socket, the I/O threads, and the way of a connection from its acceptance to its first frame.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, Handle};
use tokio_rustls::TlsAcceptor;

use crate::connection::{self, Connection};
use crate::hub::{ConnectionShared, Distribution, Hub};
use crate::inbox::Level;
use crate::server::{Phase, Place, ServerShared};
use crate::tls::{self, Holder};

const BACKLOG: i32 = 4096;
/// How long no connection is accepted after that failed for want of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(20);
/// How long nothing more is said of newcomers for whom there is no room: it may come and go many times a second.
const SILENCE: Duration = Duration::from_secs(30);
const UNIX: &str = "unix:";

/// A bound socket that nobody serves yet.
pub enum BoundSocket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener, PathBuf),
}

impl BoundSocket {
    /// Binds `HOST:PORT` or `unix:PATH`; with `reuse_port`, beside others that say so too.
    pub fn new(address: &str, reuse_port: bool) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix(UNIX) {
            let path = Path::new(path);
            remove_stale(path)?;
            let listener = StdUnixListener::bind(path)?;
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

fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<StdTcpListener> {
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

/// The threads that serve a bound socket, until `join`.
pub struct Listener {
    hubs: Vec<Arc<Hub>>,
    threads: Vec<JoinHandle<()>>,
}

impl Listener {
    pub fn start(
        server: &Arc<ServerShared>,
        bound: BoundSocket,
        tls: Arc<ArcSwapOption<ServerConfig>>,
        threads: usize,
    ) -> io::Result<Self> {
        let mut listener = Listener {
            hubs: Vec::new(),
            threads: Vec::new(),
        };
        let mut workers = Vec::new();
        let mut runtimes = Vec::new();
        for _ in 0..threads.max(1) {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(2)
                .build()?;
            let hub = Arc::new(Hub::default());
            workers.push(Worker {
                handle: runtime.handle().clone(),
                hub: hub.clone(),
            });
            listener.hubs.push(hub.clone());
            runtimes.push((runtime, hub));
        }
        let mut acceptor = Some(Acceptor {
            server: server.clone(),
            workers,
            tls,
        });
        let mut bound = Some(bound);
        for (number, (runtime, hub)) in runtimes.into_iter().enumerate() {
            let duty = acceptor.take().zip(bound.take());
            let thread = std::thread::Builder::new()
                .name(format!("shoal-io-{number}"))
                .spawn(move || {
                    runtime.block_on(async {
                        if let Some((acceptor, bound)) = duty {
                            tokio::spawn(acceptor.run(bound));
                        }
                        Distribution(hub).await;
                    });
                    runtime.shutdown_background();
                });
            match thread {
                Ok(thread) => listener.threads.push(thread),
                Err(error) => {
                    listener.join();
                    return Err(error);
                }
            }
        }
        Ok(listener)
    }

    /// Ends the threads; what they still carried is dropped.
    pub fn join(&mut self) {
        for hub in &self.hubs {
            hub.close();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Worker {
    handle: Handle,
    hub: Arc<Hub>,
}

struct Acceptor {
    server: Arc<ServerShared>,
    workers: Vec<Worker>,
    tls: Arc<ArcSwapOption<ServerConfig>>,
}

/// A socket as accepted, on its way to the thread that will serve it.
enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

impl Acceptor {
    async fn run(self, bound: BoundSocket) {
        let mut phase = self.server.phase.subscribe();
        tokio::select! {
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
            () = self.accept(&bound) => {}
        }
    }

    async fn accept(&self, bound: &BoundSocket) {
        enum Listening {
            Tcp(TcpListener),
            Unix(UnixListener),
        }
        let listening = match bound {
            BoundSocket::Tcp(listener) => listener.try_clone().and_then(TcpListener::from_std).map(Listening::Tcp),
            BoundSocket::Unix(listener, _) => listener
                .try_clone()
                .and_then(UnixListener::from_std)
                .map(Listening::Unix),
        };
        let listening = match listening {
            Ok(listening) => listening,
            Err(error) => {
                let why = format!("nothing can be accepted: {error}");
                self.server.inbox.log(Level::Error, why);
                return;
            }
        };
        let mut next = 0;
        let mut of_shortage = Seldom::default();
        let mut of_fullness = Seldom::default();
        loop {
            let accepted = match &listening {
                Listening::Tcp(listener) => listener.accept().await.and_then(|(stream, address)| {
                    stream.set_nodelay(true)?;
                    Ok(Accepted::Tcp(stream.into_std()?, address))
                }),
                Listening::Unix(listener) => listener
                    .accept()
                    .await
                    .and_then(|(stream, _)| Ok(Accepted::Unix(stream.into_std()?))),
            };
            match accepted {
                Ok(accepted) => {
                    if let Some(place) = self.server.admit() {
                        self.hand_over(accepted, place, next);
                        next = (next + 1) % self.workers.len();
                    } else if of_fullness.is_time() {
                        let most = self.server.limits.connections;
                        let words = format!("no room for more than {most} connections: newcomers are hung up on");
                        self.server.inbox.log(Level::Warning, words);
                    }
                }
                Err(error) => {
                    let is_short = !matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
                    );
                    if is_short {
                        if of_shortage.is_time() {
                            let words = format!("no connection can be accepted: {}", reason(&error));
                            self.server.inbox.log(Level::Error, words);
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    fn hand_over(&self, accepted: Accepted, place: Place, worker: usize) {
        let worker = &self.workers[worker];
        let (hub, number, server) = (worker.hub.clone(), place.number, self.server.clone());
        let tls = self.tls.load_full();
        let task = worker.handle.spawn(async move {
            match accepted {
                Accepted::Tcp(stream, address) => {
                    if let Ok(stream) = TcpStream::from_std(stream) {
                        greet(stream, written(address), hub, place, tls).await;
                    }
                }
                Accepted::Unix(stream) => {
                    if let Ok(stream) = UnixStream::from_std(stream) {
                        greet(stream, "unix:".to_owned(), hub, place, tls).await;
                    }
                }
            }
        });
        server.set_task(number, task.abort_handle());
    }
}

/// Says when it is time to say something again.
#[derive(Default)]
struct Seldom {
    silent_until: Option<Instant>,
}

impl Seldom {
    fn is_time(&mut self) -> bool {
        let now = Instant::now();
        let is_time = self.silent_until.is_none_or(|until| until <= now);
        if is_time {
            self.silent_until = Some(now + SILENCE);
        }
        is_time
    }
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        // In grpcio's words, which operators look for.
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => "File descriptor limit reached".to_owned(),
        _ => error.to_string(),
    }
}

fn written(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => format!("ipv4:{address}"),
        SocketAddr::V6(address) => match address.ip().to_ipv4_mapped() {
            Some(ip) => format!("ipv4:{ip}:{}", address.port()),
            None => format!("ipv6:{address}"),
        },
    }
}

/// Shakes hands, within the time there is for it, and serves the connection until it ends.
async fn greet<S>(stream: S, address: String, hub: Arc<Hub>, place: Place, tls: Option<Arc<ServerConfig>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let server = place.server.clone();
    let mut phase = server.phase.subscribe();
    let shaking = tokio::time::timeout(server.limits.handshake, shake(stream, address, hub, place, tls));
    let connection = tokio::select! {
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
        shaken = shaking => shaken.ok().flatten(),
    };
    if let Some(connection) = connection {
        connection.await;
    }
}

type Serving = Pin<Box<dyn std::future::Future<Output = ()> + Send>>;

async fn shake<S>(
    stream: S,
    address: String,
    hub: Arc<Hub>,
    place: Place,
    tls: Option<Arc<ServerConfig>>,
) -> Option<Serving>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let has_read = Arc::new(AtomicBool::new(false));
    let metered = Metered {
        stream,
        has_read: has_read.clone(),
    };
    let Some(config) = tls else {
        return open(metered, address, None, hub, place, has_read).await;
    };
    let stream = TlsAcceptor::from(config).accept(metered).await.ok()?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(b"h2") {
        return None;
    }
    let holder = session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(|certificate| tls::holder(certificate));
    open(stream, address, holder, hub, place, has_read).await
}

async fn open<S>(
    stream: S,
    address: String,
    holder: Option<Holder>,
    hub: Arc<Hub>,
    place: Place,
    has_read: Arc<AtomicBool>,
) -> Option<Serving>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let server = place.server.clone();
    let h2 = connection::builder(&server.limits).handshake(stream).await.ok()?;
    let shared = Arc::new(ConnectionShared::new(
        hub,
        server.clone(),
        place.number,
        address,
        holder,
    ));
    server.set_shared(&shared);
    Some(Box::pin(Connection::new(h2, shared, place, has_read)))
}

/// A stream that notes whether anything was read.
struct Metered<S> {
    stream: S,
    has_read: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.has_read.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
