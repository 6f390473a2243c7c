//! A client: connections to a server, and one call on them.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::message;
use crate::stream::Stream;

/// Whom a client trusts and what it shows, in PEM; without a certificate it shows none.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    pub server_name: String,
}

/// What came back of a call.
pub(crate) struct Answered {
    pub status: u8,
    pub body: Bytes,
    /// What a failure says of itself, as it is on the wire.
    pub text: String,
}

impl Answered {
    fn ended(status: u8, body: Bytes, headers: &HeaderMap) -> Self {
        let text = if status == 0 { None } else { headers.get("grpc-message") };
        let text = text.map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
        Self {
            status,
            body,
            text: text.unwrap_or_default(),
        }
    }
}

/// Sends a request with its framed body, and waits for the answer.
pub(crate) async fn call(
    channel: SendRequest<Bytes>,
    head: Request<()>,
    framed: &Bytes,
) -> Result<Answered, h2::Error> {
    let mut channel = channel.ready().await?;
    let (response, mut send) = channel.send_request(head, false)?;
    if framed.len() <= 1 << 14 {
        send.send_data(framed.clone(), true)?;
    } else {
        let mut left = framed.clone();
        while !left.is_empty() {
            send.reserve_capacity(left.len());
            let room = match std::future::poll_fn(|context| send.poll_capacity(context)).await {
                Some(room) => room?,
                None => break,
            };
            let part = left.split_to(room.min(left.len()));
            send.send_data(part, left.is_empty())?;
        }
    }
    let (head, mut body) = response.await?.into_parts();
    if let Some(status) = status_in(&head.headers) {
        return Ok(Answered::ended(status, Bytes::new(), &head.headers));
    }
    let mut reader = message::Reader::new(usize::MAX >> 1, message::Encoding::Identity);
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        reader.push(chunk);
    }
    let answer = match reader.next() {
        Ok(Some(message)) => message.body.whole(),
        _ => Bytes::new(),
    };
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(Answered::ended(status_in(&trailers).unwrap_or(2), answer, &trailers))
}

fn status_in(headers: &HeaderMap) -> Option<u8> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Where calls go, and how connections to it are opened.
pub(crate) struct Target {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// Fails where the certificates or the key are none.
    pub(crate) fn new(address: &str, tls: Option<&ClientTls>) -> io::Result<Self> {
        let tls = match tls {
            None => None,
            Some(tls) => Some((
                TlsConnector::from(client_config(tls).map_err(io::Error::other)?),
                ServerName::try_from(tls.server_name.clone()).map_err(io::Error::other)?,
            )),
        };
        Ok(Self {
            address: address.to_owned(),
            tls,
        })
    }

    pub(crate) async fn connect(&self) -> io::Result<SendRequest<Bytes>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => open(Box::new(stream)).await,
            Some((connector, name)) => open(Box::new(connector.connect(name.clone(), stream).await?)).await,
        }
    }

    /// The head of a call of a method, `/package.Service/Method`.
    pub(crate) fn head(&self, path: &str) -> io::Result<Request<()>> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Request::builder()
            .method(Method::POST)
            .uri(format!("{scheme}://{}{path}", self.address))
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(io::Error::other)
    }
}

async fn open(stream: Box<dyn Stream>) -> io::Result<SendRequest<Bytes>> {
    let (channel, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 23)
        .initial_connection_window_size(1 << 26)
        .max_send_buffer_size(1 << 22)
        .initial_max_send_streams(1 << 16)
        .handshake(stream)
        .await
        .map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(channel)
}

fn client_config(tls: &ClientTls) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(&tls.ca) {
        roots
            .add(ca.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = if tls.certificate.is_empty() {
        builder.with_no_client_auth()
    } else {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&tls.certificate).collect();
        let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|error| error.to_string())?;
        builder
            .with_client_auth_cert(chain.map_err(|error| error.to_string())?, key)
            .map_err(|error| error.to_string())?
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
