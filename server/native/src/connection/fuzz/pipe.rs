//! A stream over memory, of which the far end is a test's.

use super::*;

/// Turns that a connection may take for each byte, and besides; one that takes more spins.
const TURNS_PER_BYTE: usize = 4;
const TURNS: usize = 200;

/// The two ends of a stream over memory, of which the far one is a test's.
#[derive(Clone, Default)]
pub(super) struct Pipe(Arc<Mutex<Ends>>);

#[derive(Default)]
pub(super) struct Ends {
    sent: VecDeque<u8>,
    has_hung_up: bool,
    pub(super) answered: Vec<u8>,
    reader: Option<Waker>,
    turns: usize,
    most_turns: usize,
}

impl Pipe {
    pub(super) fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap()
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        let mut ends = self.ends();
        ends.sent.extend(bytes);
        ends.most_turns += TURNS_PER_BYTE * bytes.len();
        if let Some(reader) = ends.reader.take() {
            reader.wake();
        }
    }

    pub(super) fn hang_up(&self) {
        let mut ends = self.ends();
        ends.has_hung_up = true;
        if let Some(reader) = ends.reader.take() {
            reader.wake();
        }
    }

    /// Counts a turn of what serves this. Within a connection, what panics here is logged as a bug of the transport.
    pub(super) fn count_turn(&self) {
        let mut ends = self.ends();
        ends.turns += 1;
        let has_room = ends.turns <= TURNS + ends.most_turns;
        drop(ends);
        assert!(has_room, "it spins");
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.count_turn();
        let mut ends = self.ends();
        if ends.sent.is_empty() && !ends.has_hung_up {
            ends.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let size = ends.sent.len().min(buffer.remaining());
        let bytes: Vec<u8> = ends.sent.drain(..size).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.ends().answered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.count_turn();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
