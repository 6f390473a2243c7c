//! Calls end: answered, refused, late, or left by their callers.

use super::*;

/// A call that is reset sooner was not meant to be answered: who changes his mind takes longer, and who has a deadline
/// mostly, too.
const RAPID: Duration = Duration::from_millis(1);
/// So many more of these than of others, and a connection is hung up on (CVE-2023-44487).
const MOST_RAPID: usize = 2048;

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Hangs up on who begins calls to reset them.
    pub(super) fn calm(&mut self) {
        if self.rapid > MOST_RAPID {
            self.rapid = 0;
            self.h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
    }

    /// Ends a call by our own decision, whatever the application does with it.
    pub(super) fn refuse(&mut self, call: &mut Call, failure: Failure) -> Step {
        self.tell_left(call);
        Step::Over(self.end_now(call, failure))
    }

    /// The caller is gone.
    pub(super) fn left(&mut self, call: &mut Call) -> Step {
        self.tell_left(call);
        Step::Over(status::CANCELLED)
    }

    pub(super) fn tell_left(&mut self, call: &Call) {
        if call.shared.leave() && call.is_known {
            self.events.push(Event::Left(call.shared.clone()));
        }
    }

    pub(super) fn too_late(&mut self, call: &mut Call, _waker: &Waker) -> Step {
        self.refuse(call, Failure::new(status::DEADLINE_EXCEEDED, "the deadline passed"))
    }

    pub(super) fn forget(&mut self, place: usize, call: Call, status: u8) {
        // Where something still holds it open, the application hears that it is over.
        self.tell_left(&call);
        if let Some(deadline) = call.watched {
            self.deadlines.remove(&(deadline, place));
        }
        let now = Instant::now();
        let took = now - call.began;
        self.rapid = match status == status::CANCELLED && took < RAPID {
            true => self.rapid + 1,
            false => self.rapid.saturating_sub(1),
        };
        self.free.push(place);
        self.under_way -= 1;
        if call.kind != Kind::Stream && call.is_known {
            self.shared.hub.lookout.went(now);
        }
        call.let_go();
        let server = &self.shared.server;
        server.calls.fetch_sub(1, Ordering::Relaxed);
        server
            .statistics
            .add(call.shared.route, status, took, call.request_bytes, call.response_bytes);
    }
}
