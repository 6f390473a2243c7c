//! What a connection is carried by.

use tokio::io::{AsyncRead, AsyncWrite};

/// TCP or a Unix socket, with TLS or without. A connection holds it in a box, so that what serves connections, HTTP/2
/// included, is compiled once and not for each of the four.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
