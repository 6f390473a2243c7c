//! Whatever bytes a client sends: no panic, no spinning, nothing left over, and the next client is answered.
//!
//! Every file of `tests/fuzz/frames` is what one client sends; an input that ever broke something becomes such a file.
//! `PROPTEST_CASES=100000` makes a long run.

use super::tests::{served, server};
use super::*;
use crate::hub::{Distribution, Hub};
use crate::server::ServerShared;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{LazyLock, Mutex, MutexGuard};
use tokio::io::ReadBuf;
use tokio::runtime::{Builder, Runtime};

mod application;
mod fed;
mod mutation;
mod pipe;

use application::{Application, Fate, Habit};
use fed::Fed;
use mutation::mutations;
use pipe::Pipe;

/// What may be sent as one message.
const MESSAGE_BYTES: usize = 1 << 20;

static CORPUS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/frames");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
});

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_time().build().unwrap());

/// What became of a client's calls.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Of which the application heard.
    calls: usize,
    messages: usize,
    /// Of all calls, in ascending order.
    statuses: Vec<u8>,
}

/// Has a server serve a client that sends these pieces and then hangs up or not, and another client after it. The server
/// is given time to end as many calls as `ends`.
fn feed<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, habits: &[Habit], ends: usize, hangs_up: bool) -> Outcome {
    let _entered = RUNTIME.enter();
    let server = server(Limits {
        message_bytes: MESSAGE_BYTES,
        metadata_bytes: 1 << 11,
        ..Limits::default()
    });
    let mut application = Application::new(&server, habits);
    let mut fed = Fed::new(&server);
    for piece in pieces {
        fed.pipe.send(piece);
        fed.go_on(&mut application);
    }
    fed.go_on_until(&mut application, || statuses(&server).len() >= ends);
    let outcome = Outcome {
        calls: application.calls,
        messages: application.messages,
        statuses: statuses(&server),
    };
    assert_another_is_answered(&server);
    if hangs_up {
        fed.pipe.hang_up();
        fed.go_on(&mut application);
        assert!(fed.serving.is_none(), "who has hung up is forgotten");
    }
    fed.serving = None;
    fed.go_on(&mut application);
    application.take();
    assert_eq!(server.calls.load(Ordering::Relaxed), 0);
    assert!(fed.hub.0.lookout.is_idle());
    assert!(application.heard.values().all(|&fate| fate != Fate::UnderWay));
    application.held.clear();
    fed.go_on_until(&mut application, || server.bytes.load(Ordering::Relaxed) == 0);
    outcome
}

fn statuses(server: &ServerShared) -> Vec<u8> {
    let readings = server.statistics.read();
    let mut statuses: Vec<u8> = readings
        .iter()
        .flat_map(|reading| vec![reading.status; reading.counts.iter().sum::<u64>() as usize])
        .collect();
    statuses.sort_unstable();
    statuses
}

fn assert_another_is_answered(server: &Arc<ServerShared>) {
    let mut application = Application::new(server, &[Habit::Reply]);
    let mut fed = Fed::new(server);
    fed.pipe.send(&file("plain_call"));
    fed.go_on(&mut application);
    let answer = message::framed(b"answer");
    assert!(fed
        .pipe
        .ends()
        .answered
        .windows(answer.len())
        .any(|part| part == answer));
}

fn file(name: &str) -> Vec<u8> {
    let found = CORPUS.iter().find(|(other, _)| other == name);
    found.unwrap_or_else(|| panic!("there is no {name}")).1.clone()
}

/// Cuts bytes into pieces of these sizes, again and again.
fn cut<'b>(bytes: &'b [u8], sizes: &'b [usize]) -> impl Iterator<Item = &'b [u8]> {
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.len().min(*sizes.next()?));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..12, 12usize..600], 1..8)
}

fn habits() -> impl Strategy<Value = Vec<Habit>> {
    let habit = prop_oneof![Just(Habit::Reply), Just(Habit::Fail), Just(Habit::Hold)];
    prop::collection::vec(habit, 1..5)
}

#[test]
fn each_file_does_what_its_name_says() {
    let mut known = Vec::new();
    let no_calls: &[u8] = &[];
    for (name, calls, messages, ends) in [
        ("plain_call", 1, 0, &[0][..]),
        ("calls_with_a_header_table", 3, 0, &[0, 0, 0]),
        ("gzip", 1, 0, &[0]),
        ("gzip_that_grows", 1, 0, &[0]),
        ("gzip_bomb", 0, 0, &[8]),
        ("gzip_broken", 0, 0, &[13]),
        ("many_data_frames", 1, 0, &[0]),
        ("stream_of_three", 1, 3, &[0]),
        ("stream_reset", 1, 1, &[1]),
        ("cancelled", 1, 0, &[1]),
        ("resets", 16, 0, &[1; 16]),
        ("frames_between", 1, 0, &[0]),
        ("continuation", 1, 0, &[0]),
        ("padded", 1, 0, &[0]),
        ("goaway", 1, 0, &[0]),
        ("trailers", 1, 0, &[0]),
        ("no_window", 1, 0, &[0]),
        ("length_beyond_the_body", 0, 0, &[13]),
        ("length_beyond_the_limit", 0, 0, &[8]),
        ("length_within_the_body", 1, 0, &[0]),
        ("no_message", 0, 0, &[13]),
        ("unknown_flag", 0, 0, &[13]),
        ("unknown_method", 0, 0, &[12]),
        ("no_content_type", 0, 0, no_calls),
        ("deadline", 1, 0, &[0]),
        ("deadline_malformed", 0, 0, &[13]),
        ("header_in_capitals", 0, 0, no_calls),
        ("much_metadata", 1, 0, &[0, 8]),
        ("half_a_frame_at_the_end", 1, 0, &[0]),
        ("garbage_after_the_preface", 0, 0, no_calls),
    ] {
        let habit = if ends.contains(&status::CANCELLED) {
            Habit::Hold
        } else {
            Habit::Reply
        };
        let outcome = feed(cut(&file(name), &[7]), &[habit], ends.len(), true);
        let statuses = ends.to_vec();
        assert_eq!(
            outcome,
            Outcome {
                calls,
                messages,
                statuses
            },
            "{name}"
        );
        known.push(name);
    }
    known.sort_unstable();
    assert_eq!(known, CORPUS.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn a_file_may_come_in_any_pieces(
        file in any::<Index>(), sizes in sizes(), habits in habits(), hangs_up in any::<bool>()
    ) {
        let (_, bytes) = file.get(&CORPUS[..]);
        feed(cut(bytes, &sizes), &habits, 0, hangs_up);
    }

    #[test]
    fn whatever_comes_harms_nobody(
        file in any::<Index>(),
        mutations in mutations(),
        sizes in sizes(),
        habits in habits(),
        hangs_up in any::<bool>(),
    ) {
        let (_, mut bytes) = file.get(&CORPUS[..]).clone();
        for mutation in &mutations {
            mutation.of(&mut bytes);
        }
        feed(cut(&bytes, &sizes), &habits, 0, hangs_up);
    }
}
