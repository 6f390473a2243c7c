//! The I/O threads, and the acceptance of connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, Handle};

use crate::greeting::greet;
use crate::hub::{Distribution, Hub};
use crate::inbox::Level;
use crate::server::{Place, ServerShared};
use crate::socket::BoundSocket;

/// How long no connection is accepted after that failed for want of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(20);
/// How long nothing more is said of newcomers for whom there is no room: it may come and go many times a second.
const SILENCE: Duration = Duration::from_secs(30);

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
            let hub = Arc::new(Hub::default());
            let (parking, idle) = (server.clone(), hub.clone());
            let runtime = Builder::new_current_thread()
                .enable_all()
                .on_thread_park(move || {
                    if let Some(time) = parking.linger() {
                        idle.linger(time);
                    }
                })
                .max_blocking_threads(2)
                .build()?;
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
            let server = server.clone();
            let duty = acceptor.take().zip(bound.take());
            let thread = std::thread::Builder::new()
                .name(format!("shoal-io-{number}"))
                .spawn(move || {
                    runtime.block_on(async {
                        if let Some((acceptor, bound)) = duty {
                            tokio::spawn(acceptor.run(bound));
                        }
                        let own = hub.clone();
                        tokio::spawn(async move { own.raising.run(|| server.inbox.tell()).await });
                        let own = hub.clone();
                        tokio::spawn(async move { own.lookout.run().await });
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
        tokio::select! {
            () = self.server.serving_ends() => {}
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
        server.register.set_task(number, task.abort_handle());
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
