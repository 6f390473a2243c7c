//! A connection over memory, against a client that is no part of what is tested.

use super::*;
use crate::hub::{Distribution, Hub};
use crate::options::Route;
use crate::server::ServerShared;
use h2::client::{ResponseFuture, SendRequest};
use std::collections::VecDeque;
use tokio::io::DuplexStream;

mod bounds;

struct Rig {
    server: Arc<ServerShared>,
    client: SendRequest<Bytes>,
}

pub(super) fn server(limits: Limits) -> Arc<ServerShared> {
    let routes = [("/t/Hot", Kind::Hot), ("/t/Stream", Kind::Stream)]
        .map(|(path, kind)| Route {
            path: path.into(),
            kind,
        })
        .to_vec();
    Arc::new(ServerShared::new(limits, routes, &[0.1]).unwrap())
}

/// A connection from its first byte to its end.
pub(super) async fn served<T: AsyncRead + AsyncWrite + Unpin>(server: Arc<ServerShared>, hub: Arc<Hub>, near: T) {
    let place = server.admit().unwrap();
    let near = Gathered::new(near);
    let Ok(h2) = builder(&server.limits).handshake(near.clone()).await else {
        return;
    };
    let shared = Arc::new(ConnectionShared::new(
        hub,
        server.clone(),
        place.number,
        "test".into(),
        None,
    ));
    server.register.set_shared(&shared);
    Connection::new(h2, near, shared, place, Arc::default()).await;
}

/// A connection over memory, and a client of it that is no part of what is tested.
async fn rig(limits: Limits) -> Rig {
    let server = server(limits);
    let client = connected(&server).await;
    Rig { server, client }
}

async fn connected(server: &Arc<ServerShared>) -> SendRequest<Bytes> {
    let hub = Arc::new(Hub::default());
    let (near, far): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 16);
    tokio::spawn(served(server.clone(), hub.clone(), near));
    tokio::spawn(Distribution(hub));
    let (client, connection) = h2::client::handshake(far).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

impl Rig {
    fn begin(&mut self, path: &str, headers: &[(&str, &str)]) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("http://test{path}"))
            .header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.send_request(request.body(()).unwrap(), false).unwrap()
    }

    async fn call(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> ResponseFuture {
        let (response, mut send) = self.begin(path, headers);
        send.send_data(message::framed(body), true).unwrap();
        response
    }

    /// The next event; other tasks run meanwhile.
    async fn event(&self) -> Event {
        self.event_at(Instant::now()).await
    }

    async fn event_at(&self, now: Instant) -> Event {
        let mut events: VecDeque<Event> = VecDeque::new();
        while events.is_empty() {
            tokio::task::yield_now().await;
            events = self.server.inbox.take(1, now);
        }
        events.pop_front().unwrap()
    }
}

async fn status(response: ResponseFuture) -> (String, Bytes) {
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    let trailers = body.trailers().await.unwrap().unwrap_or(head.headers);
    (trailers["grpc-status"].to_str().unwrap().to_owned(), bytes.into())
}

#[tokio::test]
async fn a_call_is_handed_over_and_its_answer_sent() {
    let mut rig = rig(Limits::default()).await;
    let response = rig.call("/t/Hot", &[], b"question").await;
    let Event::Call(call, body) = rig.event().await else {
        panic!("a call was made");
    };
    assert_eq!(&body.whole()[..], b"question");
    call.reply(Answer::copy_of(b"answer"));
    call.reply(Answer::copy_of(b"another"));
    assert_eq!(status(response).await, ("0".into(), message::framed(b"answer")));
    drop(call);
    assert_eq!(rig.server.calls.load(Ordering::Relaxed), 0);
    assert_eq!(rig.server.bytes.load(Ordering::Relaxed), 0);
    let reading = &rig.server.statistics.read()[0];
    assert_eq!(
        (reading.status, reading.request_bytes, reading.response_bytes),
        (0, 8, 6)
    );
}

#[tokio::test]
async fn a_call_of_which_the_message_does_not_come_keeps_nobody_from_being_looked_for() {
    let mut rig = rig(Limits::default()).await;
    let (_begun, _send) = rig.begin("/t/Hot", &[]);
    let answered = rig.call("/t/Hot", &[], b"question").await;
    let Event::Call(call, _) = rig.event().await else {
        panic!("a call was made");
    };
    let lookout = &call.connection.hub.lookout;
    assert!(!lookout.is_idle());
    call.reply(Answer::copy_of(b"answer"));
    status(answered).await;
    assert!(lookout.is_idle());
    assert_eq!(rig.server.calls.load(Ordering::Relaxed), 1);
}

#[cfg(not(feature = "python"))]
#[tokio::test]
async fn calls_like_one_that_was_refused_are_refused_and_the_application_hears_of_their_number() {
    use crate::hold::{self, Refusal, Whose};
    // For a model called `m`.
    const PLAIN: &[u8] = b"\x0a\x01m\x2a\x03\x0a\x01x\x3a\x01\0";

    let mut rig = rig(Limits::default()).await;
    let first = rig.call("/t/Hot", &[], PLAIN).await;
    let Event::Call(call, body) = rig.event().await else {
        panic!("a call was made");
    };
    let refusal = Refusal {
        status: status::RESOURCE_EXHAUSTED,
        text: "full".into(),
        pushback_ms: 20,
        before: None,
        until: Instant::now() + hold::MOST,
        counted: 7,
    };
    assert!(rig.server.hold(&call, &body, &Whose::All, refusal));
    call.fail(Failure::new(status::RESOURCE_EXHAUSTED, "full"));
    assert_eq!(status(first).await.0, "8");
    let second = rig.call("/t/Hot", &[], PLAIN).await;
    assert_eq!(status(second).await.0, "8");
    let other = rig.call("/t/Hot", &[], b"no request of the kind").await;
    let Event::Call(call, _) = rig.event().await else {
        panic!("the second was refused, and the third is not like it");
    };
    call.reply(Answer::copy_of(b""));
    assert_eq!(status(other).await.0, "0");
    let later = Instant::now() + hold::MOST;
    assert_eq!(rig.server.take_refused(later), (vec![(7, 1)], false));
    assert_eq!(rig.server.calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_call_that_would_be_read_too_late_is_refused_at_once_and_one_with_time_is_not() {
    let mut rig = rig(Limits::default()).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(rig.call("/t/Hot", &[], b"").await);
    }
    for _ in 0..100 {
        tokio::task::yield_now().await; // until all of them are there
    }
    for number in 0..3 {
        let now = Instant::now() + number * Duration::from_millis(20);
        assert!(matches!(rig.event_at(now).await, Event::Call(..)));
    }
    let hurried = rig.call("/t/Hot", &[("grpc-timeout", "50m")], b"").await;
    assert_eq!(status(hurried).await.0, "8");
    let patient = rig.call("/t/Hot", &[("grpc-timeout", "50S")], b"").await;
    assert!(matches!(rig.event().await, Event::Call(call, _) if call.deadline.is_none()));
    assert!(matches!(rig.event().await, Event::Call(call, _) if call.deadline.is_some()));
    assert_eq!(rig.server.unread.load(Ordering::Relaxed), 1);
    drop((waiting, patient));
}

#[tokio::test]
async fn a_panic_fails_its_call_and_no_other() {
    let mut rig = rig(Limits::default()).await;
    let held = rig.call("/t/Hot", &[], b"held").await;
    let Event::Call(call, _) = rig.event().await else {
        panic!("a call was made");
    };
    let broken = rig.call("/t/Hot", &[("x-panic", "please")], b"").await;
    assert_eq!(status(broken).await.0, "13");
    assert!(matches!(rig.event().await, Event::Log(Level::Error, text) if text.contains("as the test wishes")));
    call.reply(Answer::copy_of(b"fine"));
    assert_eq!(status(held).await.0, "0");
}

#[tokio::test]
async fn a_deadline_that_passes_is_a_leave_and_an_answer() {
    let mut rig = rig(Limits::default()).await;
    let response = rig.call("/t/Hot", &[("grpc-timeout", "20m")], b"").await;
    assert!(matches!(rig.event().await, Event::Call(..)));
    assert_eq!(status(response).await.0, "4");
    let Event::Left(call) = rig.event().await else {
        panic!("the deadline has passed");
    };
    assert!(call.has_left());
    call.reply(Answer::copy_of(b"too late"));
}

#[tokio::test]
async fn a_reset_is_a_leave() {
    let mut rig = rig(Limits::default()).await;
    let (_response, mut send) = rig.begin("/t/Hot", &[]);
    send.send_data(message::framed(b""), true).unwrap();
    assert!(matches!(rig.event().await, Event::Call(..)));
    send.send_reset(Reason::CANCEL);
    assert!(matches!(rig.event().await, Event::Left(_)));
}

#[tokio::test]
async fn draining_ends_the_connection_after_its_last_call() {
    let mut rig = rig(Limits::default()).await;
    let response = rig.call("/t/Hot", &[], b"").await;
    let Event::Call(call, _) = rig.event().await else {
        panic!("a call was made");
    };
    rig.server.drain();
    call.reply(Answer::copy_of(b"last"));
    drop(call);
    assert_eq!(status(response).await.0, "0");
    assert!(matches!(rig.event().await, Event::Stopped));
    assert_eq!(rig.server.register.len(), 0);
}

#[test]
fn only_grpc_is_taken_for_grpc() {
    let mut headers = HeaderMap::new();
    assert_eq!(no_grpc(&Method::GET, &headers), Some(StatusCode::METHOD_NOT_ALLOWED));
    for (kind, is_grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;x", true),
        ("application/grpcx", false),
        ("application/json", false),
    ] {
        headers.insert("content-type", kind.parse().unwrap());
        assert_eq!(no_grpc(&Method::POST, &headers).is_none(), is_grpc, "{kind}");
    }
}

/// Makes so many calls one after the other, each reset as soon as it has come unless it is answered; returns how many could
/// be begun, and why no more.
async fn reset(calls: usize, is_answered: fn(usize) -> bool) -> (usize, Option<Reason>) {
    let mut rig = rig(Limits::default()).await;
    for number in 0..calls {
        match rig.client.clone().ready().await {
            Ok(client) => rig.client = client,
            Err(error) => return (number, error.reason()),
        }
        let (response, mut send) = rig.begin("/t/Hot", &[]);
        send.send_data(message::framed(b""), true).unwrap();
        let Event::Call(call, _) = rig.event().await else {
            panic!("no call");
        };
        if is_answered(number) {
            call.reply(Answer::copy_of(b""));
            assert_eq!(status(response).await.0, "0");
        } else {
            send.send_reset(Reason::CANCEL);
            assert!(matches!(rig.event().await, Event::Left(_)));
        }
    }
    (calls, None)
}

#[tokio::test]
async fn who_resets_what_he_begins_again_and_again_is_hung_up_on() {
    // On a busy machine some are not reset within a millisecond.
    let (begun, why) = reset(20_000, |_| false).await;
    assert!((2049..20_000).contains(&begun), "{begun} calls");
    assert_eq!(why, Some(Reason::ENHANCE_YOUR_CALM));
    assert_eq!(
        reset(5000, |number| number % 2 == 0).await,
        (5000, None),
        "who has half of them answered is not"
    );
}
