//! A connection that goes on when a test has it do so.

use super::*;

/// For what another thread inflates.
const PATIENCE: Duration = Duration::from_secs(10);

/// Notes that somebody is to go on.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One client's connection, whose turns are a test's.
pub(super) struct Fed {
    pub(super) pipe: Pipe,
    pub(super) serving: Option<Pin<Box<dyn Future<Output = ()>>>>,
    pub(super) hub: Pin<Box<Distribution>>,
    woken: Arc<Woken>,
}

impl Fed {
    pub(super) fn new(server: &Arc<ServerShared>) -> Self {
        let (pipe, hub) = (Pipe::default(), Arc::new(Hub::default()));
        Fed {
            serving: Some(Box::pin(served(server.clone(), hub.clone(), pipe.clone()))),
            hub: Box::pin(Distribution(hub)),
            woken: Arc::new(Woken(true.into())),
            pipe,
        }
    }

    /// Goes on until nothing is to be done.
    pub(super) fn go_on(&mut self, application: &mut Application) {
        let waker = Waker::from(self.woken.clone());
        let mut context = Context::from_waker(&waker);
        while self.woken.0.swap(false, Ordering::Relaxed) {
            self.pipe.count_turn();
            assert!(self.hub.as_mut().poll(&mut context).is_pending());
            if let Some(serving) = &mut self.serving {
                if serving.as_mut().poll(&mut context).is_ready() {
                    self.serving = None;
                }
            }
            application.take();
        }
    }

    /// Goes on, other threads meanwhile, until that is so.
    pub(super) fn go_on_until(&mut self, application: &mut Application, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        self.go_on(application);
        while !is_so() {
            assert!(began.elapsed() < PATIENCE);
            std::thread::yield_now();
            self.go_on(application);
        }
    }
}
