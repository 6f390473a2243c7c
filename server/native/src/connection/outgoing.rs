//! Answers go: from Python's commands to frames, no faster than the peer takes them.

use super::*;

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    pub(super) fn carry_out(&mut self, command: Command) {
        let (shared, act): (Arc<CallShared>, Act) = match command {
            Command::Reply(shared, answer) => (shared, Act::Reply(answer)),
            Command::Send(shared, answer) => (shared, Act::Send(answer)),
            Command::End(shared, failure) => (shared, Act::End(failure)),
            Command::Pull(shared) => (shared, Act::Pull),
            Command::Inflated(shared, body) => (shared, Act::Inflated(body)),
        };
        let place = shared.place;
        let Some(call) = self.slots.get_mut(place).and_then(|slot| slot.call.as_deref_mut()) else {
            return;
        };
        if call.shared.serial != shared.serial {
            return;
        }
        match act {
            Act::Reply(answer) => {
                call.response_bytes = answer.size() - message::PREFIX_BYTES;
                call.enqueue(answer);
                call.end = Some(None);
            }
            Act::Send(answer) => {
                call.response_bytes += answer.size() - message::PREFIX_BYTES;
                call.enqueue(answer);
            }
            Act::End(failure) => call.end = Some(failure),
            Act::Pull => call.is_paused = false,
            Act::Inflated(Ok(body)) => {
                call.is_inflating = false;
                return self.hand_over_at(place, body);
            }
            Act::Inflated(Err(failure)) => {
                call.is_inflating = false;
                return self.refuse_at(place, *failure);
            }
        }
        if self.is_small_reply(place) {
            self.guarded(place, Self::send_small_reply);
        } else {
            self.guarded(place, Self::advance);
        }
        let waits = |slot: &Slot| slot.call.as_ref().is_some_and(|call| !call.out.is_empty());
        if self.slots.get(place).is_some_and(waits) {
            if let Some(failure) = self.too_full() {
                self.refuse_at(place, failure);
            }
        }
    }

    pub(super) fn hand_over_at(&mut self, place: usize, body: Bytes) {
        if let Some(mut call) = self.slots[place].call.take() {
            match self.hand_over_inflated(&mut call, body) {
                Step::Wait => {
                    self.slots[place].call = Some(call);
                    self.guarded(place, Self::advance);
                }
                Step::Over(status) => self.forget(place, *call, status),
            }
        }
    }

    pub(super) fn refuse_at(&mut self, place: usize, failure: Failure) {
        if let Some(mut call) = self.slots[place].call.take() {
            if let Step::Over(status) = self.refuse(&mut call, failure) {
                self.forget(place, *call, status);
            }
        }
    }

    /// Whether all of the answer is there, and so little that it goes in one piece where there is room.
    pub(super) fn is_small_reply(&self, place: usize) -> bool {
        self.slots[place].call.as_ref().is_some_and(|call| {
            call.kind != Kind::Stream
                && matches!(call.end, Some(None))
                && call.send.is_none()
                && call.out.len() == 1
                && call.out[0].0.len() <= Answer::SMALL_BYTES + message::PREFIX_BYTES
        })
    }

    pub(super) fn send_small_reply(&mut self, call: &mut Call, waker: &Waker) -> Step {
        if self.takes_no_more() {
            return self.advance(call, waker);
        }
        let Some((piece, ends)) = call.out.pop_front() else {
            return Step::Wait;
        };
        let Some(send) = self.begin_answer(call) else {
            return Step::Over(status::CANCELLED);
        };
        send.reserve_capacity(piece.len());
        if send.capacity() < piece.len() {
            call.out.push_front((piece, ends));
            return self.advance(call, waker); // it waits here, where it is counted
        }
        self.handed_bytes += piece.len();
        let sent = send.send_data(piece, false).is_ok() && send.send_trailers(self.ok_trailers.clone()).is_ok();
        Step::Over(if sent { status::OK } else { status::CANCELLED })
    }

    /// Whether HTTP/2 is to be given no more before the peer has taken what it has: it does not count that.
    fn takes_no_more(&self) -> bool {
        self.is_blocked || self.handed_bytes >= MOST_HANDED_BYTES
    }

    /// Goes on with what waited while the peer took nothing.
    pub(super) fn release(&mut self) {
        for place in std::mem::take(&mut self.held_back) {
            if let Some(call) = self.slots.get_mut(place).and_then(|slot| slot.call.as_deref_mut()) {
                call.is_held_back = false;
                self.guarded(place, Self::advance);
            }
        }
    }

    pub(super) fn begin_answer<'c>(&self, call: &'c mut Call) -> Option<&'c mut SendStream<Bytes>> {
        if call.send.is_none() {
            let mut response = Response::new(());
            *response.headers_mut() = self.response_headers.clone();
            call.send = call.respond.as_mut()?.send_response(response, false).ok();
        }
        call.send.as_mut()
    }

    /// Hands over what there is room for, and the end after it.
    pub(super) fn write(&mut self, call: &mut Call, context: &mut Context<'_>) -> Step {
        while let Some((piece, _)) = call.out.front() {
            if self.takes_no_more() {
                if !std::mem::replace(&mut call.is_held_back, true) {
                    self.held_back.push(call.shared.place);
                }
                return Step::Wait;
            }
            let wanted = piece.len().min(PIECE_BYTES);
            let Some(send) = self.begin_answer(call) else {
                return self.left(call);
            };
            send.reserve_capacity(wanted);
            let room = send.capacity();
            if room == 0 {
                match send.poll_capacity(context) {
                    Poll::Pending => return Step::Wait,
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(_)) | None) => return self.left(call),
                }
            }
            let Some((piece, ends_message)) = call.out.front_mut() else {
                break;
            };
            let part = piece.split_to(room.min(wanted));
            let ends_message = piece.is_empty() && *ends_message;
            if piece.is_empty() {
                call.out.pop_front();
            }
            let size = part.len();
            let handed = call
                .send
                .as_mut()
                .is_some_and(|send| send.send_data(part, false).is_ok());
            if !handed {
                return self.left(call);
            }
            call.shared.let_go(size);
            self.handed_bytes += size;
            if ends_message && call.kind == Kind::Stream && call.shared.count_sent() {
                self.events.push(Event::Sent(call.shared.clone()));
            }
        }
        match call.end.take() {
            None => Step::Wait,
            Some(failure) => Step::Over(self.end(call, failure)),
        }
    }

    /// Sends how the call ended; returns its status.
    pub(super) fn end(&mut self, call: &mut Call, failure: Option<Box<Failure>>) -> u8 {
        let Some(failure) = failure else {
            let sent = match self.begin_answer(call) {
                Some(send) => send.send_trailers(self.ok_trailers.clone()).is_ok(),
                None => false,
            };
            return if sent { status::OK } else { status::CANCELLED };
        };
        self.end_now(call, *failure)
    }

    /// Sends a failure, and nothing before it that is not on its way.
    pub(super) fn end_now(&mut self, call: &mut Call, failure: Failure) -> u8 {
        let status = failure.status;
        if let Some(send) = &mut call.send {
            let mut trailers = HeaderMap::new();
            status::write_failure(&mut trailers, failure);
            if send.send_trailers(trailers).is_err() {
                send.send_reset(Reason::CANCEL);
            }
        } else if let Some(respond) = &mut call.respond {
            self.send_end_alone(respond, failure);
        }
        status
    }

    pub(super) fn send_end_alone(&self, respond: &mut SendResponse<Bytes>, failure: Failure) {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        *headers = self.response_headers.clone();
        status::write_failure(headers, failure);
        if respond.send_response(response, true).is_err() {
            respond.send_reset(Reason::CANCEL);
        }
    }
}
