//! What is held for callers who do not read, send or receive has a bound, and is counted.

use super::*;
use crate::call::MOST_WAITING_BYTES;

const NOBODY_READS: usize = 1 << 16;

impl Rig {
    fn bytes(&self) -> usize {
        self.server.bytes.load(Ordering::Relaxed)
    }

    /// Lets all go on until nothing does; returns what was heard meanwhile.
    async fn settle(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
            events.extend(self.server.inbox.take(usize::MAX, Instant::now()));
        }
        events
    }
}

#[tokio::test]
async fn a_stream_that_is_not_received_is_not_read_beyond_its_bound() {
    let mut rig = rig(Limits::default()).await;
    let (_response, mut send) = rig.begin("/t/Stream", &[]);
    for _ in 0..10 * crate::call::MOST_WAITING {
        send.send_data(message::framed(b"x"), false).unwrap();
    }
    let Event::Stream(stream) = rig.event().await else {
        panic!("a stream was begun");
    };
    let mut messages = 0;
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
        messages += rig.server.inbox.take(usize::MAX, Instant::now()).len();
    }
    assert_eq!(messages, crate::call::MOST_WAITING);
    for _ in 0..messages {
        stream.received(1);
    }
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
        messages += rig.server.inbox.take(usize::MAX, Instant::now()).len();
    }
    assert!(messages > crate::call::MOST_WAITING);
}

#[tokio::test]
async fn what_a_stream_leaves_unread_and_unsent_is_counted_no_longer_than_it_lasts() {
    let mut rig = rig(Limits::default()).await;
    let (_response, mut send) = rig.begin("/t/Stream", &[]);
    send.send_data(message::framed(&[7; 3000]).slice(..2000), false)
        .unwrap();
    let Event::Stream(stream) = rig.event().await else {
        panic!("a stream was begun");
    };
    stream.send(Answer::copy_of(&[7; 100_000])); // more than its caller takes
    while rig.server.bytes.load(Ordering::Relaxed) < 2000 + 100_005 - 65_535 {
        tokio::task::yield_now().await;
    }
    send.send_reset(Reason::CANCEL);
    while !matches!(rig.event().await, Event::Left(_)) {}
    assert_eq!(rig.server.bytes.load(Ordering::Relaxed), 0);
    assert!(stream.has_left(), "and the application has it still");
}

#[tokio::test]
async fn what_waits_to_be_received_is_counted_and_no_more_is_read_than_so_many_bytes() {
    const MESSAGE_BYTES: usize = 1 << 20;
    let mut rig = rig(Limits::default()).await;
    let (_response, mut send) = rig.begin("/t/Stream", &[]);
    for _ in 0..12 {
        send.send_data(message::framed(&[7; MESSAGE_BYTES]), false).unwrap();
    }
    let Event::Stream(stream) = rig.event().await else {
        panic!("a stream was begun");
    };
    let heard = rig.settle().await.len();
    assert_eq!(heard, MOST_WAITING_BYTES / MESSAGE_BYTES);
    assert!(rig.bytes() >= heard * MESSAGE_BYTES);
    for left in (0..heard).rev() {
        let before = rig.bytes();
        stream.received(MESSAGE_BYTES);
        assert_eq!(
            rig.bytes(),
            before - MESSAGE_BYTES - message::PREFIX_BYTES,
            "{left} wait"
        );
    }
    assert_eq!(rig.settle().await.len(), heard, "it goes on when there is room");
}

#[tokio::test]
async fn what_is_inflated_counts_with_all_its_bytes() {
    use flate2::{write::GzEncoder, Compression};
    use std::io::Write;

    let mut rig = rig(Limits {
        bytes_in_flight: 1 << 20,
        ..Limits::default()
    })
    .await;
    for inflated in [10_000, 5 << 20] {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&vec![0; inflated]).unwrap();
        let mut message = message::framed(&packed.finish().unwrap()).to_vec();
        message[0] = 1;
        let (response, mut send) = rig.begin("/t/Hot", &[("grpc-encoding", "gzip")]);
        send.send_data(message.into(), true).unwrap();
        if inflated < 1 << 20 {
            assert!(matches!(rig.event().await, Event::Call(_, body) if body.len() == inflated));
        } else {
            assert_eq!(status(response).await.0, "8");
        }
    }
    rig.settle().await;
    assert_eq!(rig.bytes(), 0);
}

/// Answers so many calls with so many bytes each; returns how many bytes are counted when nothing goes on any more.
async fn answered(rig: &mut Rig, calls: usize, size: usize) -> (Vec<ResponseFuture>, usize) {
    let mut responses = Vec::new();
    for _ in 0..calls {
        responses.push(rig.call("/t/Hot", &[], b"").await);
        let Event::Call(call, _) = rig.event().await else {
            panic!("a call was made");
        };
        call.reply(Answer::copy_of(&vec![7; size]));
    }
    rig.settle().await;
    let counted = rig.bytes();
    (responses, counted)
}

#[tokio::test]
async fn small_answers_that_nobody_reads_are_counted_and_go_when_somebody_does() {
    const ANSWER_BYTES: usize = 10_000;
    let mut rig = rig(Limits::default()).await;
    // The client of h2 gives 64 KiB to a connection, and no more before its user has read them.
    let (responses, counted) = answered(&mut rig, 40, ANSWER_BYTES).await;
    assert!(
        counted >= 40 * ANSWER_BYTES - NOBODY_READS,
        "{counted} of {} bytes",
        40 * ANSWER_BYTES
    );
    assert!(rig.server.calls.load(Ordering::Relaxed) >= 30, "those are under way");
    let mut readers = tokio::task::JoinSet::new();
    for response in responses {
        readers.spawn(async move {
            let (_, mut body) = response.await.unwrap().into_parts();
            let mut size = 0;
            while let Some(chunk) = body.data().await {
                let chunk = chunk.unwrap();
                size += chunk.len();
                body.flow_control().release_capacity(chunk.len()).unwrap();
            }
            size
        });
    }
    let sizes = readers.join_all().await;
    assert_eq!(sizes, [ANSWER_BYTES + message::PREFIX_BYTES; 40]);
    rig.settle().await;
    assert_eq!((rig.bytes(), rig.server.calls.load(Ordering::Relaxed)), (0, 0));
}

/// A client whose windows are as wide as can be, and its connection, which reads as often as it is polled.
async fn greedy(server: &Arc<ServerShared>) -> (SendRequest<Bytes>, ClientConnection) {
    let hub = Arc::new(Hub::default());
    let (near, far) = tokio::io::duplex(1 << 12);
    tokio::spawn(served(server.clone(), hub.clone(), near));
    tokio::spawn(Distribution(hub));
    let client = h2::client::Builder::new()
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake(far);
    client.await.unwrap()
}

type ClientConnection = h2::client::Connection<DuplexStream, Bytes>;

async fn once(connection: &mut ClientConnection) {
    let polled = std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *connection).poll(context).is_ready()));
    assert!(!polled.await, "it goes on");
}

#[tokio::test]
async fn answers_wait_with_us_where_the_peer_takes_no_bytes_whatever_it_allows() {
    const ANSWER_BYTES: usize = 10_000;
    let server = server(Limits::default());
    let (client, mut connection) = greedy(&server).await;
    let mut rig = Rig { server, client };
    let mut calls = Vec::new();
    let mut responses = Vec::new();
    for _ in 0..40 {
        responses.push(rig.call("/t/Hot", &[], b"").await);
    }
    while calls.len() < 40 {
        once(&mut connection).await;
        tokio::task::yield_now().await;
        for event in rig.server.inbox.take(usize::MAX, Instant::now()) {
            if let Event::Call(call, _) = event {
                calls.push(call);
            }
        }
    }
    // From here on nobody reads.
    for call in calls.drain(..) {
        call.reply(Answer::copy_of(&vec![7; ANSWER_BYTES]));
        tokio::task::yield_now().await;
    }
    rig.settle().await;
    let counted = rig.bytes();
    assert!(counted >= 30 * ANSWER_BYTES, "{counted} of {} bytes", 40 * ANSWER_BYTES);
    tokio::spawn(async move {
        let _ = connection.await;
    });
    for response in responses {
        assert_eq!(status(response).await.0, "0");
    }
    rig.settle().await;
    assert_eq!((rig.bytes(), rig.server.calls.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn whose_answers_wait_beyond_his_share_gets_no_more_of_them() {
    const ANSWER_BYTES: usize = 100_000;
    let mut rig = rig(Limits {
        bytes_in_flight: 1 << 20,
        message_bytes: 1 << 17,
        ..Limits::default()
    })
    .await;
    let (mut responses, counted) = answered(&mut rig, 20, ANSWER_BYTES).await;
    assert!(counted < 3 << 18, "{counted} bytes");
    assert_eq!(status(responses.pop().unwrap()).await.0, "8");
    let mut other = Rig {
        client: connected(&rig.server).await,
        server: rig.server.clone(),
    };
    let asked = other.call("/t/Hot", &[], b"is there room for me?").await;
    let Event::Call(call, _) = other.event().await else {
        panic!("another connection is served");
    };
    call.reply(Answer::copy_of(b"yes"));
    assert_eq!(status(asked).await.0, "0");
}

#[tokio::test]
async fn a_peer_who_takes_a_little_is_given_little_more() {
    const ANSWER_BYTES: usize = 500_000;
    let server = server(Limits::default());
    let (client, mut connection) = greedy(&server).await;
    let mut rig = Rig { server, client };
    let mut responses = Vec::new();
    for _ in 0..40 {
        responses.push(rig.call("/t/Hot", &[], b"").await);
    }
    let mut calls = Vec::new();
    while calls.len() < 40 {
        once(&mut connection).await;
        calls.extend(rig.settle().await);
    }
    for event in calls {
        if let Event::Call(call, _) = event {
            call.reply(Answer::copy_of(&vec![7; ANSWER_BYTES]));
        }
    }
    rig.settle().await;
    for _ in 0..4 {
        once(&mut connection).await; // it reads what there is, and no more
        rig.settle().await;
    }
    let counted = rig.bytes();
    assert!(counted >= 30 * ANSWER_BYTES, "{counted} of {} bytes", 40 * ANSWER_BYTES);
    drop((responses, connection));
}

#[tokio::test]
async fn large_metadata_are_counted_as_long_as_their_call_lasts() {
    let mut rig = rig(Limits::default()).await;
    let value = "v".repeat(4000);
    let (_response, mut send) = rig.begin("/t/Hot", &[("x-large", &value)]);
    rig.settle().await;
    assert!((4000..6000).contains(&rig.bytes()), "{}", rig.bytes());
    send.send_reset(Reason::CANCEL);
    rig.settle().await;
    assert_eq!(rig.bytes(), 0);
    let (_response, _send) = rig.begin("/t/Hot", &[]);
    rig.settle().await;
    assert_eq!(rig.bytes(), 0, "few are free");
}

#[test]
fn a_connection_has_no_more_than_is_left_to_the_others() {
    let server = server(Limits {
        calls: 1000,
        bytes_in_flight: 1000,
        message_bytes: 64,
        ..Limits::default()
    });
    for (all, own, is_refused) in [
        (0, 0, false),
        (749, 749, false),
        (750, 750, true),
        (900, 299, false),
        (900, 300, true),
        (990, 63, false),
        (990, 64, true),
        (1001, 0, true),
    ] {
        server.calls.store(all, Ordering::Relaxed);
        server.bytes.store(all, Ordering::Relaxed);
        assert_eq!(server.too_many(own).is_some(), is_refused, "{own} of {all}");
        assert_eq!(server.too_full(own).is_some(), is_refused, "{own} of {all}");
    }
}

#[tokio::test]
async fn what_was_asked_is_counted_until_it_is_answered_and_the_answer_until_it_is_sent() {
    let mut rig = rig(Limits::default()).await;
    let response = rig.call("/t/Hot", &[], &[7; 30_000]).await;
    let Event::Call(call, _) = rig.event().await else {
        panic!("a call was made");
    };
    assert_eq!(rig.bytes(), 30_005);
    let pending = || call.connection.pending_bytes.load(Ordering::Relaxed);
    assert_eq!(pending(), 0, "nothing waits for the peer");
    call.reply(Answer::copy_of(&[7; 100_000])); // more than its caller takes
    rig.settle().await;
    assert_eq!(rig.bytes(), 100_005 - 65_535);
    assert_eq!(pending(), rig.bytes());
    let connection = call.connection.clone();
    drop((call, response, rig));
    while connection.pending_bytes.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
}
