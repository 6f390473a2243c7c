//! What is written in one turn of a connection, sent by one system call.
//!
//! HTTP/2 writes each answer of 256 bytes or more by itself. That is a system call for each, in which the kernel also
//! carries it to the peer where that is on this machine, and wakes who waits for it there.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{ready, Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More is not held: what is larger is written as it is, and who reads slowly has the writer wait.
const MOST_BYTES: usize = 1 << 15;
/// Of what it takes to hold them, so much stays with the connection between its turns.
const KEPT_BYTES: usize = 1 << 12;

/// A stream that holds what is written until `poll_send`, once `gather` has been called. A clone is the same stream.
pub struct Gathered<S>(Arc<Mutex<Inner<S>>>);

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Gathered(self.0.clone())
    }
}

struct Inner<S> {
    stream: S,
    is_gathering: bool,
    held: Vec<u8>,
    /// Of what is held.
    sent: usize,
    /// Whether the stream has refused the last write that was not held: its writer comes back with it.
    is_stuck: bool,
}

impl<S> Gathered<S> {
    pub fn new(stream: S) -> Self {
        Gathered(Arc::new(Mutex::new(Inner {
            stream,
            is_gathering: false,
            held: Vec::new(),
            sent: 0,
            is_stuck: false,
        })))
    }

    /// From now on nothing leaves that is not sent.
    pub fn gather(&self) {
        self.inner().is_gathering = true;
    }

    fn inner(&self) -> MutexGuard<'_, Inner<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Sends what is held; where that takes longer, the task is woken to call this again. So it is where the stream has
    /// refused a write: whoever made that is to come back with it first.
    pub fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        ready!(inner.poll_send(context))?;
        if inner.is_stuck {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.held[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.sent = 0;
        self.held.clear();
        self.held.shrink_to(KEPT_BYTES);
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let size = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if self.held.len() + size > MOST_BYTES && !self.held.is_empty() {
            ready!(self.poll_send(context))?;
        }
        if !self.is_gathering || size > MOST_BYTES {
            let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
            self.is_stuck = written.is_pending();
            return written;
        }
        self.is_stuck = false;
        for piece in pieces {
            self.held.extend_from_slice(piece);
        }
        Poll::Ready(Ok(size))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        if inner.is_gathering {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut inner.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        ready!(inner.poll_send(context))?;
        Pin::new(&mut inner.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::task::Waker;

    /// Takes so many bytes of each write, none where it is zero, and everything at the end.
    #[derive(Default)]
    struct Taker {
        takes: VecDeque<usize>,
        writes: usize,
        taken: Vec<u8>,
        is_shut: bool,
    }

    impl AsyncWrite for Taker {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let most = self.takes.pop_front().unwrap_or(usize::MAX);
            if most == 0 {
                return Poll::Pending;
            }
            let size = bytes.len().min(most);
            self.writes += 1;
            self.taken.extend_from_slice(&bytes[..size]);
            Poll::Ready(Ok(size))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_shut = true;
            Poll::Ready(Ok(()))
        }
    }

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn written(stream: &mut Gathered<Taker>, bytes: &[u8]) -> usize {
        match Pin::new(stream).poll_write(&mut context(), bytes) {
            Poll::Ready(size) => size.unwrap(),
            Poll::Pending => 0,
        }
    }

    #[test]
    fn a_large_write_that_was_refused_is_not_sent_until_its_writer_has_come_back() {
        let mut stream = Gathered::new(Taker::default());
        stream.gather();
        stream.inner().stream.takes.push_back(0);
        let large = vec![7; MOST_BYTES + 1];
        assert_eq!(written(&mut stream, &large), 0);
        assert!(stream.poll_send(&mut context()).is_pending());
        assert_eq!(written(&mut stream, &large), large.len());
        assert!(stream.poll_send(&mut context()).is_ready());
    }

    #[test]
    fn what_was_refused_before_it_gathered_is_held_and_sent_as_anything_else() {
        let mut stream = Gathered::new(Taker::default());
        stream.inner().stream.takes.push_back(0);
        assert_eq!(written(&mut stream, &[7; 40]), 0);
        stream.gather();
        assert_eq!(written(&mut stream, &[7; 40]), 40);
        assert!(stream.poll_send(&mut context()).is_ready());
        assert_eq!(stream.inner().stream.taken, [7; 40]);
    }

    #[test]
    fn what_is_written_in_one_turn_is_one_write() {
        let mut stream = Gathered::new(Taker::default());
        stream.gather();
        for piece in [&[1; 1000][..], &[2; 4000], &[3; 9]] {
            assert_eq!(written(&mut stream, piece), piece.len());
            assert!(Pin::new(&mut stream).poll_flush(&mut context()).is_ready());
        }
        assert_eq!(stream.inner().stream.writes, 0);
        assert!(stream.poll_send(&mut context()).is_ready());
        assert_eq!(stream.inner().stream.writes, 1);
        assert_eq!(stream.inner().stream.taken.len(), 5009);
        assert!(stream.inner().held.capacity() <= KEPT_BYTES);
    }

    #[test]
    fn before_it_gathers_it_is_the_stream() {
        let mut stream = Gathered::new(Taker::default());
        assert_eq!(written(&mut stream, b"preface"), 7);
        assert_eq!(stream.inner().stream.taken, b"preface");
    }

    #[test]
    fn what_is_large_is_written_as_it_is_behind_what_is_held() {
        let mut stream = Gathered::new(Taker::default());
        stream.gather();
        written(&mut stream, b"head");
        assert_eq!(written(&mut stream, &[7; MOST_BYTES + 1]), MOST_BYTES + 1);
        assert_eq!(stream.inner().stream.writes, 2);
        assert_eq!(&stream.inner().stream.taken[..5], b"head\x07");
    }

    #[test]
    fn what_is_held_is_sent_before_the_stream_is_shut() {
        let mut stream = Gathered::new(Taker::default());
        stream.gather();
        written(&mut stream, b"goodbye");
        assert!(Pin::new(&mut stream).poll_shutdown(&mut context()).is_ready());
        assert_eq!(stream.inner().stream.taken, b"goodbye");
        assert!(stream.inner().stream.is_shut);
    }

    #[test]
    fn a_stream_that_takes_nothing_any_more_is_broken() {
        struct Full;
        impl AsyncWrite for Full {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
                Poll::Ready(Ok(0))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let mut stream = Gathered::new(Full);
        stream.gather();
        let _ = Pin::new(&mut stream).poll_write(&mut context(), b"x");
        assert!(matches!(stream.poll_send(&mut context()), Poll::Ready(Err(_))));
    }

    proptest! {
        /// However little the peer takes at a time: all of it, in order, and never much of it is held.
        #[test]
        fn nothing_is_lost_or_turned_around(
            sizes in prop::collection::vec(prop_oneof![1usize..3000, MOST_BYTES - 5..MOST_BYTES + 5], 1..20),
            takes in prop::collection::vec(prop_oneof![Just(0), 1usize..20_000], 0..60),
            sends in prop::collection::vec(any::<bool>(), 1..20),
        ) {
            let mut stream = Gathered::new(Taker { takes: takes.into(), ..Taker::default() });
            stream.gather();
            let mut all = Vec::new();
            for (turn, &size) in sizes.iter().enumerate() {
                let piece = vec![turn as u8; size];
                let mut rest = &piece[..];
                while !rest.is_empty() {
                    rest = &rest[written(&mut stream, rest)..];
                    prop_assert!(stream.inner().held.len() <= MOST_BYTES);
                }
                all.extend(piece);
                if sends[turn % sends.len()] {
                    let _ = stream.poll_send(&mut context());
                }
            }
            while stream.poll_send(&mut context()).is_pending() {}
            prop_assert_eq!(&stream.inner().stream.taken, &all);
        }
    }
}
