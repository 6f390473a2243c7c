//! The way of a connection from its acceptance to its first frame.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::CertificateDer;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::connection::{self, Connection};
use crate::gathered::Gathered;
use crate::hub::{ConnectionShared, Hub};
use crate::server::Place;
use crate::stream::Stream;

/// A stream as accepted.
pub trait Arrival: Stream + 'static {
    /// Ready once the peer has said something, or has gone.
    fn poll_heard(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Arrival for TcpStream {
    fn poll_heard(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }
}

impl Arrival for UnixStream {
    fn poll_heard(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }
}

/// Shakes hands, within the time there is for it, and serves the connection until it ends.
pub async fn greet<S: Arrival>(
    stream: S,
    address: String,
    hub: Arc<Hub>,
    place: Place,
    tls: Option<Arc<ServerConfig>>,
) {
    let server = place.server.clone();
    let shaking = tokio::time::timeout(server.limits.handshake, shake(stream, address, hub, place, tls));
    let connection = tokio::select! {
        () = server.serving_ends() => return,
        shaken = shaking => shaken.ok().flatten(),
    };
    if let Some(connection) = connection {
        connection.await;
    }
}

type Serving = Pin<Box<dyn std::future::Future<Output = ()> + Send>>;

/// Waits for the client, who speaks first, and shakes hands then: who says nothing costs no buffers.
async fn shake<S: Arrival>(
    stream: S,
    address: String,
    hub: Arc<Hub>,
    place: Place,
    tls: Option<Arc<ServerConfig>>,
) -> Option<Serving> {
    std::future::poll_fn(|context| stream.poll_heard(context)).await.ok()?;
    // In a box, so that it takes its memory now and not when the connection comes.
    Box::pin(answer(stream, address, hub, place, tls)).await
}

async fn answer<S>(
    stream: S,
    address: String,
    hub: Arc<Hub>,
    place: Place,
    tls: Option<Arc<ServerConfig>>,
) -> Option<Serving>
where
    S: Stream + 'static,
{
    let has_read = Arc::new(AtomicBool::new(false));
    let metered = Metered {
        stream,
        has_read: has_read.clone(),
    };
    let Some(config) = tls else {
        return open(Box::new(metered), address, None, hub, place, has_read).await;
    };
    let stream = TlsAcceptor::from(config).accept(metered).await.ok()?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(b"h2") {
        return None;
    }
    let certificate = session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|certificate| certificate.clone().into_owned());
    open(Box::new(stream), address, certificate, hub, place, has_read).await
}

async fn open(
    stream: Box<dyn Stream>,
    address: String,
    certificate: Option<CertificateDer<'static>>,
    hub: Arc<Hub>,
    place: Place,
    has_read: Arc<AtomicBool>,
) -> Option<Serving> {
    let server = place.server.clone();
    let stream = Gathered::new(stream);
    let h2 = connection::builder(&server.limits)
        .handshake(stream.clone())
        .await
        .ok()?;
    let shared = Arc::new(ConnectionShared::new(
        hub,
        server.clone(),
        place.number,
        address,
        certificate,
    ));
    server.register.set_shared(&shared);
    Some(Box::pin(Connection::new(h2, stream, shared, place, has_read)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Limits;
    use crate::server::ServerShared;
    use std::sync::mpsc;
    use std::time::Duration;
    use tokio::io::DuplexStream;

    /// Tells whether, when it is dropped, another thread can change the phase.
    struct Telling {
        stream: DuplexStream,
        server: Arc<ServerShared>,
        free: mpsc::Sender<bool>,
    }

    impl Drop for Telling {
        fn drop(&mut self) {
            let (changed, is_changed) = mpsc::channel();
            let server = self.server.clone();
            std::thread::spawn(move || {
                server.abort();
                let _ = changed.send(());
            });
            let _ = self.free.send(is_changed.recv_timeout(Duration::from_secs(2)).is_ok());
        }
    }

    impl Arrival for Telling {
        fn poll_heard(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncRead for Telling {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Telling {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }
    }

    /// Or a server that is told to end at once while it drains would wait for itself, for ever.
    #[tokio::test]
    async fn whoever_has_said_nothing_leaves_a_draining_server_without_holding_its_phase() {
        let server = Arc::new(ServerShared::new(Limits::default(), Vec::new(), &[]).unwrap());
        let (free, is_free) = mpsc::channel();
        let arrival = Telling {
            stream: tokio::io::duplex(1).0,
            server: server.clone(),
            free,
        };
        let place = server.admit().unwrap();
        let greeting = tokio::spawn(greet(arrival, "test".into(), Arc::default(), place, None));
        tokio::task::yield_now().await;
        server.drain();
        greeting.await.unwrap();
        assert!(is_free.recv().unwrap());
    }
}
