//! Who hears of calls in Python's place, and minds that what it hears can be.

use super::*;

/// What the application does with a call it hears of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Habit {
    Reply,
    Fail,
    Hold,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    UnderWay,
    Answered,
    Left,
}

/// Takes events as Python does, and looks that they can follow each other.
pub(super) struct Application {
    server: Arc<ServerShared>,
    habits: Vec<Habit>,
    pub(super) heard: HashMap<(u64, u64), Fate>,
    pub(super) held: Vec<Arc<CallShared>>,
    pub(super) calls: usize,
    pub(super) messages: usize,
}

impl Application {
    pub(super) fn new(server: &Arc<ServerShared>, habits: &[Habit]) -> Self {
        Application {
            server: server.clone(),
            habits: habits.to_vec(),
            heard: HashMap::new(),
            held: Vec::new(),
            calls: 0,
            messages: 0,
        }
    }

    pub(super) fn take(&mut self) {
        for event in self.server.inbox.take(usize::MAX, Instant::now()) {
            match event {
                Event::Call(call, body) => {
                    assert!(body.len() <= MESSAGE_BYTES);
                    self.begin(&call);
                    self.end(&call);
                }
                Event::Stream(call) => self.begin(&call),
                Event::Message(call, message) => {
                    assert_ne!(self.fate(&call), Fate::Left);
                    if let Some(message) = message {
                        self.messages += 1;
                        call.received(message.len());
                        call.send(Answer::copy_of(b"heard"));
                    } else {
                        self.end(&call);
                    }
                }
                Event::Sent(call) => assert!(call.sent() > 0),
                Event::Left(call) => {
                    assert_eq!(
                        self.fate(&call),
                        Fate::UnderWay,
                        "it leaves once, and not after its answer"
                    );
                    self.heard.insert(key(&call), Fate::Left);
                }
                Event::Log(_, text) => panic!("{text}"),
                Event::Stopped => panic!("nobody has drained it"),
            }
        }
    }

    fn begin(&mut self, call: &Arc<CallShared>) {
        self.calls += 1;
        assert_eq!(self.heard.insert(key(call), Fate::UnderWay), None, "it comes once");
        self.held.push(call.clone());
    }

    fn end(&mut self, call: &Arc<CallShared>) {
        match self.habits[self.calls % self.habits.len()] {
            Habit::Reply if call.route == 0 => call.reply(Answer::copy_of(b"answer")),
            Habit::Reply => call.finish(),
            Habit::Fail => call.fail(Failure::new(status::UNAVAILABLE, "as the test wishes")),
            Habit::Hold => return,
        }
        if !call.has_left() {
            self.heard.insert(key(call), Fate::Answered);
        }
    }

    fn fate(&self, call: &CallShared) -> Fate {
        self.heard[&key(call)]
    }
}

fn key(call: &CallShared) -> (u64, u64) {
    (call.connection.number, call.serial)
}
