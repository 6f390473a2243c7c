//! When Python is woken: once an I/O thread has read what there is.
//!
//! Woken by the first of many requests, on a processor that both have to share it would interrupt the reading, take the
//! first few, and compute them in a batch of their own. With 64 calls in flight batches had 24 rows, of the 32 that two
//! halves in turns would have.

use std::pin::pin;

use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::inbox::Inbox;

/// One for each I/O thread.
#[derive(Default)]
pub struct Raising(Notify);

impl Raising {
    /// Something was posted of which Python has not been told. On the I/O thread.
    pub fn is_due(&self) {
        self.0.notify_one();
    }

    /// Tells Python, again and again. On the I/O thread.
    pub async fn run(&self, inbox: &Inbox) {
        loop {
            self.0.notified().await;
            // Its next turn comes after the sockets have been looked at, and those read that have more.
            yield_now().await;
            // Of what came meanwhile it is told with that: what comes next has a look of its own.
            pin!(self.0.notified()).enable();
            inbox.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{Event, Level};
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn what_lies_in_a_socket_meanwhile_is_told_with_what_was_read_before() {
        let (inbox, raising) = (Arc::new(Inbox::new().unwrap()), Arc::new(Raising::default()));
        let (own_inbox, own) = (inbox.clone(), raising.clone());
        let post_first = move || {
            if own_inbox.post_all(&mut vec![Event::Log(Level::Error, String::new())]) {
                own.is_due();
            }
        };
        let (own_inbox, own) = (inbox.clone(), raising.clone());
        tokio::spawn(async move { own.run(&own_inbox).await });
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let post_read = post_first.clone();
        tokio::spawn(async move {
            near.read_exact(&mut [0]).await.unwrap();
            post_read();
        });
        for _ in 0..3 {
            yield_now().await; // until both wait
        }
        far.write_all(b"x").await.unwrap();
        post_first();
        poll_fn(|context| {
            context.waker().wake_by_ref();
            match inbox.is_signalled() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        assert_eq!(inbox.take(10, Instant::now()).len(), 2);
    }
}
