//! What a connection is carried by.

use tokio::io::{AsyncRead, AsyncWrite};

/// TCP or a Unix socket, with TLS or without. A connection holds it in a box: compiled for each of them by itself, what
/// serves connections would be four times the code.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
