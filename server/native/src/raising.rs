//! When Python is woken: once an I/O thread has read what there is.
//!
//! Woken by the first of many requests, on a processor that both have to share it would interrupt the reading, take the
//! first few, and compute them in a batch of their own. With 64 calls in flight batches had 24 rows, of the 32 that two
//! halves in turns would have.

use std::pin::pin;

use tokio::sync::Notify;
use tokio::task::yield_now;

/// One for each I/O thread.
#[derive(Default)]
pub struct Raising(Notify);

impl Raising {
    /// Something was posted of which Python has not been told. On the I/O thread.
    pub fn is_due(&self) {
        self.0.notify_one();
    }

    /// Has Python told, again and again. On the I/O thread.
    pub async fn run(&self, tell: impl Fn()) {
        loop {
            self.0.notified().await;
            // Its next turn comes after the sockets have been looked at, and those read that have more.
            yield_now().await;
            // Of what came meanwhile it is told with that: what comes next has a look of its own.
            pin!(self.0.notified()).enable();
            tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;
    use std::task::Poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn what_lies_in_a_socket_meanwhile_is_told_with_what_was_read_before() {
        let raising = Arc::new(Raising::default());
        let posted = Arc::new(AtomicUsize::new(0));
        let told = Arc::new(AtomicUsize::new(0));
        let (own, seen, heard) = (raising.clone(), posted.clone(), told.clone());
        tokio::spawn(async move {
            own.run(|| heard.store(seen.load(Ordering::Relaxed), Ordering::Relaxed))
                .await;
        });
        let post = move || {
            posted.fetch_add(1, Ordering::Relaxed);
            raising.is_due();
        };
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let post_read = post.clone();
        tokio::spawn(async move {
            near.read_exact(&mut [0]).await.unwrap();
            post_read();
        });
        for _ in 0..3 {
            yield_now().await; // until both wait
        }
        far.write_all(b"x").await.unwrap();
        post();
        poll_fn(|context| {
            context.waker().wake_by_ref();
            match told.load(Ordering::Relaxed) {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }
}
