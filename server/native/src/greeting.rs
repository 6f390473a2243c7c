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
use crate::server::{Phase, Place};
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
