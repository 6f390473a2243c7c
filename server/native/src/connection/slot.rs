//! A call as its connection keeps it, and the place where it does.

use super::*;

/// One call, as the connection sees it.
pub(super) struct Call {
    pub(super) shared: Arc<CallShared>,
    pub(super) kind: Kind,
    pub(super) began: Instant,
    pub(super) body: Option<RecvStream>,
    pub(super) reader: Reader,
    pub(super) respond: Option<SendResponse<Bytes>>,
    pub(super) send: Option<SendStream<Bytes>>,
    /// What is still to be handed to HTTP/2; true behind the last piece of a message.
    pub(super) out: VecDeque<(Bytes, bool)>,
    /// How it is to end, once `out` is empty: OK where there is no failure.
    pub(super) end: Option<Option<Box<Failure>>>,
    /// Whether Python has heard of it.
    pub(super) is_known: bool,
    pub(super) has_message: bool,
    pub(super) is_inflating: bool,
    pub(super) is_paused: bool,
    /// Whether the connection has it among those that wait until the peer takes something.
    pub(super) is_held_back: bool,
    pub(super) watched: Option<Instant>,
    pub(super) request_bytes: usize,
    pub(super) response_bytes: usize,
}

/// A place for a call; its waker serves all calls that have it one after the other.
pub(super) struct Slot {
    pub(super) waker: Waker,
    pub(super) call: Option<Box<Call>>,
}

pub(super) struct SlotWaker {
    pub(super) connection: Arc<ConnectionShared>,
    pub(super) place: usize,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.connection.wake_call(self.place);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.connection.wake_call(self.place);
    }
}

pub(super) enum Act {
    Reply(Answer),
    Send(Answer),
    End(Option<Box<Failure>>),
    Pull,
    Inflated(Result<Bytes, Box<Failure>>),
}

/// What became of a call.
pub(super) enum Step {
    Wait,
    Over(u8),
}

impl Call {
    /// Counts no more what goes with it: what is no whole message, and what is not with HTTP/2. The application may keep
    /// the call for much longer.
    pub(super) fn let_go(&self) {
        let unsent: usize = self.out.iter().map(|(piece, _)| piece.len()).sum();
        self.shared.let_go(self.reader.held_bytes() + unsent);
    }

    pub(super) fn enqueue(&mut self, answer: Answer) {
        match answer {
            Answer::Framed(bytes) => self.out.push_back((bytes, true)),
            Answer::Bare(bytes) => {
                let prefix = Bytes::copy_from_slice(&message::prefix(bytes.len()));
                self.out.push_back((prefix, bytes.is_empty()));
                if !bytes.is_empty() {
                    self.out.push_back((bytes, true));
                }
            }
        }
    }
}
